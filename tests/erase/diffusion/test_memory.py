"""The estimate is what a real step takes, counted independently; and the plan is the quickest that fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from erase.demo import pipeline_path
from erase.diffusion import StableDiffusion
from erase.diffusion.memory import SLACK, Question, free_bytes, gigabytes, plan
from erase.errors import InputError
from erase.scope import open_scope

GB = 10**9


def question(folder: Path, **options: Any) -> Question:
    given = {"scope": "full", "optimizer": "adam", "batch": 8, "dtype": torch.float32, "device": "cpu", "sampling_batch": 4, "side": 8}
    return Question(folder, **(given | options))


class Saved:
    """Bytes that autograd keeps for the backward pass, each storage once, the network's own weights left out."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.seen = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
        self.total = 0

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.seen:
            self.seen.add(storage.data_ptr())
            self.total += storage.nbytes()
        return tensor


def real_pass(folder: Path, batch: int, checkpointing: bool = False) -> int:
    unet = StableDiffusion(folder).network()
    open_scope(unet, "full")
    if checkpointing:
        unet.enable_gradient_checkpointing()
    saved, c = Saved(unet), unet.config
    with torch.autograd.graph.saved_tensors_hooks(saved, lambda tensor: tensor):
        out = unet(torch.randn(batch, c.in_channels, 8, 8), torch.arange(batch), torch.randn(batch, 32, c.cross_attention_dim))
        out.sample.square().mean().backward()
    return saved.total


def test_the_estimate_grows_with_the_batch_as_real_passes_do() -> None:
    """Static memory is arithmetic (weights, gradients, Adam's two states); what a pass holds is compared with a real one."""
    folder = pipeline_path()
    counted = {n: plan(question(folder, batch=n, micro_batch=n, checkpointing=False), 64 * GB)[0].repair / SLACK for n in (32, 64)}
    real = {n: real_pass(folder, n) for n in (32, 64)}
    grown, truly = counted[64] - counted[32], real[64] - real[32]
    assert truly > 0
    assert 0.9 * truly <= grown <= 1.35 * truly  # beside what is saved, a pass holds what it works on


def test_the_static_part_is_arithmetic() -> None:
    """With no pictures to speak of: weights 4 + two gradients 8 + Adam 8 bytes a weight, and 4 for the update on the CPU."""
    folder = pipeline_path()
    n = sum(w.numel() for w in StableDiffusion(folder).network().parameters())
    adam, sgd, factored = (
        plan(question(folder, batch=1, optimizer=name, micro_batch=1, checkpointing=True), 64 * GB)[0].repair / SLACK / n
        for name in ("adam", "sgd", "adafactor")
    )
    assert adam == pytest.approx(24, abs=1)
    assert adam - sgd == pytest.approx(4, abs=0.1)
    assert factored < sgd


def test_smaller_batches_first_then_checkpointing_then_a_refusal_with_the_need() -> None:
    asked = question(pipeline_path(), batch=16, side=32)
    plenty, said = plan(asked, 64 * GB)
    assert (plenty.micro_batch, plenty.checkpointing) == (16, False)
    assert "64.0 GB free" in said
    assert "16 images at once" in said
    tight, said = plan(asked, plenty.repair - 1)
    assert (tight.micro_batch, tight.checkpointing) == (8, False)
    assert "8 of 16 images at once" in said
    assert f"the quicker way needs {gigabytes(plenty.repair)}" in said
    smallest = plan(question(pipeline_path(), batch=16, side=32, micro_batch=1, checkpointing=True), 64 * GB)[0].repair
    least, _ = plan(asked, smallest)
    assert least.checkpointing
    assert least.repair <= smallest
    with pytest.raises(InputError, match=r"repair needs about .* even at 1 of 16 images at once with gradient checkpointing.*--scope"):
        plan(asked, smallest // 2)
    forced, said = plan(question(pipeline_path(), batch=16, side=32, micro_batch=4, checkpointing=False), 1)
    assert (forced.micro_batch, forced.checkpointing) == (4, False)
    assert "this may not fit" in said


def test_a_preview_keeps_the_other_parts_beside_the_unet_and_may_be_the_peak() -> None:
    """By hand: the decoder and the text encoder in float32, whatever the dtype; drawing many images outgrows every repair step."""
    folder, small = pipeline_path(), {"batch": 1, "micro_batch": 1, "checkpointing": False}
    model = StableDiffusion(folder).pipeline
    parts, unet = (4 * sum(w.numel() for p in some for w in p.parameters()) for some in ((model.vae, model.text_encoder), (model.unet,)))
    plain, two = (plan(question(folder, **small, dtype=torch.bfloat16, preview=n), 64 * GB)[0].repair / SLACK for n in (0, 2))
    assert two - plain == pytest.approx(parts, rel=0.01)
    many, _ = plan(question(folder, **small, sampling_batch=256, preview=256), 64 * GB)
    assert (many.repair - many.drawing) / SLACK == pytest.approx(2 * unet, abs=0.05 * unet)  # Adam's state beside all of drawing


def test_a_smaller_scope_and_half_precision_need_less() -> None:
    full, narrow = (plan(question(pipeline_path(), scope=scope), 64 * GB)[0].repair for scope in ("full", "cross-attention"))
    assert narrow < 0.6 * full
    single, half = (plan(question(pipeline_path(), dtype=dtype), 64 * GB)[0].drawing for dtype in (torch.float32, torch.bfloat16))
    assert half == pytest.approx(single / 2, rel=0.01)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_family_is_gone_through_without_loading_anything(family: str, family_folders: dict[str, Path]) -> None:
    need, _ = plan(question(family_folders[family]), 64 * GB)
    assert need.repair > 0
    assert need.drawing > 0


def test_what_is_free_is_a_number_of_this_machine() -> None:
    assert 10**7 < free_bytes("cpu") < 10**14
    assert (gigabytes(1_234_567_890), gigabytes(12_345_678)) == ("1.2 GB", "12 MB")
