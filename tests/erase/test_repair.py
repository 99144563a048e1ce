"""Repair follows the equations, stops and goes on exactly, and forgets what the toy knew."""

import math

import pytest
import torch
from repair_runs import repaired, run
from torch import nn
from toys import FORGET, Product, accuracy, classification_task, copied, cross_entropy, points, regression, same

from erase.errors import Diverged, InputError
from erase.project import Projection, project
from erase.scope import trimmable
from erase.sensitivity import connection_sensitivity
from erase.task import Task, generator
from erase.trim import trim

OPTIMIZERS = [
    {"optimizer": "adam", "learning_rate": 0.01},
    {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
    {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 1e-3},
    {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.0},
    {"optimizer": "adafactor", "learning_rate": 0.01},
]
PLAIN = {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.0}

KEPT = tuple(c for c in range(4) if c != FORGET)


def gradients(task, number):
    """g_r and g_u of the network as it stands, in one piece."""
    weights = list(task.weights.values())
    losses = task.loss(task.network, task.retain(number)), task.unlearn(task.network, task.forget(number))
    return [torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)]) for loss in losses]


def flat(network):
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


def test_one_step_on_paper():
    """y = b a x, a = 2, b = 3, x = 1. Retain y* = 5: L_r = 1, g_r = (6, 4).

    Forget y* = 4, by ascent: U = -(6 - 4)² = -4, g_u = (-12, -8). They point exactly against each other: <g_r, g_u> =
    -104, ||g_u||² = 208, so c = 1/2 and g = 0: the weights stay. With the projection off and λ = 1/4, g = (3, 2).
    """
    one = torch.ones(1, 1)
    for projected, weights, coefficient in ((True, (2.0, 3.0), 0.5), (False, (1.7, 2.8), 0.25)):
        network = Product()
        task = Task(
            network=network,
            forget=lambda number: {"x": one, "y": 4 * one},
            retain=lambda number: {"x": one, "y": 5 * one},
            loss=regression,
            unlearn=lambda network, batch: -regression(network, batch),
            weights=dict(network.named_parameters()),
        )
        (step,) = run(task, 1, projected=projected, forget_weight=0.25, optimizer="sgd", learning_rate=0.1, momentum=0.0)
        assert (network.a.item(), network.b.item()) == pytest.approx(weights)
        assert (step.retain_loss, step.unlearn_loss, step.cosine, step.coefficient) == pytest.approx((1, -4, -1, coefficient))
        assert step.projected is projected
        assert step.step == 1
        assert step.seconds > 0


def test_follows_the_equations_written_out_by_hand():
    """w <- w - η (g_r + max(λ, -<g_r, g_u>/||g_u||²) g_u), batch i - 1 at step i."""
    task, hand = classification_task(), classification_task()
    steps = run(task, 12, **PLAIN)
    for number, step in enumerate(steps):
        g_r, g_u = gradients(hand, number)
        c = max(0.1, (-(g_r @ g_u) / (g_u @ g_u)).item())
        assert step.coefficient == pytest.approx(c, rel=1e-4)
        assert step.cosine == pytest.approx((g_r @ g_u / (g_r.norm() * g_u.norm())).item(), abs=1e-5)
        assert step.projected == (c > 0.1)
        update, offset = g_r + c * g_u, 0
        with torch.no_grad():
            for weight in hand.weights.values():
                weight -= 0.05 * update[offset : offset + weight.numel()].view_as(weight)
                offset += weight.numel()
    torch.testing.assert_close(flat(task.network), flat(hand.network), rtol=1e-4, atol=1e-5)
    assert [step.step for step in steps] == list(range(1, 13))


def trimmed(task, fraction=0.1):
    """The task after trimming what its forget batches lean on most."""
    scores = connection_sensitivity(task.network, map(task.forget, range(5)), task.loss, trimmable(task.weights))
    trim(trimmable(task.weights), scores, fraction, "uniform", generator("trim"))
    return task


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adafactor"])
def test_a_weight_with_a_multiple_goes_so_many_times_as_far_and_the_others_as_ever(optimizer):
    """The first step: both gradients are as ever, and each optimizer's step is in proportion to its rate."""
    plain, other = classification_task(), classification_task()
    before = {name: weight.detach().clone() for name, weight in plain.weights.items()}
    first, *rest = before
    run(plain, 1, optimizer=optimizer, learning_rate=1e-3)
    run(other, 1, optimizer=optimizer, learning_rate=1e-3, multiples={first: 3.0})
    went = {name: (plain.weights[name] - before[name], other.weights[name] - before[name]) for name in before}
    torch.testing.assert_close(went[first][1], 3 * went[first][0], rtol=1e-3, atol=1e-6)
    assert went[first][0].any()
    assert all(torch.equal(*went[name]) for name in rest)


