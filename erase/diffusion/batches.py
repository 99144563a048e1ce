"""Batches of a diffusion task: noised images, their conditioning and their prediction targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from erase.errors import InputError


@dataclass(frozen=True)
class Conditioning:
    """What a UNet reads beside noisy latents, one row per image."""

    text: Tensor
    """Text embeddings (n, tokens, width)."""
    pooled: Tensor | None = None
    """SDXL: pooled text embeddings (n, width)."""
    time_ids: Tensor | None = None
    """SDXL: original size, crop and target size (n, 6)."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Conditioning:
        """The conditioning with every tensor changed."""
        return Conditioning(change(self.text), _change(self.pooled, change), _change(self.time_ids, change))


@dataclass(frozen=True)
class DiffusionBatch:
    """n noised images, and everything that a loss may compare a prediction with. Its random parts are already drawn.

    The first four fields are those of the training loss. The others are None where the task was not configured to prepare them.
    """

    noisy: Tensor
    """Noisy latents x_t (n, c, h, w)."""
    timesteps: Tensor
    """Timesteps t (n,)."""
    target: Tensor
    """Prediction target of the training loss (n, c, h, w): noise or velocity; or the original network's prediction."""
    prompt: Conditioning
    """The images' own prompts."""
    anchor: Conditioning | None = None
    """The anchors' prompts, for forget images."""
    empty: Conditioning | None = None
    """The empty prompt."""
    unlearn_input: Tensor | None = None
    """Noisy latents for the unlearning loss (n, c, h, w): of the forget images, with anchor images half of them of these."""
    unlearn_target: Tensor | None = None
    """Prediction target of the unlearning loss: what the original network predicts for `unlearn_input` under `anchor`."""
    concept_prediction: Tensor | None = None
    """What the original network predicts for `noisy` under `prompt`."""
    empty_prediction: Tensor | None = None
    """What the original network predicts for `noisy` under the empty prompt."""
    unlearn_before: Tensor | None = None
    """What the original network predicts for `unlearn_input` under `prompt`."""
    redirected: Tensor | None = None
    """Whether `redirect_target` replaces the original's prediction as unlearning target (n,)."""
    redirect_target: Tensor | None = None
    """The prediction that denoises towards the paired anchor image (n, c, h, w)."""
    marks: Tensor | None = None
    """Of every token of `prompt` (n, tokens): 1 where it names the concept, 2 for the first end of text, else 0."""
    search_from: Literal["prompt", "anchor"] | None = None
    """Where the search for an adversarial text embedding starts; None: unlearn under the prompt itself."""

    def __len__(self) -> int:
        return len(self.noisy)

    def map(self, change: Callable[[Tensor], Tensor]) -> DiffusionBatch:
        """The batch with every tensor changed."""
        return DiffusionBatch(
            noisy=change(self.noisy),
            timesteps=change(self.timesteps),
            target=change(self.target),
            prompt=self.prompt.map(change),
            anchor=self.anchor.map(change) if self.anchor is not None else None,
            empty=self.empty.map(change) if self.empty is not None else None,
            unlearn_input=_change(self.unlearn_input, change),
            unlearn_target=_change(self.unlearn_target, change),
            concept_prediction=_change(self.concept_prediction, change),
            empty_prediction=_change(self.empty_prediction, change),
            unlearn_before=_change(self.unlearn_before, change),
            redirected=_change(self.redirected, change),
            redirect_target=_change(self.redirect_target, change),
            marks=_change(self.marks, change),
            search_from=self.search_from,
        )

    def split(self, size: int) -> Iterator[DiffusionBatch]:
        """Consecutive parts of at most `size` images."""
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            yield self.map(lambda tensor, rows=rows: tensor[rows])  # type: ignore[misc]

    def to(self, device: object) -> DiffusionBatch:
        """The batch on a device."""
        return self.map(lambda tensor: tensor.to(device))  # type: ignore[call-overload, no-any-return]

    def with_target(self, target: Tensor | None, name: str) -> DiffusionBatch:
        """The batch with another target for the training loss; `name` is its requirement, for the error where it is None."""
        return replace(self, target=required(target, name))

    def with_text(self, text: Tensor) -> DiffusionBatch:
        """The batch with other text embeddings in place of its prompts'."""
        return replace(self, prompt=replace(self.prompt, text=text))


def _change(tensor: Tensor | None, change: Callable[[Tensor], Tensor]) -> Tensor | None:
    return None if tensor is None else change(tensor)


def required(tensor: Tensor | None, prediction: str) -> Tensor:
    """A prediction that a batch carries; InputError where the method did not require it."""
    if tensor is None:
        raise InputError(f"the batches carry no prediction {prediction!r}: the method has to name it in its requirements.predictions")
    return tensor


def required_anchor(batch: DiffusionBatch) -> Conditioning:
    """The anchors' prompts of a batch; InputError where there are none."""
    if batch.anchor is None:
        raise InputError('the batches carry no anchor prompts: the method has to require them (requirements.unlearn="anchor")')
    return batch.anchor


def diffusion_batch(batch: object) -> DiffusionBatch:
    """The batch itself; InputError where it is one of another kind of task."""
    if not isinstance(batch, DiffusionBatch):
        raise InputError("this method unlearns in text-to-image models, and the batches of this task are not those of a diffusion model")
    return batch
