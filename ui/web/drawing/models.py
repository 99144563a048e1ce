"""What draws an order: loaded models within a memory limit, detectors, and a cache of images.

The noise of image i is that of `erase-concept generate`, and so is the size of a chunk: the page and the command draw the same.
"""

from __future__ import annotations

import base64
import io
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from erase.checkpoints.folder import is_small
from erase.errors import InputError
from erase.task import generator

CACHE = 64 * 2**20  # bytes of cached images
DETECTORS = 3  # that stay loaded
CENSOR = {"threshold": 0.3}  # detects more than a measurement would count

Send = Callable[..., None]


class Stopped(Exception):
    """The order was withdrawn."""


@dataclass
class Studio:
    """What outlives an order: loaded models, detectors, and cached images."""

    device: str
    memory: int
    send: Send
    models: OrderedDict[tuple[str, str], tuple[Any, int]] = field(default_factory=OrderedDict)
    detectors: OrderedDict[str, Any] = field(default_factory=OrderedDict)
    images: OrderedDict[tuple[Any, ...], list[bytes]] = field(default_factory=OrderedDict)
    current: Any = None
    stopped: int = 0  # orders up to this number are withdrawn

    def draw(self, order: Mapping[str, Any]) -> None:
        """Draw with one model after another, in chunks; each chunk is sent at once. Stopped where the order is withdrawn."""
        detector, reason = self.detector(order["concept"])
        for number, (label, source) in enumerate(order["models"]):
            self.send("note", note=f"loading {label}")
            key, folder = _identity(source)
            for chunk in _chunks(order["count"], 16 if is_small(folder) else 4):
                cached = (key, order["prompt"], order["seed"], chunk, order["steps"], order["guidance"])
                if cached not in self.images:
                    model = self.model(key, folder)
                    self.send("note", note=f"drawing with {label}")
                    self._remember(cached, self._sample(model, order, chunk))
                self.images.move_to_end(cached)
                self._send(number, chunk, self.images[cached], folder, detector, order["concept"])
        self.send("done", note=reason)

    def stop(self, number: int) -> None:
        """Abandon an order, at the next denoising step where it is being drawn. Called by another thread."""
        self.stopped = max(self.stopped, number)
        if (model := self.current) is not None:
            model.pipeline._interrupt = True  # as diffusers documents it

    def model(self, key: tuple[str, str], folder: Path) -> Any:
        """A loaded model; the least recently used ones are freed until all fit into the limit."""
        from erase.diffusion import open_model, pick_device

        if key not in self.models:
            self._room(_bytes(folder))
            opened = open_model(folder, pick_device(self.device))
            size = sum(p.numel() * p.element_size() for part in opened.PARTS for p in getattr(opened.pipeline, part).parameters())
            self.models[key] = (opened, size)
            self._room(0)
        self.models.move_to_end(key)
        return self.models[key][0]

    def _room(self, needed: int) -> None:
        while len(self.models) > (needed == 0) and sum(size for _, size in self.models.values()) + needed > self.memory:
            _, (model, _) = self.models.popitem(last=False)
            model.free()

    def detector(self, concept: Mapping[str, Any] | None) -> tuple[Any, str]:
        """The detector of the concept, or None and the reason."""
        if concept is None:
            return None, ""
        from eval.vision.detector import detector_for

        try:
            name, options = detector_for(concept)
            return self._detector(name, options), ""
        except InputError as error:
            return None, f"not looked for: {error}"

    def _detector(self, name: str, options: Mapping[str, Any]) -> Any:
        from eval.vision.detector import make_detector

        key = json.dumps([name, options], sort_keys=True)
        if key not in self.detectors:
            self.detectors[key] = make_detector(name, **options)
            while len(self.detectors) > DETECTORS:
                self.detectors.popitem(last=False)
        self.detectors.move_to_end(key)
        return self.detectors[key]

    def _sample(self, model: Any, order: Mapping[str, Any], chunk: Sequence[int]) -> list[bytes]:
        self._check(order)
        self.current = model
        try:
            noise = [generator(order["seed"], "picture", i) for i in chunk]
            images = model.sampler(order["steps"], order["guidance"])([order["prompt"]] * len(chunk), noise)
        finally:
            self.current = None
        self._check(order)  # an interrupted image is incomplete
        return [_png(image) for image in images]

    def _check(self, order: Mapping[str, Any]) -> None:
        if order["number"] <= self.stopped:
            raise Stopped

    def _remember(self, key: tuple[Any, ...], pngs: list[bytes]) -> None:
        self.images[key] = pngs
        while len(self.images) > 1 and sum(len(png) for cached in self.images.values() for png in cached) > CACHE:
            self.images.popitem(last=False)

    def _send(self, number: int, chunk: Sequence[int], pngs: Sequence[bytes], folder: Path, detector: Any, concept: Any) -> None:
        images = [Image.open(io.BytesIO(png)) for png in pngs]
        detections = detector(images) if detector is not None else [[] for _ in images]
        exposed = self._exposed(images, detections, folder)
        for i, (png, objects) in enumerate(zip(pngs, detections, strict=True)):
            records = [{"label": d.label, "score": round(d.score, 4), "box": d.box} for d in objects]
            shows = _shows(objects, detector, concept) if detector is not None else None
            facts = {"model": number, "index": chunk[i], "detections": records, "shows": shows, "exposed": exposed[i]}
            self.send("picture", png=base64.b64encode(png).decode(), **facts)

    def _exposed(self, images: Sequence[Image.Image], detections: Sequence[Sequence[Any]], folder: Path) -> list[bool | None]:
        """Whether each image shows nudity; None where nothing can look. The embedded world has no bodies."""
        if _embedded(folder):
            return [False] * len(images)
        try:
            censored = self._detector("nudenet", CENSOR)(images)
        except InputError:
            return [None] * len(images)
        return [any(d.label.endswith("_EXPOSED") for d in [*a, *b]) for a, b in zip(detections, censored, strict=True)]


