"""What the page asks its worker for, and how that stands: orders, pictures, places in the line. Knows no process and no network."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from erase.errors import InputError
from erase.options import check, option

LETTERS = 1000  # of a prompt; text encoders read fewer
MODELS = 6  # of one order, the original among them


@dataclass(frozen=True)
class Order:
    """What to draw: the same prompt and noise by each of `models` (label, source). `concept`: what to look for, as asdict has it.

    InputError for what the worker should not be asked.
    """

    models: tuple[tuple[str, str], ...]
    prompt: str
    seed: int = option(0, "the first picture's noise follows from it", low=0, high=2**31 - 1)
    count: int = option(4, "pictures from each model", low=1, high=16)
    steps: int = option(25, "denoising steps a picture", low=1, high=150)
    guidance: float = option(4.0, "classifier-free guidance", low=0.0, high=50.0)
    concept: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check(self)
        if not self.prompt.strip():
            raise InputError("the prompt is empty; say what to draw, or choose an example")
        if len(self.prompt) > LETTERS:
            raise InputError(f"the prompt has {len(self.prompt)} letters; expected at most {LETTERS}")
        if not 1 <= len(self.models) <= MODELS:
            raise InputError(f"{len(self.models)} models are chosen; expected one original and at most {MODELS - 1} erased ones")


@dataclass(frozen=True)
class Drawn:
    """One picture: by which model, which of its pictures, as PNG; what was found in it.

    `shows`: the concept is there; None where nothing looked for it. `exposed`: nudity is there; None where nothing could look.
    """

    model: int
    index: int
    png: bytes = field(repr=False)
    found: tuple[Mapping[str, Any], ...] = ()
    shows: bool | None = None
    exposed: bool | None = None


class Ticket:
    """A place in the line. Read it with `look`; only Drawing changes it."""

    def __init__(self, order: Order, visitor: str, number: int) -> None:
        self.order, self.visitor, self.number = order, visitor, number
        self.state = "waiting"  # then drawing, and in the end done, failed or withdrawn
        self.note = ""
        self.pictures: list[Drawn] = []
        self.asked = self.looked = time.monotonic()
        self.started = 0.0

    @property
    def over(self) -> bool:
        return self.state in ("done", "failed", "withdrawn")


@dataclass(frozen=True)
class Look:
    """How an order stands: its state, orders ahead of it, about how long it waits (None: not known), pictures made and in all."""

    state: str
    ahead: int
    wait: float | None
    made: int
    total: int
    note: str
