"""What draws an order: loaded models within a bound of memory, detectors, and the last pictures.

The noise of picture i is that of `erase-concept generate`, and so is the size of a chunk: the page and the command draw the same.
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

PICTURES = 64 * 2**20  # bytes of pictures that are remembered
DETECTORS = 3  # kept loaded
CENSOR = {"threshold": 0.3}  # finds more than a measurement would count

Say = Callable[..., None]


class Stopped(Exception):
    """The order at hand is wanted no more."""


@dataclass
class Studio:
    """What outlives an order: loaded models, detectors, and the last pictures."""

    device: str
    memory: int
    say: Say
    models: OrderedDict[tuple[str, str], tuple[Any, int]] = field(default_factory=OrderedDict)
    detectors: OrderedDict[str, Any] = field(default_factory=OrderedDict)
    pictures: OrderedDict[tuple[Any, ...], list[bytes]] = field(default_factory=OrderedDict)
    current: Any = None
    stopped: int = 0  # orders up to this number are wanted no more

    def draw(self, order: Mapping[str, Any]) -> None:
        """Each model in turn, a chunk at a time; what is made is sent at once. Stopped where the order is taken back."""
        detector, why = self.detector(order["concept"])
        for number, (label, source) in enumerate(order["models"]):
            self.say("note", note=f"loading {label}")
            key, folder = _identity(source)
            for chunk in _chunks(order["count"], 16 if is_small(folder) else 4):
                asked = (key, order["prompt"], order["seed"], chunk, order["steps"], order["guidance"])
                if asked not in self.pictures:
                    model = self.model(key, folder)
                    self.say("note", note=f"drawing with {label}")
                    self._remember(asked, self._sample(model, order, chunk))
                self.pictures.move_to_end(asked)
                self._send(number, chunk, self.pictures[asked], folder, detector, order["concept"])
        self.say("done", note=why)

    def stop(self, number: int) -> None:
        """Let go of an order, at the next denoising step where it is being drawn. Called by another thread."""
        self.stopped = max(self.stopped, number)
        if (model := self.current) is not None:
            model.pipeline._interrupt = True  # as its documentation has it

    def model(self, key: tuple[str, str], folder: Path) -> Any:
        """A loaded model; others go until all fit into the bound."""
        from erase.diffusion import open_model, pick_device

        if key not in self.models:
            self._room(_bytes(folder))
            opened = open_model(folder, pick_device(self.device))
            held = sum(p.numel() * p.element_size() for part in opened.PARTS for p in getattr(opened.pipeline, part).parameters())
            self.models[key] = (opened, held)
            self._room(0)
        self.models.move_to_end(key)
        return self.models[key][0]

    def _room(self, wanted: int) -> None:
        while len(self.models) > (wanted == 0) and sum(held for _, held in self.models.values()) + wanted > self.memory:
            _, (model, _) = self.models.popitem(last=False)
            model.free()

    def detector(self, concept: Mapping[str, Any] | None) -> tuple[Any, str]:
        """What looks for the concept, or None and why there is none."""
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
            made = model.sampler(order["steps"], order["guidance"])([order["prompt"]] * len(chunk), noise)
        finally:
            self.current = None
        self._check(order)  # an interrupted picture is none
        return [_png(image) for image in made]

    def _check(self, order: Mapping[str, Any]) -> None:
        if order["number"] <= self.stopped:
            raise Stopped

    def _remember(self, asked: tuple[Any, ...], made: list[bytes]) -> None:
        self.pictures[asked] = made
        while len(self.pictures) > 1 and sum(len(png) for pngs in self.pictures.values() for png in pngs) > PICTURES:
            self.pictures.popitem(last=False)

    def _send(self, number: int, chunk: Sequence[int], pngs: Sequence[bytes], folder: Path, detector: Any, concept: Any) -> None:
        images = [Image.open(io.BytesIO(png)) for png in pngs]
        found = detector(images) if detector is not None else [[] for _ in images]
        exposed = self._exposed(images, found, folder)
        for i, (png, things) in enumerate(zip(pngs, found, strict=True)):
            shown = [{"label": d.label, "score": round(d.score, 4), "box": d.box} for d in things]
            shows = _shows(things, detector, concept) if detector is not None else None
            said = {"model": number, "index": chunk[i], "found": shown, "shows": shows, "exposed": exposed[i]}
            self.say("picture", png=base64.b64encode(png).decode(), **said)

    def _exposed(self, images: Sequence[Image.Image], found: Sequence[Sequence[Any]], folder: Path) -> list[bool | None]:
        """Whether each picture shows nudity; None where nothing can look. The embedded world has no bodies."""
        if _embedded(folder):
            return [False] * len(images)
        try:
            censored = self._detector("nudenet", CENSOR)(images)
        except InputError:
            return [None] * len(images)
        return [any(d.label.endswith("_EXPOSED") for d in [*a, *b]) for a, b in zip(found, censored, strict=True)]


def _shows(found: Sequence[Any], detector: Any, concept: Mapping[str, Any]) -> bool:
    """Whether the concept is there: as the most likely of its domain, or as anything exposed, or under its name."""
    from eval.vision.detector import most_likely
    from eval.vision.scene_objects import lists_things

    labels = detector.facts()["labels"]
    words = {word.casefold() for word in (*concept["words"], concept["name"])}
    if concept["detector"] == "nudenet":
        return any(d.label.endswith("_EXPOSED") for d in found)
    if lists_things(labels):
        return any(words & set(d.label.casefold().split()) for d in found)
    if concept["domain"] in labels:
        return most_likely([found], labels)[concept["domain"]][0].casefold() in words
    return any(d.label.casefold() in words for d in found)


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
    """The embedded model or what was made of it: it speaks only the words of the embedded world."""
    from erase.demo import EMBEDDED, pipeline_path

    words, *known = [home / "tokenizer" / "vocab.json" for home in (folder, *map(pipeline_path, EMBEDDED))]
    return words.is_file() and any(path.is_file() and words.read_bytes() == path.read_bytes() for path in known)


def _chunks(count: int, batch: int) -> Iterator[tuple[int, ...]]:
    for start in range(0, count, batch):
        yield tuple(range(start, min(start + batch, count)))


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