def test_there_was_something_to_forget_and_trim_and_repair_forget_it():
    task = classification_task()
    known, kept = points((FORGET,), 900, 400), points(KEPT, 900, 400)
    assert accuracy(task.network, known) > 0.95
    assert accuracy(task.network, kept) > 0.95
    before = cross_entropy(task.network, known).item()
    kept_before = cross_entropy(task.network, kept).item()
    trimmed(task)
    damaged = cross_entropy(task.network, kept).item()
    assert damaged > 2 * kept_before  # there was something to repair, too
    run(task, 30, optimizer="adam", learning_rate=0.01, forget_weight=0.02)
    assert cross_entropy(task.network, known).item() > before + 3
    assert accuracy(task.network, known) < 0.05
    assert accuracy(task.network, kept) > 0.95
    assert cross_entropy(task.network, kept).item() < damaged


def test_with_projection_no_sgd_step_undoes_forgetting_to_first_order():
    """(w - w') / η is g, and <g, g_u> >= 0 on the very batches of the step; without projection it often is not.

    The retain batches hold the forgotten class too, so that the gradients do disagree.
    """
    undone = {True: 0, False: 0}
    for projected in undone:
        task = trimmed(classification_task())
        task.retain = lambda number: points((*KEPT, FORGET), number)
        in_float64(task)
        steps = repaired(task, 40, projected=projected, forget_weight=1e-3, **PLAIN)
        for number in range(40):
            g_u, before = gradients(task, number)[1], flat(task.network)
            next(steps)
            g = (before - flat(task.network)) / PLAIN["learning_rate"]
            undone[projected] += bool(g @ g_u < -1e-9 * g.norm() * g_u.norm())
    assert undone[True] == 0
    assert undone[False] > 20


def in_float64(task):
    """So that g can be read off the weights."""
    task.network.double()
    for which in ("forget", "retain"):
        batches = getattr(task, which)
        setattr(task, which, lambda number, batches=batches: {**batches(number), "x": batches(number)["x"].double()})


