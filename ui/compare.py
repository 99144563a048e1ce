"""The tab Compare: original and erased side by side, from the same prompt and noise. Layout and wiring; comparing.py does the rest.

Annotations are not postponed here: gradio reads them to hand over its Request, which has no name outside `build`.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import fields, replace
from typing import Any

from erase.task import InputError
from ui.choices import OWN, SMALL, concept_names, concept_of, erased, erased_runs, examples, first_choice, surprise
from ui.comparing import Asked, Shown, again, compare, files, problem, slider
from ui.context import Page

HELLO = """**See it.** The same prompt and the same noise, drawn by the original model and by the erased one. Under each picture: what a
detector finds in it. The embedded model draws in a second, without a GPU or a download."""
NOTHING = (
    """Nothing has been erased here yet, so only the original draws. **Erase** takes the star out of the embedded model in some minutes."""
)

# --- handlers ---------------------------------------------------------------------------------------------------------


def first(page: Page) -> tuple[Asked, list[str], bool]:
    """What is asked when the page is opened, the runs to choose from, and whether to draw at once: the embedded model is quick."""
    names = erased_runs(page.runs)
    name = first_choice(page.runs)
    chosen = [erased(name, page.runs, page.roots)] if name else []
    offered = examples(concept_of(OWN, chosen))
    steps, guidance = (chosen[0].steps, chosen[0].guidance) if chosen else SMALL
    prompt = next((text for said, text in offered if said.startswith("names it, held out")), "")
    quick = not chosen or chosen[0].original == "demo"
    return Asked([name] if name else [], prompt=prompt, steps=steps, guidance=guidance), names, quick


def settings_for(page: Page, models: list[str], concept: str) -> tuple[int, float, list[tuple[str, str]]]:
    """Steps and guidance of the first chosen model, and example prompts of what was erased; of a first visit where none is chosen."""
    try:
        chosen = [erased(str(name), page.runs, page.roots, page.hub, page.shared) for name in models or []]
        looked_for = concept_of(concept, chosen)
    except InputError:  # said when Draw is pressed
        return 25, 4.0, []
    steps, guidance = (chosen[0].steps, chosen[0].guidance) if chosen else (25, 4.0)
    return steps, guidance, examples(looked_for)


def surprise_for(page: Page, models: list[str], concept: str) -> str:
    """A prompt to keep, by chance."""
    try:
        chosen = [erased(str(name), page.runs, page.roots, page.hub, page.shared) for name in models or []]
        looked_for = concept_of(concept, chosen)
    except InputError:
        looked_for = None
    return surprise(looked_for, int.from_bytes(os.urandom(4), "big"))


# --- layout -----------------------------------------------------------------------------------------------------------


def build(page: Page) -> None:
    """The controls, and their wiring."""
    import gradio as gr

    gr.Markdown(HELLO)
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            form = controls()
        with gr.Column(scale=5, min_width=320):
            out = results()
    page.links["compare.run"] = form["models"]
    wire(page, form, out)
    wire_form(page, form, out)


def controls() -> dict[str, Any]:
    """What a visitor may choose, by the names of Asked's fields and some beside."""
    import gradio as gr

    form: dict[str, Any] = {}
    form["models"] = gr.Dropdown(
        [], multiselect=True, max_choices=5, allow_custom_value=True, label="Erased models", elem_id="models",
        info="Finished runs, newest first; or type a folder that this page may read, or a hub name (OWNER/NAME), and press Enter.",
    )  # fmt: skip
    form["prompt"] = gr.Textbox(
        label="Prompt", info="What both models are asked to draw.", lines=2, max_lines=6, max_length=1000, elem_id="prompt"
    )
    with gr.Row():
        form["draw"] = gr.Button("Draw", variant="primary", min_width=120, elem_id="draw")
        form["stop"] = gr.Button("Stop", interactive=False, min_width=120, elem_id="stop")
    form["example"] = gr.Dropdown([], label="Examples", info="Prompts of the concept, held-out ones included.", elem_id="example")
    form["surprise"] = gr.Button("Surprise me: another prompt to keep", size="sm", elem_id="surprise")
    with gr.Row():
        form["count"] = gr.Slider(1, 16, 4, step=1, label="Pictures", info="From each model.", min_width=140)
        form["seed"] = gr.Number(0, label="Seed", info="The noise follows from it.", precision=0, minimum=0, min_width=120)
    with gr.Accordion("How it is drawn, and what is looked for", open=False):
        form["steps"] = gr.Slider(1, 150, 25, step=1, label="Steps", info="Denoising steps a picture; more takes longer.")
        form["guidance"] = gr.Slider(0, 20, 4.0, step=0.5, label="Guidance", info="How closely the prompt is followed.")
        form["original"] = gr.Dropdown(
            [OWN, "demo"], value=OWN, allow_custom_value=True, label="Original", info="What the erased models are compared with."
        )
        form["concept"] = gr.Dropdown(
            [OWN, *concept_names()], value=OWN, label="Concept", info="What a detector looks for in every picture."
        )
    form["show"] = gr.Checkbox(
        False, label="Show nudity", info="Pictures in which nudity is detected are blurred until you tick this, for this visit only."
    )
    return form


