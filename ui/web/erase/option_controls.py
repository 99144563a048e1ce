"""All options of the form: of each method and of the job, in groups, with a search, a way back, and marks of what was changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from erase.checkpoints.folder import size_of
from erase.errors import InputError
from erase.methods import METHODS
from erase.pipeline.job import DEFAULTS
from ui.web.context import Page
from ui.web.controls import control_pairs
from ui.web.erase.groups import grouped
from ui.web.erase.handlers import LABELS, PREVIEW, SETTINGS, Choice, concept_for, filled
from ui.web.erase.local_models import folder_of, small
from ui.web.forms import EMPTY, UNSET, Field, displayed, form, presets
from ui.web.frame import Changes

SEARCH = """(text) => {
  const words = (text || '').toLowerCase().trim();
  const root = document.querySelector('#options');
  root.querySelectorAll('[id^="option-"]').forEach((field) => {
    field.style.display = !words || field.innerText.toLowerCase().includes(words) ? '' : 'none';
  });
  root.querySelectorAll('.options-group').forEach((group) => {
    const left = [...group.querySelectorAll('[id^="option-"]')].some((field) => field.style.display !== 'none');
    group.style.display = left ? '' : 'none';
  });
}"""


class Options:
    """The controls: `of` each method by the names of its fields, and `settings` of the job. Layout only."""

    def __init__(self, page: Page, first: Choice) -> None:
        self.search = gr.Textbox(label="Search", info="Shows the options with these words.", elem_id="options-search", max_lines=1)
        self.search.input(None, self.search, None, js=SEARCH)
        with gr.Row(equal_height=True):
            self.method = gr.Dropdown(list(METHODS), value=first.method, label=LABELS["method"], info="How it is removed.", min_width=150)
            names = presets(first.method)
            self.preset = gr.Dropdown(names, value=first.preset, label=LABELS["preset"], info="A named set of values.", min_width=150)
            self.reset = gr.Button("Reset options", size="sm", elem_id="options-reset", min_width=110)
        self.marks = gr.HTML(elem_id="options-marks", apply_default_css=False)
        self.of: dict[str, dict[str, Component]] = {}
        self.groups: dict[str, gr.Column] = {}
        for name in METHODS:
            with gr.Column(visible=name == first.method) as self.groups[name]:
                values = filled(page, Choice(first.concept, first.model, name, presets(name)[0]))
                self.of[name] = _built(form(METHODS[name]), values, {})
        hints = {field.name: default_text(page, first, field) for field in SETTINGS if field.optional}
        self.settings = _built(SETTINGS, {field.name: PREVIEW.get(field.name, field.default) for field in SETTINGS}, hints)

    @property
    def components(self) -> list[Component]:
        """Every option's control."""
        return [*(component for controls in self.of.values() for component in controls.values()), *self.settings.values()]

    def show(self, method: str, preset: str) -> Changes:
        """The options of a method instead of those of another."""
        shown: Changes = {group: gr.Column(visible=name == method) for name, group in self.groups.items()}
        return {**shown, self.preset: gr.Dropdown(choices=presets(method), value=preset)}

    def defaults(self) -> Changes:
        """The options of the job as they are at first."""
        return {self.settings[field.name]: displayed(field, PREVIEW.get(field.name, field.default)) for field in SETTINGS}

    @property
    def outputs(self) -> list[Block]:
        """What `marked` changes."""
        return [self.marks]


def changes_of(values: Mapping[str, Any], fields: Sequence[Field], usual: Mapping[str, Any]) -> dict[str, str]:
    """Field -> its usual value in words, of those whose control holds something else."""
    differing: dict[str, str] = {}
    for field in fields:
        expected = displayed(field, usual[field.name])
        if field.name in values and not _same(values[field.name], expected):
            differing[field.name] = "empty" if expected in ("", UNSET, None) else str(usual[field.name])
    return differing


def marks(differing: Mapping[str, str]) -> str:
    """A style sheet that marks the changed options and says what they were."""
    rules = []
    for name, usual in differing.items():
        words = json.dumps(f"changed, was {usual}"[:80]).replace("<", "\\3c ")
        place = f"#option-{name.replace('_', '-')}"
        rules.append(f'{place}{{border-left:4px solid var(--mark)!important}}{place} [data-testid="block-info"]::after{{content:{words}}}')
    return f"<style>{''.join(rules)}</style>" if rules else ""


def default_text(page: Page, choice: Choice, field: Field) -> str:
    """What an empty field of the job stands for, with the value where it follows from the model."""
    try:
        model = concept_for(page, choice.concept, choice.model)[1]
        usual: dict[str, Any] = dict(DEFAULTS[small(model)])
        folder = folder_of(model)
        usual |= {"size": size_of(folder)} if folder else {}
    except InputError:
        return EMPTY
    return f"{EMPTY}: {usual[field.name]}" if field.name in usual else EMPTY


def _built(fields: Sequence[Field], values: Mapping[str, Any], hints: Mapping[str, str]) -> dict[str, Component]:
    components: dict[str, Component] = {}
    for title, members in grouped(fields).items():
        with gr.Column(elem_classes="options-group"):
            gr.HTML(f"<h3>{title}</h3>", apply_default_css=False)
            components |= control_pairs(members, values, hints)
    return components


def _same(entered: Any, expected: Any) -> bool:
    """Whether a control holds what it was filled with: numbers by their value, an empty one as nothing."""
    if isinstance(entered, bool) or isinstance(expected, bool):
        return bool(entered) == bool(expected)
    try:
        return float(entered) == float(expected)
    except (TypeError, ValueError):
        return str(entered if entered is not None else "").strip() == str(expected if expected is not None else "")
