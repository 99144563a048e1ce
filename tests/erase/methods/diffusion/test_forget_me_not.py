"""Forget-Me-Not's loss is read from the maps that an unfused processor would form, at the tokens that name the concept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from diffusion_toys import made_up, task_of
from tiny_pipeline import build_flux, build_stable_diffusion_3
from torch import Tensor, nn

from erase.diffusion import StableDiffusion
from erase.diffusion.latents import Latents
from erase.errors import InputError
from erase.methods import make_method
from erase.methods.diffusion.forget_me_not import attention, attention_to_concept
from erase.pipeline import Job
from erase.pipeline.resolve import resolve_job
from erase.task import Task
from erase.training.optimizers import gradient_of


def marked() -> Latents:
    """Tokens 2 and 3 of text 1 name the concept; 4 is the end."""
    marks = torch.zeros(6, 32, dtype=torch.int8)
    marks[1, 2:4], marks[1, 4] = 1, 2
    return replace(made_up(), marks=marks)


@pytest.fixture
def task(tiny_pipeline: Path) -> Task:
    return task_of(StableDiffusion(tiny_pipeline), latents=marked())


class Kept(AttnProcessor):
    """The unfused processor of diffusers; keeps the probabilities that it forms."""

    def __init__(self) -> None:
        self.maps: list[Tensor] = []

    def __call__(self, attn: nn.Module, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **options: object) -> Tensor:
        own, forms = attn.get_attention_scores, encoder_hidden_states is not None
        attn.get_attention_scores = lambda *args: self._keep(own(*args), attn.heads, forms)
        try:
            return super().__call__(attn, hidden_states, encoder_hidden_states, **options)
        finally:
            del attn.get_attention_scores

    def _keep(self, probabilities: Tensor, heads: int, wanted: bool) -> Tensor:
        if wanted:
            self.maps.append(probabilities.unflatten(0, (-1, heads)))
        return probabilities


def test_maps_are_those_that_an_unfused_processor_forms(task: Task) -> None:
    batch = task.forget(0)
    with attention(task.network) as calls, torch.no_grad():
        task.loss(task.network, batch)
    maps = [call.probabilities() for call in calls]
    kept = Kept()
    task.network.set_attn_processor(kept)
    with torch.no_grad():
        task.loss(task.network, batch)
    assert len(maps) == len(kept.maps) > 1
    for mine, theirs in zip(maps, kept.maps, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(("end", "columns"), [(False, [2, 3]), (True, [2, 3, 4])])
def test_the_loss_is_the_norm_over_layers_heads_and_pixels_at_the_concepts_tokens(task: Task, end: bool, columns: list[int]) -> None:
    batch = task.forget(0)
    with attention(task.network) as calls, torch.no_grad():
        task.loss(task.network, batch)
    maps = [call.probabilities() for call in calls]
    whole = torch.cat([m[..., columns].flatten(1) for m in maps], dim=1)
    expected = (whole.norm(dim=1) / whole.shape[1] ** 0.5).mean()
    torch.testing.assert_close(attention_to_concept(task.network, batch, task.loss, end).detach(), expected)


def test_it_falls_with_training_and_hooks_leave_nothing_behind(task: Task) -> None:
    steps = list(make_method("forget_me_not", retain_weight=0.0, steps=8, batch=2, learning_rate=3e-3)(task))
    assert steps[-1].unlearn_loss < 0.9 * steps[0].unlearn_loss
    assert not any(module._forward_hooks for module in task.network.modules())


def test_checkpointing_changes_no_gradient(task: Task) -> None:
    def loss(network: nn.Module, batch: object) -> Tensor:
        return attention_to_concept(network, batch, task.loss, False)

    task.network.train()
    plain = gradient_of(loss, task.network, task.weights, task.forget(0), 4)
    task.network.enable_gradient_checkpointing()
    saved = gradient_of(loss, task.network, task.weights, task.forget(0), 4)
    torch.testing.assert_close(saved, plain)
    assert any(g.abs().max() > 0 for g in plain[1])


def test_what_has_no_maps_or_no_marks_is_refused(task: Task, tiny_pipeline: Path) -> None:
    with (
        pytest.raises(InputError, match=r"^attention maps are those of cross-attention, and Linear has none; choose another method$"),
        attention(nn.Linear(1, 1)),
    ):
        pass
    bare = task_of(StableDiffusion(tiny_pipeline))
    with pytest.raises(InputError, match="has to require token_marks"):
        list(make_method("forget_me_not", steps=1)(bare))


@pytest.mark.parametrize(
    ("build", "method", "said"),
    [
        (
            build_stable_diffusion_3,
            "forget_me_not",
            "reads the maps of a UNet's cross-attention, and the SD3Transformer2DModel of this model has none",
        ),
        (
            build_flux,
            "sld",
            "changes classifier-free guidance, and the FluxTransformer2DModel of this model reads its guidance as a number",
        ),
    ],
)
def test_a_family_without_what_it_needs_is_refused_before_anything_is_drawn(
    build: Callable[[Path], Path], method: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        resolve_job(Job(("star",), str(build(tmp_path / "model")), method=method))
    assert str(caught.value) == f"--method {method} {said}; choose another method"
