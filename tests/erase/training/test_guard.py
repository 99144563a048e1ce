"""The guard acts on held-out losses as it says, goes back to the bit, survives a stop, and changes nothing while all is well."""

import math
from dataclasses import replace

import pytest
import torch
from repair_runs import repaired, run
from toys import FORGET, classification_task, copied, cross_entropy, points, same

from erase.errors import Diverged, InputError
from erase.methods.diffusion.scissorhands import Scissorhands
from erase.training.guard import BATCHES, EVERY, Guard, held_out
from erase.training.state import TrainingState

KEPT = tuple(c for c in range(4) if c != FORGET)


def guarded(bound=None, gone=None):
    """A task with points held out, and a guard that has looked at the start."""
    task = classification_task()
    task.probe = replace(task, forget=lambda i: points((FORGET,), 500 + i), retain=lambda i: points(KEPT, 500 + i))
    guard = Guard(held_out(task.probe, task.unlearn), bound, gone)
    guard.start()
    return task, guard


def scripted(values, **options):
    """A guard that sees these (retain, unlearn) losses, and what it went back to; the first is the start."""
    seen = iter(values)
    guard = Guard(lambda micro: next(seen), **options)
    guard.start()
    went = []

    class State(TrainingState):
        def roll_back(self, state):
            went.append(int(state["step"]))

    def after(look):
        state = State(torch.nn.Linear(1, 1), {})
        state.step = look * EVERY
        return guard.after(state, 1000)

    return guard, after, went


def test_a_look_is_the_mean_loss_on_held_out_batches_and_leaves_no_trace():
    task, guard = guarded(0.1)
    network = task.network.train()
    retain = sum(cross_entropy(network, points(KEPT, 500 + i)).item() for i in range(BATCHES)) / BATCHES
    forget = sum(cross_entropy(network, points((FORGET,), 500 + i)).item() for i in range(BATCHES)) / BATCHES
    for micro in (0, 5):
        assert held_out(task.probe, task.unlearn)(micro) == pytest.approx((retain, -forget), rel=1e-5)
    assert (guard.retain_start, guard.unlearn_start) == pytest.approx((retain, -forget), rel=1e-5)
    assert network.training
    assert all(weight.grad is None for weight in network.parameters())


def test_on_paper():
    """Bound 10 %, start 1. Trimmed to 2, it regains 1.5 and 1.05 (best U there: 0.3); 1.16 is over 1.1 · 1.05.

    Back to look 3 at half the rate; 1.1 is within, and its U of 0.2 is the best; 1.2 is over: back to look 5; over again: the end.
    """
    values = [(1, 5), (2, 0.1), (1.5, 0.4), (1.05, 0.3), (1.16, 0.1), (1.1, 0.2), (1.2, 0.1), (1.3, 0.0)]
    guard, after, went = scripted(values, bound=0.1)
    said = [after(look).get("guard") for look in range(1, 8)]
    assert [text is None for text in said] == [True, True, True, False, True, False, False]
    assert went == [3 * EVERY, 5 * EVERY, 5 * EVERY]
    assert said[3] == "held-out retain loss 1.16 over its limit 1.155: back to step 15, learning rate x 0.5"
    assert said[6] == "held-out retain loss 1.3 over its limit 1.155: back to step 25, stopped"
    assert (guard.rate, guard.strikes, guard.stopped) == (1 / 8, 3, True)


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        ((math.nan, 0.1), "held-out retain loss is not finite"),
        ((math.inf, 0.1), "held-out retain loss is not finite"),
        ((1, math.nan), "held-out unlearning loss is not finite"),
        ((1, -math.inf), "held-out unlearning loss is not finite"),  # ascent has blown up: neither the best state nor forgotten
    ],
)
def test_a_loss_that_is_not_finite_is_over_every_limit(losses, reason):
    guard, after, went = scripted([(1, 1), (1, 0.5), losses, (1, 0.4)], bound=0.5, gone=0.1)
    assert after(1).get("guard") is None
    assert after(2)["guard"] == f"{reason}: back to step {EVERY}, learning rate x 0.5"
    assert went == [EVERY]
    assert after(3).get("guard") is None
    assert (guard.best_unlearn, int(guard.best["step"])) == (0.4, 3 * EVERY)


@pytest.mark.parametrize(("losses", "name"), [((math.nan, 0.1), "retain"), ((math.inf, 0.1), "retain"), ((1, math.nan), "unlearning")])
@pytest.mark.parametrize("bound", [None, 0.5])
def test_a_first_loss_that_is_not_finite_diverges(bound, losses, name):
    """There is no earlier state to roll back to."""
    _, after, went = scripted([(1, 1), losses], bound=bound, gone=0.1)
    with pytest.raises(Diverged, match=f"the held-out {name} loss is not finite at step {EVERY}"):
        after(1)
    assert went == []


def test_without_a_bound_there_is_never_a_state_to_roll_back_to():
    _, after, went = scripted([(1, 1), (1, 0.5), (math.nan, 0.4)], gone=0.1)
    assert after(1).get("guard") is None
    with pytest.raises(Diverged, match=f"the held-out retain loss is not finite at step {2 * EVERY}"):
        after(2)
    assert went == []


@pytest.mark.parametrize(("start", "name"), [((math.nan, 1), "retain"), ((math.inf, 1), "retain"), ((1, math.inf), "unlearning")])
def test_a_network_that_is_broken_before_it_is_changed_diverges(start, name):
    with pytest.raises(Diverged, match=f"the held-out {name} loss is not finite at step 0"):
        scripted([start], bound=0.5)


