"""The tab Evidence: any run's report, several runs side by side, a measurement by a named protocol, attacks."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.blocks import Block

from erase.errors import InputError
from ui.web.context import Page
from ui.web.evidence.attack_tab import AttackTab
from ui.web.evidence.handlers import (
    MeasurementRequest,
    charts,
    compared,
    comparison_files,
    measure,
    measured,
    protocol_choices,
    protocol_words,
    report_frame,
    reported,
    table,
)
from ui.web.frame import PRIVATE, Frame, Values
from ui.web.messages import problem
from ui.web.visitor import owner, page_for

HELLO = "**Show the evidence.** What was measured, and how. Every number can be repeated by its protocol."

# --- handlers ---------------------------------------------------------------------------------------------------------


def one(page: Page, name: str | None, show: bool) -> str:
    """The report of a run, or why there is none."""
    try:
        return report_frame(page, name, show)
    except InputError as error:
        return problem(error)


def several(page: Page, names: list[str]) -> tuple[str, str, str]:
    """Table, links and charts of the chosen runs."""
    if not names:
        return '<p class="muted">Choose at least one run; each is compared with the first.</p>', "", ""
    try:
        rows = compared(page, names)
        return table(rows), comparison_files(page, rows), charts(page, rows)
    except InputError as error:
        return problem(error), "", ""


# --- the tab ----------------------------------------------------------------------------------------------------------


class EvidenceTab:
    """Four views of the same runs. Layout when constructed, events when connected."""

    def __init__(self, page: Page) -> None:
        self.page = page
        with gr.Tab("Evidence", id="evidence", elem_id="tab-evidence") as self.container:
            gr.Markdown(HELLO)
            with gr.Tabs():
                with gr.Tab("One run", id="one"):
                    self.report = ReportView(page)
                with gr.Tab("Several runs", id="several"):
                    self.comparison = ComparisonView(page)
                with gr.Tab("Measure", id="measure"):
                    self.measurement = MeasureView(page)
                with gr.Tab("Attack", id="attack"):
                    self.attack = AttackTab(page)

    def connect(self, frame: Frame) -> None:
        """The lists of runs are read when the page or the tab is opened."""
        lists = [self.report.run, self.comparison.runs, self.measurement.run]
        for listener in (frame.blocks.load, self.container.select):
            listener(self.list_runs, [frame.session, *lists], lists, **PRIVATE)
        self.report.connect(frame)
        self.comparison.connect(frame)
        self.measurement.connect(frame, lists[:2])
        self.attack.connect(frame)

    def list_runs(self, session: Any, run: str | None, runs: list[str], measured_run: str | None) -> list[Any]:
        """The runs to choose from; chosen ones stay where they still exist."""
        names = reported(page_for(self.page, session))
        first = names[0] if names else None
        return [
            gr.Dropdown(choices=names, value=run if run in names else first),
            gr.Dropdown(choices=names, value=[name for name in runs or [] if name in names] or names[:3]),
            gr.Dropdown(choices=names, value=measured_run if measured_run in names else first),
        ]


class ReportView:
    """The report of one run."""

    def __init__(self, page: Page) -> None:
        self.page = page
        with gr.Row():
            self.run = gr.Dropdown(
                [], label="Run", info="Finished runs and evaluations, newest first.", scale=3, min_width=260, elem_id="evidence-run"
            )
            self.show = gr.Checkbox(
                False, label="Show nudity", info="Blurred until you tick this, for this visit only.", scale=1, min_width=260
            )
        self.frame = gr.HTML(apply_default_css=False, elem_id="report")

    def connect(self, frame: Frame) -> None:
        """The report follows the run."""
        for listener in (self.run.change, self.show.input):
            listener(self.read, [frame.session, self.run, self.show], self.frame, **PRIVATE)

    def read(self, session: Any, name: str | None, show: bool) -> str:
        """The report of a run."""
        return one(page_for(self.page, session), name, show)


class ComparisonView:
    """Several runs side by side."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.runs = gr.Dropdown([], multiselect=True, label="Runs", info="Each is compared with the first; up to twelve.")
        self.table = gr.HTML(apply_default_css=False, elem_id="beside")
        self.files, self.charts = gr.HTML(apply_default_css=False), gr.HTML(apply_default_css=False)

    def connect(self, frame: Frame) -> None:
        """The table follows the runs."""
        self.runs.change(self.read, [frame.session, self.runs], [self.table, self.files, self.charts], **PRIVATE)

    def read(self, session: Any, names: list[str]) -> tuple[str, str, str]:
        """Table, links and charts of the chosen runs."""
        return several(page_for(self.page, session), names)


class MeasureView:
    """A measurement of a run, by a named protocol or by the concept's own prompts."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.run = gr.Dropdown([], label="Run", info="Its erased model is measured against its original, with new images.")
        self.protocol = gr.Dropdown(
            [("the concept's own prompts, no named protocol", ""), *protocol_choices()], value="", label="Protocol",
            info="What a published measurement fixes: prompts, sampler, detector.",
        )  # fmt: skip
        self.words = gr.HTML(apply_default_css=False, visible=False)
        self.prompts = gr.Textbox(
            label="Prompts file", info="The protocol's prompts: a .csv, .tsv, .jsonl or .txt file in an allowed folder.", visible=False
        )
        self.count = gr.Slider(
            4, 200, 48, step=1, label="Images", info="Of the concept; as many of other things, and half as many that describe it."
        )
        self.start = gr.Button("Measure", variant="primary", elem_id="measure")
        self.status = gr.HTML(apply_default_css=False, elem_id="measuring")
        self.job, self.clock = gr.State(""), gr.Timer(1.0, active=False)

    def connect(self, frame: Frame, lists: list[gr.Dropdown]) -> None:
        """`lists` of runs are read again when the measurement has ended."""
        inputs: set[Block] = {frame.session, self.run, self.protocol, self.prompts, self.count}
        self.session = frame.session
        self.protocol.change(self.explain, self.protocol, [self.words, self.prompts, self.count], **PRIVATE)
        self.start.click(self.start_job, inputs, [self.job, self.status, self.clock], **PRIVATE)
        self.clock.tick(self.refresh, [frame.session, self.job], [self.status, self.clock, *lists], **PRIVATE)

    def start_job(self, values: Values) -> list[Any]:
        """Queue the measurement."""
        session = values[self.session]
        request = MeasurementRequest(values[self.run], values[self.protocol], values[self.prompts] or "", values[self.count])
        try:
            entry = measure(page_for(self.page, session), request, owner(self.page, session))
        except InputError as error:
            return ["", problem(error), gr.Timer(active=False)]
        return [entry.id, measured(self.page, entry.id)[0], gr.Timer(active=True)]

    def refresh(self, session: Any, id: str) -> list[Any]:
        """The progress of the measurement."""
        html, active = measured(self.page, id)
        lists = [gr.skip(), gr.skip()] if active else [gr.Dropdown(choices=reported(page_for(self.page, session)))] * 2
        return [html, gr.Timer(active=active), *lists]

    def explain(self, protocol: str) -> list[Any]:
        """What a protocol fixes, and which of the other controls it needs."""
        html, needs_file = protocol_words(protocol)
        return [gr.HTML(html, visible=bool(html)), gr.Textbox(visible=needs_file), gr.Slider(visible=not protocol)]
