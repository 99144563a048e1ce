"""Equal tokens of text computed once give what they give computed one by one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor
from torch.testing import assert_close

from erase.attention import fold_equal_tokens

COUNT = 40
TAILS = {"equal": torch.zeros(2, COUNT, 24), "few": torch.zeros(2, COUNT - 1, 24), "other": torch.ones(2, COUNT, 24)}


def transformer(norms: str | None) -> Any:
    """Three blocks of width 32; the first attends to the image twice, the last changes the image alone."""
    torch.manual_seed(0)
    network = SD3Transformer2DModel(
        sample_size=4, patch_size=1, in_channels=4, out_channels=4, num_layers=3, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=24, caption_projection_dim=32, pooled_projection_dim=8, pos_embed_max_size=4, dual_attention_layers=(0,),
        qk_norm=norms,
    )  # fmt: skip
    for tensor in network.parameters():
        tensor.data += 0.1 * torch.randn_like(tensor)
    return network


def inputs(tail: Tensor) -> dict[str, Tensor]:
    """Two images with texts of five tokens and a tail."""
    torch.manual_seed(1)
    text = torch.cat([torch.randn(2, 5, 24), tail], dim=1)
    return {
        "hidden_states": torch.randn(2, 4, 4, 4),
        "encoder_hidden_states": text,
        "pooled_projections": torch.randn(2, 8),
        "timestep": torch.tensor([30.0, 900.0]),
    }


@pytest.mark.parametrize("norms", [None, "rms_norm"])
@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_predictions_and_gradients_are_those_of_all_tokens(norms: str | None, tail: Tensor) -> None:
    plain = transformer(norms)
    folded = copy.deepcopy(plain)
    fold_equal_tokens(folded, COUNT)
    read = inputs(tail)
    outputs = [network(**read).sample for network in (plain, folded)]
    assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-4)
    for output in outputs:
        output.pow(2).sum().backward()
    largest = max(float(theirs.grad.abs().max()) for theirs in plain.parameters() if theirs.grad is not None)
    for (name, ours), theirs in zip(folded.named_parameters(), plain.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        if theirs.grad is not None:
            assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5 * largest)


def test_a_copy_folds_on_its_own() -> None:
    folded = transformer("rms_norm")
    fold_equal_tokens(folded, COUNT)
    other = copy.deepcopy(folded)
    equal, unequal = inputs(torch.zeros(2, COUNT, 24)), inputs(torch.ones(2, COUNT, 24))
    expected = folded(**equal).sample
    other(**unequal)
    assert torch.equal(folded(**equal).sample, expected)
    assert other.transformer_blocks[0].attn.processor.folding is not folded.transformer_blocks[0].attn.processor.folding
