"""The components of the tab Compare. Layout only."""

from __future__ import annotations

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from erase.images.samplers import SAMPLERS
from ui.web.compare.address import MODELS_OWN
from ui.web.example.unpack import NAME
from ui.web.runs import OWN

NOTHING = "Nothing has been erased here yet, so only the original draws. Erase removes a concept from an embedded model in some minutes."
EXAMPLE = (
    "<b>An example.</b> Out of an embedded model that draws emoji, the beer mug was erased. "
    f'<a href="?run={NAME}">Is it gone, is the rest kept, does it hold?</a>'
)
SIZES = ("64", "128", "256", "384", "512", "640", "768", "896", "1024")
SHEET = "Drawing and detection"


class Controls:
    """What a visitor may choose."""

    def __init__(self) -> None:
        self.models = gr.Dropdown(
            [], multiselect=True, max_choices=5, allow_custom_value=True, label="Erased models", elem_id="models",
            info="Runs, newest first, and the models of this page; or type a folder, or a hub name (OWNER/NAME), and press Enter.",
        )  # fmt: skip
        self.prompts = gr.Textbox(
            label="Prompts", info="One per line, drawn by every model. Ctrl + Enter draws.", lines=3, max_lines=9, elem_id="prompt"
        )
        self.reading = gr.HTML(apply_default_css=False, padding=False, elem_id="reading")
        with gr.Row(elem_id="seeds"):
            self.seed = gr.Number(0, label="Seed", info="-1: random.", min_width=80, elem_id="seed")
            self.dice = gr.Button("⚄", size="sm", min_width=40, elem_id="dice")
            self.reuse = gr.Button("↺", size="sm", min_width=40, elem_id="reuse")
            self.count = gr.Number(4, label="Images", info="Per prompt.", min_width=80, elem_id="count")
        with gr.Row():
            self.draw = gr.Button("Draw", variant="primary", min_width=120, elem_id="draw")
            self.stop = gr.Button("Stop", interactive=False, min_width=120, elem_id="stop")
        self.status = gr.HTML(apply_default_css=False, padding=False, elem_id="status")
        with gr.Row(elem_id="lists"):
            self.example = gr.Dropdown([], label="Of the concept", info="Held out.", min_width=120, elem_id="example")
            self.history = gr.Dropdown([], label="Earlier prompts", info="Of this browser.", min_width=120, elem_id="history")
        self.about = gr.HTML(apply_default_css=False, padding=False, elem_id="about-model")
        self.more = gr.Button("Add a prompt to keep", size="sm", elem_id="more")
        with gr.Accordion(SHEET, open=False, elem_id="drawing"):
            self._more()
        self.show = gr.Checkbox(
            False, label="Show nudity", visible=False, elem_id="compare-show",
            info="Images in which nudity is detected are blurred until you tick this, for this visit only.",
        )  # fmt: skip

    def _more(self) -> None:
        """What few visitors change."""
        self.negative = gr.Textbox(label="Negative prompt", info="What the images should not show.", max_lines=3, elem_id="negative")
        with gr.Row():
            self.steps = gr.Number(25, label="Steps", info="1 to 150; more take longer.", min_width=110, elem_id="steps")
            self.guidance = gr.Number(4.0, label="Guidance", info="How closely prompts are followed.", min_width=110, elem_id="guidance")
        with gr.Row():
            names = [MODELS_OWN, *dict.fromkeys(SAMPLERS.values())]
            self.sampler = gr.Dropdown(
                names, value=MODELS_OWN, label="Sampler", info="How noise is removed.", min_width=110, elem_id="sampler"
            )
            self.size = gr.Dropdown(
                [MODELS_OWN, *SIZES],
                value=MODELS_OWN,
                allow_custom_value=True,
                label="Size",
                info="Pixels a side.",
                min_width=110,
                elem_id="size",
            )
        self.original = gr.Dropdown(
            [OWN], value=OWN, allow_custom_value=True, label="Original", info="What the erased models are compared with.",
            elem_id="original",
        )  # fmt: skip
        self.concept = gr.Dropdown(
            [OWN], value=OWN, allow_custom_value=True, label="Concept", info="What a detector looks for in every image.", elem_id="concept"
        )

    @property
    def fields(self) -> dict[str, Component]:
        """The components of the fields of a ComparisonRequest."""
        names = "models original concept prompts negative seed count steps guidance sampler size show"
        components: dict[str, Component] = {name: getattr(self, name) for name in names.split()}
        return components

    @property
    def outputs(self) -> list[Block]:
        """What drawing and opening the page may change."""
        return [*self.fields.values(), self.draw, self.stop, self.status, self.example, self.about, self.history, self.reading]


class Results:
    """Where a comparison appears."""

    def __init__(self, secret: str) -> None:
        with gr.Row(visible=False, elem_id="nothing") as self.nothing:
            self.hint = gr.HTML(apply_default_css=False, padding=False, elem_id="hint")
            self.start = gr.Button("Erase a word of your own", size="sm", variant="primary", elem_id="compare-start", min_width=200)
        self.grid = gr.HTML(apply_default_css=False, elem_id="grid")
        with gr.Row(visible=False, elem_id="afterwards") as self.afterwards:
            self.files = gr.HTML(apply_default_css=False, padding=False, elem_id="files", min_width=260)
            self.keep = gr.Button("Keep as a measurement", size="sm", min_width=180, elem_id="keep", visible=False)
        self.kept = gr.HTML(apply_default_css=False, padding=False, elem_id="kept")
        self.table = gr.HTML(apply_default_css=False, padding=False, elem_id="counts")
        self.reset = gr.Button("Reset counts", size="sm", visible=False, elem_id="reset-counts")
        self.key = gr.State("")
        self.seen = gr.State({})
        self.settled = gr.State(None)  # the models for which an address has set the form: their own settings do not replace it
        self.offer = gr.Textbox(visible=False)  # the prompts that the page suggests
        self.auto = gr.Textbox(visible=False)  # those that it has filled in, which it may replace
        self.address = gr.Textbox(visible=False)  # what the address of the page should say of the comparison
        self.past = gr.BrowserState([], storage_key="erase-concept-prompts", secret=secret)

    @property
    def outputs(self) -> list[Block]:
        """What drawing and opening the page may change."""
        components: list[Block] = [
            self.grid,
            self.files,
            self.table,
            self.key,
            self.seen,
            self.offer,
            self.auto,
            self.address,
            self.past,
            self.settled,
        ]
        return [*components, self.nothing, self.hint, self.afterwards, self.keep, self.kept, self.reset]
