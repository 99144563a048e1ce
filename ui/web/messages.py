"""Messages: what went wrong, with the label of the control that it is about, and that a click was received."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from erase.errors import InputError

QUEUED = "() => '<p role=\"status\">Queued …</p>'"  # shown by the browser itself, at once: a busy server may be slow to answer


def labelled(error: InputError, labels: Mapping[str, str]) -> InputError:
    """The error with the label of the control in front; `labels` has one for each option that the form has a control for."""
    label = labels.get(error.option or "")
    return InputError(f"{label}: {error}", code=error.code) if label else error


def sentence(error: object) -> str:
    """A message as a sentence, without its full stop. File names and flags keep their first letter as it is."""
    text = str(error)
    first = text.split(" ", 1)[0]
    return text if any(mark in first for mark in "-./_'\"") else f"{text[:1].upper()}{text[1:]}"


def problem(error: object) -> str:
    """What went wrong, as HTML."""
    return f'<p role="alert" class="problem">{escape(sentence(error))}.</p>'
