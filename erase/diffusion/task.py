"""Cached latents -> a Task: forget and retain batches with their targets, the training loss and the unlearning loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erase.diffusion.batches import Conditioning, DiffusionBatch, required, required_anchor
from erase.diffusion.distances import SQUARED, Distance
from erase.diffusion.drawing import BatchDrawer, Forgetting, numbered, per_image
from erase.diffusion.latents import ImageLatents, Latents
from erase.diffusion.objectives import Objective
from erase.diffusion.prediction import predict
from erase.errors import InputError
from erase.processes import average
from erase.task import Batches, Loss, Task, generator

Progress = Callable[[int, int], None]
"""Batches of predictions that are computed, and their total."""


@dataclass(frozen=True)
class TaskConfig:
    """How a diffusion task is made from cached latents.

    Predictions of the original network are computed when the task is made, so that unlearning needs no second network and no third
    pass. They exist for the first `forget_rounds` forget batches and the first `retain_rounds` retain batches, which then repeat.
    """

    batch: int = 16
    """Images per batch, over all processes."""
    seed: int = 0
    forget_rounds: int = 0
    """Number of forget batches with predictions; 0: batches carry none, and never repeat."""
    anchor_predictions: bool = False
    """Predict the unlearning target: that of the unlearning input under the anchor's prompt."""
    distance: Distance = SQUARED
    """What the unlearning loss measures; a hinge needs `before_predictions`."""
    before_predictions: bool = False
    """Predict the unlearning input under the forget prompt."""
    concept_predictions: bool = False
    """Predict forget images under their own prompt."""
    empty_predictions: bool = False
    """Predict forget images under the empty prompt."""
    retain_rounds: int = 0
    """Number of retain batches whose target is the original's prediction. It has the same minimum as the training target, but
    without the noise's share in the gradient. 0: the target of training."""
    random_anchors: bool = False
    """Pair each forget prompt with a random retain prompt instead of its anchors."""
    first_batch_only: bool = False
    """Use the images of the first batch in every batch, with new noise."""
    empty_captions: float = 0.1
    """Share of retain images that is given the empty prompt, so that classifier-free guidance keeps working."""
    forgetting: Forgetting = field(default_factory=Forgetting)
    dtype: torch.dtype = torch.float32
    """Precision of the network's forward pass."""
    share: tuple[int, int] = (0, 1)
    """(r, n): this is the r-th of n processes. All draw the same noise for the whole batch and keep their equal part of its rows."""
    micro_batch: int | None = None
    """Images that go through the network at once; None: all of a batch."""


class Predictions(NamedTuple):
    """What the original network predicts for a forget batch, on the CPU; None where it is not required."""

    anchor: Tensor | None
    concept: Tensor | None
    empty: Tensor | None
    before: Tensor | None = None


def diffusion_task(
    network: nn.Module,
    objective: Objective,
    latents: Latents,
    weights: dict[str, nn.Parameter],
    config: TaskConfig = TaskConfig(),
    progress: Progress | None = None,
) -> Task[DiffusionBatch]:
    """A Task from cached latents; the images, noise and timesteps of batch i depend on (seed, i) alone.

    `weights` are those that may be changed. InputError where anchors or anchor images are required and missing, or the batch cannot be
    divided equally among the processes.
    """
    rows = _own_rows(config)
    if config.random_anchors:
        latents = _with_random_anchors(latents, config.seed)
    _check_anchors(latents.forget, config)
    draw = BatchDrawer(objective, latents, next(network.parameters()).device, rows, config.empty_predictions)
    draw_forget = replace(draw, forgetting=config.forgetting)
    forget = _batches(latents.forget, "forget", partial(draw_forget.draw, latents.forget, 0.0), config)
    retain = training = _batches(latents.retain, "retain", partial(draw.draw, latents.retain, config.empty_captions), config)

    kinds = sum((config.anchor_predictions, config.concept_predictions, config.empty_predictions, config.before_predictions))
    computed, total = count(1), config.forget_rounds * kinds + config.retain_rounds
    original = Original(network, config, lambda: progress(next(computed), total) if progress else None)
    if config.forget_rounds and kinds:
        forget = original.with_predictions(forget)
    if config.retain_rounds:
        retain = original.as_target(retain)
    return Task(
        network=network,
        forget=forget,
        retain=retain,
        loss=training_loss(config.dtype),
        unlearn=unlearning_loss(config.dtype, config.distance),
        weights=weights,
        seed=config.seed,
        average=average,
        micro_batch=config.micro_batch,
        retain_data=training,
        one_image=partial(_one_image, replace(draw, rows=slice(None)), latents.retain, config.seed),
        texts=texts_of(latents),
    )


