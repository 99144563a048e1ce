"""The tab Erase: the form on the left, and on the right the queue and the job that is shown while it runs."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr
from gradio.blocks import Block

from erase.errors import InputError
from ui.web.context import Page
from ui.web.erase.cost import cost_of
from ui.web.erase.form import EraseForm
from ui.web.erase.handlers import identical, order_of, start
from ui.web.erase.price import Price
from ui.web.erase.view import View
from ui.web.erase.watch import choices, queue, resume, run_of, stop, view_of, watched
from ui.web.frame import PRIVATE, Changes, Frame, Values
from ui.web.messages import QUEUED, problem
from ui.web.runs import erased_runs
from ui.web.visitor import owner, page_for, secret, session_of

HELLO = "## Choose what to remove\nYou may close the page while it works: the job continues."
# A job that ends is told to whoever has asked for it, and the browser's tab has its progress in the title.
TITLE = """() => {
  const job = document.querySelector('#head [data-job]');
  const now = job ? {id: job.dataset.job, state: job.dataset.state, title: job.dataset.title} : {};
  document.title = now.title || 'erase-concept';
  const before = window.eraseJob || {};
  if (before.id === now.id && before.state !== now.state && ['done', 'failed'].includes(now.state)
      && 'Notification' in window && Notification.permission === 'granted') new Notification(now.title);
  window.eraseJob = now;
}"""
NOTIFY = """async () => {
  if (!('Notification' in window)) return '<p role="status">This browser has no notifications here.</p>';
  const answer = await Notification.requestPermission();
  const words = answer === 'granted' ? 'You will be notified when a job ends.' : 'The browser does not allow notifications of this page.';
  return `<p role="status">${words}</p>`;
}"""
# Where the job is not beside the form but below it.
TO_JOB = """() => {
  if (window.innerWidth < 900 && document.querySelector('#erase-problem .started'))
    document.querySelector('#job-card').scrollIntoView({behavior: 'smooth'});
}"""

Sent = dict[str, Any]
"""What the browser shows of a job, by component: only what differs is sent again."""


class EraseTab:
    """Layout when constructed, events when connected."""

    def __init__(self, page: Page) -> None:
        self.page = page
        with gr.Tab("Erase", id="erase", elem_id="tab-erase") as self.container:
            gr.Markdown(HELLO, elem_id="erase-hello")
            with gr.Row(equal_height=False, elem_id="erase-columns"):
                with gr.Column(scale=1, min_width=340, elem_id="erase-form"):
                    self.form = EraseForm(page)
                with gr.Column(scale=1, min_width=340, elem_id="job-card"):
                    self._build_job()
            self.price = Price(page, self.form, gr.BrowserState(None, storage_key="erase-concept-form", secret=secret(page), render=False))

    def _build_job(self) -> None:
        """The queue, the progress of the shown job, the buttons for it, and what it has made so far."""
        with gr.Column(visible=False) as self.jobs:
            self.job = gr.Dropdown([], label="Job", info="Your jobs, newest first. They are still here when you come back.", elem_id="job")
            self.queue = gr.HTML(elem_id="queue")
        self.head = gr.HTML(View().head, elem_id="head")
        with gr.Row(elem_id="presses"):
            self.stop = self._button("Stop", "stop", "job-stop")
            self.notify = self._button("Notify me when done", "secondary", "job-notify")
            self.resume = self._button("Resume", "primary", "job-again")
            self.compare = self._button("Compare", "primary", "job-compare")
            self.report = self._button("Report", "secondary", "job-report")
            self.inside = self._button("Inside", "secondary", "job-inside")
        self.notice = gr.HTML(elem_id="job-notice")
        self.verdict = gr.HTML(visible=False, elem_id="verdict")
        self.show = gr.Checkbox(
            False, label="Show images without blur", elem_id="job-show", visible=False,
            info="Images of a model that is being changed are blurred until you tick this, for this visit; the embedded model's are not.",
        )  # fmt: skip
        self.pictures = gr.HTML(visible=False, elem_id="pictures")
        self.curves = gr.HTML(visible=False, elem_id="curves")
        with gr.Accordion("Stages", open=False, visible=False, elem_id="stages-fold") as self.stages_fold:
            self.stages = gr.HTML(elem_id="stages")
        with gr.Accordion("Log", open=True, visible=False, elem_id="log-fold") as self.log_fold:
            self.log = gr.HTML(elem_id="log")
        self.sent = gr.State({})
        self.clock = gr.Timer(1.0, active=False)

    @staticmethod
    def _button(label: str, variant: Any, elem_id: str) -> gr.Button:
        return gr.Button(label, variant=variant, visible=False, elem_id=elem_id, min_width=100)

    def connect(self, frame: Frame) -> None:
        """Clicks, the clock, a page that is opened again, and the ways to other tabs."""
        self.session = session = frame.session
        form, outputs, now = self.form, self._outputs, [session, self.show]
        self.price.connect(frame, self.container)
        frame.blocks.load(self.open, now, outputs, **PRIVATE)
        self.clock.tick(self.refresh, [*now, self.sent], outputs, concurrency_limit=None, **PRIVATE)
        self.head.change(None, None, None, js=TITLE)
        self.notify.click(None, None, self.notice, js=NOTIFY)
        for button, handler in ((form.start, self.start_job), (form.again, self.start_again)):
            button.click(None, None, form.problem, js=QUEUED)
            button.click(handler, {session, self.show, *form.inputs}, outputs, **PRIVATE).then(None, None, None, js=TO_JOB)
        self.stop.click(self.stop_job, now, outputs, **PRIVATE)
        self.resume.click(self.resume_job, now, outputs, **PRIVATE)
        self.show.input(self.refresh, now, outputs, **PRIVATE)
        self.job.input(self.choose, [*now, self.job], outputs, **PRIVATE)
        frame.compare.draw_on(self.compare.click(self.to_compare, session, [frame.tabs, frame.compare.form.models], **PRIVATE).then)
        frame.runs.open_on(self.report.click, self.shown_run, session)
        frame.runs.open_on(self.inside.click, self.shown_run, session, "Inside")

    @property
    def _outputs(self) -> list[Block]:
        return [*self._shown.values(), self.sent, self.session, self.form.problem, self.form.again]

    @property
    def _shown(self) -> dict[str, Block]:
        """Every component that depends on the shown job, by name."""
        names = "jobs job queue head stop notify resume compare report inside verdict show pictures curves stages stages_fold log log_fold"
        return {**{name: getattr(self, name) for name in names.split()}, "clock": self.clock}

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
        """Queue a job and show it; ask before the same job is queued a second time."""
        return self._start(values, again=False)

    def start_again(self, values: Values) -> Changes:
        """Queue a job although the same one is there."""
        return self._start(values, again=True)

    def _start(self, values: Values, again: bool) -> Changes:
        session, show = session_of(values[self.session]), values[self.show]
        page, visitor, form = page_for(self.page, session), owner(self.page, session), self.form
        try:
            self.page.rate.click(visitor)
            request = form.request(values)
            order = order_of(page, request)
            if not again and (same := identical(page, order, visitor)):
                return {form.problem: already(same.name, same.active), form.again: gr.Button(visible=True)}
            entry = start(page, request, visitor, cost_of(page, order).seconds or 0.0)
        except InputError as error:
            return {form.problem: problem(error), form.again: gr.Button(visible=False)}
        said = f'<p role="status" class="started">Started: <b>{escape(entry.name)}</b>.</p>'
        return {**self.choose(session, show, entry.id), form.problem: said, form.again: gr.Button(visible=False)}

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

    def shown_run(self, session: Any) -> str:
        """The run of the shown job."""
        return run_of(self.page, session).name

    def _values(self, session: Any, show: bool) -> Sent:
        view, entry, listed = view_of(self.page, session, show), watched(self.page, session), choices(self.page, session)
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
            "notify": view.active,
            "stages": view.stages,
            "stages_fold": bool(view.stages),
            "log": view.log,
            "log_fold": bool(view.log),
            "clock": view.active,
            "show": view.covered,
            "jobs": len(listed) > 1 or any(other.active and other != entry for other in self.page.jobs.entries()),
            "job": (listed, entry.id if entry else None),
        }


def already(name: str, active: bool) -> str:
    """That the same job is there already."""
    where = "is in the queue" if active else "has been done"
    return f'<p role="alert" class="problem">The same job {where} already: {escape(name)}. The same options give the same model.</p>'


def _update(component: Block, value: Any) -> Any:
    """Text is shown where there is any; a pair is choices and value; what is true or false is visible, or active."""
    if isinstance(value, tuple):
        return gr.Dropdown(choices=value[0], value=value[1])
    if isinstance(component, gr.Timer):
        return gr.Timer(active=value)
    if isinstance(value, str):
        return gr.HTML(value, visible=bool(value))
    return gr.update(visible=value)
