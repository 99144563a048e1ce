"""The page of one run: what it is, four answers above the fold, and sections with all that is known of it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.blocks import Block

from erase.errors import InputError
from ui.web.context import Page
from ui.web.frame import PRIVATE, Changes, Frame
from ui.web.messages import problem
from ui.web.runs import erased_runs
from ui.web.shelf.answers import answers, head
from ui.web.shelf.gallery import gallery
from ui.web.shelf.handlers import delete, deletion, rename
from ui.web.shelf.labels import NOTE, TITLE
from ui.web.shelf.listing import Shelved, shelved_run
from ui.web.visitor import page_for

if TYPE_CHECKING:
    from ui.web.shelf.tab import RunsTab


class RunPage:
    """Layout when constructed, events when connected. `name` is the folder of the run that is shown, "" where none is."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.name = gr.State("")
        with gr.Column(visible=False, elem_id="run-page") as self.container:
            with gr.Row(equal_height=False):
                self.head = gr.HTML(apply_default_css=False, elem_id="run-head")
                self._build_buttons()
            self._build_changes()
            self.answers = gr.HTML(apply_default_css=False, elem_id="run-answers")
            with gr.Tabs(elem_id="run-sections") as self.sections, gr.Tab("Pictures", id="pictures"):
                self.pictures = gr.HTML(apply_default_css=False, elem_id="run-pictures")

    def _build_buttons(self) -> None:
        with gr.Row(elem_id="run-buttons"):
            self.compare = gr.Button("Compare", size="sm", elem_id="run-compare", min_width=110)
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

    @property
    def outputs(self) -> list[Block]:
        """Everything that depends on the run that is shown."""
        return [
            self.container, self.name, self.head, self.answers, self.pictures, self.compare, self.edit, self.remove, self.editor,
            self.title, self.note, self.question, self.problem,
        ]  # fmt: skip

    def connect(self, frame: Frame, tab: RunsTab) -> None:
        """The buttons, and pictures that are shown without blur."""
        session, name = frame.session, self.name
        self.edit.click(lambda: gr.Column(visible=True), None, self.editor, **PRIVATE)
        self.cancel.click(lambda: gr.Column(visible=False), None, self.editor, **PRIVATE)
        self.save.click(self.rename, [session, name, self.title, self.note, tab.show], self.outputs, **PRIVATE)
        self.remove.click(self.ask, [session, name], [self.question, self.asked, self.sure, self.problem], **PRIVATE)
        self.keep.click(lambda: gr.Column(visible=False), None, self.question, **PRIVATE)
        tab.open_on(self.sure.click, self.delete, [session, name])
        shown = [frame.tabs, frame.compare.form.models]
        frame.compare.draw_on(self.compare.click(self.to_compare, [session, name], shown, **PRIVATE).then)

    # --- handlers -------------------------------------------------------------------------------------------------------

    def show(self, session: Any, run: Shelved, show: bool) -> Changes:
        """The page of a run."""
        return {
            self.container: gr.Column(visible=True),
            self.name: run.name,
            self.head: head(run),
            self.answers: answers(run, run.report),
            self.pictures: gallery(run.folder, show),
            self.compare: gr.Button(visible=run.has_model),
            self.edit: gr.Button(visible=run.mine),
            self.remove: gr.Button(visible=run.mine),
            self.editor: gr.Column(visible=False),
            self.title: run.title,
            self.note: run.label.note,
            self.question: gr.Column(visible=False),
            self.problem: "",
        }

    def hide(self) -> Changes:
        """No run."""
        return {self.container: gr.Column(visible=False), self.name: ""}

    def rename(self, session: Any, name: str, title: str, note: str, show: bool) -> Changes:
        """Another name and note."""
        try:
            rename(self.page, session, name, title or "", note or "")
            return self.show(session, shelved_run(self.page, session, name), show)
        except InputError as error:
            return {self.problem: problem(error)}

    def ask(self, session: Any, name: str) -> tuple[Any, ...]:
        """What deleting it would do."""
        try:
            words = deletion(self.page, session, name)
        except InputError as error:
            return gr.Column(visible=False), "", gr.Button(), problem(error)
        return gr.Column(visible=True), f'<p role="status" class="problem">{escape(words)}</p>', gr.Button(), ""

    def delete(self, session: Any, name: str) -> str:
        """Delete it; then to the shelf. What is in the way has been said before the question."""
        try:
            delete(self.page, session, name)
        except InputError as error:
            raise gr.Error(str(error), duration=None) from None
        return ""

    def to_compare(self, session: Any, name: str) -> tuple[Any, Any]:
        """The tab Compare with this model."""
        return gr.Tabs(selected="compare"), gr.Dropdown(choices=erased_runs(page_for(self.page, session)), value=[name])
