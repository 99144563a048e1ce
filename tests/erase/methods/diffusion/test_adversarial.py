"""What an attacker would find is found, within its bounds, and forgetting looks there; exact on paper, and nothing is left behind."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from toys import same

from erase.diffusion import Conditioning, DiffusionBatch
from erase.errors import InputError
from erase.methods.diffusion.adversarial import adversarial_batches, adversarial_loss, adversarial_text, relearned
from erase.repair import repair
from erase.task import Task
from erase.training.micro_batches import pieces
from erase.training.optimizers import OptimizerConfig


class Reader(nn.Module):
    """A network that answers weight · text."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))


def squared(network, batch):
    return (network.weight * batch.prompt.text - batch.target).flatten(1).pow(2).sum(1).mean()


def batch_of(text, anchor=None, target=0.0):
    text = torch.tensor(text)
    anchored = None if anchor is None else Conditioning(torch.tensor(anchor))
    return DiffusionBatch(torch.zeros(len(text), 1), torch.zeros(len(text)), torch.full_like(text, target), Conditioning(text), anchored)


def task_of(network, forget, unlearn=None, retain=None):
    weights = dict(network.named_parameters())
    return Task(network, lambda i: forget, lambda i: retain or forget, squared, unlearn or (lambda n, b: -squared(n, b)), weights)


def test_a_search_on_paper():
    """text 3, anchor 1: reach 2. The loss is text², so it falls by 4 / steps a step, to the ball's edge at 1, and there it stays."""
    network, batch = Reader(), batch_of([[[3.0]]], [[[1.0]]])
    for steps, expected in ((1, 1.0), (3, 1.0)):  # one step goes twice the radius, and is held at the edge
        assert adversarial_text(network, squared, batch, batch.prompt.text, steps, 1.0).item() == pytest.approx(expected)
    assert adversarial_text(network, squared, batch, batch.prompt.text, 8, 1.0).item() == pytest.approx(1.0)
    assert adversarial_text(network, squared, batch, batch.anchor.text, 4, 0.25).item() == pytest.approx(0.5)  # 1 - 0.25 · 2
    assert adversarial_text(network, squared, batch_of([[[3.0]]]), torch.tensor([[[3.0]]]), 4, 1.0).item() == pytest.approx(
        2.7
    )  # no anchor: a tenth


def test_what_is_found_denoises_the_concept_better_and_is_near():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 5))

    def loss(net, batch):
        return (net(batch.prompt.text) - batch.target).pow(2).mean()

    batch = batch_of(torch.randn(6, 4, 3).tolist(), torch.randn(6, 4, 3).tolist())
    batch = replace(batch, target=torch.randn(6, 5))
    found = adversarial_text(network, loss, batch, batch.prompt.text, 3, 1.0)
    away, reach = ((x.flatten(1).norm(dim=1)) for x in (found - batch.prompt.text, batch.prompt.text - batch.anchor.text))
    assert bool((away <= reach * (1 + 1e-5)).all())
    assert loss(network, batch.with_text(found)).item() < 0.7 * loss(network, batch).item()
    assert not found.requires_grad
    assert all(weight.grad is None for weight in network.parameters())
    alone = torch.cat([adversarial_text(network, loss, piece, piece.prompt.text, 3, 1.0) for _, piece in pieces(batch, 2)])
    torch.testing.assert_close(alone, found)  # so a smaller micro-batch changes nothing


def test_marked_batches_are_forgotten_from_the_prompt_and_from_the_anchor_in_turn():
    network, batch = Reader(), batch_of([[[3.0]]], [[[1.0]]])
    turns = [adversarial_batches(lambda i: batch, 2)(i).search_from for i in range(8)]
    assert turns == ["prompt", None, "anchor", None] * 2
    assert [adversarial_batches(lambda i: batch_of([[[3.0]]]), 2)(i).search_from for i in range(4)] == ["prompt", None] * 2
    seen = []
    hardened = adversarial_loss(lambda network, b: seen.append(b.prompt.text.item()), squared, 4, 0.25)
    for i in range(3):
        hardened(network, adversarial_batches(lambda i: batch, 2)(i))
    assert seen == pytest.approx([2.5, 3.0, 0.5])


