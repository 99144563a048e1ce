"""The form of the tab Erase: what to erase, from what, and how. Layout and wiring; erasing.py says what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from erase.concepts import EMBEDDED
from erase.concepts.several import settings_of
from erase.errors import InputError
from erase.methods import METHODS
from ui.web.context import Page
from ui.web.erase.handlers import FIRST, OWN, PREVIEW, SETTINGS, Wish, concept_for, concepts, visible
from ui.web.erase.prompts import TEXTS, examples, texts
from ui.web.forms import Field, as_shown, control, form, preset_values, presets
from ui.web.messages import problem

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
CHOICES = ("concept", "model", "method", "preset")

# --- handlers ---------------------------------------------------------------------------------------------------------


def about(page: Page, concept: str, model: str) -> tuple[str, dict[str, str], str]:
    """A concept, or several, in words; prompts for editing, of one alone; and what they become; or what is wrong with it."""
    try:
        found, source = concept_for(page, concept, model)
    except InputError as error:
        return problem(error), dict.fromkeys(TEXTS, ""), ""
    lists = "".join(
        f"<dt>{escape(label)}</dt>{''.join(f'<dd>{escape(text)}</dd>' for text in some)}"
        for one in found
        for label, some in examples(one).items()
    )
    said = "; ".join(escape(one.about or one.name) for one in found)
    said = f"<p>{said}; from <b>{escape(source)}</b>, looked for by {escape(found[0].detector)}.</p>"
    if len(found) > 1:
        said += "<p>Their prompts are those of each; to edit them, erase one after another, the second from the first's run.</p>"
    return said, texts(found[0]) if len(found) == 1 else dict.fromkeys(TEXTS, ""), f"<dl class=examples>{lists}</dl>"


def filled(page: Page, concept: str, model: str, method: str, preset: str) -> list[Any]:
    """The values of a method's form for a preset."""
    try:
        recommended = settings_of(concept_for(page, concept, model)[0])
    except InputError:
        recommended = {}
    values = preset_values(method, preset, recommended)
    return [values[field.name] for field in form(METHODS[method])]


# --- layout -----------------------------------------------------------------------------------------------------------


def build_form(page: Page) -> dict[str, Any]:
    """The controls, by name."""
    import gradio as gr

    made: dict[str, Any] = {}
    made["concept"] = gr.Dropdown(
        concepts(), value=FIRST, allow_custom_value=True, label="Concept", elem_id="erase-concept",
        info="What should go: from the list, in a few words of your own, or several with + between them: star + red.",
    )  # fmt: skip
    made["model"] = gr.Dropdown(
        [OWN, *EMBEDDED, *page.hub], value=OWN, allow_custom_value=True, label="Model", elem_id="erase-model",
        info="Where it is taken out of: demo, a run or folder that this page may read, a .safetensors file, or a hub name.",
    )  # fmt: skip
    said, shown, some = about(page, FIRST, OWN)
    made["about"] = gr.HTML(said, elem_id="erase-about")
    with gr.Row():
        made["method"] = gr.Dropdown(list(METHODS), value="scissorhands", label="Method", info="How it is taken out.", min_width=190)
        names = presets("scissorhands")
        made["preset"] = gr.Dropdown(
            names, value=names[0], label="Preset", info="A named set of values for the options below.", min_width=140
        )
    with gr.Accordion("Prompts", open=False):
        gr.Markdown("One a line. What you change here becomes a concept file of its own; of several concepts, none can be changed.")
        made["texts"] = [
            gr.Textbox(shown[name], label=label, info=info, lines=3, max_lines=10, max_length=40_000)
            for name, (label, info) in TEXTS.items()
        ]
        made["examples"] = gr.HTML(some)
    with gr.Accordion("Options of the method", open=False):
        made["forms"] = {}
        made["groups"] = {}
        for name in METHODS:
            with gr.Column(visible=name == "scissorhands") as made["groups"][name]:
                values = filled(page, FIRST, OWN, name, presets(name)[0])
                made["forms"][name] = _pairs(form(METHODS[name]), values)
    first, rest = visible(SETTINGS)
    settings = {}
    for title, some_fields in (("Pictures and steps", first), ("Pictures of your own, and other files", rest)):
        with gr.Accordion(title, open=False):
            controls = _pairs(some_fields, [PREVIEW.get(field.name, field.default) for field in some_fields])
            settings |= {field.name: component for field, component in zip(some_fields, controls, strict=True)}
    made["settings"] = [settings[field.name] for field in SETTINGS]
    # A component, not a State: it must come with a press as the browser had it, as the controls do.
    made["filled_for"] = gr.JSON([FIRST, OWN, "scissorhands", names[0]], visible=False)
    made["estimate"] = gr.HTML(elem_id="estimate")
    with gr.Row():
        made["ask"] = gr.Button("Estimate", elem_id="ask")
        made["start"] = gr.Button("Start erasing", variant="primary", elem_id="start")
    made["problem"] = gr.HTML(elem_id="erase-problem")
    return made


