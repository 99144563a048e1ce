"""What the controls of the tab Compare do: drawing, and what one control does to others.

Annotations are not postponed here: gradio reads them to hand over its Request, which has no name outside a function.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import fields, replace
from typing import Any

from erase.errors import InputError
from ui.web.compare.handlers import Asked, Shown, again, compare, files, slider
from ui.web.compare.suggestions import default_prompt, first, settings_for, surprise_for
from ui.web.context import Page
from ui.web.messages import TAKEN, problem
from ui.web.runs import OWN
from ui.web.visitor import sight

# In the browser, at the moment that a proposal comes: what the visitor has written since it was asked for stays.
OFFERED = "(prompt, auto, offer) => prompt === '' || prompt === auto ? [offer, offer] : [prompt, auto]"
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}  # no event is an endpoint of an API


def wire(page: Page, form: dict[str, Any], out: dict[str, Any], seat: Any) -> None:
    """Drawing: by the button, by Enter in the prompt, and once when the page is opened."""
    import gradio as gr

    names = [field.name for field in fields(Asked)]
    inputs = [seat, *({**form, **out}[name] for name in names)]

    async def drawn(request: gr.Request, seat_now: Any, *values: Any) -> AsyncIterator[dict[Any, Any]]:
        asked = Asked(**dict(zip(names, values, strict=True)))
        async for shown in compare(sight(page, seat_now), asked, str(request.session_hash)):
            yield changes(shown, asked.show, form, out)

    async def opened(request: gr.Request, seat_now: Any, *values: Any) -> AsyncIterator[dict[Any, Any]]:
        mine = sight(page, seat_now)
        opening, known, quick = await asyncio.to_thread(first, mine)
        offered = settings_for(mine, list(opening.models), OWN)[2]
        said = {form[name]: getattr(opening, name) for name in ("steps", "guidance")} | {out["offer"]: opening.prompt}
        said[out["nothing"]] = gr.Column(visible=not known)
        said |= {
            form["models"]: gr.Dropdown(choices=known, value=list(opening.models)),
            form["example"]: gr.Dropdown(choices=offered, value=None),
        }
        yield said
        asked = replace(opening, **{name: value for name, value in zip(names, values, strict=True) if name in ("key", "tally", "show")})
        if quick:
            async for shown in compare(mine, asked, str(request.session_hash)):
                yield changes(shown, asked.show, form, out)

    def stopped(request: gr.Request) -> None:
        page.drawing.leave(str(request.session_hash))

    changed = [*form.values(), *out.values()]
    page.links["compare.draw"] = {"fn": drawn, "inputs": inputs, "outputs": changed, "concurrency_limit": None, **PRIVATE}
    form["draw"].click(None, None, form["status"], js=TAKEN)
    for event in (form["draw"].click, form["prompt"].submit):
        event(**page.links["compare.draw"])
    page.links["blocks"].load(opened, inputs, changed, concurrency_limit=None, **PRIVATE)
    form["stop"].click(stopped, None, None, **PRIVATE)
    page.links["blocks"].unload(stopped)


def changes(shown: Shown, show: bool, form: dict[str, Any], out: dict[str, Any]) -> dict[Any, Any]:
    """Component -> its new value."""
    import gradio as gr

    said = {form["status"]: shown.status}
    said |= {form["draw"]: gr.Button(interactive=not shown.busy), form["stop"]: gr.Button(interactive=shown.busy)}
    if shown.grid is not None:
        said[out["grid"]] = shown.grid
    if shown.key:
        pairs = list(shown.pairs)
        said |= {out["key"]: shown.key, out["tally"]: shown.tally, out["table"]: shown.table, out["files"]: files(shown.key, show)}
        said |= {out["over"]: gr.Accordion(visible=bool(pairs)), out["seen"]: gr.Accordion(visible=True), out["slider"]: shown.slider}
        said[out["pair"]] = gr.Dropdown(choices=pairs, value=pairs[0][1] if pairs else None)
    return said


def wire_form(page: Page, form: dict[str, Any], out: dict[str, Any], seat: Any) -> None:
    """What one control does to others, and what shows again without being drawn again."""
    import gradio as gr

    def chosen(seat_now: Any, models: list[str], concept: str) -> tuple[Any, ...]:
        steps, guidance, offered = settings_for(sight(page, seat_now), models, concept)
        return steps, guidance, gr.Dropdown(choices=offered, value=None), default_prompt(offered) if offered else gr.skip()

    def surprised(seat_now: Any, models: list[str], concept: str) -> str:
        return surprise_for(sight(page, seat_now), models, concept)

    def looked(key: str, show: bool, pair: str) -> dict[Any, Any]:
        if not key:
            return {out["files"]: gr.skip()}
        try:
            html, pictures = again(page, key, show, pair)
        except InputError as error:
            return {form["status"]: problem(error)}
        return {out["grid"]: html, out["slider"]: pictures, out["files"]: files(key, show)}

    def paired(key: str, show: bool, pair: str) -> Any:
        try:
            held = page.shelf.comparison(key)
        except InputError:
            return gr.skip()
        return slider(held.order, held.pictures, pair, show)

    for event in (form["models"].change, form["concept"].input):
        event(chosen, [seat, form["models"], form["concept"]], [form["steps"], form["guidance"], form["example"], out["offer"]], **PRIVATE)
    out["offer"].change(None, [form["prompt"], out["auto"], out["offer"]], [form["prompt"], out["auto"]], js=OFFERED)
    form["example"].input(lambda text: text or gr.skip(), form["example"], form["prompt"], **PRIVATE)
    form["surprise"].click(surprised, [seat, form["models"], form["concept"]], form["prompt"], **PRIVATE)
    three = [out["key"], form["show"], out["pair"]]
    form["show"].input(looked, three, [form["status"], out["grid"], out["slider"], out["files"]], **PRIVATE)
    out["pair"].input(paired, three, out["slider"], **PRIVATE)
    out["reset"].click(lambda: ({}, ""), None, [out["tally"], out["table"]], **PRIVATE)
