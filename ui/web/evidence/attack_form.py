"""The form of the view Attack."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from ui.web.context import Page
from ui.web.controls import control, entered
from ui.web.evidence.attack_handlers import KINDS, LABELS, MINUTES, MOST, OPTIONS, AttackRequest, families
from ui.web.evidence.attack_view import planned
from ui.web.frame import PRIVATE, Changes, Values

ALL = "Finished runs whose original is available, newest first."
YOURS = "Your finished runs whose original is available, newest first."
FILES = {
    "lists": "Prompts from elsewhere: .csv, .tsv, .jsonl or .txt files in an allowed folder, one per line.",
    "gold": "The folder of a model that was trained without the concept. Included for “heart”.",
    "pictures": "A folder of images of the concept; by default those of the run that the original drew.",
}


class AttackForm:
    """Run, attacks, budget; what few need is folded in."""

    def __init__(self, page: Page) -> None:
        self.run = gr.Dropdown([], label="Run", info=YOURS if page.shared else ALL, elem_id="attack-run")
        self.absent = gr.HTML(apply_default_css=False, visible=False)
        self.concept = gr.Dropdown([], label="Concept", info="One of those that the run erased.", visible=False)
        self.kind = gr.Radio(
            [(words, kind) for kind, words in KINDS.items()], value="quick", label=LABELS["attacks"], elem_id="attack-kind",
            info="Each attack is explained beside or below the form.",
        )  # fmt: skip
        self.families: dict[str, gr.CheckboxGroup] = {}
        with gr.Column(visible=False) as self.names:
            for family, names in families().items():
                self.families[family] = gr.CheckboxGroup(names, label=family.capitalize(), info="Name: what the attacker knows.")
        self.minutes = gr.Number(
            MINUTES["quick"], label=LABELS["budget"], elem_id="attack-budget",
            info=f"Minutes in total, shared between the attacks; earlier attempts count. At most {MOST}.",
        )  # fmt: skip
        with gr.Accordion("Lists, gold standard, attempts", open=False):
            self.files = {name: self._file(name, info) for name, info in FILES.items()}
            self.options: Mapping[str, Component] = {field.name: control(field, field.default) for field in OPTIONS}
        with gr.Row():
            self.ask = gr.Button("Estimate", elem_id="attack-ask", min_width=100)
            self.start = gr.Button("Attack", variant="primary", elem_id="attack-start", min_width=100)
        self.problem = gr.HTML(apply_default_css=False, elem_id="attack-problem")

    @staticmethod
    def _file(name: str, info: str) -> gr.Textbox:
        lines = 2 if name == "lists" else 1
        return gr.Textbox(label=LABELS[name], info=info, lines=lines, max_length=2000, elem_id=f"attack-{name}")

    @property
    def inputs(self) -> set[Block]:
        """Every control of the form."""
        components: tuple[Block, ...] = (self.run, self.kind, self.minutes, self.concept)
        return {*components, *self.families.values(), *self.files.values(), *self.options.values()}

    def request(self, values: Values) -> AttackRequest:
        """The values of the form's controls."""
        return AttackRequest(
            values[self.run],
            values[self.kind] or "",
            self._ticked(values),
            values[self.minutes],
            values[self.concept],
            options=entered(self.options, values),
            **{name: values[component] or "" for name, component in self.files.items()},
        )

    def _ticked(self, values: Values) -> list[str]:
        return list(chain.from_iterable(values[group] for group in self.families.values()))

    def connect(self, plan: gr.HTML, estimate: gr.HTML) -> None:
        """The chosen attacks decide on the names to tick, the usual budget, and `plan`; `estimate` was for others and is cleared."""
        choice: set[Block] = {self.kind, *self.families.values()}

        def follow(values: Values) -> Changes:
            return {plan: planned(values[self.kind], self._ticked(values)), estimate: gr.HTML("", visible=False)}

        for listener in (self.kind.input, *(group.input for group in self.families.values())):
            listener(follow, choice, [plan, estimate], **PRIVATE)
        self.kind.input(self.pick_kind, self.kind, [self.names, self.minutes], **PRIVATE)

    def pick_kind(self, kind: str) -> tuple[Any, int]:
        """The names to tick, where attacks are chosen by name, and the usual budget."""
        return gr.Column(visible=kind == "some"), MINUTES[kind]