def _pairs(fields: Sequence[Field], values: Sequence[Any]) -> list[Any]:
    """The controls of fields, two beside each other where there is room."""
    import gradio as gr

    made = []
    for start in range(0, len(fields), 2):
        with gr.Row():
            made += [control(field, value) for field, value in zip(fields[start : start + 2], values[start : start + 2], strict=True)]
    return made


# --- wiring -----------------------------------------------------------------------------------------------------------


def wire_form(page: Page, made: dict[str, Any]) -> None:
    """What one control of the form does to others."""
    import gradio as gr

    def follow(concept: str, model: str, method: str, preset: str, filled_for: list[str]) -> dict[Any, Any]:
        if filled_for == [concept, model, method, preset]:  # as after a choice that was taken back: what was written since stays
            return {made["filled_for"]: gr.skip()}
        said: dict[Any, Any] = {}
        if filled_for[:2] != [concept, model]:
            said[made["about"]], shown, said[made["examples"]] = about(page, concept, model)
            said |= zip(made["texts"], shown.values(), strict=True)
        if filled_for[2] != method:
            names = presets(method)
            preset = names[0]
            said[made["preset"]] = gr.Dropdown(choices=names, value=preset)
            said |= {group: gr.Column(visible=name == method) for name, group in made["groups"].items()}
        values = filled(page, concept, model, method, preset)
        shown_as = [as_shown(field, value) for field, value in zip(form(METHODS[method]), values, strict=True)]
        return said | dict(zip(made["forms"][method], shown_as, strict=True)) | {made["filled_for"]: [concept, model, method, preset]}

    concept, model, method, preset = now = [made[name] for name in CHOICES]
    named = [made[name] for name in ("about", "examples", "preset", "filled_for")]
    out = [*named, *made["texts"], *made["groups"].values(), *_fields(made)]
    # One listener: the last answer is of the last choice, whichever control it was.
    gr.on(
        [concept.change, model.change, method.change, preset.input], follow, [*now, made["filled_for"]], out,
        trigger_mode="always_last", **PRIVATE,
    )  # fmt: skip


def _fields(made: dict[str, Any]) -> list[Any]:
    """The controls of every method."""
    return [component for name in METHODS for component in made["forms"][name]]


def inputs_of(made: dict[str, Any]) -> list[Any]:
    """Every control of the form, in the order that wish_of reads."""
    return [*(made[name] for name in (*CHOICES, "filled_for")), *made["texts"], *made["settings"], *_fields(made)]


def wish_of(given: tuple[Any, ...]) -> Wish:
    """The controls as they stand."""
    (*chosen, filled_for), rest = given[: len(CHOICES) + 1], list(given[len(CHOICES) + 1 :])
    named = {name: str(value or "") for name, value in zip(CHOICES, chosen, strict=True)}
    texts_now, settings, values = rest[: len(TEXTS)], rest[len(TEXTS) : len(TEXTS) + len(SETTINGS)], rest[len(TEXTS) + len(SETTINGS) :]
    held, start = {}, 0
    for name in METHODS:
        count = len(form(METHODS[name]))
        held[name], start = values[start : start + count], start + count
    method = named["method"]
    if method not in held:
        raise InputError(f"the method {method!r} is unknown; expected one of {', '.join(METHODS)}")
    shown = dict(zip(TEXTS, map(str, texts_now), strict=True))
    return Wish(**named, texts=shown, values=held[method], filled_for=tuple(str(value or "") for value in filled_for), settings=settings)
