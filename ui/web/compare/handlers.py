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
from typing import Any

from PIL import Image

from erase.errors import InputError
from ui.web.compare.tally import Tally, counted, tally_table
from ui.web.context import Page
from ui.web.drawing.downloads import Comparison, links
from ui.web.drawing.images import concept_name, enlarged, grid
from ui.web.drawing.order import DrawnImage, Order, Ticket, TicketStatus
from ui.web.messages import labelled, problem
from ui.web.runs import OWN, concept_of, erased, original_of

POLL = 0.1  # seconds between looks at a ticket
REFRESH = 1.0  # seconds after which the status is sent again, even if nothing has changed

LABELS = {"prompt": "Prompt", "seed": "Random seed", "count": "Images", "steps": "Steps", "guidance": "Guidance", "models": "Erased models"}


@dataclass(frozen=True)
class ComparisonRequest:
    """The values of the controls. `show`: do not blur nudity. `key`: the comparison before; `tally`: what was detected so far."""

    models: Sequence[str] = ()
    original: str = OWN
    concept: str = OWN
    prompt: str = ""
    seed: float = 0
    count: float = 4
    steps: float = 25
    guidance: float = 4.0
    show: bool = False
    key: str = ""
    tally: Tally = field(default_factory=dict)


@dataclass(frozen=True)
class ComparisonUpdate:
    """What the page shows of an order. Empty `key`: there is nothing new to download."""

    status: str
    busy: bool
    grid: str | None = None
    key: str = ""
    tally: Tally | None = None
    table: str = ""
    pairs: Sequence[tuple[str, str]] = ()
    slider: tuple[Image.Image, Image.Image] | None = None


def order_of(page: Page, request: ComparisonRequest) -> Order:
    """What the worker is to draw; InputError for what may not be opened or makes no sense."""
    chosen = [erased(page, str(name)) for name in list(request.models)[:6]]
    source = original_of(page, str(request.original or ""), chosen)
    label = Path(source).name if Path(source).exists() else source
    models = ((label, source), *((model.label, model.source) for model in chosen))
    concept = concept_of(str(request.concept or ""), chosen)
    return Order(
        models,
        " ".join(str(request.prompt).split()),
        seed=whole(request.seed, "Random seed"),
        count=whole(request.count, "Images"),
        steps=whole(request.steps, "Steps"),
        guidance=float(request.guidance or 0),
        concept=concept,
    )


def whole(value: Any, label: str) -> int:
    """A number from a control, which may be empty or have a fraction."""
    try:
        number = float(value)
        if number != int(number):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{label} is {'empty' if value is None else repr(value)}; expected a whole number") from None
    return int(number)


async def compare(page: Page, request: ComparisonRequest, visitor: str) -> AsyncIterator[ComparisonUpdate]:
    """Draw; updates at once, at every image and every second. Ends early where the visitor has left the queue."""
    try:
        order = await asyncio.to_thread(order_of, page, request)
        page.rate.click(visitor)
        ticket = await asyncio.to_thread(page.drawing.submit, order, visitor)
    except InputError as error:
        yield ComparisonUpdate(problem(labelled(error, LABELS)), False)
        return
    try:
        async for update in _follow(page, request, ticket):
            yield update
    finally:
        page.drawing.withdraw(ticket)  # changes nothing where it is over


async def _follow(page: Page, request: ComparisonRequest, ticket: Ticket) -> AsyncIterator[ComparisonUpdate]:
    start, sent, before, images = time.monotonic(), 0.0, ("", "", -1), -1
    while not ticket.over:
        status = page.drawing.status(ticket)
        now = (status.note, status.state, status.ahead)
        if not ticket.over and (now != before or status.done != images or time.monotonic() - sent > REFRESH):
            new = status.done > max(images, 0)
            html = await asyncio.to_thread(grid, ticket.order, list(ticket.images), request.show) if new else None
            before, images, sent = now, status.done, time.monotonic()
            yield ComparisonUpdate(status_line(status, sent - start), True, html)
        await asyncio.sleep(POLL)
    status = page.drawing.status(ticket)
    if status.state != "done":
        stopped = '<p role="status">Stopped.</p>'
        yield ComparisonUpdate(stopped if status.state == "withdrawn" else problem(status.note), False)
        return
    yield await asyncio.to_thread(_finished, page, request, ticket, time.monotonic() - start)


def _finished(page: Page, request: ComparisonRequest, ticket: Ticket, seconds: float) -> ComparisonUpdate:
    order, images = ticket.order, ticket.images
    tally = counted(request.tally, order, images)
    note = f" {escape(ticket.note)}." if ticket.note else ""
    text = f'<p role="status">{len(images)} images of <q>{escape(order.prompt)}</q> in {seconds:.1f} s.{note}{_unchecked(images)}</p>'
    pairs = pairs_of(order)
    return ComparisonUpdate(
        text,
        False,
        grid(order, images, request.show),
        page.downloads.put(Comparison(order, tuple(images)), instead_of=request.key),
        tally,
        tally_table(tally, concept_name(order)),
        pairs,
        slider(order, images, "0:1", request.show) if pairs else None,
    )


def _unchecked(images: Sequence[DrawnImage]) -> str:
    if all(image.exposed is not None for image in images):
        return ""
    return ' No nudity detector is installed, so the images are blurred; install one with: pip install "erase-concept[nudity]".'


# --- the same comparison in another form --------------------------------------------------------------------------------


def pairs_of(order: Order) -> list[tuple[str, str]]:
    """What may lie under the slider: (label, "image:model")."""
    return [
        (f"image {index + 1}: original and {label}", f"{index}:{model}")
        for index in range(order.count)
        for model, (label, _) in enumerate(order.models[1:], 1)
    ]


def slider(order: Order, images: Sequence[DrawnImage], pair: str, show: bool) -> tuple[Image.Image, Image.Image] | None:
    """Original and erased image of a pair; None for a pair that does not exist."""
    if pair not in [value for _, value in pairs_of(order)]:
        return None
    index, model = map(int, pair.split(":"))
    by_place = {(image.model, image.index): image for image in images}
    return enlarged(by_place[0, index], show), enlarged(by_place[model, index], show)


def files(key: str, show: bool) -> str:
    """Links to the files of a comparison."""
    return links(key, [("pictures.zip", "Images (zip)"), ("comparison.png", "Sheet with the settings (png)")], show)


def again(page: Page, key: str, show: bool, pair: str) -> tuple[str, tuple[Image.Image, Image.Image] | None]:
    """Grid and slider of a comparison, after the visitor has ticked or unticked the box that shows nudity."""
    comparison = page.downloads.comparison(key)
    return grid(comparison.order, comparison.images, show), slider(comparison.order, comparison.images, pair, show)


def status_line(status: TicketStatus, seconds: float) -> str:
    """The status of an order in a sentence, with a bar."""
    if status.state == "waiting":
        others = f"{status.ahead} {'order is' if status.ahead == 1 else 'orders are'} ahead of you" if status.ahead else "Your turn is next"
        about = f", about {max(1, round(status.wait))} s" if status.wait else ""
        return f'<p role="status">{others}{about}.</p><progress aria-label="waiting in the queue"></progress>'
    note = escape(status.note or "starting")
    bar = f'<progress value="{status.done}" max="{status.total}" aria-label="images drawn"></progress>'
    return f'<p role="status">{note[:1].upper()}{note[1:]}: {status.done} of {status.total} images, {seconds:.0f} s.</p>{bar}'
