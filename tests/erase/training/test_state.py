"""One training state for all loops: it saves and loads everything by name, and files of older runs still load."""

import pytest
import torch
from torch import nn
from toys import copied, same

from erase.errors import InputError
from erase.training.optimizers import OPTIMIZERS, OptimizerConfig, make_optimizer, set_rate
from erase.training.state import TrainingState, buffers_restored_on_error


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def state_of(net, **options):
    weights = dict(net.named_parameters())
    return TrainingState(net, weights, make_optimizer(OptimizerConfig(learning_rate=0.1, **options), weights))


def train(state, steps):
    for _ in range(steps):
        torch.manual_seed(state.step)
        state.network(torch.randn(8, 3)).square().mean().backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
        state.step += 1


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_continues_from_a_loaded_state_bit_for_bit(name):
    options = {"name": name, "multiples": {"2.weight": 3.0}}  # in a group of its own, so not in the order of the weights
    whole, first, second = (state_of(network(), **options) for _ in range(3))
    train(whole, 5)
    train(first, 2)
    saved = first.state_dict()
    before = {key: value.clone() for key, value in saved.items()}
    train(second, 1)  # whatever it was
    second.load_state_dict(saved)
    assert second.step == 2
    train(second, 3)
    assert same(copied(whole.network), copied(second.network))
    assert same(whole.state_dict(), second.state_dict())
    assert same(before, saved)


def test_rolling_back_keeps_step_and_micro_batch():
    state = state_of(network())
    train(state, 2)
    early = state.state_dict()
    train(state, 3)
    state.micro_batch = 4
    state.roll_back(early)
    assert (state.step, state.micro_batch) == (5, 4)
    assert same({k: v for k, v in state.state_dict().items() if "/" in k}, {k: v for k, v in early.items() if "/" in k})


@pytest.mark.parametrize(("fused", "device"), [(True, "meta"), (False, "cpu")])
def test_the_optimizers_step_is_loaded_to_where_it_counts(fused, device):
    """Fused Adam counts on the weight's device, as on CUDA; the others on the CPU, wherever the weight is. Meta is a device of its own."""
    state = state_of(network())
    train(state, 1)
    elsewhere = state_of(network().to("meta"))
    for group in elsewhere.optimizer.param_groups:
        group.update(fused=fused, foreach=not fused)
    elsewhere.load_state_dict(state.state_dict())
    for weight in elsewhere.weights.values():
        values = elsewhere.optimizer.state[weight]
        assert values["step"].device.type == device
        assert values["exp_avg"].device.type == "meta"


def test_momentum_under_its_older_name_still_loads():
    """Checkpoints of classifier methods of earlier versions hold `momentum/NAME` and no micro-batch."""
    whole, first, second = (state_of(network(), name="sgd") for _ in range(3))
    train(whole, 4)
    train(first, 2)
    saved = first.state_dict()
    older = {key.replace("state/", "momentum/").removesuffix("/momentum_buffer"): value for key, value in saved.items()}
    del older["micro_batch"]
    assert {key for key in older if key.startswith("momentum/")} == {f"momentum/{name}" for name in first.weights}
    second.load_state_dict(older)
    train(second, 2)
    assert same(copied(whole.network), copied(second.network))


def test_a_state_of_another_network_is_refused():
    state = state_of(nn.Sequential(nn.Linear(3, 5)))
    with pytest.raises(InputError, match=r"does not fit weight '0\.weight': it is from another network, method or scope"):
        state_of(network()).load_state_dict(state.state_dict())


def test_an_error_restores_the_buffers():
    net = network().train()
    before = copied(net)

    def fails():
        with buffers_restored_on_error(net):
            net(torch.randn(8, 3))
            assert not same(before, copied(net))
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert same(before, copied(net))


def test_the_cosine_schedule_and_multiples():
    config = OptimizerConfig("sgd", 0.2, cosine=True, multiples={"2.bias": 3.0})
    assert [config.rate_at(step, 4) for step in (1, 3)] == pytest.approx([0.2, 0.1])
    assert OptimizerConfig("sgd", 0.2).rate_at(3, 4) == 0.2
    net = network()
    weights = dict(net.named_parameters())
    optimizer = make_optimizer(config, weights)
    set_rate(optimizer, 0.1)
    rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    assert {name: rates[id(weight)] for name, weight in weights.items()} == pytest.approx(dict.fromkeys(weights, 0.1) | {"2.bias": 0.3})