def training_loss(dtype: torch.dtype) -> Loss[DiffusionBatch]:
    """The mean squared distance of the prediction for noisy images under their prompts from their target."""

    def loss(network: nn.Module, batch: DiffusionBatch) -> Tensor:
        return F.mse_loss(predict(network, batch.noisy, batch.timesteps, batch.prompt, dtype).float(), batch.target)

    return loss


def unlearning_loss(dtype: torch.dtype, distance: Distance = SQUARED) -> Loss[DiffusionBatch]:
    """The distance of the prediction for the unlearning input under the concept's prompt from the unlearning target."""

    def loss(network: nn.Module, batch: DiffusionBatch) -> Tensor:
        target = required(batch.unlearn_target, "anchor")
        assert batch.unlearn_input is not None
        before = required(batch.unlearn_before, "before") if distance.kind == "hinge" else None
        return distance(predict(network, batch.unlearn_input, batch.timesteps, batch.prompt, dtype).float(), target, before)

    return loss


def texts_of(latents: Latents) -> dict[str, Tensor]:
    """Text embeddings, each prompt once: `forget`; row by row what replaces these, `anchor`, and their `marks`; `retain`; `empty`."""
    forget, retain = latents.forget, latents.retain
    texts = {"forget": latents.text[forget.text.unique()], "retain": latents.text[retain.text.unique()], "empty": latents.text[:1]}
    marks = latents.marks
    texts |= {} if marks is None else {"marks": marks[forget.text.unique()]}
    if width := forget.anchors.shape[1]:
        pairs = torch.stack([forget.text[:, None].expand(-1, width), forget.anchors], dim=-1).reshape(-1, 2).unique(dim=0)
        texts |= {"forget": latents.text[pairs[:, 0]], "anchor": latents.text[pairs[:, 1]]}
        texts |= {} if marks is None else {"marks": marks[pairs[:, 0]]}
    return texts


# --- targets ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Original:
    """The network before anything is changed, and the targets that are its predictions."""

    network: nn.Module
    config: TaskConfig
    computed: Callable[[], None]
    """Called after each batch of predictions."""

    def with_predictions(self, batches: Batches[DiffusionBatch]) -> Batches[DiffusionBatch]:
        """The first `forget_rounds` batches, repeated, with the predictions that are required and the target that follows from them."""
        rounds, device = self.config.forget_rounds, next(self.network.parameters()).device
        predictions = [self.predictions(batches(i)) for i in range(rounds)]
        return lambda i: prepared(batches(i % rounds), predictions[i % rounds], device)

    def as_target(self, batches: Batches[DiffusionBatch]) -> Batches[DiffusionBatch]:
        """The first `retain_rounds` batches, repeated, with the prediction under their own prompts as target."""
        rounds, device = self.config.retain_rounds, next(self.network.parameters()).device
        targets = [self.predict(batch, batch.noisy, batch.prompt) for batch in map(batches, range(rounds))]
        return lambda i: replace(batches(i % rounds), target=targets[i % rounds].to(device))

    def predictions(self, batch: DiffusionBatch) -> Predictions:
        """The predictions that are required, for one forget batch."""
        anchor = concept = empty = None
        if self.config.anchor_predictions:
            assert batch.unlearn_input is not None
            anchor = self.predict(batch, batch.unlearn_input, required_anchor(batch))
        if self.config.concept_predictions:
            concept = self.predict(batch, batch.noisy, batch.prompt)
        if self.config.empty_predictions:
            assert batch.empty is not None
            empty = self.predict(batch, batch.noisy, batch.empty)
        before = None
        if self.config.before_predictions:
            assert batch.unlearn_input is not None
            before = self.predict(batch, batch.unlearn_input, batch.prompt)
        return Predictions(anchor, concept, empty, before)

    @torch.no_grad()
    def predict(self, batch: DiffusionBatch, noisy: Tensor, conditioning: Conditioning) -> Tensor:
        """The network's prediction for noisy latents at the timesteps of a batch, on the CPU; in micro-batches."""
        size = self.config.micro_batch or len(batch)
        parts = []
        for start in range(0, len(batch), size):
            rows = slice(start, start + size)
            part = conditioning.map(lambda tensor, rows=rows: tensor[rows])  # type: ignore[misc]
            parts.append(predict(self.network, noisy[rows], batch.timesteps[rows], part, self.config.dtype).float().cpu())
        self.computed()
        return torch.cat(parts)


