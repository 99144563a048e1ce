"""The section Measure of a run's page: more images for the same measurement, or a measurement by a named protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.blocks import Block

from erase.errors import InputError
from ui.web.context import Page
from ui.web.frame import PRIVATE, Changes, Frame, Values
from ui.web.jobs.entry import FAILED, RUNNING, STOPPED, WAITING, Entry
from ui.web.messages import problem
from ui.web.shelf.listing import Shelved, shelved_run
from ui.web.shelf.measuring import MORE, MeasurementRequest, job_of, listed, measure, progress
from ui.web.shelf.protocols import protocol_choices, protocol_words
from ui.web.visitor import page_for

if TYPE_CHECKING:
    from ui.web.shelf.run_page import RunPage

HELLO = """New images of the original and of the erased model. By the concept's own prompts they are added to those that were measured
before, with noise of their own, so that the intervals shrink. What another protocol measures stands in a folder of its own."""


class MeasureView:
    """Layout when constructed, events when connected."""

    def __init__(self, page: Page) -> None:
        self.page = page
        gr.Markdown(HELLO)
        self.protocol = gr.Dropdown(
            [("the concept's own prompts, no named protocol", ""), *protocol_choices()], value="", label="Protocol",
            info="What a published measurement fixes: prompts, sampler, detector.", elem_id="measure-protocol",
        )  # fmt: skip
        self.words = gr.HTML(apply_default_css=False, visible=False)
        self.prompts = gr.Textbox(
            label="Prompts file", info="The protocol's prompts: a .csv, .tsv, .jsonl or .txt file in an allowed folder.", visible=False
        )
        self.count = gr.Slider(
            4, 400, MORE, step=1, label="Images to add", elem_id="measure-count",
            info="Of the concept; as many of other things, and half as many that describe it. 80 can be enough for a Yes.",
        )  # fmt: skip
        with gr.Row():
            self.start = gr.Button("Measure", variant="primary", elem_id="measure", min_width=100)
            self.stop = gr.Button("Stop", variant="stop", visible=False, elem_id="measure-stop", min_width=100)
            self.resume = gr.Button("Resume", visible=False, elem_id="measure-again", min_width=100)
        self.problem = gr.HTML(apply_default_css=False)
        self.status = gr.HTML(apply_default_css=False, elem_id="measuring")
        self.earlier = gr.HTML(apply_default_css=False, elem_id="measured")
        self.clock, self.seen = gr.Timer(1.0, active=False), gr.State("")

    @property
    def outputs(self) -> list[Block]:
        """What depends on the run and its job."""
        return [self.start, self.stop, self.resume, self.problem, self.status, self.earlier, self.clock, self.seen]

    def connect(self, frame: Frame, run_page: RunPage) -> None:
        """The answers of `run_page` are those of the larger measurement as soon as it has ended."""
        self.session, self.name, self.run_page = frame.session, run_page.name, run_page
        now, outputs = [self.session, self.name], [*self.outputs, run_page.answers]
        inputs: set[Block] = {self.session, self.name, self.protocol, self.prompts, self.count}
        self.protocol.change(self.explain, self.protocol, [self.words, self.prompts, self.count], **PRIVATE)
        self.start.click(self.start_job, inputs, outputs, **PRIVATE)
        self.stop.click(self.stop_job, now, outputs, **PRIVATE)
        self.resume.click(self.resume_job, now, outputs, **PRIVATE)
        self.clock.tick(self.tick, [*now, self.seen], outputs, concurrency_limit=None, **PRIVATE)

    # --- handlers -------------------------------------------------------------------------------------------------------

    def start_job(self, values: Values) -> Changes:
        """Queue the measurement."""
        session, name = values[self.session], values[self.name]
        request = MeasurementRequest(name, values[self.protocol], values[self.prompts] or "", values[self.count])
        try:
            measure(self.page, session, request)
            return self.show(session, shelved_run(self.page, session, name))
        except InputError as error:
            return {self.problem: problem(error)}

    def stop_job(self, session: Any, name: str) -> Changes:
        """Stop the measurement."""
        return self._do(self.page.jobs.stop, session, name)

    def resume_job(self, session: Any, name: str) -> Changes:
        """Go on with it."""
        return self._do(self.page.jobs.again, session, name)

    def _do(self, action: Callable[[str], object], session: Any, name: str) -> Changes:
        try:
            run = shelved_run(self.page, session, name)
            if entry := job_of(self.page, session, run):
                action(entry.id)
            return self.show(session, run)
        except InputError as error:
            return {self.problem: problem(error)}

    def tick(self, session: Any, name: str, seen: str) -> Changes:
        """The measurement as it is now; the answers where it has just ended."""
        try:
            run = shelved_run(self.page, session, name)
        except InputError:
            return {self.clock: gr.Timer(active=False)}
        changes = self.show(session, run)
        if changes[self.seen] != seen:
            changes[self.run_page.answers] = self.run_page.answered(session, run)
        else:
            changes[self.earlier] = gr.skip()
        return changes

    def show(self, session: Any, run: Shelved) -> Changes:
        """The job of a run, and its measurements."""
        entry: Entry | None = job_of(self.page, session, run)
        state, active = entry.state if entry else "", entry is not None and entry.active
        return {
            self.start: gr.Button(interactive=run.has_model and not active),
            self.stop: gr.Button(visible=state in (WAITING, RUNNING)),
            self.resume: gr.Button(visible=state in (STOPPED, FAILED)),
            self.problem: "",
            self.status: progress(self.page, entry),
            self.earlier: listed(page_for(self.page, session), run),
            self.clock: gr.Timer(active=active),
            self.seen: f"{entry.id} {state}" if entry else "",
        }

    def explain(self, protocol: str) -> list[Any]:
        """What a protocol fixes, and which of the other controls it needs."""
        html, needs_file = protocol_words(protocol)
        return [gr.HTML(html, visible=bool(html)), gr.Textbox(visible=needs_file), gr.Slider(visible=not protocol)]
