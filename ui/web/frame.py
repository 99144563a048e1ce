"""What the tabs know of each other, and what all their events have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

if TYPE_CHECKING:
    from ui.web.compare.tab import CompareTab
    from ui.web.erase.tab import EraseTab
    from ui.web.evidence.tab import EvidenceTab
    from ui.web.shelf.tab import RunsTab

Values = Mapping[Component, Any]
"""What a handler is called with whose inputs are a set of components: the value of each."""
Changes = dict[Block, Any]
"""What a handler returns: the components that change, and their new values."""

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}  # no event is an endpoint of an API


@dataclass(frozen=True)
class Frame:
    """The page's parts. A tab is built first and connected when all are built, so that its events can name those of other tabs."""

    blocks: gr.Blocks
    session: gr.BrowserState  # a BrowserSession
    tabs: gr.Tabs
    compare: CompareTab
    erase: EraseTab
    runs: RunsTab
    evidence: EvidenceTab
