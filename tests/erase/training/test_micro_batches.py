"""Batches in pieces give what whole batches give, and a device that runs out of memory costs a retry, not the run."""

import pytest
import torch
from repair_runs import repaired
from toys import FORGET, accuracy, classification_task, copied, cross_entropy, points, same

from erase.sensitivity import connection_sensitivity
from erase.training.micro_batches import fitting, out_of_memory, pieces


def test_pieces_are_the_batch_in_order_with_their_shares():
    batch = {"x": torch.arange(10).reshape(5, 2), "y": torch.arange(5)}
    found = list(pieces(batch, 2))
    assert [share for share, _ in found] == [0.4, 0.4, 0.2]
    assert all(torch.equal(torch.cat([piece[name] for _, piece in found]), batch[name]) for name in batch)
    assert [share for share, _ in pieces(batch, 5)] == [1.0]
    assert [share for share, _ in pieces({}, 3)] == [1.0]  # a loss may need no batch


def in_float64(task):
    task.network.double()
    forget, retain = task.forget, task.retain
    task.forget = lambda number: {"x": forget(number)["x"].double(), "y": forget(number)["y"]}
    task.retain = lambda number: {"x": retain(number)["x"].double(), "y": retain(number)["y"]}
    return task


@pytest.mark.parametrize("micro", [1, 5, 31])
def test_repair_in_pieces_takes_the_steps_of_whole_batches(micro):
    """Batches of 32 examples; 5 and 31 leave a rest. In float64, so that only a wrong gradient could differ."""
    whole, parts = in_float64(classification_task()), in_float64(classification_task())
    parts.micro_batch = micro
    before = copied(whole.network)
    for a, b in zip(repaired(whole, 10, learning_rate=0.01), repaired(parts, 10, learning_rate=0.01), strict=True):
        assert (a.retain_loss, a.unlearn_loss, a.coefficient) == pytest.approx((b.retain_loss, b.unlearn_loss, b.coefficient))
        assert (a.micro_batch, b.micro_batch) == (32, micro)
    for name, weight in whole.network.state_dict().items():
        torch.testing.assert_close(weight, parts.network.state_dict()[name], rtol=1e-9, atol=1e-10)
    assert not same(before, copied(whole.network))


@pytest.mark.parametrize("signed", [True, False])
def test_sensitivity_in_pieces_is_that_of_whole_batches(signed):
    """Also unsigned: |g| is that of the batch, not the mean of its pieces' |g|."""
    network = classification_task().network
    weights = dict(network.named_parameters())
    batches = [points((FORGET, 0), number) for number in range(3)]
    whole = connection_sensitivity(network, batches, cross_entropy, weights, signed)
    parts = connection_sensitivity(network, batches, cross_entropy, weights, signed, micro_batch=5)
    for name in weights:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-4, atol=1e-7)
    assert all(weight.grad is None for weight in weights.values())


def crowded(task, most, at=3):
    """From batch `at` on the device holds `most` examples; asked for more it fails in the middle of the backward pass."""
    seen = []

    class Full(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return value.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise torch.OutOfMemoryError("out of memory. Tried to allocate 2.00 GiB")

    loss = task.loss

    def limited(network, batch):
        seen.append(len(batch["x"]))
        value = loss(network, batch)
        return Full.apply(value) if len(seen) > at and len(batch["x"]) > most else value

    task.loss = limited
    return seen


def test_out_of_memory_halves_the_micro_batch_and_goes_on():
    task, plain = classification_task(), classification_task()
    crowded(task, 10)
    steps = list(repaired(task, 8, learning_rate=0.01, forget_weight=0.1))
    assert [step.micro_batch for step in steps] == [32, 32, 32, 8, 8, 8, 8, 8]  # 32 and 16 were too many
    reference = list(repaired(plain, 8, learning_rate=0.01, forget_weight=0.1))
    assert [s.retain_loss for s in steps] == pytest.approx([s.retain_loss for s in reference], rel=1e-3)
    assert accuracy(task.network, points((FORGET,), 99)) == accuracy(plain.network, points((FORGET,), 99))


def test_a_run_resumed_after_that_stays_with_the_smaller_micro_batch():
    task, again = classification_task(), classification_task()
    crowded(task, 10)
    steps = repaired(task, 6, learning_rate=0.01)
    snapshot = [next(steps) for _ in range(4)][-1].snapshot()
    rest = list(steps)
    resumed = list(repaired(again, 6, learning_rate=0.01, resume=snapshot))
    assert [step.micro_batch for step in resumed] == [8, 8]
    assert [step.retain_loss for step in resumed] == [step.retain_loss for step in rest]
    assert same(copied(task.network), copied(again.network))


def test_what_does_not_fit_at_one_example_is_told():
    task = classification_task()
    crowded(task, 0, at=0)
    before = copied(task.network)
    with pytest.raises(torch.OutOfMemoryError):
        list(repaired(task, 1))
    assert same(before, copied(task.network))
    assert all(weight.grad is None for weight in task.weights.values())


def test_other_errors_are_not_taken_for_it():
    def work(size):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        fitting(work, 4)
    assert out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    assert out_of_memory(RuntimeError("MPS backend out of memory"))
    assert not out_of_memory(ValueError("out of memory"))
