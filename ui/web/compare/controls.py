"""The components of the tab Compare. Layout only."""

from __future__ import annotations

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from erase.concepts import EMBEDDED
from ui.web.runs import OWN, concept_names

NOTHING = (
    "Nothing has been erased here yet, so only the original draws. **Erase** removes the star from the embedded model in some minutes."
)


class Controls:
    """What a visitor may choose."""

    def __init__(self) -> None:
        self.models = gr.Dropdown(
            [], multiselect=True, max_choices=5, allow_custom_value=True, label="Erased models", elem_id="models",
            info="Finished runs, newest first; or type a folder that this page may read, or a hub name (OWNER/NAME), and press Enter.",
        )  # fmt: skip
        self.prompt = gr.Textbox(
            label="Prompt", info="What both models are asked to draw.", lines=2, max_lines=6, max_length=1000, elem_id="prompt"
        )
        with gr.Row():
            self.draw = gr.Button("Draw", variant="primary", min_width=120, elem_id="draw")
            self.stop = gr.Button("Stop", interactive=False, min_width=120, elem_id="stop")
        self.status = gr.HTML(apply_default_css=False, elem_id="status")
        self.example = gr.Dropdown([], label="Examples", info="Prompts of the concept, unseen wording included.", elem_id="example")
        self.surprise = gr.Button("Try another prompt that should still work", size="sm", elem_id="surprise")
        with gr.Row():
            self.count = gr.Slider(1, 16, 4, step=1, label="Images", info="From each model.", min_width=140)
            self.seed = gr.Number(0, label="Random seed", info="The same seed gives the same images.", precision=0, min_width=120)
        with gr.Accordion("Drawing and detection", open=False):
            self.steps = gr.Slider(1, 150, 25, step=1, label="Steps", info="Denoising steps per image; more take longer.")
            self.guidance = gr.Slider(0, 20, 4.0, step=0.5, label="Guidance", info="How closely the prompt is followed.")
            self.original = gr.Dropdown(
                [OWN, *EMBEDDED], value=OWN, allow_custom_value=True, label="Original", info="What the erased models are compared with."
            )
            self.concept = gr.Dropdown(
                [OWN, *concept_names()], value=OWN, label="Concept", info="What a detector looks for in every image."
            )
        self.show = gr.Checkbox(
            False, label="Show nudity", info="Images in which nudity is detected are blurred until you tick this, for this visit only."
        )

    @property
    def fields(self) -> dict[str, Component]:
        """The components of the fields of a ComparisonRequest."""
        names = ("models", "original", "concept", "prompt", "seed", "count", "steps", "guidance", "show")
        components: dict[str, Component] = {name: getattr(self, name) for name in names}
        return components

    @property
    def outputs(self) -> list[Block]:
        """What drawing and opening the page may change."""
        return [self.models, self.draw, self.stop, self.status, self.example, self.steps, self.guidance]


class Results:
    """Where a comparison appears."""

    def __init__(self) -> None:
        with gr.Column(visible=False, variant="panel", elem_id="nothing") as self.nothing:
            gr.Markdown(NOTHING)
            self.start = gr.Button("Open Erase", size="md", elem_id="compare-start")
        self.grid = gr.HTML(apply_default_css=False, elem_id="grid")
        self.files = gr.HTML(apply_default_css=False, elem_id="files")
        with gr.Accordion("One over the other", open=True, visible=False) as self.overlay:
            self.pair = gr.Dropdown([], label="Images under the slider", info="Drag the handle: original on the left, erased on the right.")
            self.slider = gr.ImageSlider(
                label="original and erased", interactive=False, format="png", max_height=520, buttons=["fullscreen"], elem_id="slider"
            )
        with gr.Accordion("Detected so far, in this visit", open=True, visible=False) as self.detections:
            self.table = gr.HTML(apply_default_css=False)
            self.reset = gr.Button("Reset counts", size="sm")
        self.key = gr.State("")
        self.tally = gr.State({})
        self.offer = gr.Textbox(visible=False)  # the prompt that the page suggests
        self.auto = gr.Textbox(visible=False)  # the prompt that it has filled in, which it may replace

    @property
    def outputs(self) -> list[Block]:
        """What drawing and opening the page may change."""
        components: list[Block] = [self.grid, self.files, self.pair, self.slider, self.table, self.key, self.tally, self.offer]
        return [*components, self.nothing, self.overlay, self.detections]
