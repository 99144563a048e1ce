"""A visit of any length leaves one component for each of the page's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

gr = pytest.importorskip("gradio")

from gradio.state_holder import SessionState  # noqa: E402

from ui.web.session_state import keep_component_ids  # noqa: E402


def visits(count: int) -> tuple[Any, SessionState, list[Any]]:
    """A page whose button sets a text and the properties of another component, its session after `count` clicks, and its last answer."""
    with gr.Blocks() as blocks:
        text, grid, button = gr.Textbox(), gr.HTML(), gr.Button()
        button.click(
            lambda before: {text: gr.skip(), grid: f"<b>{before}</b>", button: gr.Button(interactive=False)}, text, [text, grid, button]
        )
        button.click(lambda: (gr.skip(), gr.HTML(visible=True)), None, [text, grid])
    session, answer = SessionState(blocks), dict[str, Any]()
    for turn in range(count):
        asyncio.run(blocks.process_api(1, [], session))
        answer = asyncio.run(blocks.process_api(0, [f"visit {turn}"], session))
    return blocks, session, answer["data"]


def test_a_session_does_not_grow_with_its_clicks():
    keep_component_ids()
    blocks, session, answer = visits(5)
    assert answer[1] == "<b>visit 4</b>"
    assert set(session.blocks_config.blocks) == set(session.config_values) == set(blocks.blocks)


def test_the_newest_value_stands_where_gradio_looks_for_it():
    keep_component_ids()
    blocks, session, _ = visits(3)
    grid = next(id for id, block in blocks.blocks.items() if isinstance(block, gr.HTML))
    assert session.config_values[grid]["props"]["value"] == "<b>visit 2</b>"


def test_asking_for_it_twice_wraps_once():
    keep_component_ids()
    wrapped = SessionState.__setitem__
    keep_component_ids()
    assert SessionState.__setitem__ is wrapped