def test_relearning_on_paper():
    """weight 2, text 1, target 4: relearning goes up by half the weight's length, to 3. There U = -(w - 4)² has slope 2, not 4."""
    network, batch = Reader(2.0), batch_of([[[1.0]]], target=4.0)
    task = task_of(network, batch)
    moved = relearned(task, 2, steps=1, shift=0.5)
    slopes = []
    for i in range(2):
        with moved(i, 1):
            slopes.append(torch.autograd.grad(task.unlearn(network, batch), network.weight)[0].item())
        assert network.weight.item() == 2.0
    assert slopes == pytest.approx([2.0, 4.0])
    with (
        pytest.raises(InputError, match="unlearns in text-to-image models"),
        relearned(task_of(network, {"x": batch.prompt.text}), 1, 1)(0, 1),
    ):
        pass
    with pytest.raises(KeyError), moved(0, 1):
        raise KeyError
    assert network.weight.item() == 2.0


def test_every_weight_moves_alike_and_relearning_goes_further_from_batch_to_batch():
    """Weights 3 and -4: root mean square 3.54. Gradients of 2 and 2000 move them alike; it is the first and third picture that teach."""
    network, batch = nn.Linear(2, 1, bias=False), batch_of([[[1.0]]] * 4)
    network.weight = nn.Parameter(torch.tensor([[3.0, -4.0]]))
    seen = []

    def steep(net, b):
        seen.append(b.noisy.flatten().tolist())
        return (net.weight * torch.tensor([2.0, -2000.0])).sum()

    task = Task(
        network, lambda i: replace(batch, noisy=torch.arange(4.0)[:, None]), lambda i: batch, steep, steep, {"weight": network.weight}
    )
    moved = relearned(task, 2, steps=3, shift=0.1)
    far = []
    for i in range(10):
        with moved(i, 4):
            far.append((network.weight.detach() - torch.tensor([[3.0, -4.0]])) / (0.1 * 12.5**0.5))
    assert seen[0] == [0.0, 2.0]
    assert len(seen) == 1 + 2 + 3 + 1 + 2
    assert all(not far[i].any() for i in (1, 3, 5, 7, 9))
    torch.testing.assert_close(far[0], torch.tensor([[-1.0, 1.0]]))
    torch.testing.assert_close(far[8], far[2])
    assert far[4].abs().min() > 2.5


def test_a_step_takes_the_forgetting_gradient_there_and_the_retain_gradient_here():
    forget, retain = batch_of([[[1.0]]], target=4.0), batch_of([[[1.0]]], target=2.0)  # nothing to repair: g_r is 0
    network = Reader(2.0)
    task = task_of(network, forget, retain=retain)
    list(repair(task, 1, optimizer=OptimizerConfig("sgd", 0.1, momentum=0.0), moved=relearned(task, 1, steps=1, shift=0.5)))
    assert network.weight.item() == pytest.approx(2.0 - 0.1 * 2.0)


def test_a_run_that_stopped_goes_on_to_the_same_bits():
    def fresh():
        torch.manual_seed(1)
        network = Reader(2.0)
        batches = [batch_of(torch.randn(4, 2, 3).tolist(), torch.randn(4, 2, 3).tolist(), 1.0) for _ in range(9)]
        task = task_of(network, batches[0])
        task.forget = adversarial_batches(lambda i: batches[i % 9], 2)
        return task

    def run(task, resume=None):
        unlearn = adversarial_loss(lambda n, b: -0.1 * squared(n, b), squared, 3)
        return repair(
            replace(task, unlearn=unlearn),
            8,
            optimizer=OptimizerConfig(learning_rate=0.05),
            forget_weight=0.5,
            moved=relearned(task, 3, 5),
            resume=resume,
        )

    whole, half = fresh(), fresh()
    list(run(whole))
    kept = next(step.snapshot() for step in run(half) if step.step == 4)
    again = fresh()
    list(run(again, kept))
    assert same(dict(whole.network.named_parameters()), dict(again.network.named_parameters()))
