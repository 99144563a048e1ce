"""The tab Evidence: several runs side by side, and attacks. What is known of one run stands on its own page, in the tab Runs."""

from __future__ import annotations

from typing import Any

import gradio as gr

from erase.errors import InputError
from ui.web.context import Page
from ui.web.evidence.attack_tab import AttackTab
from ui.web.evidence.handlers import charts, compared, comparison_files, reported, table
from ui.web.frame import PRIVATE, Frame
from ui.web.messages import problem
from ui.web.visitor import page_for

HELLO = """**Runs beside each other, and attacks.** Every number can be repeated by its protocol. All that is known of one run stands on
its page, in the tab Runs."""

# --- handlers ---------------------------------------------------------------------------------------------------------


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
    """Several runs beside each other, and attacks. Layout when constructed, events when connected."""

    def __init__(self, page: Page) -> None:
        self.page = page
        with gr.Tab("Evidence", id="evidence", elem_id="tab-evidence") as self.container:
            gr.Markdown(HELLO)
            with gr.Tabs() as self.views:
                with gr.Tab("Several runs", id="several"):
                    self.comparison = ComparisonView(page)
                with gr.Tab("Attack", id="attack"):
                    self.attack = AttackTab(page)

    def connect(self, frame: Frame) -> None:
        """The list of runs is read when the page or the tab is opened."""
        runs = self.comparison.runs
        for listener in (frame.blocks.load, self.container.select):
            listener(self.list_runs, [frame.session, runs], runs, **PRIVATE)
        self.comparison.connect(frame)
        self.attack.connect(frame)

    def list_runs(self, session: Any, runs: list[str]) -> Any:
        """The runs to choose from; chosen ones stay where they still exist."""
        names = reported(page_for(self.page, session))
        return gr.Dropdown(choices=names, value=[name for name in runs or [] if name in names] or names[:3])


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
