"""What Compare does: a request becomes an order, whose status is shown a few times a second until its images are there.

Plain functions, without gradio. Whatever takes time runs in threads, so that no visitor waits for another's images.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from secrets import randbelow
from typing import Any

from erase.errors import InputError
from erase.images.samplers import SAMPLERS
from ui.web.compare.address import MODELS_OWN, query
from ui.web.compare.asking import asked, lines_of
from ui.web.compare.choices import chosen, looked_for, world_of
from ui.web.compare.counting import Seen, counted, counts_table
from ui.web.compare.grid import Place, grid
from ui.web.context import Page
from ui.web.drawing.downloads import Comparison, links
from ui.web.drawing.order import SEEDS, Order, Ticket, TicketStatus
from ui.web.messages import labelled, problem
from ui.web.runs import OWN, original_of

POLL = 0.1  # seconds between looks at a ticket
REFRESH = 1.0  # seconds after which the status is sent again, even if nothing has changed
PACE = 0.02  # seconds between two versions of the grid, for each image in it: each version holds them all
RANDOM = -1  # the seed that stands for any

LABELS = {
    "prompt": "Prompts", "negative": "Negative prompt", "seed": "Seed", "count": "Images", "steps": "Steps", "guidance": "Guidance",
    "models": "Erased models", "sampler": "Sampler", "size": "Size",
}  # fmt: skip
WHOLE = ("seed", "count", "steps", "size")


@dataclass(frozen=True)
class ComparisonRequest:
    """The values of the controls. `show`: do not blur nudity. `key`: the comparison before; `seen`: the images of this visit so far."""

    models: Sequence[str] = ()
    original: str = OWN
    concept: str = OWN
    prompts: str = ""
    negative: str = ""
    seed: float | None = 0
    count: float | None = 4
    steps: float | None = 25
    guidance: float | None = 4.0
    sampler: str = MODELS_OWN
    size: str = MODELS_OWN
    show: bool = False
    key: str = ""
    seen: Seen = field(default_factory=dict)


@dataclass(frozen=True)
class ComparisonUpdate:
    """What the page shows of an order. None: as before. Empty `key`: there is nothing new to download."""

    status: str
    busy: bool
    grid: str | None = None
    key: str = ""
    seen: Seen | None = None
    table: str = ""
    address: str = ""  # what the address of the page says of this comparison
    prompts: Sequence[str] = ()
    covered: bool = False  # whether an image is blurred, or would be
    failed: bool = False
    pairs: bool = False  # whether there is an erased model


def order_of(page: Page, request: ComparisonRequest) -> Order:
    """What the worker is to draw; InputError for what may not be opened or makes no sense."""
    models = [chosen(page, str(name)) for name in list(request.models)[:6]]
    source = original_of(page, str(request.original or ""), models)
    label = Path(source).name if Path(source).exists() else source
    world = world_of(source)
    concept = looked_for(str(request.concept or ""), models, world)
    numbers = {name: whole(getattr(request, name), LABELS[name]) for name in WHOLE[:3]}
    if numbers["seed"] == RANDOM:
        numbers["seed"] = randbelow(SEEDS + 1)
    return Order(
        ((label, source), *((model.label, model.source) for model in models)),
        tuple(asked(text, concept, world) for text in lines_of(request.prompts)),
        **numbers,
        guidance=number(request.guidance, LABELS["guidance"]),
        negative=" ".join(str(request.negative or "").split()),
        sampler=_sampler(request.sampler),
        size=None if request.size in (MODELS_OWN, "", None) else whole(request.size, LABELS["size"]),
        concept=concept,
    )


def _sampler(name: str | None) -> str | None:
    """The class of diffusers for a name of the list, or one that is a class."""
    if name in (MODELS_OWN, "", None):
        return None
    return next((kind for kind, called in SAMPLERS.items() if name in (kind, called)), name)


def number(value: Any, label: str) -> float:
    """A number from a control, which may be empty."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{label} is {'empty' if value in (None, '') else repr(value)}; expected a number") from None


def whole(value: Any, label: str) -> int:
    """A whole number from a control, which may be empty or have a fraction."""
    try:
        found = float(value)
        if found != int(found):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{label} is {'empty' if value in (None, '') else repr(value)}; expected a whole number") from None
    return int(found)


