"""What gradio remembers of a visitor's page stays as large as the page, however long the visit."""

from __future__ import annotations

from typing import Any

from gradio.blocks import Block
from gradio.state_holder import SessionState


def keep_component_ids() -> None:
    """A component that replaces another in a visitor's session takes its number, for all sessions from now on. Once is enough.

    For each update of a component's properties, gr.skip() included, gradio makes a new component and stores it under the old one's number,
    but the new one keeps a number of its own. The next value of the component is then stored under that, beside the old: a comparison left
    some twenty components and its grid of images behind (gradio 6.31), and a deep link would have shown old values.
    """
    if not hasattr(SessionState.__setitem__, "keeps_ids"):
        SessionState.__setitem__ = _with_kept_ids(SessionState.__setitem__)  # type: ignore[method-assign]


def _with_kept_ids(store: Any) -> Any:
    def stored(session: SessionState, key: int, value: Any) -> None:
        if isinstance(value, Block):
            value._id = key
        store(session, key, value)

    stored.keeps_ids = True  # type: ignore[attr-defined]
    return stored
