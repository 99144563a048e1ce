"""Safe latent diffusion (Schramowski et al., CVPR 2023): guidance away from a text, at each denoising step. No weight is changed.

A model folder with the file GUIDANCE is drawn with it here, and by diffusers, which does not know the file, as without.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from erase.checkpoints.folder import GUIDANCE
from erase.errors import InputError
from erase.files import read_object

if TYPE_CHECKING:
    from erase.diffusion.stable_diffusion import StableDiffusion


@dataclass(frozen=True)
class SafeGuidance:
    """The text to lead away from, and the numbers of the paper: delta, s_S, lambda, s_m and beta."""

    text: str
    warmup: int
    scale: float
    threshold: float
    momentum: float
    decay: float


def read_guidance(folder: Path) -> SafeGuidance | None:
    """The guidance that a model folder is drawn with; None where it has none."""
    path = folder / GUIDANCE
    return SafeGuidance(**read_object(path)) if path.is_file() else None


@dataclass
class Momentum:
    """What an image's guidance remembers of its earlier steps."""

    step: int = 0
    v: Tensor | float = 0.0

    def __call__(self, guidance: SafeGuidance, empty: Tensor, concept: Tensor, safety: Tensor) -> Tensor:
        """g of one step: m (e_S - e_0) + s_m v, m = min(1, s_S |e_c - e_S|) where e_c - e_S < lambda, else 0; zeros while warming up."""
        difference = concept - safety
        m = torch.where(difference < guidance.threshold, (guidance.scale * difference.abs()).clamp(max=1.0), 0.0)
        g = m * (safety - empty) + guidance.momentum * self.v
        self.v = guidance.decay * self.v + (1 - guidance.decay) * g
        self.step += 1
        return g if self.step > guidance.warmup else torch.zeros_like(g)


def guided(model: StableDiffusion, images: int, scale: float) -> AbstractContextManager[None]:
    """Within, the model's network predicts e_c - g in place of e_c, so that the pipeline's own guidance becomes e_0 + s (e_c - e_0 - g).

    For models whose folder has a guidance; others are not touched. InputError where nothing is guided: at a scale of 1 or less.
    """
    guidance = read_guidance(model.folder)
    if guidance is None:
        return nullcontext()
    if scale <= 1:
        raise InputError(f"sld changes classifier-free guidance, and --guidance {scale:g} is none; give a scale above 1", option="guidance")
    return _hooked(model.edited, guidance, read_text(model, guidance.text), images)


def read_text(model: StableDiffusion, text: str) -> tuple[Tensor, Tensor | None]:
    """The embeddings of the text (1, tokens, width) and pooled (1, width), as the pipeline's network reads them."""
    read = model.conditioning([text], model.device)
    return read.text, read.pooled


@contextmanager
def _hooked(network: nn.Module, guidance: SafeGuidance, text: tuple[Tensor, Tensor | None], images: int) -> Iterator[None]:
    memory = Momentum()

    def hook(module: nn.Module, args: tuple[Any, ...], options: dict[str, Any], output: Any) -> Any:
        if len(output[0]) != 2 * images:
            raise InputError(
                f"sld changes classifier-free guidance, and {type(module).__name__} of this model reads its guidance as a number"
            )
        empty, concept = output[0].chunk(2)
        safety = module.forward(*_half(args, images), **_with_text(_half(options, images), text, images))[0]
        return (torch.cat([empty, concept - memory(guidance, empty, concept, safety)]), *output[1:])

    handle = network.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _half(value: Any, images: int) -> Any:
    """Of everything that has a row for each image with and without the prompt, the first half."""
    if isinstance(value, Tensor):
        return value[:images] if value.ndim and len(value) == 2 * images else value
    if isinstance(value, Mapping):
        return {name: _half(part, images) for name, part in value.items()}
    return tuple(_half(part, images) for part in value) if isinstance(value, tuple) else value


def _with_text(options: dict[str, Any], text: tuple[Tensor, Tensor | None], images: int) -> dict[str, Any]:
    """The arguments of a network's call with another text."""

    def rows(tensor: Tensor, like: Tensor) -> Tensor:
        return tensor.to(like).expand(images, *tensor.shape[1:])

    words, pooled = text
    options["encoder_hidden_states"] = rows(words, options["encoder_hidden_states"])
    if pooled is not None and "pooled_projections" in options:
        options["pooled_projections"] = rows(pooled, options["pooled_projections"])
    if pooled is not None and options.get("added_cond_kwargs"):
        added = options["added_cond_kwargs"]
        options["added_cond_kwargs"] = {**added, "text_embeds": rows(pooled, added["text_embeds"])}
    return options
