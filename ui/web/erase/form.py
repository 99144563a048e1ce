"""The form of the tab Erase: what to erase, from what, and how."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from erase.concepts import EMBEDDED
from erase.methods import METHODS
from ui.web.context import Page
from ui.web.controls import control_pairs, entered
from ui.web.erase.handlers import (
    FIRST,
    LABELS,
    OWN,
    PREVIEW,
    SETTINGS,
    Choice,
    ErasureRequest,
    about,
    basic_and_other,
    concepts,
    filled,
)
from ui.web.erase.prompts import TEXTS
from ui.web.forms import displayed, form, presets
from ui.web.frame import PRIVATE, Changes, Values

DEFAULT = "scissorhands"


class EraseForm:
    """Layout when constructed, events when connected."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._build_choice()
        with gr.Accordion("Prompts", open=False):
            gr.Markdown("One per line. Editing makes your own copy of the concept; not available for several concepts at once.")
            self.texts = {
                name: gr.Textbox(self._first_texts[name], label=label, info=info, lines=3, max_lines=10, max_length=40_000)
                for name, (label, info) in TEXTS.items()
            }
            self.examples = gr.HTML(self._first_examples)
        with gr.Accordion("Options of the method", open=False):
            self._build_options()
        self.settings: dict[str, Component] = {}
        basic, other = basic_and_other(SETTINGS)
        for title, fields in (("Images and steps", basic), ("Your own images, and other files", other)):
            with gr.Accordion(title, open=False):
                values = {field.name: PREVIEW.get(field.name, field.default) for field in fields}
                self.settings |= control_pairs(fields, values)
        # A component, not a State: it must arrive with a click as the browser had it, as the controls do.
        self.filled_for = gr.JSON([FIRST, OWN, DEFAULT, presets(DEFAULT)[0]], visible=False)
        self.estimate = gr.HTML(elem_id="estimate")
        with gr.Row():
            self.ask = gr.Button("Estimate", elem_id="ask")
            self.start = gr.Button("Start erasing", variant="primary", elem_id="start")
        self.problem = gr.HTML(elem_id="erase-problem")

    def _build_choice(self) -> None:
        self.concept = gr.Dropdown(
            concepts(), value=FIRST, allow_custom_value=True, label=LABELS["concepts"], elem_id="erase-concept",
            info="What to remove: from the list, in a few words of your own, or several joined by +: star + red.",
        )  # fmt: skip
        self.model = gr.Dropdown(
            [OWN, *EMBEDDED, *self.page.hub], value=OWN, allow_custom_value=True, label=LABELS["model"], elem_id="erase-model",
            info="What to remove it from: demo, a run or folder that this page may read, a .safetensors file, or a hub name.",
        )  # fmt: skip
        description, self._first_texts, self._first_examples = about(self.page, FIRST, OWN)
        self.about = gr.HTML(description, elem_id="erase-about")
        with gr.Row():
            self.method = gr.Dropdown(list(METHODS), value=DEFAULT, label=LABELS["method"], info="How it is removed.", min_width=190)
            names = presets(DEFAULT)
            self.preset = gr.Dropdown(
                names, value=names[0], label=LABELS["preset"], info="A named set of values for the options below.", min_width=140
            )

    def _build_options(self) -> None:
        self.options: dict[str, dict[str, Component]] = {}
        self.groups: dict[str, gr.Column] = {}
        for name in METHODS:
            with gr.Column(visible=name == DEFAULT) as self.groups[name]:
                self.options[name] = control_pairs(form(METHODS[name]), filled(self.page, Choice(FIRST, OWN, name, presets(name)[0])))

    def connect(self) -> None:
        """The form follows the choice of concept, model, method and preset."""
        shown: list[Block] = [self.concept, self.about, self.examples, self.preset, self.filled_for]
        outputs = [*shown, *self.texts.values(), *self.groups.values()]
        # One listener: the last answer belongs to the last choice, whichever control it was.
        gr.on(
            [self.concept.change, self.model.change, self.method.change, self.preset.input], self.follow,
            {*self._choice, self.filled_for}, [*outputs, *self._options], trigger_mode="always_last", **PRIVATE,
        )  # fmt: skip

    @property
    def _choice(self) -> list[Component]:
        return [self.concept, self.model, self.method, self.preset]

    @property
    def _options(self) -> list[Component]:
        return [component for components in self.options.values() for component in components.values()]

    @property
    def inputs(self) -> set[Block]:
        """Every control of the form."""
        return {*self._choice, self.filled_for, *self.texts.values(), *self.settings.values(), *self._options}

    def request(self, values: Values) -> ErasureRequest:
        """The values of the form's controls."""
        choice = self._chosen(values)
        return ErasureRequest(
            choice,
            texts={name: str(text) for name, text in entered(self.texts, values).items()},
            values=entered(self.options.get(choice.method, {}), values),
            filled_for=self._filled_for(values),
            settings=entered(self.settings, values),
        )

    def _chosen(self, values: Values) -> Choice:
        return Choice(*(str(values[component] or "") for component in self._choice))

    def _filled_for(self, values: Values) -> Choice:
        return Choice(*(str(value or "") for value in values[self.filled_for]))

    def follow(self, values: Values) -> Changes:
        """Fill in what depends on the choice, but nothing that was filled in for it before: what was written since stays."""
        choice, before = self._chosen(values), self._filled_for(values)
        if before == choice:  # as after a choice that was undone
            return {self.filled_for: gr.skip()}
        changes: Changes = {}
        if (before.concept, before.model) != (choice.concept, choice.model):
            changes[self.about], texts, changes[self.examples] = about(self.page, choice.concept, choice.model)
            changes |= {self.texts[name]: text for name, text in texts.items()}
        if before.model != choice.model:
            changes[self.concept] = gr.Dropdown(choices=concepts(choice.model))
        if before.method != choice.method:
            names = presets(choice.method)
            choice = Choice(choice.concept, choice.model, choice.method, names[0])
            changes[self.preset] = gr.Dropdown(choices=names, value=names[0])
            changes |= {group: gr.Column(visible=name == choice.method) for name, group in self.groups.items()}
        options: dict[str, Any] = filled(self.page, choice)
        components = self.options[choice.method]
        changes |= {components[field.name]: displayed(field, options[field.name]) for field in form(METHODS[choice.method])}
        return changes | {self.filled_for: [choice.concept, choice.model, choice.method, choice.preset]}
