"""The tab Compare: original and erased side by side, from the same prompt and noise. Layout only."""

from __future__ import annotations

from typing import Any

from erase.concepts import EMBEDDED
from ui.web.compare.events import PRIVATE, wire, wire_form
from ui.web.context import Page
from ui.web.runs import OWN, concept_names, erased_runs
from ui.web.visitor import sight

HELLO = """**See it.** The same prompt and the same noise, drawn by the original model and by the erased one. Under each picture: what a
detector finds in it. The embedded model draws in a second, without a GPU or a download."""
NOTHING = (
    "Nothing has been erased here yet, so only the original draws. **Erase** takes the star out of the embedded model in some minutes."
)


def build(page: Page) -> None:
    """The controls; `connect` wires them."""
    import gradio as gr

    gr.Markdown(HELLO)
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            form = controls()
        with gr.Column(scale=5, min_width=320):
            out = results()
    page.links.update({"compare.run": form["models"], "compare.parts": (form, out)})


def connect(page: Page) -> None:
    """Wiring, which needs the other tabs: who looks, the way to Erase, and the list of runs, read anew when the tab is opened."""
    import gradio as gr

    (form, out), seat = page.links["compare.parts"], page.links["erase.seat"]

    def listed(seat_now: Any) -> Any:
        return gr.Dropdown(choices=erased_runs(sight(page, seat_now)))

    wire(page, form, out, seat)
    wire_form(page, form, out, seat)
    out["start"].click(lambda: gr.Tabs(selected="erase"), None, page.links["tabs"], **PRIVATE)
    page.links["tab.compare"].select(listed, seat, form["models"], **PRIVATE)


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
    form["status"] = gr.HTML(apply_default_css=False, elem_id="status")
    form["example"] = gr.Dropdown([], label="Examples", info="Prompts of the concept, held-out ones included.", elem_id="example")
    form["surprise"] = gr.Button("Surprise me: another prompt to keep", size="sm", elem_id="surprise")
    with gr.Row():
        form["count"] = gr.Slider(1, 16, 4, step=1, label="Pictures", info="From each model.", min_width=140)
        form["seed"] = gr.Number(0, label="Seed", info="The noise follows from it.", precision=0, minimum=0, min_width=120)
    with gr.Accordion("How it is drawn, and what is looked for", open=False):
        form["steps"] = gr.Slider(1, 150, 25, step=1, label="Steps", info="Denoising steps a picture; more takes longer.")
        form["guidance"] = gr.Slider(0, 20, 4.0, step=0.5, label="Guidance", info="How closely the prompt is followed.")
        form["original"] = gr.Dropdown(
            [OWN, *EMBEDDED], value=OWN, allow_custom_value=True, label="Original", info="What the erased models are compared with."
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

    out: dict[str, Any] = {}
    with gr.Column(visible=False, variant="panel", elem_id="nothing") as out["nothing"]:
        gr.Markdown(NOTHING)
        out["start"] = gr.Button("Erase the star", size="md", elem_id="compare-start")
    out["grid"] = gr.HTML(apply_default_css=False, elem_id="grid")
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
    out["offer"] = gr.Textbox(visible=False)  # the prompt that the page proposes
    out["auto"] = gr.Textbox(visible=False)  # the one that it has put there, which it may replace
    return out