def test_less_loss_than_at_the_start_is_no_new_standard():
    """Held-out losses scatter: a start of 1 allows 1.1, also after a 0.9."""
    _, after, went = scripted([(1, 1), (0.9, 0.5), (1.09, 0.4)], bound=0.1)
    assert [after(1).get("guard"), after(2).get("guard"), went] == [None, None, []]


@pytest.mark.parametrize(("start", "enough"), [(4.0, 0.4), (-0.5, -5.0)])
def test_gone_waits_until_keeping_gains_no_more(start, enough):
    """U down to a tenth (for ascent: the loss ten times as large), and L no longer falling by more than 1 %."""
    guard, after, _ = scripted([(1, start), (3, enough), (2, enough), (1.99, enough + 0.1), (1.98, enough)], gone=0.1)
    said = [after(look).get("guard") for look in range(1, 5)]
    assert said[:3] == [None, None, None]
    assert said[3].startswith("the concept is gone: held-out unlearning loss")
    assert guard.stopped


def test_gone_with_a_bound_waits_until_keeping_is_back_where_it_was():
    guard, after, _ = scripted([(1, 4), (2, 0.1), (2, 0.1), (1.05, 0.1), (1.05, 0.1)], gone=0.1, bound=0.1)
    assert ["guard" in after(look) for look in range(1, 5)] == [False, False, False, True]
    assert guard.stopped


def test_it_looks_every_few_steps_and_at_the_last():
    task, guard = guarded(100.0)
    steps = run(task, 2 * EVERY + 1, learning_rate=0.01, guard=guard)
    assert [step.step for step in steps if step.held_out] == [EVERY, 2 * EVERY, 2 * EVERY + 1]
    record = steps[EVERY - 1].record()
    assert list(record)[-2:] == ["held_out_retain_loss", "held_out_unlearn_loss"]
    assert "held_out" not in record
    assert steps[0].record().keys() < record.keys()


def test_a_guard_that_never_acts_changes_no_bit():
    plain = classification_task()
    task, guard = guarded(1e6, 1e-9)
    steps = run(plain, 12, learning_rate=0.01)
    watched = run(task, 12, learning_rate=0.01, guard=guard)
    assert same(copied(plain.network), copied(task.network))
    assert [step.retain_loss for step in steps] == [step.retain_loss for step in watched]


def test_where_keeping_suffers_it_goes_back_and_stops_with_less_harm():
    """Strong ascent without projection wrecks the toy; there was something to guard."""
    options = {"learning_rate": 0.05, "forget_weight": 3.0, "projected": False}
    plain, (task, guard) = guarded(0.5)[0], guarded(0.5)
    run(plain, 60, **options)
    steps = run(task, 60, guard=guard, **options)
    look = held_out(task.probe, task.unlearn)
    wrecked, kept = held_out(plain.probe, plain.unlearn)(0), look(0)
    assert wrecked[0] > 1.5 * guard.retain_start
    assert kept[0] <= 1.5 * guard.retain_start
    assert kept[1] <= guard.unlearn_start
    assert len(steps) < 60
    assert steps[-1].held_out["guard"].endswith("stopped")
    assert [step.step for step in steps] == list(range(1, len(steps) + 1))


def test_it_stops_when_the_concept_is_gone():
    task, guard = guarded(gone=0.1)
    steps = run(task, 200, learning_rate=0.01, guard=guard)
    assert len(steps) < 200
    assert "the concept is gone" in steps[-1].held_out["guard"]
    assert -held_out(task.probe, task.unlearn)(0)[1] >= 10 * -guard.unlearn_start


@pytest.mark.parametrize("stop", [EVERY - 1, EVERY, 2 * EVERY + 1, 4 * EVERY])
def test_a_guarded_run_that_was_stopped_goes_on_to_the_same_bits(stop):
    options = {"learning_rate": 0.05, "forget_weight": 3.0, "projected": False}
    (whole, one), (first, two), (second, _) = guarded(0.5), guarded(0.5), guarded(0.5)
    all_steps = run(whole, 60, guard=one, **options)
    assert len(all_steps) > stop
    started = repaired(first, 60, guard=two, **options)
    for _ in range(stop):
        snapshot = next(started).snapshot()
    fresh = Guard(held_out(second.probe, second.unlearn), 0.5)  # not started: all it needs is in the snapshot
    rest = run(second, 60, guard=fresh, resume=snapshot, **options)
    assert same(copied(whole.network), copied(second.network))
    assert [{**s.record(), "seconds": 0} for s in rest] == [{**s.record(), "seconds": 0} for s in all_steps[stop:]]
    last = all_steps[-1].snapshot()
    assert run(classification_task(), 60, guard=guarded(0.5)[1], resume=last, **options) == []


def test_a_snapshot_of_an_unguarded_run_is_refused():
    task, guard = guarded(0.5)
    snapshot = run(classification_task(), 2)[-1].snapshot()
    with pytest.raises(InputError, match="of a run without --guard or --gone"):
        run(task, 4, guard=guard, resume=snapshot)


def test_the_method_starts_its_guard_before_it_trims():
    task, guard = guarded(0.2)
    method = Scissorhands(
        scope="full", fraction=0.2, sensitivity_batches=3, unlearn="ascent", forget_weight=0.02, steps=EVERY, learning_rate=0.01, guard=0.2
    )
    start = guard.retain_start
    last = list(method(task))[-1]
    snapshot = last.snapshot()
    assert snapshot["guard/numbers"][Guard.NUMBERS.index("retain_start")].item() == pytest.approx(start, rel=1e-5)
    assert last.held_out["held_out_retain_loss"] != pytest.approx(start, rel=1e-3)
