"""What the page asks its worker to draw, and the status of that: orders, images, places in the queue."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from erase.errors import InputError
from erase.images.samplers import SAMPLERS
from erase.options import check, option

LETTERS = 1000  # of a prompt; text encoders read fewer
LINES = 16  # prompts of one order
MODELS = 6  # of one order, the original among them
PICTURES = 128  # of one order: others wait while it is drawn
SEEDS = 2**31 - 1
SIDES = (64, 1536)  # pixels

State = Literal["waiting", "drawing", "done", "failed", "withdrawn"]


@dataclass(frozen=True)
class Ask:
    """A prompt, and what is known of it: its role in erasing the concept ("" unknown), and what it asks for (domain -> word)."""

    text: str
    role: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)

    def row(self) -> dict[str, Any]:
        """As measurements have it."""
        return {"text": self.text, "role": self.role, "attributes": dict(self.attributes)}


@dataclass(frozen=True)
class Order:
    """Each prompt drawn by each of `models` (label, source) from the same noise. Image i of a prompt has the seed `seed` + i.

    `concept`: what to look for, as dataclasses.asdict has it. `sampler`: a class of diffusers; None, as for `size`: the model's own.
    InputError for what the worker should not be asked.
    """

    models: tuple[tuple[str, str], ...]
    asks: tuple[Ask, ...]
    seed: int = option(0, "seed of the first image's noise", low=0, high=SEEDS)
    count: int = option(4, "images of each prompt from each model", low=1, high=16)
    steps: int = option(25, "denoising steps per image", low=1, high=150)
    guidance: float = option(4.0, "classifier-free guidance", low=0.0, high=50.0)
    negative: str = ""
    sampler: str | None = option(None, "sampler", choices=tuple(SAMPLERS))
    size: int | None = option(None, "side of the images in pixels", low=SIDES[0], high=SIDES[1])
    concept: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check(self)
        if not self.asks or not all(ask.text.strip() for ask in self.asks):
            raise InputError("the prompt is empty; write what to draw, or choose an example")
        if len(self.asks) > LINES:
            raise InputError(f"there are {len(self.asks)} prompts; expected at most {LINES}, one per line")
        for number, text in enumerate([*(ask.text for ask in self.asks), self.negative], 1):
            if len(text) > LETTERS:
                which = "the negative prompt" if number > len(self.asks) else f"prompt {number}" if len(self.asks) > 1 else "the prompt"
                raise InputError(f"{which} has {len(text)} letters; expected at most {LETTERS}")
        if not 1 <= len(self.models) <= MODELS:
            raise InputError(f"{len(self.models)} models are chosen; expected one original and at most {MODELS - 1} erased ones")
        if self.size is not None and self.size % 8:
            raise InputError(f"the size is {self.size}; expected a multiple of 8")
        if self.total > PICTURES:
            product = f"{len(self.asks)} prompts of {len(self.models)} models, {self.count} images each"
            raise InputError(f"{product}, are {self.total} images; expected at most {PICTURES}: choose fewer of one of the three")

    @property
    def total(self) -> int:
        """Images in all."""
        return len(self.asks) * len(self.models) * self.count

    def seed_of(self, index: int) -> int:
        """The seed of image `index` of each prompt; it draws the same image again as the first of a comparison."""
        return (self.seed + index) % (SEEDS + 1)


@dataclass(frozen=True)
class DrawnImage:
    """One image: the numbers of its model and its prompt, its index, its PNG, and what was detected in it.

    `shows`: whether the concept is in it; None where nothing looked for it. `asked`: whether everything is in it that its prompt asks
    for; None where nothing could tell. `exposed`: whether nudity is in it; None where nothing could look.
    """

    model: int
    prompt: int
    index: int
    png: bytes = field(repr=False)
    detections: tuple[Mapping[str, Any], ...] = ()
    shows: bool | None = None
    asked: bool | None = None
    exposed: bool | None = None

    @property
    def place(self) -> tuple[int, int, int]:
        """Where it belongs: prompt, model, index."""
        return self.prompt, self.model, self.index


class Ticket:
    """A place in the queue. Read it by `Drawing.status`; only Drawing changes it."""

    def __init__(self, order: Order, visitor: str, number: int) -> None:
        self.order, self.visitor, self.number = order, visitor, number
        self.state: State = "waiting"
        self.note = ""
        self.images: list[DrawnImage] = []
        self.facts: dict[int, dict[str, Any]] = {}  # of each model, by its number: sampler, size, hash, batch
        self.detector: dict[str, Any] | None = None  # what looked for the concept: its facts
        self.polled = time.monotonic()  # when its visitor last asked for its status

    @property
    def over(self) -> bool:
        """Whether it will not change any more."""
        return self.state in ("done", "failed", "withdrawn")


@dataclass(frozen=True)
class TicketStatus:
    """The status of an order: orders ahead of it, the expected wait in seconds (None: unknown), images done and in all."""

    state: State
    ahead: int
    wait: float | None
    done: int
    total: int
    note: str
