"""What the page says when something fails or a click was taken."""

from __future__ import annotations

from html import escape

TAKEN = "() => '<p role=\"status\">Taken …</p>'"  # said by the browser itself, at once: a busy server may be slow to answer a press


def problem(error: object) -> str:
    """What went wrong, as a visitor reads it."""
    text = str(error).removeprefix("--")
    return f'<p role="alert" class="problem">{escape(text[:1].upper() + text[1:])}.</p>'
