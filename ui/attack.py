"""The view Attack of the tab Evidence: a form, the job as it goes, and what broke through. Layout and wiring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from erase.task import InputError
from ui.attack_view import absent, foreseen, head, planned, result, stamp
from ui.attacking import KINDS, LABELS, MINUTES, MOST, OPTIONS, Wish, attackable, concepts_of, estimate, families, job_of, start
from ui.comparing import problem
from ui.context import Page
from ui.entries import FAILED, RUNNING, STOPPED, WAITING, Entry
from ui.forms import control

HELLO = """**Is it gone, or only unnamed?** Attacks try to get the concept back, from the erased model and alike from its original and a
model that never knew it. A turn is a few attempts on all of these; turns are made until the budget is spent."""
WHO = "Finished runs that have their original at hand, newest first."
YOURS = "Your finished runs that have their original at hand, newest first."
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

# --- handlers ---------------------------------------------------------------------------------------------------------


def wish_of(values: Sequence[Any]) -> Wish:
    """The controls in the order of `inputs_of`."""
    run, kind, minutes, concept, lists, gold, pictures, *rest = values
    groups, options = rest[: len(families())], rest[len(families()) :]
    return Wish(run, kind or "", list(chain(*groups)), minutes, concept, lists or "", gold or "", pictures or "", options)


def seen_of(name: str | None, folder: Path, show: bool) -> tuple[Any, ...]:
    """What the frame depends on: while this stays the same it is not sent again."""
    return name, bool(show), stamp(folder)


# --- layout -----------------------------------------------------------------------------------------------------------


def build(page: Page) -> None:
    """Form at the left, job at the right, the result below both."""
    import gradio as gr

    gr.Markdown(HELLO)
    made: dict[str, Any] = {}
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            _form(page, made)
        with gr.Column(scale=3, min_width=320):
            made["estimate"] = gr.HTML(apply_default_css=False, elem_id="attack-estimate", visible=False)
            made["head"] = gr.HTML(apply_default_css=False, elem_id="attacking", visible=False)
            with gr.Row(visible=False) as made["presses"]:
                made["stop"] = gr.Button("Stop", variant="stop", visible=False, elem_id="attack-stop", min_width=100)
                made["again"] = gr.Button("Go on", variant="primary", visible=False, elem_id="attack-again", min_width=100)
            made["plan"] = gr.HTML(planned("quick", ()), apply_default_css=False, elem_id="attack-plan")
    info = "Blurred until you tick this, for this visit only."
    made["show"] = gr.Checkbox(False, label="Show nudity", info=info, elem_id="attack-show", visible=False)
    made["frame"] = gr.HTML(apply_default_css=False, elem_id="attack-result")
    made["seen"], made["clock"] = gr.State(()), gr.Timer(1.0, active=False)
    page.links["attack"] = made


def _form(page: Page, made: dict[str, Any]) -> None:
    import gradio as gr

    made["run"] = gr.Dropdown([], label="Run", info=YOURS if page.shared else WHO, elem_id="attack-run")
    made["absent"] = gr.HTML(apply_default_css=False, visible=False)
    made["concept"] = gr.Dropdown([], label="Concept", info="One of those that the run erased.", visible=False)
    made["kind"] = gr.Radio([(words, kind) for kind, words in KINDS.items()], value="quick", label=LABELS["attacks"], elem_id="attack-kind")
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


# --- wiring -----------------------------------------------------------------------------------------------------------


def connect(page: Page) -> None:
    """Presses, the clock, and lists that are read anew when the page or the tab is opened."""
    import gradio as gr

    made, seat = page.links["attack"], page.links["erase.seat"]
    now = [seat, made["run"], made["show"], made["seen"]]
    out = [
        made[name] for name in ("head", "presses", "stop", "again", "start", "plan", "show", "frame", "seen", "clock", "concept", "problem")
    ]

    def shown(seat_now: Any, name: str | None, show: bool, seen: Any) -> dict[Any, Any]:
        return changes(page, made, seat_now, name, show, seen)

    def listed(seat_now: Any, name: str | None, show: bool, seen: Any) -> dict[Any, Any]:
        names, busy = attackable(page, seat_now)[0], job_of(page, seat_now, None)
        first = busy.run.name if busy and busy.active and busy.run.name in names else next(iter(names), None)
        name, said = name if name in names else first, absent(attackable(page, seat_now)[1])
        lists = {made["run"]: gr.Dropdown(choices=names, value=name), made["absent"]: gr.HTML(said, visible=bool(said))}
        return lists | chosen_run(page, made, seat_now, name) | changes(page, made, seat_now, name, show, seen)

    def another(seat_now: Any, name: str | None, show: bool, seen: Any) -> dict[Any, Any]:
        return chosen_run(page, made, seat_now, name) | changes(page, made, seat_now, name, show, seen) | {made["problem"]: ""}

    def started(seat_now: Any, show: bool, seen: Any, *values: Any) -> dict[Any, Any]:
        try:
            start(page, seat_now, wish_of(values))
        except InputError as error:
            return {made["problem"]: problem(error)}
        return changes(page, made, seat_now, values[0], show, seen) | {made["problem"]: ""}

    def asked(seat_now: Any, *values: Any) -> Iterator[Any]:
        yield gr.HTML('<p role="status">Estimating: the models are opened and timed …</p>', visible=True)
        try:
            yield foreseen(estimate(page, seat_now, wish_of(values)))
        except InputError as error:
            yield problem(error)

    def pressed(press: Any) -> Any:
        def handler(seat_now: Any, name: str | None, show: bool, seen: Any) -> dict[Any, Any]:
            entry = job_of(page, seat_now, name)
            try:
                if entry:
                    press(entry.id)
            except InputError as error:
                return {made["problem"]: problem(error)}
            return changes(page, made, seat_now, name, show, seen) | {made["problem"]: ""}

        return handler

    for event in (page.links["blocks"].load, page.links["tab.evidence"].select):
        event(listed, now, [made["run"], made["absent"], *out], **PRIVATE)
    made["run"].input(another, now, out, **PRIVATE)
    made["show"].input(shown, now, out, **PRIVATE)
    made["clock"].tick(shown, now, out, concurrency_limit=None, **PRIVATE)
    made["start"].click(started, [seat, made["show"], made["seen"], *inputs_of(made)], out, **PRIVATE)
    made["ask"].click(asked, [seat, *inputs_of(made)], made["estimate"], concurrency_limit=None, **PRIVATE)
    made["stop"].click(pressed(page.jobs.stop), now, out, **PRIVATE)
    made["again"].click(pressed(page.jobs.again), now, out, **PRIVATE)
    _wire_choice(made)


def _wire_choice(made: dict[str, Any]) -> None:
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


def changes(page: Page, made: dict[str, Any], seat: Any, name: str | None, show: bool, seen: Any) -> dict[Any, Any]:
    """Component -> its new value; the frame only where it shows something else than what was `seen`."""
    import gradio as gr

    entry: Entry | None = job_of(page, seat, name) if name else None
    state, ahead = (entry.state, page.jobs.ahead(entry.id)) if entry else ("", 0)
    busy = entry is not None and entry.active
    found: dict[Any, Any] = {
        made["head"]: gr.HTML(head(entry, ahead), visible=entry is not None),
        made["presses"]: gr.Row(visible=state in (WAITING, RUNNING, STOPPED, FAILED)),
        made["stop"]: gr.Button(visible=state in (WAITING, RUNNING)),
        made["again"]: gr.Button(visible=state in (STOPPED, FAILED)),
        made["start"]: gr.Button(interactive=not busy),
        made["clock"]: gr.Timer(active=busy),
        made["plan"]: gr.HTML(visible=not busy),
    }
    now = seen_of(name, page.runs / Path(name or "none").name, show)
    if now == tuple(seen or ()):
        return found
    return found | {made["frame"]: result(page, seat, name, show), made["seen"]: now, made["show"]: gr.Checkbox(visible=bool(now[2]))}


def chosen_run(page: Page, made: dict[str, Any], seat: Any, name: str | None) -> dict[Any, Any]:
    """The concepts of another run."""
    import gradio as gr

    names = concepts_of(page.runs / name) if name in attackable(page, seat)[0] and name else []
    return {made["concept"]: gr.Dropdown(choices=names, value=next(iter(names), None), visible=len(names) > 1)}
