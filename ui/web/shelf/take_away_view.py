"""The fourth card of a run's page: take the model away."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.blocks import Block

from erase.errors import InputError
from ui.web.context import Page
from ui.web.frame import PRIVATE, Changes, Frame
from ui.web.messages import problem
from ui.web.shelf.export import DTYPES, SMALL, export
from ui.web.shelf.listing import Shelved, shelved_run
from ui.web.shelf.loss import loss, measure_loss, refusal
from ui.web.shelf.take_away import TOOLS, choices, instructions
from ui.web.units import size
from ui.web.visitor import owner

if TYPE_CHECKING:
    from ui.web.shelf.measure_view import MeasureView

_WRITING = '<p role="status">Writing …</p>'
WRITING = f"() => {_WRITING!r}"
QUEUED = '<p role="status">Queued: its progress stands under <a href="#run-page" data-section="Measure">Measure</a>.</p>'


class TakeAwayView:
    """Layout when constructed, events when connected."""

    def __init__(self, page: Page) -> None:
        self.page = page
        with gr.Column(elem_id="take-away", min_width=270):
            gr.HTML("<p class=question>Take it away</p>", apply_default_css=False)
            self.tool = gr.Dropdown(choices(), value="diffusers", label="For", info="The program that will load it.", elem_id="take-tool")
            self.words = gr.HTML(apply_default_css=False, elem_id="take-words")
            with gr.Accordion("Precision", open=False):
                dtypes = [(label, name) for name, label in DTYPES.items()]
                self.dtype = gr.Radio(dtypes, value="source", label="Precision", info="float16 is half the size of float32.")
            self.write = gr.Button("Prepare download", size="sm", variant="primary", elem_id="take-write")
            self.measure = gr.Button("Measure what it loses", size="sm", visible=False, elem_id="take-measure")
            self.status = gr.HTML(apply_default_css=False, elem_id="take-status")
            self.file = gr.DownloadButton("Download", visible=False, size="sm", elem_id="take-download")

    @property
    def outputs(self) -> list[Block]:
        """What depends on the run and the program."""
        return [self.words, self.write, self.measure, self.status, self.file]

    def connect(self, frame: Frame, name: gr.State, measuring: MeasureView) -> None:
        """`name` holds the run; `measuring` shows the progress of its measurements."""
        self.measuring = measuring
        now = [frame.session, name, self.tool]
        self.tool.input(self.choose, now, self.outputs, **PRIVATE)
        self.write.click(self.export, [*now, self.dtype], [self.status, self.file], concurrency_limit=None, **PRIVATE)
        self.measure.click(None, None, self.status, js=WRITING)
        self.measure.click(self.measure_it, now, [self.status, *measuring.outputs], concurrency_limit=None, **PRIVATE)

    def show(self, session: Any, run: Shelved, tool: str = "diffusers") -> Changes:
        """What to do with the model of a run for a program."""
        html, possible = instructions(run, tool, not self.page.shared)
        form = _form(tool)
        small = possible and form in SMALL
        return {
            self.words: html + (loss(self.page, session, run, form) if small else ""),
            self.write: gr.Button(interactive=possible),
            self.measure: gr.Button(visible=small and not refusal(run, form)),
            self.status: "",
            self.file: gr.DownloadButton(visible=False),
        }

    def choose(self, session: Any, name: str, tool: str) -> Changes:
        """Another program."""
        try:
            return self.show(session, shelved_run(self.page, session, name), tool)
        except InputError as error:
            return {self.status: problem(error)}

    def export(self, session: Any, name: str, tool: str, dtype: str) -> Iterator[tuple[str, Any]]:
        """Write the file and offer it."""
        from gradio.utils import get_upload_folder

        yield _WRITING, gr.DownloadButton(visible=False)
        try:
            run = shelved_run(self.page, session, name)
            self.page.rate.click(owner(self.page, session))
            path, words = export(run.folder, _form(tool), dtype, Path(get_upload_folder()))
        except InputError as error:
            yield problem(error), gr.DownloadButton(visible=False)
            return
        button = gr.DownloadButton(f"Download {path.name}", str(path), visible=True)
        facts = words if _form(tool) in SMALL else f"{path.name}: {size(path.stat().st_size)}"
        yield f'<p role="status">{escape(facts)}.</p>', button

    def measure_it(self, session: Any, name: str, tool: str) -> Changes:
        """Queue the measurement of a small file."""
        try:
            measure_loss(self.page, session, name, _form(tool))
            return {**self.measuring.show(session, shelved_run(self.page, session, name)), self.status: QUEUED}
        except InputError as error:
            return {self.status: problem(error)}


def _form(tool: str) -> str:
    """The format that a program loads."""
    return (TOOLS.get(tool) or TOOLS["diffusers"]).form
