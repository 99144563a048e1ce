"""Looks at pictures, chunk by chunk, with everything that measures them, while the next ones are being made.

Each picture is opened once for all measures. What they come to is kept in `eval.measurement.cache`, the numbers are made in
`eval.measurement.aggregate`. Which detector or extractor it is makes no difference here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from erase.images import Picture, open_picture
from eval.measurement.aggregate import RETAIN, Seen
from eval.measurement.cache import Measured, gather
from eval.vision.detector import Detector

Row = Mapping[str, Any]
Each = Callable[[Sequence[int], Sequence[Picture]], None]


class Extractor(Protocol):
    """Pictures -> features (n, d) float32 on the CPU."""

    def __call__(self, images: Sequence[Image.Image]) -> Tensor: ...

    def facts(self) -> dict[str, Any]:
        """Its part of the protocol: name, version, sha256, dimension."""
        ...


class Clip(Extractor, Protocol):
    """An extractor that also knows texts."""

    def texts(self, prompts: Sequence[str]) -> Tensor:
        """Features of texts, comparable with those of pictures."""
        ...


@dataclass(frozen=True)
class Tools:
    """What pictures are looked at with. None: not at hand; `missing` says for each measure that is left out, why."""

    detector: Detector | None = None
    clip: Clip | None = None
    features: Extractor | None = None
    ssim: bool = True
    lpips: Any = None
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def dimension(self) -> int | None:
        """Of the features."""
        return None if self.features is None else int(self.features.facts()["dimension"])

    def facts(self) -> dict[str, Any]:
        """All of it, as the protocol has it."""
        facts: dict[str, Any] = {} if self.detector is None else dict(self.detector.facts())
        for name in ("clip", "features"):
            if (tool := getattr(self, name)) is not None:
                facts["extractor" if name == "features" else name] = tool.facts()
        if self.ssim:
            from eval.metrics.similarity import ssim_facts

            facts["drift"] = [ssim_facts()]
        if self.lpips is not None:
            facts["drift"] = [*facts.get("drift", ()), self.lpips.facts()]
        return facts


@contextmanager
def measuring(
    folder: Path,
    which: str,
    rows: Sequence[Row],
    tools: Tools,
    before: Sequence[Path] | None = None,
    part: int = 0,
    beside: bool = False,
) -> Iterator[Each]:
    """Yield what is to be given every chunk of pictures, and measures it.

    With `beside` it returns at once and measures while the caller draws on: good where that happens on a card. On the cores
    that draw, two thread pools slow each other more than the overlap gains (seen: 29 % for measuring instead of 7).
    `before`: where the original's pictures are, for drift. What was measured earlier is not measured again.
    """
    state = Measured(folder, which, len(rows), tools.dimension, part)
    with ThreadPoolExecutor(1) as worker:
        pending: list[Future[None]] = []

        def each(indexes: Sequence[int], pictures: Sequence[Picture]) -> None:
            new = [(i, picture) for i, picture in zip(indexes, pictures, strict=True) if i not in state.done]
            while len(pending) > 1 or (pending and pending[0].done()):
                pending.pop(0).result()  # no queue of more than one, and its error comes out here
            if new and beside:
                pending.append(worker.submit(_look, state, new, rows, tools, before))
            elif new:
                _look(state, new, rows, tools, before)

        yield each
        for future in pending:
            future.result()
    state.save()


def only_features(tools: Tools) -> Tools:
    """For pictures of a reference set, of which nothing else is asked."""
    return Tools(features=tools.features, ssim=False)


def seen(folder: Path, which: str, rows: Sequence[Row], tools: Tools) -> Seen:
    """Everything that was measured of a set."""
    return Seen(*gather(folder, which, len(rows), tools.dimension))


@torch.no_grad()
def _look(state: Measured, new: Sequence[tuple[int, Picture]], rows: Sequence[Row], tools: Tools, before: Sequence[Path] | None) -> None:
    """Open a chunk of pictures and measure each."""
    indexes = [i for i, _ in new]
    images = [open_picture(picture.path) for _, picture in new]
    records: list[dict[str, Any]] = [{"index": i, "sha256": picture.sha256} for i, picture in new]
    kept = [k for k, i in enumerate(indexes) if rows[i]["role"] == RETAIN]
    features = None
    if tools.detector is not None:
        for record, found in zip(records, tools.detector(images), strict=True):
            record["found"] = [[d.label, round(d.score, 4), *([d.box] if d.box else [])] for d in found]
    if tools.clip is not None:
        pictures = tools.clip(images)
        scores = clip_scores(pictures, tools.clip.texts([str(rows[i]["text"]) for i in indexes]))
        for record, score in zip(records, scores.tolist(), strict=True):
            record["clip_score"] = score
        if tools.features is tools.clip:
            features = pictures[kept]
    if (tools.ssim or tools.lpips) and before is not None:
        _drift(records, kept, images, [before[i] for i in indexes], tools)
    if tools.features is not None and features is None and kept:
        features = tools.features([images[k] for k in kept])
    state.add(records, [indexes[k] for k in kept], features)


def _drift(
    records: Sequence[dict[str, Any]], kept: Sequence[int], images: Sequence[Image.Image], before: Sequence[Path], tools: Tools
) -> None:
    from eval.metrics.similarity import ssim

    measures = {"ssim": ssim if tools.ssim else None, "lpips": tools.lpips}
    for k in kept:
        pair = _bytes(open_picture(before[k])), _bytes(images[k])
        records[k] |= {name: float(measure(*pair)[0]) for name, measure in measures.items() if measure is not None}


def clip_scores(pictures: Tensor, texts: Tensor) -> Tensor:
    """100 max(cos, 0) of each picture with its text, (n,): CLIPScore (Hessel et al. 2021) on the scale of published tables."""
    return 100 * torch.nn.functional.cosine_similarity(pictures.double(), texts.double()).clamp(min=0)


def _bytes(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
