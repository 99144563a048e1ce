"""OrthoGrad's step on paper: nothing of it lies in the span of the retain images' own gradients."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from toys import regression

from erase.methods import make_method
from erase.methods.diffusion.orthograd import orthogonal, per_sample, without_span
from erase.task import Task, generator
from erase.training.optimizers import gradient_of
from erase.training.two_loss_loop import Moment


def linear(retain: list[list[float]]) -> Task:
    """y = w x in three dimensions: the gradient of an example is 2 (w x - y) x."""
    network = torch.nn.Linear(3, 1, bias=False)
    network.weight.data.zero_()
    forget = {"x": torch.tensor([[1.0, 1.0, 1.0]]), "y": torch.tensor([[-0.5]])}
    kept = {"x": torch.tensor(retain), "y": torch.full((len(retain), 1), -0.5)}
    return Task(network, lambda i: forget, lambda i: kept, regression, regression, dict(network.named_parameters()))


def test_on_paper_what_two_retain_images_have_in_common_with_forgetting_is_gone() -> None:
    """Retain gradients (1, 0, 0) and (1, 1, 0) span a plane; of g_u = (1, 1, 1) the third part is left, a third of its square."""
    task = linear([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    [rows] = per_sample(task, 2, 0)
    assert rows.tolist() == [[[1.0, 0.0, 0.0]], [[1.0, 1.0, 0.0]]]
    g_r, g_u = [torch.tensor([[1.0, 0.5, 0.0]])], [torch.tensor([[1.0, 1.0, 1.0]])]
    made = orthogonal(task, 2, 0.25, g_r, g_u, Moment(0, None, 2, torch.zeros(())))
    torch.testing.assert_close(made.gradient[0], torch.tensor([[0.25, 0.125, 0.75]]))
    assert float(made.coefficient) == pytest.approx(3**-0.5)
    one = orthogonal(task, 1, 0.0, [torch.zeros(1, 3)], g_u, Moment(0, None, 2, torch.zeros(()))).gradient[0]
    torch.testing.assert_close(one, torch.tensor([[0.0, 1.0, 1.0]]))


@pytest.mark.parametrize("n", [1, 3, 5])
def test_the_span_is_that_of_a_qr_decomposition(n: int) -> None:
    rows, vector = torch.randn(n, 4, 2, generator=generator(n)), torch.randn(4, 2, generator=generator("v"))
    q = torch.linalg.qr(rows.flatten(1).T.double()).Q
    expected = vector.flatten().double() - q @ (q.T @ vector.flatten().double())
    torch.testing.assert_close(without_span(rows, vector).flatten().double(), expected, rtol=1e-5, atol=1e-6)


def test_images_that_are_alike_or_without_a_gradient_add_no_direction() -> None:
    row, vector = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([3.0, 1.0, 1.0])
    once = without_span(row[None], vector)
    torch.testing.assert_close(without_span(torch.stack([row, row, 3 * row, torch.zeros(3)]), vector), once)
    assert torch.equal(without_span(torch.zeros(2, 3), vector), vector)


def test_no_retain_images_loss_changes_to_first_order() -> None:
    task = linear([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]])
    take = partial(gradient_of, task.loss, task.network, task.weights)
    [step] = make_method("orthograd", unlearn="ascent", alpha=0.0, optimizer="sgd", learning_rate=1e-4, samples=2, steps=1)(task)
    assert 0 < step.coefficient < 1
    moved = task.network.weight.detach().clone()
    task.network.weight.data.zero_()
    for i in range(2):
        one = {name: tensor[i : i + 1] for name, tensor in task.retain(0).items()}
        assert float((take(one, 1)[1][0] * moved).sum()) == pytest.approx(0, abs=1e-9)
    assert float((take(task.forget(0), 1)[1][0] * moved).sum()) > 0  # ascent