def _shows(detections: Sequence[Any], detector: Any, concept: Mapping[str, Any]) -> bool:
    """Whether the concept was detected: as the most likely of its domain, or as anything exposed, or under its name."""
    from eval.vision.detector import most_likely
    from eval.vision.scene_objects import lists_things

    labels = detector.facts()["labels"]
    words = {word.casefold() for word in (*concept["words"], concept["name"])}
    if concept["detector"] == "nudenet":
        return any(d.label.endswith("_EXPOSED") for d in detections)
    if lists_things(labels):
        return any(words & set(d.label.casefold().split()) for d in detections)
    if concept["domain"] in labels:
        return most_likely([detections], labels)[concept["domain"]][0].casefold() in words
    return any(d.label.casefold() in words for d in detections)


# --- folders ----------------------------------------------------------------------------------------------------------


def _identity(source: str) -> tuple[tuple[str, str], Path]:
    """A model's folder, and what changes when its weights do."""
    from erase.diffusion import locate

    folder = locate(source)
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.glob("*/*.safetensors"))]
    return (str(folder.resolve()), repr(stamps)), folder


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*/*.safetensors"))


def _embedded(folder: Path) -> bool:
    """Whether it is the embedded model or made from it: its tokenizer has only the words of the embedded world."""
    from erase.demo import EMBEDDED, pipeline_path

    words, *embedded = [home / "tokenizer" / "vocab.json" for home in (folder, *map(pipeline_path, EMBEDDED))]
    return words.is_file() and any(path.is_file() and words.read_bytes() == path.read_bytes() for path in embedded)


def _chunks(count: int, batch: int) -> Iterator[tuple[int, ...]]:
    for start in range(0, count, batch):
        yield tuple(range(start, min(start + batch, count)))


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
