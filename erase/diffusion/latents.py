"""Image sets -> latents and text embeddings, computed once and kept in one safetensors file.

Training then needs neither the autoencoder nor the text encoder. Images and texts are numbered: `forget/text` and `retain/text`
are rows of `text`, whose row 0 is the empty prompt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from erase.checkpoints.safetensors_header import load_tensors
from erase.diffusion.token_marks import marks_of
from erase.errors import InputError
from erase.files import write_tensors
from erase.images import Picture, load_pixels

TEXTS_AT_ONCE = 64
"""Prompts per call of the text encoder."""


class Encoder(Protocol):
    """The parts of a model that a cache needs (`StableDiffusion` and its families)."""

    @property
    def size(self) -> int:
        """Side of the images in pixels."""

    def embed(self, prompts: list[str]) -> Tensor:
        """Text embeddings (n, tokens, width)."""

    def pool(self, prompts: list[str]) -> Tensor | None:
        """SDXL: pooled text embeddings (n, width)."""

    def time_ids(self) -> Tensor | None:
        """SDXL: original size, crop and target size (6,)."""

    def coders(self) -> list[tuple[Any, Any]]:
        """Each text encoder with its tokenizer before it."""

    def encode(self, pixels: Tensor, first: int) -> Tensor:
        """Images (n, 3, s, s) in [-1, 1], numbered from `first` -> latents (n, c, h, w)."""


@dataclass(frozen=True)
class ImageLatents:
    """The latents (n, c, h, w) of an image set, their rows of `text` (n,), and for forget images the rows of their anchors (n, a).

    `anchor_latents` (n, c, h, w), where there are any, are images of the anchors, each paired with the forget image of its number.
    """

    latents: Tensor
    text: Tensor
    anchors: Tensor
    anchor_latents: Tensor | None = None


@dataclass(frozen=True)
class Latents:
    """The contents of a cache; `text` is (m, tokens, width), row 0 the empty prompt.

    For SDXL also `pooled` (m, width), with the same rows, and `time_ids` (6,).
    """

    forget: ImageLatents
    retain: ImageLatents
    text: Tensor
    pooled: Tensor | None = None
    time_ids: Tensor | None = None
    marks: Tensor | None = None
    """Which tokens of a text name the concept (m, tokens), as `token_marks` has them; None where nobody asked for them."""


class LatentCache:
    """Collects image sets, then embeds every different prompt and encodes every image once, and writes the file.

    `progress` is called with the number of encoded images and their total.
    """

    def __init__(self, model: Encoder, batch: int = 16, progress: Callable[[int, int], None] | None = None) -> None:
        self.model, self.batch, self.progress = model, batch, progress
        self._prompts: dict[Literal["forget", "retain"], list[str]] = {"forget": [], "retain": []}
        self._images: dict[Literal["forget", "retain", "anchor"], list[Picture]] = {}
        self._anchors: list[list[str]] = []
        self._words: tuple[str, ...] = ()

    def mark(self, words: Sequence[str]) -> None:
        """Also write which tokens of every prompt are one of these words."""
        self._words = tuple(words)

    def add_set(self, name: Literal["forget", "retain"], images: Sequence[Picture], drawn: bool = True) -> None:
        """The forget or the retain set. Of a set that is not `drawn` only the prompts are cached."""
        self._prompts[name] = [image.prompt for image in images]
        if drawn and images:
            self._images[name] = list(images)

    def add_anchors(self, prompts: Sequence[Sequence[str]], images: Sequence[Picture] = ()) -> None:
        """For each forget image the prompts that replace its own, and one image of its anchor, or no images at all.

        Forget images may have different numbers of anchors; shorter lists are repeated.
        """
        width = max((len(texts) for texts in prompts), default=0)
        self._anchors = [[texts[i % len(texts)] for i in range(width)] if texts else [] for texts in prompts]
        if images:
            self._images["anchor"] = list(images)

    def write(self, path: Path) -> None:
        """Embed, encode and write everything. InputError where a value is not finite; then there is no file."""
        anchors = [text for texts in self._anchors for text in texts]
        prompts = list(dict.fromkeys(["", *self._prompts["forget"], *self._prompts["retain"], *anchors]))
        row = {prompt: i for i, prompt in enumerate(prompts)}
        tensors = self._texts(prompts)
        tensors |= {f"{name}/text": torch.tensor([row[prompt] for prompt in texts]) for name, texts in self._prompts.items()}
        if self._words:
            tensors["marks"] = marks_of(self.model.coders()[0][0], prompts, self._words)
        tensors |= self._latents()
        forget, width = len(self._prompts["forget"]), max(map(len, self._anchors), default=0)
        rows = [[row[text] for text in texts] for texts in self._anchors]
        tensors["forget/anchors"] = torch.tensor(rows, dtype=torch.int64).reshape(forget, width)
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise InputError(f"{name} has values that are not finite in {tensor.dtype}; give --dtype float32", option="dtype")
        write_tensors(path, tensors, {"prompts": json.dumps(prompts)})

    def _texts(self, prompts: list[str]) -> dict[str, Tensor]:
        chunks = [prompts[i : i + TEXTS_AT_ONCE] for i in range(0, len(prompts), TEXTS_AT_ONCE)]
        tensors = {"text": torch.cat([self.model.embed(chunk) for chunk in chunks])}
        pooled = [part for chunk in chunks if (part := self.model.pool(chunk)) is not None]
        tensors |= {"pooled": torch.cat(pooled)} if pooled else {}
        time_ids = self.model.time_ids()
        return tensors if time_ids is None else tensors | {"time_ids": time_ids}

    def _latents(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        done, total = 0, sum(map(len, self._images.values()))
        for name, images in self._images.items():
            parts = []
            for start in range(0, len(images), self.batch):
                chunk = images[start : start + self.batch]
                parts.append(self.model.encode(load_pixels([image.path for image in chunk], self.model.size), start))
                done += len(chunk)
                if self.progress is not None:
                    self.progress(done, total)
            tensors[KEYS[name]] = torch.cat(parts)
        return tensors


KEYS = {"forget": "forget/latents", "retain": "retain/latents", "anchor": "instead/latents"}
"""Image set -> its latents in the file."""


def read_latents(path: Path, anchor_images: bool = True) -> Latents:
    """Read a cache, without the anchor images if not `anchor_images`. Where no forget images were drawn, anchor images replace them.

    Tensors stay on the CPU, where the operating system pages them in as they are used.
    """
    try:
        tensors = load_tensors(path, ["forget/text", "forget/anchors", "retain/text", "text"])
    except InputError as error:
        raise InputError(f"{path} cannot be read ({error}); delete it and run the same command again, which makes a new one") from error
    no_anchors, undrawn = torch.zeros(len(tensors["retain/text"]), 0, dtype=torch.int64), torch.empty(0)
    anchors = tensors.get(KEYS["anchor"]) if anchor_images else None
    forget = tensors.get(KEYS["forget"])
    images = forget if forget is not None else undrawn if anchors is None else anchors
    paired = None if forget is None else anchors
    return Latents(
        forget=ImageLatents(images, tensors["forget/text"], tensors["forget/anchors"], paired),
        retain=ImageLatents(tensors.get(KEYS["retain"], undrawn), tensors["retain/text"], no_anchors),
        text=tensors["text"],
        pooled=tensors.get("pooled"),
        time_ids=tensors.get("time_ids"),
        marks=tensors.get("marks"),
    )


def hold_out(latents: Latents, share: float = 1 / 8) -> tuple[Latents, Latents]:
    """The images to train on, and the last `share` of both sets, on which nothing is trained. InputError where a set has only one."""
    (forget, held_forget), (retain, held_retain) = _cut(latents.forget, "forget", share), _cut(latents.retain, "retain", share)
    return replace(latents, forget=forget, retain=retain), replace(latents, forget=held_forget, retain=held_retain)


def _cut(images: ImageLatents, name: str, share: float) -> tuple[ImageLatents, ImageLatents]:
    n = len(images.text)
    if n < 2:
        raise InputError(
            f"no {name} images can be held out for --guard and --gone, because there is only {n}; give more, or leave both options out",
            option="guard",
        )
    border = n - max(round(share * n), 1)
    return _rows(images, slice(border)), _rows(images, slice(border, n))


def _rows(images: ImageLatents, rows: slice) -> ImageLatents:
    paired = None if images.anchor_latents is None else images.anchor_latents[rows]
    return ImageLatents(images.latents[rows], images.text[rows], images.anchors[rows], paired)
