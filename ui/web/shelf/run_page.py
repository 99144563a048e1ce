"""The page of one run: what it is, four answers above the fold, and sections with all that is known of it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.blocks import Block

from erase.errors import InputError
from ui.web.context import Page
from ui.web.controls import tabs
from ui.web.frame import PRIVATE, Changes, Frame
from ui.web.inside.view import InsideView
from ui.web.messages import problem
from ui.web.runs import erased_runs
from ui.web.shelf.answers import answers, head
from ui.web.shelf.gallery import gallery
from ui.web.shelf.handlers import delete, deletion, rename
from ui.web.shelf.labels import NOTE, TITLE
from ui.web.shelf.listing import Shelved, shelved_run
from ui.web.shelf.logs import log
from ui.web.shelf.measure_view import MeasureView
from ui.web.shelf.measuring import best_report
from ui.web.shelf.recall import settings
from ui.web.shelf.report import frame as report_frame
from ui.web.shelf.report import links
from ui.web.shelf.take_away_view import TakeAwayView
from ui.web.visitor import page_for

if TYPE_CHECKING:
    from ui.web.shelf.tab import RunsTab

ATTACK = "To attack it, or to go on with an attack, choose it under **Evidence**, **Attack**."


class RunPage:
    """Layout when constructed, events when connected. `name` is the folder of the run that is shown, "" where none is."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.name, self.key = gr.State(""), gr.State("")
        with gr.Column(visible=False, elem_id="run-page") as self.container:
            with gr.Row(equal_height=False, elem_id="run-top"):
                self.head = gr.HTML(apply_default_css=False, elem_id="run-head")
                self._build_buttons()
            self._build_changes()
            with gr.Row(equal_height=False, elem_id="run-cards"):
                self.answers = gr.HTML(apply_default_css=False, elem_id="run-answers")
                self.take_away = TakeAwayView(page)
            with tabs(elem_id="run-sections") as self.sections:
                self._build_sections()

    def _build_buttons(self) -> None:
        with gr.Row(elem_id="run-buttons"):
            self.compare = gr.Button("Compare", size="sm", elem_id="run-compare", min_width=110)
            self.again = gr.Button("Use these settings", size="sm", elem_id="run-again", min_width=110)
            self.edit = gr.Button("Name and note", size="sm", elem_id="run-edit", min_width=110)
            self.remove = gr.Button("Delete …", size="sm", elem_id="run-delete", min_width=110)

    def _build_changes(self) -> None:
        with gr.Column(visible=False, elem_id="run-label") as self.editor:
            self.title = gr.Textbox(label="Name", info="What it is called here; its folder stays.", max_length=TITLE, elem_id="run-title")
            self.note = gr.Textbox(
                label="Note", info="For yourself, or whoever reads this page.", lines=2, max_length=NOTE, elem_id="run-note"
            )
            with gr.Row():
                self.save = gr.Button("Save", variant="primary", elem_id="run-save", min_width=100)
                self.cancel = gr.Button("Cancel", min_width=100)
        with gr.Column(visible=False, elem_id="delete-question") as self.question:
            self.asked = gr.HTML(apply_default_css=False)
            with gr.Row():
                self.sure = gr.Button("Delete it", variant="stop", elem_id="delete-sure", min_width=100)
                self.keep = gr.Button("Keep it", elem_id="delete-keep", min_width=100)
        self.problem = gr.HTML(apply_default_css=False, elem_id="run-problem")

    def _build_sections(self) -> None:
        with gr.Tab("Pictures", id="pictures"):
            self.pictures = gr.HTML(apply_default_css=False, elem_id="run-pictures")
        with gr.Tab("Numbers", id="numbers"):
            self.files = gr.HTML(apply_default_css=False, elem_id="run-files")
            self.numbers = gr.HTML(apply_default_css=False, elem_id="run-numbers")
        with gr.Tab("Attacks", id="attacks"):
            with gr.Row(equal_height=False):
                gr.Markdown(ATTACK)
                self.attack = gr.Button("Attack it", size="sm", elem_id="run-attack", scale=0, min_width=120)
            self.attacks = gr.HTML(apply_default_css=False, elem_id="run-attacks")
        with gr.Tab("Inside", id="inside"):
            self.inside = InsideView(self.page)
        with gr.Tab("Measure", id="measure"):
            self.measuring = MeasureView(self.page)
        with gr.Tab("Protocol", id="protocol"):
            self.protocol = gr.HTML(apply_default_css=False, elem_id="run-protocol")
        with gr.Tab("Log", id="log"):
            self.log = gr.HTML(apply_default_css=False, elem_id="run-log")

    @property
    def outputs(self) -> list[Block]:
        """Everything that depends on the run that is shown."""
        own = [
            self.container, self.name, self.key, self.head, self.answers, self.compare, self.again, self.edit, self.remove, self.editor,
            self.title, self.note, self.question, self.problem, self.pictures, self.files, self.numbers, self.attacks, self.protocol,
            self.log,
        ]  # fmt: skip
        return [*own, *self.take_away.outputs, *self.measuring.outputs, *self.inside.outputs]

    def connect(self, frame: Frame, tab: RunsTab) -> None:
        """The buttons, the sections, and the ways to other tabs."""
        session, name = frame.session, self.name
        self.edit.click(lambda: gr.Column(visible=True), None, self.editor, **PRIVATE)
        self.cancel.click(lambda: gr.Column(visible=False), None, self.editor, **PRIVATE)
        self.save.click(self.rename, [session, name, self.title, self.note], self.outputs, **PRIVATE)
        self.remove.click(self.ask, [session, name], [self.question, self.asked, self.problem], **PRIVATE)
        self.keep.click(lambda: gr.Column(visible=False), None, self.question, **PRIVATE)
        self.sure.click(self.delete, [session, name], [self.question, self.problem, tab.address], **PRIVATE).success(
            None, tab.address, None, js="(deleted) => { if (deleted) eraseConcept.open(''); return deleted }", **PRIVATE
        )
        shown = [frame.tabs, frame.compare.form.models]
        frame.compare.draw_on(self.compare.click(self.to_compare, [session, name], shown, js=LEAVE, **PRIVATE).then)
        self.form, self.tabs = frame.erase.form, frame.tabs
        filled = [frame.tabs, self.problem, *self.form.followers, self.form.model, self.form.options.method]
        self.again.click(self.recall, [session, name], filled, js=LEAVE, **PRIVATE)
        views = [frame.tabs, frame.evidence.views, frame.evidence.attack.form.run]
        attack = frame.evidence.attack
        self.attack.click(self.to_attack, name, views, **PRIVATE).then(
            attack.choose, [session, attack.form.run, attack.show, attack.sent], attack.outputs, **PRIVATE
        )
        tab.show.input(
            self.uncover, [session, name, tab.show], [self.pictures, self.files, self.key, self.numbers, self.attacks], **PRIVATE
        )
        self.take_away.connect(frame, name, self.measuring)
        self.measuring.connect(frame, self)
        self.inside.connect(frame, name)

    # --- handlers -------------------------------------------------------------------------------------------------------

    def show(self, session: Any, run: Shelved, show: bool, key: str = "") -> Changes:
        """The page of a run. `key`: that of the report that was offered before."""
        files, key = links(self.page.downloads, run.folder, show, key)
        return {
            self.container: gr.Column(visible=True),
            self.name: run.name,
            self.key: key,
            self.head: head(run),
            self.answers: self.answered(session, run),
            self.compare: gr.Button(visible=run.has_model),
            self.again: gr.Button(visible=not run.kind),
            self.edit: gr.Button(visible=run.mine),
            self.remove: gr.Button(visible=run.mine),
            self.editor: gr.Column(visible=False),
            self.title: run.title,
            self.note: run.label.note,
            self.question: gr.Column(visible=False),
            self.problem: "",
            self.pictures: gallery(run.folder, show),
            self.files: files,
            self.numbers: report_frame(run.folder, "numbers", show),
            self.attacks: report_frame(run.folder, "attacks", show),
            self.protocol: report_frame(run.folder, "protocol", show),
            self.log: log(self.page, session, run),
            **self.take_away.show(session, run),
            **self.measuring.show(session, run),
            **self.inside.show(session, run.name),
        }

    def answered(self, session: Any, run: Shelved) -> str:
        """The first three answers, from its largest measurement."""
        report, source = best_report(page_for(self.page, session), run)
        return answers(run, report, source)

    def hide(self) -> Changes:
        """No run."""
        return {self.container: gr.Column(visible=False), self.name: ""}

    def rename(self, session: Any, name: str, title: str, note: str) -> Changes:
        """Another name and note."""
        try:
            rename(self.page, session, name, title or "", note or "")
            run = shelved_run(self.page, session, name)
        except InputError as error:
            return {self.problem: problem(error)}
        return {self.head: head(run), self.title: run.title, self.editor: gr.Column(visible=False), self.problem: ""}

    def ask(self, session: Any, name: str) -> tuple[Any, str, str]:
        """What deleting it would do."""
        try:
            words = deletion(self.page, session, name)
        except InputError as error:
            return gr.Column(visible=False), "", problem(error)
        return gr.Column(visible=True), f'<p role="status" class="problem">{escape(words)}</p>', ""

    def delete(self, session: Any, name: str) -> tuple[Any, str, str]:
        """Delete it; the third is what was deleted, "" where something was in the way."""
        try:
            delete(self.page, session, name)
        except InputError as error:
            return gr.Column(visible=False), problem(error), ""
        return gr.Column(visible=False), "", name

    def uncover(self, session: Any, name: str, show: bool) -> tuple[Any, ...]:
        """The same run with its images blurred, or not."""
        try:
            folder = shelved_run(self.page, session, name).folder
        except InputError:
            return (gr.skip(),) * 5
        files, key = links(self.page.downloads, folder, show, "")
        return gallery(folder, show), files, key, report_frame(folder, "numbers", show), report_frame(folder, "attacks", show)

    def to_compare(self, session: Any, name: str) -> tuple[Any, Any]:
        """The tab Compare with this model."""
        return gr.Tabs(selected="compare"), gr.Dropdown(choices=erased_runs(page_for(self.page, session)), value=[name])

    def recall(self, session: Any, name: str) -> Changes:
        """The form of the tab Erase with the settings of this run."""
        try:
            kept = settings(shelved_run(self.page, session, name))
        except InputError as error:
            return {self.problem: problem(error)}
        return {self.tabs: gr.Tabs(selected="erase"), self.problem: "", **self.form.restored(kept)}

    def to_attack(self, name: str) -> tuple[Any, Any, Any]:
        """The form of an attack, for this run."""
        return gr.Tabs(selected="evidence"), gr.Tabs(selected="attack"), gr.Dropdown(value=name)


LEAVE = "(...inputs) => { eraseConcept.leave(); return inputs }"