def prepared(batch: DiffusionBatch, predictions: Predictions, device: torch.device) -> DiffusionBatch:
    """A forget batch with the original's predictions, on `device`.

    The unlearning target is the prediction under the anchor, and for images that are redirected the one that denoises towards the
    anchor image.
    """
    anchor, concept, empty, before = (None if tensor is None else tensor.to(device) for tensor in predictions)
    if anchor is not None and batch.redirected is not None and batch.redirect_target is not None:
        anchor = torch.where(per_image(batch.redirected), batch.redirect_target, anchor)
    return replace(batch, unlearn_target=anchor, concept_prediction=concept, empty_prediction=empty, unlearn_before=before)


# --- batches ----------------------------------------------------------------------------------------------------------


def _batches(
    images: ImageLatents, name: str, draw: Callable[[Tensor, tuple[object, ...]], DiffusionBatch], config: TaskConfig
) -> Batches[DiffusionBatch]:
    """The batches of an image set; those of a set that was not drawn are an InputError when one is needed."""
    if len(images.latents) == len(images.text):
        return numbered(len(images.text), config.batch, (config.seed, name), draw, config.first_batch_only)

    def missing(i: int) -> DiffusionBatch:
        raise InputError(f"no {name} images were drawn: the method has to name them in its requirements.images")

    return missing


def _one_image(draw: BatchDrawer, images: ImageLatents, seed: int, i: int, timesteps: int) -> DiffusionBatch:
    """The i-th image, counted around, under so many timesteps and as many noises."""
    return draw.draw(images, 0.0, torch.full((timesteps,), i % len(images.text)), (seed, "one image", i))


def _own_rows(config: TaskConfig) -> slice:
    """The rows of a batch that belong to this process."""
    (rank, parts), batch = config.share, config.batch
    if batch % parts:
        raise InputError(f"--batch {batch} cannot be shared equally by {parts} processes; give a multiple of {parts}", option="batch")
    return slice(rank * batch // parts, (rank + 1) * batch // parts)


def _check_anchors(forget: ImageLatents, config: TaskConfig) -> None:
    if config.anchor_predictions and config.forget_rounds and not forget.anchors.shape[1]:
        raise InputError(
            "unlearning towards an anchor needs anchor prompts, and there are none; give --anchor WORD or --unlearn ascent", option="anchor"
        )
    if config.forgetting.redirect is not None and forget.anchor_latents is None:
        raise InputError(
            "--redirect denoises towards images of the anchor, and none were drawn; give --anchor-pictures, or no --redirect",
            option="redirect",
        )


def _with_random_anchors(latents: Latents, seed: int) -> Latents:
    """Each forget image paired with one prompt of the retain set, drawn once; there are no images of these."""
    pick = torch.randint(len(latents.retain.text), (len(latents.forget.text), 1), generator=generator(seed, "labels"))
    return replace(latents, forget=replace(latents.forget, anchors=latents.retain.text[pick], anchor_latents=None))