async def compare(page: Page, request: ComparisonRequest, visitor: str) -> AsyncIterator[ComparisonUpdate]:
    """Draw; updates at once, as images come, and every second. Ends early where the visitor has left the queue."""
    try:
        order = await asyncio.to_thread(order_of, page, request)
        page.rate.click(visitor)
        ticket = await asyncio.to_thread(page.drawing.submit, order, visitor)
    except InputError as error:
        yield ComparisonUpdate(problem(labelled(error, LABELS)), False, failed=True)
        return
    try:
        async for update in _follow(page, request, ticket):
            yield update
    finally:
        page.drawing.withdraw(ticket)  # changes nothing where it is over


async def _follow(page: Page, request: ComparisonRequest, ticket: Ticket) -> AsyncIterator[ComparisonUpdate]:
    start, sent, drawn = time.monotonic(), 0.0, 0.0
    before, images, made = ("", "", -1), -1, dict[Place, str]()
    while not ticket.over:
        status = page.drawing.status(ticket)
        now = (status.note, status.state, status.ahead)
        new = status.done > max(images, 0) and time.monotonic() - drawn > PACE * status.done
        if not ticket.over and (now != before or new or time.monotonic() - sent > REFRESH):
            html = await asyncio.to_thread(grid, ticket.order, list(ticket.images), request.show, "", made) if new else None
            before, sent = now, time.monotonic()
            if new:
                images, drawn = status.done, sent
            yield ComparisonUpdate(status_line(status, sent - start), True, html)
        await asyncio.sleep(POLL)
    status = page.drawing.status(ticket)
    if status.state != "done":
        stopped = status.state == "withdrawn"
        yield ComparisonUpdate('<p role="status">Stopped.</p>' if stopped else problem(status.note), False, failed=not stopped)
        return
    yield await asyncio.to_thread(_finished, page, request, ticket, time.monotonic() - start, made)


def _finished(page: Page, request: ComparisonRequest, ticket: Ticket, seconds: float, made: dict[Place, str]) -> ComparisonUpdate:
    order, images = ticket.order, ticket.images
    seen = counted(request.seen, order, images)
    key = page.downloads.put(Comparison(order, tuple(images), dict(ticket.facts)), instead_of=request.key)
    return ComparisonUpdate(
        f'<p role="status">{len(images)} images in {seconds:.1f} s.{_notes(ticket)}</p>',
        False,
        grid(order, images, request.show, key, made),
        key,
        seen,
        counts_table(seen, order),
        query(vars(request), [ask.text for ask in order.asks], order.seed),
        [ask.text for ask in order.asks],
        any(image.exposed is not False for image in images),
        pairs=len(order.models) > 1,
    )


def _notes(ticket: Ticket) -> str:
    notes = f" {escape(ticket.note[:1].upper() + ticket.note[1:])}." if ticket.note else ""
    if any(image.exposed is None for image in ticket.images):
        notes += ' No nudity detector is installed, so the images are blurred; install one with: pip install "erase-concept[nudity]".'
    if ticket.order.negative and ticket.order.guidance <= 1:
        notes += " At a guidance of 1 or less a negative prompt has an effect on FLUX alone."
    return notes


# --- the same comparison in another form --------------------------------------------------------------------------------


def files(key: str, show: bool) -> str:
    """Links to the files of a comparison."""
    return links(key, [("pictures.zip", "Images (zip)"), ("comparison.png", "Sheet with the settings (png)")], show)


def again(page: Page, key: str, show: bool) -> str:
    """The grid of a comparison, after the visitor has ticked or unticked the box that shows nudity."""
    comparison = page.downloads.comparison(key)
    return grid(comparison.order, comparison.images, show, key)


def status_line(status: TicketStatus, seconds: float) -> str:
    """The status of an order in a sentence, with a bar."""
    if status.state == "waiting":
        others = f"{status.ahead} {'order is' if status.ahead == 1 else 'orders are'} ahead of you" if status.ahead else "Your turn is next"
        about = f", about {max(1, round(status.wait))} s" if status.wait else ""
        return f'<p role="status">{others}{about}.</p><progress aria-label="waiting in the queue"></progress>'
    note = escape(status.note or "starting")
    bar = f'<progress value="{status.done}" max="{status.total}" aria-label="images drawn"></progress>'
    return f'<p role="status">{note[:1].upper()}{note[1:]}: {status.done} of {status.total} images, {seconds:.0f} s.</p>{bar}'
