"""What draws an order: loaded models within a memory limit, detectors, and a cache of images.

The noise of an image depends on its seed alone, as torch's generator has it, so diffusers draws the same from that seed, and so does
`erase-concept generate --prompts` from the file prompts.csv of a comparison.
"""

from __future__ import annotations

import base64
import io
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from erase.checkpoints.folder import drawing_scheduler, short_hash, size_of
from erase.errors import InputError
from erase.images import Parameters, with_parameters
from ui.web.drawing.judging import as_asked, shows
from ui.web.drawing.order import SEEDS

CACHE = 64 * 2**20  # bytes of cached images
DETECTORS = 3  # that stay loaded
SMALL = 128  # pixels a side up to which more images are drawn at once
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
    facts: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)  # of models: their sampler, size and hash
    current: Any = None
    stopped: int = 0  # orders up to this number are withdrawn

    def draw(self, order: Mapping[str, Any], unwanted: Callable[[], bool] = lambda: False) -> None:
        """Draw in chunks of one prompt and one model; each is sent at once. Stopped where the order is withdrawn, or `unwanted` by then.

        Where all models fit into memory each prompt is drawn by all of them before the next; else each model draws all prompts.
        """
        detector, reason = self.detector(order["concept"])
        looks = Looks(detector, detector.facts()["labels"] if detector is not None else {}, order["concept"])
        models = [Source(number, label, *_identity(source)) for number, (label, source) in enumerate(order["models"])]
        asks = list(enumerate(order["asks"]))
        fit = sum(_bytes(model.folder) for model in models) <= self.memory
        turns = [(ask, model) for ask in asks for model in models] if fit else [(ask, model) for model in models for ask in asks]
        facts = {model.number: self._facts(model, order) for model in models}
        for model in models:
            self.send("model", model=model.number, facts=facts[model.number])
        for (number, ask), model in turns:
            for chunk in _chunks(order["count"], facts[model.number]["batch"]):
                if unwanted():
                    raise Stopped
                seeds = [(order["seed"] + i) % (SEEDS + 1) for i in chunk]
                pngs = self._drawn(model, order, ask["text"], seeds, facts[model.number])
                texts = [_parameters(order, ask["text"], seed, model, facts[model.number]).text() for seed in seeds]
                self._send(model, (number, ask), chunk, [with_parameters(*both) for both in zip(pngs, texts, strict=True)], looks)
        self.send("done", note=reason)

    def _drawn(self, model: Source, order: Mapping[str, Any], prompt: str, seeds: Sequence[int], facts: Mapping[str, Any]) -> list[bytes]:
        """The images of a chunk, from the cache where they are there."""
        settings = (order["negative"], order["steps"], order["guidance"], facts["sampler"], facts["size"])
        key = (model.key, prompt, tuple(seeds), settings)
        if key not in self.images:
            if model.key not in self.models:
                self.send("note", note=f"loading {model.label}")
            opened = self.model(model.key, model.folder)
            self.send("note", note=f"drawing with {model.label}")
            self._remember(key, self._sample(opened, order, prompt, seeds))
        self.images.move_to_end(key)
        return self.images[key]

    def _facts(self, model: Source, order: Mapping[str, Any]) -> dict[str, Any]:
        """How this model draws the order."""
        if model.key not in self.facts:
            folder = model.folder
            self.facts[model.key] = {"sampler": drawing_scheduler(folder), "hash": short_hash(folder), "size": size_of(folder)}
        own = self.facts[model.key]
        facts = {**own, **{name: order[name] for name in ("sampler", "size") if order[name]}}
        return facts | {"batch": 16 if facts["size"] <= SMALL else 4}

    def warm_up(self) -> None:
        """Import what every order needs, and open an embedded model: what that imports is imported for all."""
        import eval.vision.judge  # noqa: F401
        from erase.demo import DEMO

        with suppress(InputError, OSError, RuntimeError):  # the first order says what is wrong
            key, folder = _identity(DEMO)
            if 2 * _bytes(folder) <= self.memory:
                self._facts(Source(0, DEMO, key, folder), {"sampler": None, "size": None})
                self.model(key, folder)

    def prepare(self, order: Mapping[str, Any], overtaken: Callable[[], bool]) -> None:
        """Open the models of an order that will probably come and draw it into the cache, until it is `overtaken` by one that has come.

        Nothing is sent. Not where the models would fill more than half of the memory: they would be in the way of others.
        """
        with suppress(InputError, OSError, RuntimeError, Stopped):  # the order itself says what is wrong
            folders = {_identity(source)[1] for _, source in order["models"]}
            if 2 * sum(map(_bytes, folders)) > self.memory:
                return
            silent = Studio(self.device, self.memory, lambda *_, **__: None, self.models, self.detectors, self.images, self.facts)
            silent.draw({**order, "number": 1}, overtaken)

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
            size = sum(p.numel() * p.element_size() for part in opened.parts for p in getattr(opened.pipeline, part).parameters())
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

    def _sample(self, model: Any, order: Mapping[str, Any], prompt: str, seeds: Sequence[int]) -> list[bytes]:
        import torch

        self._check(order)
        self.current = model
        try:
            noise = [torch.Generator().manual_seed(seed) for seed in seeds]
            sample = model.sampler(order["steps"], order["guidance"], order["sampler"], order["negative"], order["size"])
            images = sample([prompt] * len(seeds), noise)
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

    def _send(
        self, model: Source, prompt: tuple[int, Mapping[str, Any]], chunk: Sequence[int], pngs: Sequence[bytes], looks: Looks
    ) -> None:
        images = [Image.open(io.BytesIO(png)) for png in pngs]
        detections = looks.detector(images) if looks.detector is not None else [[] for _ in images]
        exposed = self._exposed(images, detections, model.folder)
        number, ask = prompt
        for i, (png, objects) in enumerate(zip(pngs, detections, strict=True)):
            records = [{"label": d.label, "score": round(d.score, 4), "box": d.box} for d in objects]
            facts = {"model": model.number, "prompt": number, "index": chunk[i], "detections": records, "exposed": exposed[i]}
            facts |= {"shows": looks.shows(objects), "asked": looks.as_asked(objects, ask)}
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


@dataclass(frozen=True)
class Source:
    """A model of an order: its number and label, what identifies its weights, its folder."""

    number: int
    label: str
    key: tuple[str, str]
    folder: Path


@dataclass(frozen=True)
class Looks:
    """What looks for a concept: the detector, if there is one, and its labels."""

    detector: Any
    labels: Mapping[str, Sequence[str]]
    concept: Mapping[str, Any] | None

    def shows(self, detections: Sequence[Any]) -> bool | None:
        """Whether the concept is in an image with these detections; None where nothing looked for it."""
        return None if self.detector is None or self.concept is None else shows(detections, self.labels, self.concept)

    def as_asked(self, detections: Sequence[Any], ask: Mapping[str, Any]) -> bool | None:
        """Whether everything is in it that a prompt to keep asks for; None where that cannot be told."""
        return None if self.detector is None else as_asked(detections, self.labels, ask)


def _parameters(order: Mapping[str, Any], prompt: str, seed: int, model: Source, facts: Mapping[str, Any]) -> Parameters:
    """What goes into the file of an image."""
    return Parameters(
        prompt, seed, order["steps"], facts["sampler"], order["guidance"], facts["size"], model.label, facts["hash"], order["negative"]
    )


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
