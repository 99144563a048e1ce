"""The tab Erase: the form, the queue, and the job that is shown while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block

from erase.errors import InputError
from ui.web.context import Page
from ui.web.erase.export import DTYPES, FORMATS, export
from ui.web.erase.form import EraseForm
from ui.web.erase.handlers import estimate, start
from ui.web.erase.view import View
from ui.web.erase.watch import choices, queue, resume, run_of, stop, view_of, watched
from ui.web.frame import PRIVATE, Changes, Frame, Values
from ui.web.messages import QUEUED, problem
from ui.web.runs import erased_runs
from ui.web.units import estimated, size
from ui.web.visitor import owner, page_for, session_of

HELLO = """**Choose what to remove.** The model generates images of it and of everything else, the weights that it depends on most are
trimmed, and the rest is repaired. The embedded model needs no GPU and takes some minutes. You may close the page: the job continues."""

Sent = dict[str, Any]
"""What the browser shows of a job, by component: only what differs is sent again."""


class EraseTab:
    """Layout when constructed, events when connected."""

    def __init__(self, page: Page) -> None:
        self.page = page
        with gr.Tab("Erase", id="erase", elem_id="tab-erase") as self.container:
            gr.Markdown(HELLO)
            with gr.Row(equal_height=False):
                with gr.Column(scale=2, min_width=320):
                    self.form = EraseForm(page)
                with gr.Column(scale=3, min_width=320):
                    self._build_job()
            with gr.Row(equal_height=False):
                with gr.Column(scale=3, min_width=320, visible=False) as self.outcome:
                    self.verdict = gr.HTML(visible=False, elem_id="verdict")
                with gr.Column(scale=2, min_width=320):
                    self._build_live()
                    self.export = ExportForm(page)

    def _build_job(self) -> None:
        """The queue, the progress of the shown job, and the buttons for it."""
        with gr.Row(visible=False) as self.jobs:
            self.job = gr.Dropdown(
                [], label="Job", info="Your jobs, newest first. They are still here when you come back.", elem_id="job", min_width=280
            )
            self.queue = gr.HTML(elem_id="queue", min_width=200)
        self.head = gr.HTML(View().head, elem_id="head")
        with gr.Row(elem_id="presses"):
            self.stop = self._button("Stop", "stop", "job-stop")
            self.resume = self._button("Resume", "primary", "job-again")
            self.compare = self._button("Compare", "primary", "job-compare")
            self.report = self._button("Report", "secondary", "job-report")
            self.inside = self._button("Inside", "secondary", "job-inside")
        self.sent = gr.State({})
        self.clock = gr.Timer(1.0, active=False)

    @staticmethod
    def _button(label: str, variant: Any, elem_id: str) -> gr.Button:
        return gr.Button(label, variant=variant, visible=False, elem_id=elem_id, min_width=100)

    def _build_live(self) -> None:
        """Preview images and losses."""
        self.show = gr.Checkbox(
            False, label="Show images without blur", elem_id="job-show", visible=False,
            info="Images of a model that is being changed are blurred until you tick this, for this visit; the embedded model's are not.",
        )  # fmt: skip
        self.pictures = gr.HTML(visible=False, elem_id="pictures")
        self.curves = gr.HTML(visible=False, elem_id="curves")

    def connect(self, frame: Frame) -> None:
        """Clicks, the clock, a page that is opened again, and the ways to other tabs."""
        self.session = session = frame.session
        form, outputs, now = self.form, self._outputs, [session, self.show]
        form.connect()
        self.export.connect(session)
        frame.blocks.load(self.open, now, outputs, **PRIVATE)
        self.clock.tick(self.refresh, [*now, self.sent], outputs, concurrency_limit=None, **PRIVATE)
        form.start.click(None, None, form.problem, js=QUEUED)
        form.start.click(self.start_job, {session, self.show, *form.inputs}, outputs, **PRIVATE)
        form.ask.click(self.estimate, {session, *form.inputs}, form.estimate, concurrency_limit=None, **PRIVATE)
        self.stop.click(self.stop_job, now, outputs, **PRIVATE)
        self.resume.click(self.resume_job, now, outputs, **PRIVATE)
        self.show.input(self.refresh, now, outputs, **PRIVATE)
        self.job.input(self.choose, [*now, self.job], outputs, **PRIVATE)
        frame.compare.draw_on(self.compare.click(self.to_compare, session, [frame.tabs, frame.compare.form.models], **PRIVATE).then)
        self.report.click(self.to_evidence, session, [frame.tabs, frame.evidence.report.run], **PRIVATE)
        self.inside.click(self.to_inside, session, [frame.tabs, frame.inside.run], **PRIVATE)

    @property
    def _outputs(self) -> list[Block]:
        return [*self._shown.values(), self.sent, self.session, self.form.problem]

    @property
    def _shown(self) -> dict[str, Block]:
        """Every component that depends on the shown job, by name."""
        names = "jobs job queue head stop resume compare report inside outcome verdict show pictures curves clock"
        return {**{name: getattr(self, name) for name in names.split()}, "export": self.export.container}

    # --- handlers -------------------------------------------------------------------------------------------------------

    def open(self, session: Any, show: bool) -> Changes:
        """The page is opened, or opened again."""
        session = session_of(session)
        return {self.session: session, **self.refresh(session, show)}

    def refresh(self, session: Any, show: bool, sent: Sent | None = None) -> Changes:
        """The shown job as it is now: what differs from what the browser shows."""
        values = self._values(session, show)
        before, components = sent or {}, self._shown
        changes: Changes = {components[name]: value for name, value in values.items() if name not in before or before[name] != value}
        return {component: _update(component, value) for component, value in changes.items()} | {self.sent: values}

    def start_job(self, values: Values) -> Changes:
        """Queue a job and show it."""
        session, show = session_of(values[self.session]), values[self.show]
        try:
            self.page.rate.click(owner(self.page, session))
            entry = start(page_for(self.page, session), self.form.request(values), owner(self.page, session))
        except InputError as error:
            return {self.form.problem: problem(error)}
        return {self.form.problem: "", **self.choose(session, show, entry.id)}

    def estimate(self, values: Values) -> Iterator[str]:
        """What the job would take."""
        session = values[self.session]
        try:
            self.page.rate.click(owner(self.page, session))
            yield '<p role="status">Estimating …</p>'
            yield estimated(estimate(page_for(self.page, session), self.form.request(values)))
        except InputError as error:
            yield problem(error)

    def choose(self, session: Any, show: bool, id: str | None) -> Changes:
        """Show another job."""
        chosen = {**session_of(session), "job": id or ""}
        return {self.session: chosen, **self.refresh(chosen, show)}

    def stop_job(self, session: Any, show: bool) -> Changes:
        """Stop the shown job."""
        return self._do(stop, session, show)

    def resume_job(self, session: Any, show: bool) -> Changes:
        """Resume the shown job."""
        return self._do(resume, session, show)

    def _do(self, action: Callable[[Page, Any], None], session: Any, show: bool) -> Changes:
        try:
            action(self.page, session)
        except InputError as error:
            return {self.form.problem: problem(error)}
        return self.refresh(session, show)

    def to_compare(self, session: Any) -> tuple[Any, Any]:
        """The tab Compare with the model of the shown job."""
        names = erased_runs(page_for(self.page, session))
        return gr.Tabs(selected="compare"), gr.Dropdown(choices=names, value=[run_of(self.page, session).name])

    def to_evidence(self, session: Any) -> tuple[Any, Any]:
        """The tab Evidence with the report of the shown job."""
        return gr.Tabs(selected="evidence"), self._run(session)

    def to_inside(self, session: Any) -> tuple[Any, Any]:
        """The tab Inside with the run of the shown job."""
        return gr.Tabs(selected="inside"), self._run(session)

    def _run(self, session: Any) -> Any:
        return gr.Dropdown(choices=erased_runs(page_for(self.page, session)), value=run_of(self.page, session).name)

    def _values(self, session: Any, show: bool) -> Sent:
        view, entry = view_of(self.page, session, show), watched(self.page, session)
        return {
            "head": view.head,
            "verdict": view.verdict,
            "pictures": view.pictures,
            "curves": view.curves,
            "queue": queue(self.page, session),
            "stop": view.can_stop,
            "resume": view.can_resume,
            "compare": view.finished,
            "report": view.finished,
            "inside": view.finished,
            "export": view.finished,
            "outcome": bool(view.verdict),
            "clock": view.active,
            "show": view.covered,
            "jobs": entry is not None,
            "job": (choices(self.page, session), entry.id if entry else None),
        }


def _update(component: Block, value: Any) -> Any:
    """Text is shown where there is any; a pair is choices and value; what is true or false is visible, or active."""
    if isinstance(value, tuple):
        return gr.Dropdown(choices=value[0], value=value[1])
    if isinstance(component, gr.Timer):
        return gr.Timer(active=value)
    if isinstance(value, str):
        return gr.HTML(value, visible=bool(value))
    return gr.update(visible=value)


class ExportForm:
    """The finished model as a file."""

    def __init__(self, page: Page) -> None:
        self.page = page
        with gr.Accordion("Export", open=True, visible=False, elem_id="export") as self.container:
            formats, dtypes = ([(label, name) for name, label in names.items()] for names in (FORMATS, DTYPES))
            self.format = gr.Radio(formats, value="folder", label="Format", info="Where you want to load it.")
            self.dtype = gr.Radio(dtypes, value="source", label="Precision", info="float16 is half the size of float32.")
            self.write = gr.Button("Prepare download", elem_id="pack")
            self.status = gr.HTML(elem_id="packed")
            self.file = gr.DownloadButton("Download", visible=False, elem_id="download")

    def connect(self, session: gr.BrowserState) -> None:
        """The file is written on a click."""
        inputs = [session, self.format, self.dtype]
        self.write.click(self.export, inputs, [self.status, self.file], concurrency_limit=None, **PRIVATE)

    def export(self, session: Any, form: str, dtype: str) -> Iterator[tuple[str, Any]]:
        """Write the file of the shown job's model and offer it."""
        from gradio.utils import get_upload_folder

        yield '<p role="status">Writing …</p>', gr.DownloadButton(visible=False)
        try:
            self.page.rate.click(owner(self.page, session))
            path = export(run_of(self.page, session), form, dtype, Path(get_upload_folder()))
        except InputError as error:
            yield problem(error), gr.DownloadButton(visible=False)
            return
        button = gr.DownloadButton(f"Download {path.name}", str(path), visible=True)
        yield f'<p role="status">{escape(path.name)}: {size(path.stat().st_size)}.</p>', button
