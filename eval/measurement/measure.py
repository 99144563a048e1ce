"""Measure images chunk by chunk with detector, CLIP, feature extractor and similarities, while the next chunk is generated.

Each image is opened once for all measures. `eval.measurement.cache` stores the results, `eval.measurement.aggregate` computes the
numbers of a report from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from erase.images import Picture, open_picture
from eval.measurement.aggregate import RETAIN, Measurements
from eval.measurement.cache import Shard, gather
from eval.vision.detector import Detector

if TYPE_CHECKING:
    from eval.metrics.similarity import Lpips

Row = Mapping[str, Any]
Each = Callable[[Sequence[int], Sequence[Picture]], None]


class Extractor(Protocol):
    """Images -> features (n, d) float32 on the CPU."""

    def __call__(self, images: Sequence[Image.Image]) -> Tensor: ...

    def facts(self) -> dict[str, Any]:
        """For the protocol of a report: name, version, sha256, dimension."""
        ...


class Clip(Extractor, Protocol):
    """An extractor that also embeds texts."""

    def texts(self, prompts: Sequence[str]) -> Tensor:
        """Features of texts, comparable with those of images."""
        ...


@dataclass(frozen=True)
class Tools:
    """What images are measured with. None: not available; `missing` has the reason for each measure that is left out."""

    detector: Detector | None = None
    clip: Clip | None = None
    features: Extractor | None = None
    ssim: bool = True
    lpips: Lpips | None = None
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def dimension(self) -> int | None:
        """Dimension of the features."""
        return None if self.features is None else int(self.features.facts()["dimension"])

    def facts(self) -> dict[str, Any]:
        """The facts of all tools, for the protocol of a report."""
        facts: dict[str, Any] = {} if self.detector is None else dict(self.detector.facts())
        if self.clip is not None:
            facts["clip"] = self.clip.facts()
        if self.features is not None:
            facts["extractor"] = self.features.facts()
        drift = [self.lpips.facts()] if self.lpips is not None else []
        if self.ssim:
            from eval.metrics.similarity import ssim_facts

            drift = [ssim_facts(), *drift]
        return facts | ({"drift": drift} if drift else {})


@contextmanager
def measuring(
    folder: Path,
    which: str,
    rows: Sequence[Row],
    tools: Tools,
    before: Sequence[Path] | None = None,
    part: int = 0,
    background: bool = False,
) -> Iterator[Each]:
    """Yield a callback that measures each chunk of images: callback(indexes, images).

    With `background=True` the callback returns at once and a thread measures while the caller generates the next chunk. That pays
    off where a GPU generates; on the CPU two thread pools slow each other down more than the overlap gains (measuring then took
    29 % of the time instead of 7). `before`: paths of the original's images, for SSIM and LPIPS. Images that `folder` has
    measurements of are not measured again. `part` numbers this process's shard.
    """
    shard = Shard.open_for_writing(folder, which, len(rows), tools.dimension, part)
    with ThreadPoolExecutor(1) as worker:
        pending: list[Future[None]] = []

        def each(indexes: Sequence[int], images: Sequence[Picture]) -> None:
            new = [(i, image) for i, image in zip(indexes, images, strict=True) if i not in shard.done]
            while len(pending) > 1 or (pending and pending[0].done()):
                pending.pop(0).result()  # at most one chunk waits; an error of the thread is raised here
            if new and background:
                pending.append(worker.submit(_measure, shard, new, rows, tools, before))
            elif new:
                _measure(shard, new, rows, tools, before)

        yield each
        for future in pending:
            future.result()
    shard.save()


def only_features(tools: Tools) -> Tools:
    """The feature extractor alone, for a reference set."""
    return Tools(features=tools.features, ssim=False)


def read_measurements(folder: Path, which: str, rows: Sequence[Row], tools: Tools) -> Measurements:
    """All saved measurements of an image set."""
    return gather(folder, which, len(rows), tools.dimension)


@torch.no_grad()
def _measure(shard: Shard, new: Sequence[tuple[int, Picture]], rows: Sequence[Row], tools: Tools, before: Sequence[Path] | None) -> None:
    """Open a chunk of images and measure each."""
    indexes = [i for i, _ in new]
    images = [open_picture(image.path) for _, image in new]
    records: list[dict[str, Any]] = [{"index": i, "sha256": image.sha256} for i, image in new]
    retain = [k for k, i in enumerate(indexes) if rows[i]["role"] == RETAIN]
    features = None
    if tools.detector is not None:
        for record, detections in zip(records, tools.detector(images), strict=True):
            record["found"] = [[d.label, round(d.score, 4), *([d.box] if d.box else [])] for d in detections]
    if tools.clip is not None:
        embedded = tools.clip(images)
        scores = clip_scores(embedded, tools.clip.texts([str(rows[i]["text"]) for i in indexes]))
        for record, score in zip(records, scores.tolist(), strict=True):
            record["clip_score"] = score
        if tools.features is tools.clip:
            features = embedded[retain]
    if (tools.ssim or tools.lpips) and before is not None:
        _similarities(records, retain, images, [before[i] for i in indexes], tools)
    if tools.features is not None and features is None and retain:
        features = tools.features([images[k] for k in retain])
    shard.add(records, [indexes[k] for k in retain], features)


def _similarities(
    records: Sequence[dict[str, Any]], retain: Sequence[int], images: Sequence[Image.Image], before: Sequence[Path], tools: Tools
) -> None:
    from eval.metrics.similarity import ssim

    measures = {"ssim": ssim if tools.ssim else None, "lpips": tools.lpips}
    for k in retain:
        pair = _pixels(open_picture(before[k])), _pixels(images[k])
        records[k] |= {name: float(measure(*pair)[0]) for name, measure in measures.items() if measure is not None}


def clip_scores(images: Tensor, texts: Tensor) -> Tensor:
    """100 max(cos, 0) of each image's features with its text's, (n,): CLIPScore (Hessel et al. 2021) on the scale of published tables."""
    return 100 * torch.nn.functional.cosine_similarity(images.double(), texts.double()).clamp(min=0)


def _pixels(image: Image.Image) -> Tensor:
    """uint8 (1, 3, h, w)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
