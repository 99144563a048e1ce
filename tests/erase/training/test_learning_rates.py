"""Learning rates that go with the width of a network: exact by hand, literal where given, as chosen on the embedded model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel

from erase.demo import judge_path
from erase.methods import METHODS, make_method
from erase.scope import in_scope
from erase.training.learning_rates import WIDTH, rate_of


def matrices(*inputs: int) -> dict[str, torch.Tensor]:
    """Weights by name, of these numbers of inputs, between tensors that have no width."""
    found = {f"{i}.weight": torch.empty(3, n) for i, n in enumerate(inputs)}
    return {"conv.weight": torch.empty(4, 5000, 3, 3), "norm.weight": torch.empty(7), **found}


def test_twice_as_wide_is_half_the_rate() -> None:
    method = make_method("munba")
    at_home = rate_of(method, matrices(WIDTH))
    assert at_home == 4e-4
    assert rate_of(method, matrices(2 * WIDTH)) == pytest.approx(2e-4)
    assert rate_of(method, matrices(64, 2 * WIDTH, 10_000)) == pytest.approx(2e-4)  # the median
    assert rate_of(method, matrices(WIDTH // 2)) == at_home  # never more than what was tried


def test_a_given_rate_is_what_is_given() -> None:
    for name in METHODS:
        if (method := make_method(name)).rate(matrices(1)) is not None:
            assert rate_of(replace(method, learning_rate=0.0123), matrices(5000)) == 0.0123
    assert rate_of(make_method("scissorhands", "paper"), matrices(5000)) == 1e-5


def test_all_weights_go_slower_than_some() -> None:
    some, everything = (make_method("scissorhands", scope=scope) for scope in ("cross-attention", "full"))
    assert rate_of(some, matrices(WIDTH)) == 8e-4
    assert rate_of(everything, matrices(WIDTH)) == 4e-4
    assert rate_of(everything, matrices(2 * WIDTH)) == pytest.approx(2e-4)
    assert rate_of(make_method("munba", scope="full"), matrices(WIDTH)) == rate_of(make_method("munba"), matrices(WIDTH))


def test_relative_steps_and_plain_descent_are_left_alone() -> None:
    for optimizer in ("adafactor", "sgd"):
        assert rate_of(make_method("scissorhands", optimizer=optimizer), matrices(5000)) == rate_of(
            make_method("scissorhands"), matrices(1)
        )


def test_nothing_but_kernels_and_gains_has_no_width() -> None:
    assert rate_of(make_method("esd"), matrices()) == 3e-4


def test_the_embedded_model_has_the_usual_rate_and_stable_diffusion_an_eighth() -> None:
    method = make_method("scissorhands")
    home = UNet2DConditionModel.from_pretrained(judge_path().parent / "pipeline" / "unet")
    usual = rate_of(method, matrices(WIDTH))
    assert rate_of(method, in_scope(home, "cross-attention")) == usual
    with torch.device("meta"):  # the defaults of diffusers are the sizes of Stable Diffusion 1, but for the text
        wide = UNet2DConditionModel(cross_attention_dim=768)
    assert usual / 9 < rate_of(method, in_scope(wide, "cross-attention")) < usual / 6
