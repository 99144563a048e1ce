"""The form of the view Attack: controls, their order, and what they do to each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from ui.web.context import Page
from ui.web.evidence.attack_handlers import KINDS, LABELS, MINUTES, MOST, OPTIONS, Wish, families
from ui.web.evidence.attack_view import planned
from ui.web.forms import control

WHO = "Finished runs that have their original at hand, newest first."
YOURS = "Your finished runs that have their original at hand, newest first."
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def build_form(page: Page, made: dict[str, Any]) -> None:
    """Run, attacks, budget; what few need is folded in."""
    import gradio as gr

    made["run"] = gr.Dropdown([], label="Run", info=YOURS if page.shared else WHO, elem_id="attack-run")
    made["absent"] = gr.HTML(apply_default_css=False, visible=False)
    made["concept"] = gr.Dropdown([], label="Concept", info="One of those that the run erased.", visible=False)
    made["kind"] = gr.Radio(
        [(words, kind) for kind, words in KINDS.items()],
        value="quick",
        label=LABELS["attacks"],
        info="What each does stands beside the form.",
        elem_id="attack-kind",
    )
    with gr.Column(visible=False) as made["names"]:
        for family, names in families().items():
            made[family] = gr.CheckboxGroup(names, label=family.capitalize(), info="Name: what the attacker knows.")
    made["minutes"] = gr.Number(
        MINUTES["quick"],
        label=LABELS["budget"],
        info=f"Minutes, shared fairly, earlier ones included; at most {MOST}.",
        elem_id="attack-budget",
    )
    with gr.Accordion("Lists, gold standard, attempts", open=False):
        files = {
            "lists": "Prompts that others found: .csv, .tsv or .jsonl files in an allowed folder, one a line.",
            "gold": "The folder of a model that was trained without the concept; “heart” and “demo” have theirs.",
            "pictures": "A folder of pictures; else those of the run that the original drew.",
        }
        for name, info in files.items():
            made[name] = gr.Textbox(
                label=LABELS[name], info=info, lines=2 if name == "lists" else 1, max_length=2000, elem_id=f"attack-{name}"
            )
        for field in OPTIONS:
            made[f"option.{field.name}"] = control(field, field.default)
    with gr.Row():
        made["ask"] = gr.Button("Estimate", elem_id="attack-ask", min_width=100)
        made["start"] = gr.Button("Attack", variant="primary", elem_id="attack-start", min_width=100)
    made["problem"] = gr.HTML(apply_default_css=False, elem_id="attack-problem")


def inputs_of(made: dict[str, Any]) -> list[Any]:
    """The controls of the form in the order of `wish_of`."""
    names = ("run", "kind", "minutes", "concept", "lists", "gold", "pictures", *families())
    return [made[name] for name in (*names, *(f"option.{field.name}" for field in OPTIONS))]


def wish_of(values: Sequence[Any]) -> Wish:
    """The controls in the order of `inputs_of`."""
    run, kind, minutes, concept, lists, gold, pictures, *rest = values
    groups, options = rest[: len(families())], rest[len(families()) :]
    return Wish(run, kind or "", list(chain(*groups)), minutes, concept, lists or "", gold or "", pictures or "", options)


def wire_form(made: dict[str, Any]) -> None:
    """Which attacks: the names to tick, the usual budget, and what each does; an estimate of others counts no more."""
    import gradio as gr

    def ticked(kind: str, *groups: Sequence[str]) -> tuple[str, Any]:
        return planned(kind, list(chain(*groups))), gr.HTML("", visible=False)

    choice = [made["kind"], *(made[family] for family in families())]
    for each in choice:
        each.input(ticked, choice, [made["plan"], made["estimate"]], **PRIVATE)
    made["kind"].input(
        lambda kind: [gr.Column(visible=kind == "some"), MINUTES[kind]], made["kind"], [made["names"], made["minutes"]], **PRIVATE
    )
