"""Bounds: forgetting ends where samples never seen are, follows the network, and can stop and go on."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from toys import CLASSES, copied, same
from toys_classifier import Rows, build, samples, split, toy_task, whole

from erase.classifiers.task import LabelledSets, classifier_task
from erase.methods import CLASSIFIER_METHODS, make_method
from erase.methods.classifiers import forget_bounds as bounds
from erase.methods.classifiers.forget_bounds import BOUND, LOSS, BoundedForgetting, bounded, expected_losses


def scissorhands(**values):
    return make_method("scissorhands", table=CLASSIFIER_METHODS, **values)


class Given(nn.Module):
    """Scores are the input; bounds are as given."""

    def __init__(self, bound):
        super().__init__()
        self.register_buffer(LOSS, torch.zeros_like(bound))
        self.register_buffer(BOUND, bound)

    def forward(self, x):
        return x


def doubt(network, x):
    batch = {"x": x, "y": torch.zeros(len(x), dtype=torch.int64), "row": torch.arange(len(x))}
    return BoundedForgetting(None, torch.zeros(1), torch.zeros(len(x)), None).loss(network, batch)


def scores_of(loss):
    """Two scores whose cross-entropy with class 0 is this."""
    return torch.stack([-(loss.exp() - 1).log(), torch.zeros_like(loss)], 1).requires_grad_()


def test_doubt_is_minus_log_of_what_is_left_and_ends_at_the_bound():
    """Losses 0.1 and 2 with bounds of 1: the first adds -log(1 - e^-0.1), half of it the mean; the second nothing, nor a slope."""
    network, x = Given(torch.ones(2)), scores_of(torch.tensor([0.1, 2.0]))
    value = doubt(network, x)
    assert value.item() == pytest.approx(-math.log(1 - math.exp(-0.1)) / 2, rel=1e-4)
    (slope,) = torch.autograd.grad(value, x)
    assert slope[0].abs().sum() > 0
    assert slope[1].abs().sum() == 0
    torch.testing.assert_close(network.get_buffer(LOSS), torch.tensor([0.1, 2.0]))


def test_doubt_is_steep_where_the_network_is_sure_and_flat_where_it_has_forgotten():
    """dU/ds of the true class is p: near 1 where ascent has 1 - p, near 0, and the other way round."""
    lost = torch.tensor([1e-3, 7.0])
    x = scores_of(lost)
    (slope,) = torch.autograd.grad(2 * doubt(Given(torch.full((2,), torch.inf)), x), x)
    torch.testing.assert_close(slope[:, 0], (-lost).exp(), rtol=1e-3, atol=1e-6)


def losses_of(task, which):
    batch = whole(task, which)
    with torch.no_grad():
        found = F.cross_entropy(task.network.eval()(batch["x"]), batch["y"], reduction="none")
    task.network.train()
    return found


def test_at_first_bounds_are_the_originals_held_out_losses_by_rank():
    """The forget sample that is hardest gets the hardest held-out loss, and so on down; as 1 / n, larger by n / n_r = 80 / 72."""
    task = toy_task(held_out=samples(number=7, size=40))
    expected = expected_losses(task, None)
    torch.testing.assert_close(expected, losses_of(task, "held_out").sort().values * (80 / 72))
    with bounded(task, expected):
        bound = task.network.get_buffer(BOUND)[whole(task, "forget")["row"]]
    assert torch.equal(bound.argsort(), losses_of(task, "forget").argsort())
    torch.testing.assert_close(bound.sort().values, torch.quantile(expected, (torch.arange(8) + 0.5) / 8))


@pytest.mark.parametrize(("today", "later"), [(0.25, 1.0), (6.25, 5.0), (100.0, 6.0)])
def test_later_bounds_are_half_way_to_what_the_network_makes_of_held_out_samples_today(monkeypatch, today, later):
    """The root of 4 times today's loss, and never more than 1.5 times the 4 that the original says."""
    task = toy_task(held_out=samples(number=7, size=40))
    expected = torch.full((40,), 4.0)
    monkeypatch.setattr(bounds, "held_out_losses", lambda task, numbers: torch.full((len(numbers) * 16,), today))
    with bounded(task, expected) as (forget, _):
        seen = []
        for i in range(4 * task.epoch_retain):
            forget(i)
            seen.append(task.network.get_buffer(BOUND)[0].item())
    assert seen == [4.0] * (2 * task.epoch_retain) + [later] * (2 * task.epoch_retain)


def test_a_class_that_goes_as_a_whole_has_no_bound_and_nothing_held_out_means_chance():
    forget, retain = split()
    kept = Rows(retain.x[retain.y != 2], retain.y[retain.y != 2])
    task = classifier_task(build(), LabelledSets(forget, kept, CLASSES))
    with bounded(task, expected_losses(task, None)) as (pieces, _):
        pieces(5 * task.epoch_retain)
        bound = task.network.get_buffer(BOUND).clone()
    assert torch.equal(bound.isinf(), forget.y == 2)
    torch.testing.assert_close(bound[forget.y != 2], torch.full((int((forget.y != 2).sum()),), math.log(CLASSES)))
    assert expected_losses(task, 0.7).tolist() == [pytest.approx(0.7)]


def test_it_leaves_no_trace_on_the_network():
    task = toy_task(held_out=samples(number=7, size=40))
    names = set(copied(task.network)), {name for name, _ in task.network.named_buffers()}
    for step in scissorhands(epochs=3)(task):
        assert set(copied(task.network)) == names[0]
        assert f"buffer/{BOUND}" in step.snapshot()
    assert {name for name, _ in task.network.named_buffers()} == names[1]
    assert task.network[1].momentum == 0.1


@pytest.mark.parametrize("stop", [1, 10, 13])
def test_a_run_that_stopped_goes_on_exactly_also_in_the_middle_of_an_epoch(stop):
    tasks = [toy_task(held_out=samples(number=7, size=40)) for _ in range(2)]
    steps = scissorhands(epochs=4)(tasks[0])
    for _ in range(stop):
        step = next(steps)
    kept = step.snapshot()
    list(steps)
    list(scissorhands(epochs=4)(tasks[1], kept))
    assert same(*(copied(task.network) for task in tasks))
