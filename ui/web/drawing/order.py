"""What the page asks its worker to draw, and the status of that: orders, images, places in the queue."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from erase.errors import InputError
from erase.options import check, option

LETTERS = 1000  # of a prompt; text encoders read fewer
MODELS = 6  # of one order, the original among them

State = Literal["waiting", "drawing", "done", "failed", "withdrawn"]


@dataclass(frozen=True)
class Order:
    """The same prompt and noise by each of `models` (label, source). `concept`: what to look for, as dataclasses.asdict has it.

    InputError for what the worker should not be asked.
    """

    models: tuple[tuple[str, str], ...]
    prompt: str
    seed: int = option(0, "seed of the first image's noise", low=0, high=2**31 - 1)
    count: int = option(4, "images from each model", low=1, high=16)
    steps: int = option(25, "denoising steps per image", low=1, high=150)
    guidance: float = option(4.0, "classifier-free guidance", low=0.0, high=50.0)
    concept: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check(self)
        if not self.prompt.strip():
            raise InputError("the prompt is empty; write what to draw, or choose an example")
        if len(self.prompt) > LETTERS:
            raise InputError(f"the prompt has {len(self.prompt)} letters; expected at most {LETTERS}")
        if not 1 <= len(self.models) <= MODELS:
            raise InputError(f"{len(self.models)} models are chosen; expected one original and at most {MODELS - 1} erased ones")


@dataclass(frozen=True)
class DrawnImage:
    """One image: the number of its model, its index, its PNG, and what was detected in it.

    `shows`: whether the concept is in it; None where nothing looked for it. `exposed`: whether nudity is in it; None where nothing could
    look.
    """

    model: int
    index: int
    png: bytes = field(repr=False)
    detections: tuple[Mapping[str, Any], ...] = ()
    shows: bool | None = None
    exposed: bool | None = None


class Ticket:
    """A place in the queue. Read it by `Drawing.status`; only Drawing changes it."""

    def __init__(self, order: Order, visitor: str, number: int) -> None:
        self.order, self.visitor, self.number = order, visitor, number
        self.state: State = "waiting"
        self.note = ""
        self.images: list[DrawnImage] = []
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