def results() -> dict[str, Any]:
    """Where it is shown."""
    import gradio as gr

    out: dict[str, Any] = {
        "status": gr.HTML(apply_default_css=False, elem_id="status"),
        "grid": gr.HTML(apply_default_css=False, elem_id="grid"),
    }
    out["files"] = gr.HTML(apply_default_css=False, elem_id="files")
    with gr.Accordion("One over the other", open=True, visible=False) as out["over"]:
        out["pair"] = gr.Dropdown([], label="Pictures under the slider", info="Drag the handle: left the original, right the erased model.")
        out["slider"] = gr.ImageSlider(
            label="original and erased", interactive=False, format="png", max_height=520, buttons=["fullscreen"], elem_id="slider"
        )
    with gr.Accordion("Detected so far, in this visit", open=True, visible=False) as out["seen"]:
        out["table"] = gr.HTML(apply_default_css=False)
        out["reset"] = gr.Button("Count anew", size="sm")
    out["key"] = gr.State("")
    out["tally"] = gr.State({})
    return out


# --- wiring -----------------------------------------------------------------------------------------------------------

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}  # no event is an endpoint of an API


def wire(page: Page, form: dict[str, Any], out: dict[str, Any]) -> None:
    """Drawing: by the button, by Enter in the prompt, and once when the page is opened."""
    import gradio as gr

    names = [field.name for field in fields(Asked)]
    inputs = [{**form, **out}[name] for name in names]

    async def drawn(request: gr.Request, *values: Any) -> AsyncIterator[dict[Any, Any]]:
        asked = Asked(**dict(zip(names, values, strict=True)))
        async for shown in compare(page, asked, str(request.session_hash)):
            yield changes(shown, asked.show, form, out)

    async def opened(request: gr.Request, *values: Any) -> AsyncIterator[dict[Any, Any]]:
        opening, known, quick = await asyncio.to_thread(first, page)
        offered = settings_for(page, list(opening.models), OWN)[2]
        said = {form[name]: getattr(opening, name) for name in ("prompt", "steps", "guidance")}
        said |= {
            form["models"]: gr.Dropdown(choices=known, value=list(opening.models)),
            form["example"]: gr.Dropdown(choices=offered, value=None),
        }
        yield said
        asked = replace(opening, **{name: value for name, value in zip(names, values, strict=True) if name in ("key", "tally", "show")})
        if quick:
            async for shown in compare(page, asked, str(request.session_hash)):
                yield changes(shown, asked.show, form, out)

    def stopped(request: gr.Request) -> None:
        page.drawing.leave(str(request.session_hash))

    changed = [*form.values(), *out.values()]
    for event in (form["draw"].click, form["prompt"].submit):
        event(drawn, inputs, changed, concurrency_limit=None, **PRIVATE)
    page.links["blocks"].load(opened, inputs, changed, concurrency_limit=None, **PRIVATE)
    form["stop"].click(stopped, None, None, **PRIVATE)
    page.links["blocks"].unload(stopped)


def changes(shown: Shown, show: bool, form: dict[str, Any], out: dict[str, Any]) -> dict[Any, Any]:
    """Component -> its new value."""
    import gradio as gr

    said = {out["status"]: shown.status}
    said |= {form["draw"]: gr.Button(interactive=not shown.busy), form["stop"]: gr.Button(interactive=shown.busy)}
    if shown.grid is not None:
        said[out["grid"]] = shown.grid
    if shown.key:
        pairs = list(shown.pairs)
        said |= {out["key"]: shown.key, out["tally"]: shown.tally, out["table"]: shown.table, out["files"]: files(shown.key, show)}
        said |= {out["over"]: gr.Accordion(visible=bool(pairs)), out["seen"]: gr.Accordion(visible=True), out["slider"]: shown.slider}
        said[out["pair"]] = gr.Dropdown(choices=pairs, value=pairs[0][1] if pairs else None)
    return said


def wire_form(page: Page, form: dict[str, Any], out: dict[str, Any]) -> None:
    """What one control does to others, and what shows again without being drawn again."""
    import gradio as gr

    def chosen(models: list[str], concept: str) -> dict[Any, Any]:
        steps, guidance, offered = settings_for(page, models, concept)
        return {form["steps"]: steps, form["guidance"]: guidance, form["example"]: gr.Dropdown(choices=offered, value=None)}

    def looked(key: str, show: bool, pair: str) -> dict[Any, Any]:
        if not key:
            return {out["files"]: gr.skip()}
        try:
            html, pictures = again(page, key, show, pair)
        except InputError as error:
            return {out["status"]: problem(error)}
        return {out["grid"]: html, out["slider"]: pictures, out["files"]: files(key, show)}

    def paired(key: str, show: bool, pair: str) -> Any:
        try:
            held = page.shelf.comparison(key)
        except InputError:
            return gr.skip()
        return slider(held.order, held.pictures, pair, show)

    for control in ("models", "concept"):
        form[control].input(chosen, [form["models"], form["concept"]], [form["steps"], form["guidance"], form["example"]], **PRIVATE)
    form["example"].input(lambda text: text or gr.skip(), form["example"], form["prompt"], **PRIVATE)
    form["surprise"].click(lambda *now: surprise_for(page, *now), [form["models"], form["concept"]], form["prompt"], **PRIVATE)
    three = [out["key"], form["show"], out["pair"]]
    form["show"].input(looked, three, [out["status"], out["grid"], out["slider"], out["files"]], **PRIVATE)
    out["pair"].input(paired, three, out["slider"], **PRIVATE)
    out["reset"].click(lambda: ({}, ""), None, [out["tally"], out["table"]], **PRIVATE)
