"""Compare, behind the controls: what a visitor asks for -> an order -> how it stands, a few times a second -> what is shown.

Plain functions; knows no gradio. Whatever takes time is done in threads, so that no visitor waits for another's pictures.
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
from ui.web.drawing.order import Drawn, Look, Order, Ticket
from ui.web.drawing.pictures import enlarged, grid, name_of
from ui.web.drawing.shelf import Comparison, links
from ui.web.messages import problem
from ui.web.runs import OWN, concept_of, erased, original_of

EVERY = 0.1  # seconds between looks at a ticket
NEWS = 1.0  # seconds after which a visitor hears of it again, even if nothing has changed


@dataclass(frozen=True)
class Asked:
    """The controls as they stand. `show`: the visitor wants to see nudity. `key`: the comparison before; `tally`: what was seen so far."""

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
class Shown:
    """What the page shows of an order. Empty `key`: nothing new is on the shelf."""

    status: str
    busy: bool
    grid: str | None = None
    key: str = ""
    tally: Tally | None = None
    table: str = ""
    pairs: Sequence[tuple[str, str]] = ()
    slider: tuple[Image.Image, Image.Image] | None = None


def order_of(page: Page, asked: Asked) -> Order:
    """What the controls ask for; InputError for what may not be opened or makes no sense."""
    chosen = [erased(page, str(name)) for name in list(asked.models)[:6]]
    source = original_of(page, str(asked.original or ""), chosen)
    label = Path(source).name if Path(source).exists() else source
    models = ((label, source), *((model.label, model.source) for model in chosen))
    numbers = {name: whole(getattr(asked, name), name) for name in ("seed", "count", "steps")}
    concept = concept_of(str(asked.concept or ""), chosen)
    return Order(models, " ".join(str(asked.prompt).split()), **numbers, guidance=float(asked.guidance or 0), concept=concept)


def whole(value: Any, name: str) -> int:
    """A number from a control, which may be empty or have a fraction."""
    try:
        number = float(value)
        if number != int(number):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} is {value!r}; expected a whole number") from None
    return int(number)


async def compare(page: Page, asked: Asked, visitor: str) -> AsyncIterator[Shown]:
    """Draw, telling how it stands at once, at every picture and every second. Ends early where the visitor has left the line."""
    try:
        order = await asyncio.to_thread(order_of, page, asked)
        page.rate.press(visitor)
        ticket = await asyncio.to_thread(page.drawing.submit, order, visitor)
    except InputError as error:
        yield Shown(problem(error), False)
        return
    try:
        async for shown in _follow(page, asked, ticket):
            yield shown
    finally:
        page.drawing.withdraw(ticket)  # where it is over, this changes nothing


async def _follow(page: Page, asked: Asked, ticket: Ticket) -> AsyncIterator[Shown]:
    start, told, before, made = time.monotonic(), 0.0, "", -1
    while not ticket.over:
        look = page.drawing.look(ticket)
        if not ticket.over and ((look.note, look.state, look.ahead) != before or look.made != made or time.monotonic() - told > NEWS):
            there = await asyncio.to_thread(grid, ticket.order, list(ticket.pictures), asked.show) if look.made > max(made, 0) else None
            before, made, told = (look.note, look.state, look.ahead), look.made, time.monotonic()
            yield Shown(status(look, told - start), True, there)
        await asyncio.sleep(EVERY)
    look = page.drawing.look(ticket)
    if look.state != "done":
        stopped = '<p role="status">Stopped.</p>'
        yield Shown(stopped if look.state == "withdrawn" else problem(look.note), False)
        return
    yield await asyncio.to_thread(_finished, page, asked, ticket, time.monotonic() - start)


def _finished(page: Page, asked: Asked, ticket: Ticket, seconds: float) -> Shown:
    order, pictures = ticket.order, ticket.pictures
    tally = counted(asked.tally, order, pictures)
    key = page.shelf.put(Comparison(order, tuple(pictures)), instead_of=asked.key)
    note = f" {escape(ticket.note)}." if ticket.note else ""
    text = f'<p role="status">{len(pictures)} pictures of <q>{escape(order.prompt)}</q> in {seconds:.1f} s.{note}{_unchecked(pictures)}</p>'
    table = tally_table(tally, name_of(order))
    pairs = pairs_of(order)
    return Shown(
        text,
        False,
        grid(order, pictures, asked.show),
        key,
        tally,
        table,
        pairs,
        slider(order, pictures, "0:1", asked.show) if pairs else None,
    )


def _unchecked(pictures: Sequence[Drawn]) -> str:
    if all(picture.exposed is not None for picture in pictures):
        return ""
    return ' Nudity could not be looked for, so the pictures are blurred; pip install "erase-concept[nudity]" changes that.'


# --- shown again without drawing --------------------------------------------------------------------------------------


def pairs_of(order: Order) -> list[tuple[str, str]]:
    """What may lie under the slider: (words, "picture:model")."""
    return [
        (f"picture {index + 1}: original and {label}", f"{index}:{model}")
        for index in range(order.count)
        for model, (label, _) in enumerate(order.models[1:], 1)
    ]


def slider(order: Order, pictures: Sequence[Drawn], pair: str, show: bool) -> tuple[Image.Image, Image.Image] | None:
    """Original and erased picture of a pair; None for a pair that is not there."""
    if pair not in [value for _, value in pairs_of(order)]:
        return None
    index, model = map(int, pair.split(":"))
    there = {(picture.model, picture.index): picture for picture in pictures}
    return enlarged(there[0, index], show), enlarged(there[model, index], show)


def files(key: str, show: bool) -> str:
    """Links to what a visitor may keep."""
    return links(key, [("pictures.zip", "Pictures (zip)"), ("comparison.png", "Sheet with the settings (png)")], show)


def again(page: Page, key: str, show: bool, pair: str) -> tuple[str, tuple[Image.Image, Image.Image] | None]:
    """The same comparison after the visitor has chosen to see, or no longer to see, what is blurred."""
    held = page.shelf.comparison(key)
    return grid(held.order, held.pictures, show), slider(held.order, held.pictures, pair, show)


# --- words ------------------------------------------------------------------------------------------------------------


def status(look: Look, seconds: float) -> str:
    """Where the visitor stands, in a sentence, with a bar."""
    if look.state == "waiting":
        others = f"{look.ahead} {'order is' if look.ahead == 1 else 'orders are'} ahead of you" if look.ahead else "Your turn is next"
        about = f", about {max(1, round(look.wait))} s" if look.wait else ""
        return f'<p role="status">{others}{about}.</p><progress aria-label="waiting in line"></progress>'
    note = escape(look.note or "starting")
    bar = f'<progress value="{look.made}" max="{look.total}" aria-label="pictures drawn"></progress>'
    return f'<p role="status">{note[:1].upper()}{note[1:]}: {look.made} of {look.total} pictures, {seconds:.0f} s.</p>{bar}'