@pytest.mark.parametrize("options", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("stop", [1, 7])
def test_resumed_is_uninterrupted_bit_for_bit(options, stop):
    whole = classification_task()
    all_steps = run(whole, 12, **options)

    first = classification_task()
    snapshot = run(first, stop, **options)[-1].snapshot()
    second = classification_task()
    with torch.no_grad():
        for weight in second.weights.values():
            weight.normal_()
    rest = run(second, 12, resume=snapshot, **options)

    assert same(copied(whole.network), copied(second.network))
    numbers = [{**step.record(), "seconds": 0} for step in all_steps]
    assert [{**step.record(), "seconds": 0} for step in rest] == numbers[stop:]
    assert same(all_steps[-1].snapshot(), rest[-1].snapshot())


def test_a_snapshot_holds_everything_by_name_and_does_not_change_later():
    task = classification_task()
    steps = repaired(task, 3, optimizer="adam", learning_rate=0.01)
    snapshot = next(steps).snapshot()
    kept = {name: value.clone() for name, value in snapshot.items()}
    names = {f"weight/{name}" for name in task.weights} | {
        f"state/{name}/{key}" for name in task.weights for key in ("step", "exp_avg", "exp_avg_sq")
    }
    assert snapshot.keys() == names | {"step", "micro_batch"}
    assert snapshot["step"].item() == 1
    assert all(torch.equal(snapshot[f"weight/{name}"], weight) for name, weight in task.weights.items())
    list(steps)
    assert same(kept, snapshot)
    run(classification_task(), 3, resume=snapshot)
    assert same(kept, snapshot)


def test_resuming_a_finished_run_yields_nothing_and_restores_it():
    task = classification_task()
    snapshot = run(task, 3)[-1].snapshot()
    again = classification_task()
    assert run(again, 3, resume=snapshot) == []
    assert same(copied(task.network), copied(again.network))


def test_a_snapshot_of_another_scope_is_refused():
    task, part = classification_task(), classification_task()
    part.weights = {"4.weight": part.weights["4.weight"]}
    snapshot = run(part, 1)[-1].snapshot()
    with pytest.raises(InputError, match=r"does not fit weight '0\.weight'"):
        run(task, 2, resume=snapshot)


@pytest.mark.parametrize("which", ["retain", "forget"])
def test_diverged_leaves_the_network_as_it_was(which):
    task = classification_task()
    task.network.insert(1, nn.BatchNorm1d(16))
    task.weights = dict(task.network.named_parameters())
    task.network.train()
    good = getattr(task, which)
    setattr(task, which, lambda number: good(number) if number != 2 else {**good(2), "x": torch.full((32, 2), torch.nan)})
    steps = repaired(task, 5, learning_rate=0.01)
    next(steps)
    last = next(steps)
    before, snapshot = copied(task.network), last.snapshot()
    with pytest.raises(Diverged, match=f"the {'retain' if which == 'retain' else 'unlearn'} loss is not finite at step 3") as error:
        next(steps)
    assert error.value.step == 3
    assert same(before, copied(task.network))
    assert same(snapshot, last.snapshot())
    assert all(weight.grad is None for weight in task.weights.values())


def test_a_finite_loss_with_an_infinite_gradient_diverges_too():
    task = classification_task()
    with torch.no_grad():
        task.weights["0.bias"].zero_()
    before = copied(task.network)
    with pytest.raises(Diverged, match="gradient"):
        run(task, 1, unlearn=lambda network, batch: network[0].bias.abs().sqrt().sum() + network[0].weight.sum())
    assert same(before, copied(task.network))


def test_exactly_two_backward_passes_and_two_forward_passes_a_step():
    task = classification_task()
    count = {"forward": 0, "backward": 0}
    task.network.register_forward_hook(lambda *_: count.update(forward=count["forward"] + 1))
    task.network[4].register_full_backward_hook(lambda *_: count.update(backward=count["backward"] + 1))
    for number, _ in enumerate(repaired(task, 5, learning_rate=0.01), start=1):
        assert count == {"forward": 2 * number, "backward": 2 * number}


def test_step_i_sees_batches_i_minus_1():
    task = classification_task()
    forget, retain, drawn = task.forget, task.retain, {"forget": [], "retain": []}
    task.forget = lambda number: (drawn["forget"].append(number), forget(number))[1]
    task.retain = lambda number: (drawn["retain"].append(number), retain(number))[1]
    run(task, 3)
    assert drawn == {"forget": [0, 1, 2], "retain": [0, 1, 2]}


def test_repeats_exactly():
    a, b = classification_task(), classification_task()
    run(a, 5), run(b, 5)
    assert same(copied(a.network), copied(b.network))


def test_only_the_weights_in_scope_change_and_no_gradient_is_left():
    task = classification_task()
    task.network.requires_grad_(False)
    task.weights = {name: weight.requires_grad_(True) for name, weight in task.weights.items() if name.startswith("4.")}
    before = copied(task.network)
    run(task, 3, learning_rate=0.01)
    after = copied(task.network)
    assert {name for name in after if not torch.equal(before[name], after[name])} == {"4.weight", "4.bias"}
    assert all(weight.grad is None for weight in task.network.parameters())


def test_a_weight_that_neither_loss_reaches_stays():
    task = classification_task()
    task.network.spare = nn.Linear(2, 2)
    task.network.forward = lambda x: nn.Sequential(*list(task.network)[:5])(x)
    task.weights = dict(task.network.named_parameters())
    spare = task.weights["spare.weight"].detach().clone()
    run(task, 3, learning_rate=0.01)
    assert torch.equal(spare, task.weights["spare.weight"])


def test_another_unlearning_loss_stands_in_for_the_tasks_own():
    task = classification_task()
    (step,) = run(task, 1, unlearn=lambda network, batch: cross_entropy(network, batch) + 5)
    assert step.unlearn_loss > 5


def test_modes_are_left_as_the_task_has_them():
    task = classification_task()
    task.network.train()
    task.network[1].eval()
    flags = [module.training for module in task.network.modules()]
    for _ in repaired(task, 2):
        assert flags == [module.training for module in task.network.modules()]


class Added(nn.Module):
    """Two weights that are added: autograd hands both the same gradient tensor, and broadcast ones for a plain sum."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.full((2, 2), 2.0))


def test_weights_that_are_added_get_the_same_step_each():
    """L_r = Σ (a + b): g_r = 1 each. U = -½ Σ (a + b)² = -9/2 each: g_u = -3 each. c = 1/3, so g = 0; λ = 1: g = -2."""
    for weight, expected in ((0.0, 0.0), (1.0, -2.0)):
        network = Added()
        task = Task(
            network=network,
            forget=lambda number: {},
            retain=lambda number: {},
            loss=lambda network, batch: (network.a + network.b).sum(),
            unlearn=lambda network, batch: -((network.a + network.b) ** 2).sum() / 2,
            weights=dict(network.named_parameters()),
        )
        run(task, 1, optimizer="sgd", learning_rate=1.0, momentum=0.0, forget_weight=weight)
        torch.testing.assert_close(network.a.data, torch.full((2, 2), 1.0 - expected), atol=1e-6, rtol=0)
        torch.testing.assert_close(network.b.data, torch.full((2, 2), 2.0 - expected), atol=1e-6, rtol=0)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(InputError, match="adam, adamw, adafactor or sgd"):
        run(classification_task(), 1, optimizer="lion")


def test_a_record_is_plain_numbers():
    record = run(classification_task(), 1)[0].record()
    assert list(record) == ["step", "retain_loss", "unlearn_loss", "cosine", "coefficient", "projected", "seconds", "micro_batch"]
    assert all(type(value) in (int, float, bool) and math.isfinite(value) for value in record.values())


# --- options of the step --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("per_layer", [False, True])
def test_a_projected_update_never_undoes_forgetting_to_first_order(optimizer, per_layer):
    """<Δ, g_u> <= 0 at every step, for every optimizer; with the gradient projected instead, Adam breaks it."""

    def doubled(batch):
        return {**batch, "x": batch["x"].double()}

    def worst(**options):
        task, products = classification_task(), []
        task.network.double()  # so that the rounding of the weights does not count
        task.retain = lambda number: doubled(points(KEPT, number))
        task.forget = lambda number: doubled(points(KEPT, 100 + number))  # ascent on what is to be kept: always opposed
        steps = repaired(task, 15, forget_weight=0.0, **optimizer, **options)
        for number in range(15):
            _, g_u = gradients(task, number)
            before = flat(task.network)
            next(steps)
            step = flat(task.network) - before
            products.append((step @ g_u / (step.norm() * g_u.norm())).item())
        return max(products)

    assert worst(of_update=True, per_layer=per_layer) < 1e-9
    if optimizer["optimizer"] == "adam":
        assert worst() > 0.01  # there was something to put right


def test_a_projected_update_of_plain_descent_is_the_projected_gradient():
    one, two = classification_task(), classification_task()
    gradient, update = run(one, 12, **PLAIN), run(two, 12, of_update=True, **PLAIN)
    torch.testing.assert_close(flat(one.network), flat(two.network), rtol=1e-4, atol=1e-5)
    assert [step.projected for step in gradient] == [step.projected for step in update]
    assert [step.coefficient for step in update] == pytest.approx([step.coefficient for step in gradient], rel=1e-3)
    assert any(step.projected for step in gradient)
    assert not all(step.projected for step in gradient)


@pytest.mark.parametrize("options", [{"two_sided": True}, {"per_layer": True}, {"two_sided": True, "per_layer": True}])
def test_the_ways_to_project_make_the_step_that_project_says(options):
    task, hand = classification_task(), classification_task()
    (step,) = run(task, 1, forget_weight=1.0, **PLAIN, **options)
    weights = list(hand.weights.values())
    losses = hand.loss(hand.network, hand.retain(0)), hand.unlearn(hand.network, hand.forget(0))
    g_r, g_u = ([g.clone() for g in torch.autograd.grad(loss, weights)] for loss in losses)
    g = project(g_r, g_u, 1.0, Projection(**options))
    with torch.no_grad():
        for weight, part in zip(weights, g.gradient, strict=True):
            weight -= 0.05 * part
    assert same(copied(task.network), copied(hand.network))
    assert step.coefficient == g.coefficient.item()


@pytest.mark.parametrize("stop", [1, 7])
def test_a_projected_update_stops_and_goes_on_bit_for_bit(stop):
    whole, first, second = classification_task(), classification_task(), classification_task()
    options = {"of_update": True, "learning_rate": 0.01}
    run(whole, 12, **options)
    snapshot = run(first, stop, **options)[-1].snapshot()
    run(second, 12, resume=snapshot, **options)
    assert same(copied(whole.network), copied(second.network))
