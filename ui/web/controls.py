"""The gradio component of a form's field."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, TypedDict

import gradio as gr
from gradio.components import Component

from ui.web.forms import EMPTY, UNSET, Field, displayed
from ui.web.frame import Values


class _Common(TypedDict):
    label: str
    info: str
    elem_id: str
    min_width: int


def tabs(**options: Any) -> gr.Tabs:
    """Tabs of which a narrow screen shows all, in several rows; before Gradio could do that, it hid some in a menu."""
    wrap: dict[str, Any] = {"overflow_behavior": "wrap"} if "overflow_behavior" in signature(gr.Tabs).parameters else {}
    return gr.Tabs(**wrap, **options)


def control(field: Field, value: Any, hint: str = EMPTY) -> Component:
    """The component of a field, holding a value; `hint`: what it stands for while it is empty."""
    content = displayed(field, value)
    common: _Common = {"label": field.label, "info": field.info, "elem_id": f"option-{field.name.replace('_', '-')}", "min_width": 200}
    if field.choices:
        names = [UNSET, *field.choices] if field.optional else list(field.choices)
        return gr.Dropdown(names, value=content, **common)
    if field.kind == "bool":
        return gr.Checkbox(value=content, **common)
    if field.kind in ("int", "float") and not field.optional:
        step = 1 if field.kind == "int" else 10.0 ** (math.floor(math.log10(abs(value))) if value else -1)
        return gr.Number(value=content, step=step, **common)  # no precision: it would round 2.5 without a word
    return gr.Textbox(value=content, max_lines=1, max_length=1000, placeholder=hint if field.optional else None, **common)


def control_pairs(fields: Sequence[Field], values: Mapping[str, Any], hints: Mapping[str, str] | None = None) -> dict[str, Component]:
    """The components of fields by name, two beside each other where there is room; `hints` as for `control`."""
    components: dict[str, Component] = {}
    for start in range(0, len(fields), 2):
        with gr.Row():
            pair = fields[start : start + 2]
            components |= {field.name: control(field, values[field.name], (hints or {}).get(field.name, EMPTY)) for field in pair}
    return components


def entered(components: Mapping[str, Component], values: Values) -> dict[str, Any]:
    """What a form's components hold, by the names of their fields."""
    return {name: values[component] for name, component in components.items()}
