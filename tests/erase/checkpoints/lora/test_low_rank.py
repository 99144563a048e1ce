"""Factors begin as nothing, have the gradients of the chain rule, and leave what they belong to alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from erase.checkpoints.lora.low_rank import add_factors, full_rank, merged
from erase.diffusion import StableDiffusion
from erase.errors import InputError
from erase.methods import make_method
from erase.scope import in_scope, open_scope, weight_of
from erase.task import Entries, Task, generator
from erase.training.learning_rates import rate_of
from erase.training.optimizers import OptimizerConfig, gradient_of
from erase.training.state import TrainingState
from erase.training.two_loss_loop import Side, tune

NOISY = torch.randn(2, 4, 8, 8, generator=generator("noisy"))
TEXT = torch.randn(2, 5, 16, generator=generator("text"))
TIMES = torch.tensor([5, 900])


def output(network: Any) -> Tensor:
    result: Tensor = network(NOISY, TIMES, encoder_hidden_states=TEXT).sample
    return result


def loss(network: Any, batch: Any) -> Tensor:
    return output(network).square().mean()


@pytest.fixture
def unet(tiny_pipeline: Path) -> Any:
    return StableDiffusion(tiny_pipeline).network()


@pytest.fixture
def factored(unet: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """The network with factors of cross-attention, these, and the weights that they belong to; the second factors are not zero."""
    weights = open_scope(unet, "cross-attention")
    factors = add_factors(unet, weights, 3, seed=1)
    for name, factor in factors.items():
        if ".lora_B." in name:
            factor.data += 0.1 * torch.randn(factor.shape, generator=generator(name))
    return unet, factors, {name: weights[name] for name in dict.fromkeys(map(weight_of, factors))}


def test_they_begin_as_nothing_and_only_they_are_trained(unet: Any) -> None:
    before = output(unet)
    weights = in_scope(unet, "cross-attention")
    factors = add_factors(unet, weights, 3)
    assert torch.equal(output(unet), before)
    assert [weight for weight in unet.parameters() if weight.requires_grad] == list(factors.values())
    assert {weight_of(name) for name in factors} == {name for name, weight in weights.items() if weight.ndim == 2}
    assert in_scope(unet, "cross-attention") == weights, "names and scopes are those without factors"


def test_the_seed_decides_them_layer_by_layer(tiny_pipeline: Path) -> None:
    def drawn(seed: int, scope: str) -> dict[str, Any]:
        network = StableDiffusion(tiny_pipeline).network()
        return add_factors(network, in_scope(network, scope), 2, seed)

    state = torch.random.get_rng_state()
    one, narrow, other = drawn(0, "cross-attention"), drawn(0, "cross-attention-kv"), drawn(1, "cross-attention")
    assert all(torch.equal(one[name], narrow[name]) for name in narrow)
    assert not any(torch.equal(one[name], other[name]) for name in one if ".lora_A." in name)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_gradients_are_those_of_the_weights_by_the_chain_rule(factored: Any) -> None:
    """With W + B A in place of W: dB = G A' and dA = B' G, G the gradient of the whole weight."""
    network, factors, base = factored
    for weight in base.values():
        weight.requires_grad_(True)
    (_, whole), (_, low) = gradient_of(loss, network, base, {"x": NOISY}, 2), gradient_of(loss, network, factors, {"x": NOISY}, 2)
    gradients = dict(zip(factors, low, strict=True))
    for (name, weight), g in zip(base.items(), whole, strict=True):
        a, b = (f"{name.removesuffix('.weight')}.lora_{letter}.weight" for letter in "AB")
        torch.testing.assert_close(gradients[b], g @ factors[a].T, rtol=1e-3, atol=1e-7)
        torch.testing.assert_close(gradients[a], factors[b].T @ g, rtol=1e-3, atol=1e-7)
        assert weight.grad is None


def test_kernels_have_factors_too_and_a_small_one_its_own_rank(unet: Any) -> None:
    weights = in_scope(unet, r"re:^(conv_in|conv_out)\.|down_blocks\.0\.resnets\.0\.")
    factors = add_factors(unet, weights, 6)
    shapes = {name: tuple(factor.shape) for name, factor in factors.items()}
    assert shapes["conv_out.lora_A.weight"] == (4, 16, 3, 3), "four outputs"
    assert shapes["conv_out.lora_B.weight"] == (4, 4, 1, 1)
    assert shapes["down_blocks.0.resnets.0.conv1.lora_A.weight"] == (6, 16, 3, 3)
    assert not any("norm" in name for name in factors)
    assert unet.conv_out.scaling == unet.conv_in.scaling == {"default": 1.0}


@pytest.mark.parametrize("scope", ["cross-attention", "full"])
def test_merged_weights_compute_the_same(scope: str, tiny_pipeline: Path) -> None:
    network = StableDiffusion(tiny_pipeline).network()
    weights = in_scope(network, scope)
    factors = add_factors(network, weights, 3)
    for name, factor in factors.items():
        factor.data += 0.05 * torch.randn(factor.shape, generator=generator(name))
    plain: Any = UNet2DConditionModel.from_pretrained(tiny_pipeline / "unet").eval()
    whole = dict(merged(network, {name: weights[name] for name in dict.fromkeys(map(weight_of, factors))}))
    assert not plain.load_state_dict(whole, strict=False).unexpected_keys
    torch.testing.assert_close(output(plain), output(network), rtol=1e-4, atol=1e-5)


def test_training_leaves_the_base_as_it_is_in_its_dtype(tiny_pipeline: Path) -> None:
    network: Any = StableDiffusion(tiny_pipeline).network(torch.bfloat16)
    base = in_scope(network, "cross-attention")
    before = {name: weight.clone() for name, weight in base.items()}
    factors = add_factors(network, base, 3)

    def half_precision(network: Any, batch: Any) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return loss(network, batch)

    task: Any = Task(network, lambda i: {"x": NOISY}, lambda i: {"x": NOISY}, half_precision, half_precision, factors)
    losses = [step.unlearn_loss for step in tune(task, 5, None, Side(task.loss, task.forget), optimizer=OptimizerConfig("adam", 1e-2))]
    assert losses[-1] < losses[0]
    assert {factor.dtype for factor in factors.values()} == {torch.float32}
    assert all(weight.dtype == torch.bfloat16 and torch.equal(weight, before[name]) for name, weight in base.items())


def test_a_mask_of_entries_is_refused(factored: Any) -> None:
    network, factors, base = factored
    task: Any = Task(network, lambda i: {"x": NOISY}, lambda i: {"x": NOISY}, loss, loss, factors, base=base)
    with pytest.raises(InputError, match="a mask of single weights has no counterpart in low-rank factors"):
        next(tune(task, 1, None, Side(loss, task.forget), optimizer=OptimizerConfig(), mask={}))


def test_a_state_brings_back_factors_and_the_entries_that_were_replaced(factored: Any, tiny_pipeline: Path) -> None:
    network, factors, base = factored
    task: Any = Task(network, lambda i: {"x": NOISY}, lambda i: {"x": NOISY}, loss, loss, factors, base=base)
    name = next(iter(base))
    mask = torch.zeros(base[name].shape, dtype=torch.bool)
    mask[1, 2], mask[3, 0] = True, True
    with torch.no_grad():
        base[name][mask] = 7.0
    task.replaced[name] = Entries.of(base[name], mask)
    saved = TrainingState.of(task, torch.optim.Adam(factors.values())).state_dict()
    assert saved[f"replaced/{name}/places"].tolist() == [base[name].shape[1] + 2, 3 * base[name].shape[1]]

    fresh = StableDiffusion(tiny_pipeline).network()
    own = in_scope(fresh, "cross-attention")
    again: Any = Task(fresh, task.forget, task.retain, loss, loss, add_factors(fresh, own, 3), base={name: own[name] for name in base})
    TrainingState.of(again, torch.optim.Adam(again.weights.values())).load_state_dict(saved)
    assert torch.equal(output(fresh), output(network))
    assert again.replaced.keys() == {name}
    again.base = {}
    with pytest.raises(InputError, match="does not fit"):
        TrainingState.of(again, torch.optim.Adam(again.weights.values())).load_state_dict(saved)


def test_the_rate_does_not_depend_on_the_width_of_a_factor(factored: Any) -> None:
    method = make_method("munba")
    assert rate_of(method, {"a.lora_A.weight": torch.empty(4, 5000), "a.lora_B.weight": torch.empty(5000, 4)}) == 4e-4


@pytest.mark.parametrize(
    ("scope", "rank", "message"),
    [
        (r"re:norm", 2, "--lora-rank needs matrices or convolution kernels to factorise, and --scope names none"),
        (r"re:attn2\..*\.bias$", 2, "and --scope names none; give another --scope, or leave --lora-rank out"),
        ("cross-attention", 33, "--lora-rank 33 is more than the rank of any weight in --scope, at most 32; give at most 32"),
    ],
)
def test_what_has_no_factors_is_refused(scope: str, rank: int, message: str, unet: Any) -> None:
    with pytest.raises(InputError, match=message) as caught:
        add_factors(unet, in_scope(unet, scope), rank)
    assert "\n" not in str(caught.value)
    assert caught.value.option == "lora_rank"


def test_the_rank_of_a_kernel_is_that_of_its_rows() -> None:
    assert (full_rank(torch.empty(8, 3)), full_rank(torch.empty(8, 3, 1, 1)), full_rank(torch.empty(8, 3, 3, 3))) == (3, 3, 8)
