"""The tab Runs: the shelf, and a page for each run with an address of its own."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.blocks import Block

from erase.errors import InputError
from ui.web.context import Page
from ui.web.frame import PRIVATE, Changes, Frame
from ui.web.messages import problem
from ui.web.shelf.cards import shelf
from ui.web.shelf.listing import FILTERS, SORTS, chosen, shelved, shelved_run
from ui.web.shelf.run_page import RunPage
from ui.web.shelf.scripts import INSTALL, OPENER, READ_ADDRESS

HELLO = "**Every run, and what became of it.** Whoever made it: this page, the command, or `make demo`. Click one for its answers."


class RunsTab:
    """Layout when constructed, events when connected. The browser's address says what is shown."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.opener = gr.Button("Open", elem_id=OPENER, elem_classes="out-of-sight", render=False)
        with gr.Tab("Runs", id="runs", elem_id="tab-runs") as self.container:
            self.address = gr.Textbox(visible=False)
            self.wanted = gr.JSON(visible=False)
            with gr.Column() as self.shelf:
                gr.Markdown(HELLO)
                self._build_controls()
                self.said = gr.HTML(visible=False, elem_id="shelf-said")
                self.list = gr.HTML(apply_default_css=False, elem_id="shelf")
            self.run = RunPage(page)

    def _build_controls(self) -> None:
        with gr.Row(elem_id="shelf-controls"):
            self.words = gr.Textbox(
                label="Search", info="Words of a name, a note, a concept, a model, a method or a state.", elem_id="shelf-search",
                max_length=200, max_lines=1, scale=3, min_width=240,
            )  # fmt: skip
            self.which = gr.Dropdown(
                [(label, name) for name, (label, _) in FILTERS.items()], value="all", label="Show", info="Which kinds of runs.",
                elem_id="shelf-which", scale=2, min_width=160,
            )  # fmt: skip
            self.order = gr.Dropdown(
                [(label, name) for name, (label, _) in SORTS.items()], value="newest", label="Order", info="What comes first.",
                elem_id="shelf-order", scale=2, min_width=160,
            )  # fmt: skip
            self.show = gr.Checkbox(
                False, label="Show images without blur", elem_id="shelf-show", scale=2, min_width=220,
                info="What may be explicit is blurred until you tick this, for this visit only.",
            )  # fmt: skip

    def connect(self, frame: Frame) -> None:
        """The address, the list, and what the run's own page does."""
        self.frame, session = frame, frame.session
        self.opener.render()  # here, outside all tabs: the browser has nothing of a tab that was never opened
        frame.blocks.load(None, None, None, js=INSTALL, **PRIVATE)
        controls = [session, self.words, self.which, self.order, self.show]
        # One after another, each with the controls as they are when it is its turn: so the last list is of the last choice.
        turn: dict[str, Any] = {"trigger_mode": "always_last", "concurrency_id": "shelf", "concurrency_limit": 1, **PRIVATE}
        for listener in (frame.blocks.load, self.opener.click):
            opened = listener(self.open, [self.address, self.run.key, session, self.show], self._outputs, js=READ_ADDRESS, **PRIVATE)
            opened.then(self.list_runs, controls, self.list, **turn)
        for listener in (self.container.select, self.words.change, self.which.input, self.order.input, self.show.input):
            listener(self.list_runs, controls, self.list, **turn)
        self.run.connect(frame, self)

    def open_on(self, listener: Any, which: Any, inputs: Any, section: str = "") -> None:
        """On an event, go to the page of the run that `which(inputs)` names, as a link would, there to a section; none: stay."""
        go = f"(name) => {{ if (name) eraseConcept.open(name, {section!r}); return name }}"
        listener(which, inputs, self.wanted, **PRIVATE).then(None, self.wanted, None, js=go, **PRIVATE)

    @property
    def _outputs(self) -> list[Block]:
        return [self.frame.tabs, self.shelf, self.said, *self.run.outputs]

    # --- handlers -------------------------------------------------------------------------------------------------------

    def open(self, address: str | None, key: str, session: Any, show: bool) -> Changes:
        """What the address names: a run's page, the shelf (""), or neither (None), which changes no tab."""
        shelf_alone: Changes = {
            self.shelf: gr.Column(visible=True),
            self.said: gr.HTML("", visible=False),
            **self.run.hide(),
        }
        if address is None:
            return shelf_alone
        changes: Changes = {self.frame.tabs: gr.Tabs(selected="runs")}
        if not address:
            return changes | shelf_alone
        try:
            run = shelved_run(self.page, session, address)
        except InputError as error:
            return changes | shelf_alone | {self.said: gr.HTML(problem(error), visible=True)}
        return changes | {self.shelf: gr.Column(visible=False), **self.run.show(session, run, show, key)}

    def list_runs(self, session: Any, words: str, which: str, order: str, show: bool) -> str:
        """The runs that the controls choose."""
        runs = shelved(self.page, session)
        return shelf(chosen(runs, words, which, order), len(runs), bool(show))
