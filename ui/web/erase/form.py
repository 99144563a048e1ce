"""The form of the tab Erase: what to erase, from what, how much is done for it, and what it costs."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from erase.methods import METHODS
from ui.web.context import Page
from ui.web.controls import entered
from ui.web.erase.effort import COUNTS, EFFORTS, STANDARD, of_preset, offered
from ui.web.erase.handlers import FIRST, LABELS, OWN, SETTINGS, Choice, ErasureRequest, about, concepts, filled, filled_counts
from ui.web.erase.option_controls import Options, default_text
from ui.web.erase.own_images import OwnImages
from ui.web.erase.prompts import TEXTS
from ui.web.erase.sources import sources
from ui.web.forms import displayed, form, presets
from ui.web.frame import Changes, Values

DEFAULT = "scissorhands"
START = Choice(FIRST, OWN, DEFAULT, "balanced", STANDARD)


class EraseForm:
    """Layout when constructed; `ui.web.erase.price` and the tab connect its events."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._build_choice()
        with gr.Row(elem_id="go", equal_height=False):
            self.cost = gr.HTML(elem_id="cost", min_width=240)
            self.start = gr.Button("Start erasing", variant="primary", elem_id="start", scale=0, min_width=150)
        self.problem = gr.HTML(elem_id="erase-problem")
        self.again = gr.Button("Queue it once more", visible=False, elem_id="start-again", size="sm")
        with gr.Accordion("Prompts", open=False, elem_id="prompts"):
            gr.Markdown("One per line. Editing makes your own copy of the concept; not available for several concepts at once.")
            self.texts = {
                name: gr.Textbox(self._first_texts[name], label=label, info=info, lines=3, max_lines=10, max_length=40_000)
                for name, (label, info) in TEXTS.items()
            }
            self.examples = gr.HTML(self._first_examples)
        with gr.Accordion("All options", open=False, elem_id="options") as self.fold:
            self.options = Options(page, START)
        self.own_images = OwnImages(page, self.options)
        # A component, not a State: it must arrive with a click as the browser had it, as the controls do.
        self.filled_for = gr.JSON(_listed(START), visible=False)

    def _build_choice(self) -> None:
        with gr.Row(equal_height=False):
            self.concept = gr.Dropdown(
                concepts(), value=FIRST, allow_custom_value=True, label=f"1 · {LABELS['concepts']}", elem_id="erase-concept", min_width=200,
                info="What to remove: from the list, your own words, or several: star + red.",
            )  # fmt: skip
            with gr.Column(min_width=200, elem_id="from"):
                self.model = gr.Dropdown(
                    sources(self.page, OWN), value=OWN, allow_custom_value=True, label=f"2 · {LABELS['model']}", elem_id="erase-model",
                    info="What to remove it from: a model of the list, or a folder or hub name.",
                )  # fmt: skip
                self.refresh = gr.Button("Refresh the list", size="sm", elem_id="refresh-models")
        description, self._first_texts, self._first_examples = about(self.page, FIRST, OWN)
        self.about = gr.HTML(description, elem_id="erase-about")
        self.effort = gr.Radio(
            effort_choices(DEFAULT), value=STANDARD, label=f"3 · {LABELS['effort']}", elem_id="erase-effort",
            info="How much is drawn and trained. Robust also resists attacks; Paper has the values of the paper.",
        )  # fmt: skip

    # --- what the form holds ------------------------------------------------------------------------------------------

    @property
    def choice(self) -> list[Component]:
        """The controls on which the rest depends, in the order of `Choice`."""
        return [self.concept, self.model, self.options.method, self.options.preset, self.effort]

    @property
    def details(self) -> list[Component]:
        """The other controls: prompts and options."""
        return [*self.texts.values(), *self.options.components]

    @property
    def inputs(self) -> set[Block]:
        """Every control of the form."""
        return {*self.choice, self.filled_for, *self.details}

    @property
    def followers(self) -> list[Block]:
        """What `follow` may change."""
        shown: list[Block] = [self.concept, self.about, self.examples, self.options.preset, self.effort, self.filled_for]
        return [*shown, *self.texts.values(), *self.options.groups.values(), *self.options.components]

    def request(self, values: Values) -> ErasureRequest:
        """The values of the form's controls."""
        choice = self.chosen(values)
        return ErasureRequest(
            choice,
            texts={name: str(text) for name, text in entered(self.texts, values).items()},
            values=entered(self.options.of.get(choice.method, {}), values),
            filled_for=self._filled_for(values),
            settings=entered(self.options.settings, values),
        )

    def chosen(self, values: Values) -> Choice:
        """What the controls on which the rest depends hold."""
        return Choice(*(str(values[component] or "") for component in self.choice))

    def _filled_for(self, values: Values) -> Choice:
        return Choice(*(str(value or "") for value in values[self.filled_for]))

    # --- the form follows -------------------------------------------------------------------------------------------------

    def follow(self, values: Values) -> Changes:
        """Fill in what depends on the choice, but nothing that was filled in for it before: what was written since stays."""
        choice, before = self.chosen(values), self._filled_for(values)
        if before == choice:  # as after a choice that was undone
            return {self.filled_for: gr.skip()}
        changes: Changes = {}
        if (before.concept, before.model) != (choice.concept, choice.model):
            changes[self.about], texts, changes[self.examples] = about(self.page, choice.concept, choice.model)
            changes |= {self.texts[name]: text for name, text in texts.items()}
        if before.model != choice.model:
            changes[self.concept] = gr.Dropdown(choices=concepts(choice.model))
        settled = self._settled(choice, before)
        if before.method != settled.method:
            changes |= self.options.show(settled.method, settled.preset)
        elif settled.preset != choice.preset:
            changes[self.options.preset] = settled.preset
        if settled.effort != choice.effort:
            changes[self.effort] = settled.effort or None
        other = filled_counts(self.page, settled) != filled_counts(self.page, before)
        return changes | self._fill(settled, other) | {self.filled_for: _listed(settled)}

    @staticmethod
    def _settled(choice: Choice, before: Choice) -> Choice:
        """Preset and effort name each other; what was chosen last decides. A new method begins with its first preset."""
        concept, model, method = choice.concept, choice.model, choice.method
        if before.method != method:
            effort = choice.effort if choice.effort in offered(method) else STANDARD
            return Choice(concept, model, method, EFFORTS[effort].preset, effort)
        if before.effort != choice.effort and choice.effort in EFFORTS:
            return Choice(concept, model, method, EFFORTS[choice.effort].preset, choice.effort)
        if before.preset != choice.preset:
            return Choice(concept, model, method, choice.preset, of_preset(choice.preset, method))
        return choice

    def _fill(self, choice: Choice, counted: bool) -> Changes:
        """The options of the method; if `counted`, of the job those that the effort sets."""
        values: dict[str, Any] = filled(self.page, choice)
        components = self.options.of[choice.method]
        changes: Changes = {components[field.name]: displayed(field, values[field.name]) for field in form(METHODS[choice.method])}
        counts = filled_counts(self.page, choice)
        for field in (field for field in SETTINGS if field.name in COUNTS or field.name == "size"):
            hint = default_text(self.page, choice, field)
            changed = {"value": displayed(field, counts[field.name])} if counted and field.name in counts else {}
            changes[self.options.settings[field.name]] = gr.Textbox(placeholder=hint, **changed)
        return changes

    def reset(self, values: Values) -> Changes:
        """Every option as the choice fills it in."""
        choice = self._filled_for(values)
        changes = {**self.options.defaults(), **self._fill(choice, counted=True)}
        return {**changes, self.options.settings["size"]: ""}

    def refreshed(self, page: Page) -> Any:
        """The list of models as it is now."""
        return gr.Dropdown(choices=sources(page, OWN))

    # --- kept by the browser ----------------------------------------------------------------------------------------------

    def kept(self, values: Values) -> dict[str, Any]:
        """The values of the form, for a page that is loaded again."""
        request = self.request(values)
        return {
            "choice": _listed(request.choice),
            "filled_for": values[self.filled_for],
            "texts": dict(request.texts),
            "values": dict(request.values),
            "settings": dict(request.settings),
        }

    def restored(self, kept: Any) -> Changes:
        """The form as the browser has kept it; nothing where it has not, or where it was kept by another version."""
        try:
            choice, filled_for = Choice(*map(str, kept["choice"])), Choice(*map(str, kept["filled_for"]))
            if choice != filled_for or choice.preset not in presets(choice.method):
                return {}
            values: Changes = {self.options.of[choice.method][name]: value for name, value in kept["values"].items()}
            values |= {self.options.settings[name]: value for name, value in kept["settings"].items()}
            texts: Changes = {self.texts[name]: value for name, value in kept["texts"].items()}
        except (TypeError, KeyError, ValueError, AttributeError):
            return {}
        changes: Changes = {**values, **texts, **self.options.show(choice.method, choice.preset), self.filled_for: _listed(choice)}
        changes[self.about], _, changes[self.examples] = about(self.page, choice.concept, choice.model)
        changes[self.concept] = gr.Dropdown(choices=concepts(choice.model), value=choice.concept)
        changes |= {self.model: choice.model, self.options.method: choice.method}
        changes[self.effort] = choice.effort or None
        return changes


def effort_choices(method: str, times: dict[str, str] | None = None) -> list[tuple[str, str]]:
    """(label, value) of the amounts of work that a method has, with their times."""
    return [(EFFORTS[name].label + (f" · {times[name]}" if times and name in times else ""), name) for name in offered(method)]


def _listed(choice: Choice) -> list[str]:
    return [choice.concept, choice.model, choice.method, choice.preset, choice.effort]
