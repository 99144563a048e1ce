"""The view Attack of the tab Evidence: a form, the job while it runs, and its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block

from erase.errors import InputError
from ui.web.context import Page
from ui.web.evidence.attack_form import AttackForm
from ui.web.evidence.attack_handlers import attackable, concepts_of, estimate, job_of, start
from ui.web.evidence.attack_view import absent, covered, foreseen, head, planned, result, stamp
from ui.web.frame import PRIVATE, Changes, Frame, Values
from ui.web.jobs.entry import FAILED, RUNNING, STOPPED, WAITING, Entry
from ui.web.messages import QUEUED, problem

HELLO = """**Is it gone, or only its name?** Attacks try to bring the concept back from the erased model and, for comparison, from its
original and a model that was trained without it. They take turns, a few attempts each, until the time is up."""

Sent = tuple[str | None, bool, int, bool]
"""What the result depends on: run, blurred or not, version, whether the first is on its way. Sent again only where one of these changes."""


class AttackTab:
    """Layout when constructed, events when connected: form on the left, job on the right, the result below both."""

    def __init__(self, page: Page) -> None:
        self.page = page
        gr.Markdown(HELLO)
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                self.form = AttackForm(page)
            with gr.Column(scale=3, min_width=320):
                self.estimate = gr.HTML(apply_default_css=False, elem_id="attack-estimate", visible=False)
                self.head = gr.HTML(apply_default_css=False, elem_id="attacking", visible=False)
                with gr.Row(visible=False) as self.buttons:
                    self.stop = gr.Button("Stop", variant="stop", visible=False, elem_id="attack-stop", min_width=100)
                    self.resume = gr.Button("Resume", variant="primary", visible=False, elem_id="attack-again", min_width=100)
                self.plan = gr.HTML(planned("quick", ()), apply_default_css=False, elem_id="attack-plan")
        info = "Blurred until you tick this, for this visit only."
        self.show = gr.Checkbox(False, label="Show images without blur", info=info, elem_id="attack-show", visible=False)
        self.frame = gr.HTML(apply_default_css=False, elem_id="attack-result")
        self.sent, self.clock = gr.State(()), gr.Timer(1.0, active=False)

    def connect(self, frame: Frame) -> None:
        """Clicks, the clock, and lists that are read when the page or the tab is opened."""
        self.session, form, outputs = frame.session, self.form, self.outputs
        now = [frame.session, form.run, self.show, self.sent]
        for listener in (frame.blocks.load, frame.evidence.container.select):
            listener(self.open, now, [form.run, form.absent, *outputs], **PRIVATE)
        form.run.input(self.choose, now, outputs, **PRIVATE)
        self.show.input(self.refresh, now, outputs, **PRIVATE)
        self.clock.tick(self.refresh, now, outputs, concurrency_limit=None, **PRIVATE)
        form.start.click(None, None, form.problem, js=QUEUED)
        form.start.click(self.start_job, {frame.session, self.show, self.sent, *form.inputs}, outputs, **PRIVATE)
        form.ask.click(self.ask, {frame.session, *form.inputs}, self.estimate, concurrency_limit=None, **PRIVATE)
        self.stop.click(self.stop_job, now, outputs, **PRIVATE)
        self.resume.click(self.resume_job, now, outputs, **PRIVATE)
        form.connect(self.plan, self.estimate)

    @property
    def outputs(self) -> list[Block]:
        job: list[Block] = [self.estimate, self.head, self.buttons, self.stop, self.resume, self.plan]
        return [*job, self.show, self.frame, self.sent, self.clock, self.form.start, self.form.concept, self.form.problem]

    # --- handlers -------------------------------------------------------------------------------------------------------

    def open(self, session: Any, name: str | None, show: bool, sent: Sent) -> Changes:
        """The page or the tab is opened: the runs to choose from, the one that is being attacked first."""
        (names, others), active = attackable(self.page, session), job_of(self.page, session, None)
        first = active.run.name if active and active.active and active.run.name in names else next(iter(names), None)
        name, reasons = name if name in names else first, absent(others)
        lists: Changes = {
            self.form.run: gr.Dropdown(choices=names, value=name),
            self.form.absent: gr.HTML(reasons, visible=bool(reasons)),
        }
        return lists | self._concepts(session, name) | self.refresh(session, name, show, sent)

    def choose(self, session: Any, name: str | None, show: bool, sent: Sent) -> Changes:
        """Another run."""
        return self._concepts(session, name) | self.refresh(session, name, show, sent) | {self.form.problem: ""}

    def start_job(self, values: Values) -> Changes:
        """Queue the attack."""
        session, request = values[self.session], self.form.request(values)
        try:
            start(self.page, session, request)
        except InputError as error:
            return {self.form.problem: problem(error)}
        changes = self.refresh(session, request.run, values[self.show], values[self.sent])
        return changes | {self.form.problem: "", self.estimate: gr.HTML("", visible=False)}

    def ask(self, values: Values) -> Iterator[Any]:
        """What the attack would take."""
        yield gr.HTML('<p role="status">Estimating: the models are being opened and timed …</p>', visible=True)
        try:
            yield foreseen(estimate(self.page, values[self.session], self.form.request(values)))
        except InputError as error:
            yield problem(error)

    def stop_job(self, session: Any, name: str | None, show: bool, sent: Sent) -> Changes:
        """Stop the attack."""
        return self._do(self.page.jobs.stop, session, name, show, sent)

    def resume_job(self, session: Any, name: str | None, show: bool, sent: Sent) -> Changes:
        """Resume the attack."""
        return self._do(self.page.jobs.again, session, name, show, sent)

    def _do(self, action: Callable[[str], object], session: Any, name: str | None, show: bool, sent: Sent) -> Changes:
        entry = job_of(self.page, session, name)
        try:
            if entry:
                action(entry.id)
        except InputError as error:
            return {self.form.problem: problem(error)}
        return self.refresh(session, name, show, sent) | {self.form.problem: ""}

    def refresh(self, session: Any, name: str | None, show: bool, sent: Sent) -> Changes:
        """The job as it is now; the result only where it differs from what the browser shows."""
        entry: Entry | None = job_of(self.page, session, name) if name else None
        state, ahead = (entry.state, self.page.jobs.ahead(entry.id)) if entry else ("", 0)
        active = entry is not None and entry.active
        changes: Changes = {
            self.head: gr.HTML(head(entry, ahead), visible=entry is not None),
            self.buttons: gr.Row(visible=state in (WAITING, RUNNING, STOPPED, FAILED)),
            self.stop: gr.Button(visible=state in (WAITING, RUNNING)),
            self.resume: gr.Button(visible=state in (STOPPED, FAILED)),
            self.form.start: gr.Button(interactive=not active),
            self.clock: gr.Timer(active=active),
            self.plan: gr.HTML(visible=not active),
        }
        folder = self.page.runs / Path(name or "none").name
        version = stamp(folder)
        now: Sent = (name, bool(show), version, active and not version)
        if now == tuple(sent or ()):
            return changes
        html = "" if active and not version else result(self.page, session, name, show)
        return changes | {self.frame: html, self.sent: now, self.show: gr.Checkbox(visible=covered(folder))}

    def _concepts(self, session: Any, name: str | None) -> Changes:
        """The concepts of another run."""
        names = concepts_of(self.page.runs / name) if name and name in attackable(self.page, session)[0] else []
        return {self.form.concept: gr.Dropdown(choices=names, value=next(iter(names), None), visible=len(names) > 1)}
