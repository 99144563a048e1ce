"""The view Attack of the tab Evidence: a form, the job as it goes, and what broke through. Layout and wiring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from erase.errors import InputError
from ui.web.context import Page
from ui.web.evidence.attack_form import PRIVATE, build_form, inputs_of, wire_form, wish_of
from ui.web.evidence.attack_handlers import attackable, concepts_of, estimate, job_of, start
from ui.web.evidence.attack_view import absent, foreseen, head, planned, result, stamp
from ui.web.jobs.entry import FAILED, RUNNING, STOPPED, WAITING, Entry
from ui.web.messages import TAKEN, problem

HELLO = """**Is it gone, or only unnamed?** Attacks try to get the concept back, from the erased model and alike from its original and a
model that never knew it. A turn is a few attempts on all of these; turns are made until the budget is spent."""

# --- handlers ---------------------------------------------------------------------------------------------------------


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
            build_form(page, made)
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
    made["start"].click(None, None, made["problem"], js=TAKEN)
    made["start"].click(started, [seat, made["show"], made["seen"], *inputs_of(made)], out, **PRIVATE)
    made["ask"].click(asked, [seat, *inputs_of(made)], made["estimate"], concurrency_limit=None, **PRIVATE)
    made["stop"].click(pressed(page.jobs.stop), now, out, **PRIVATE)
    made["again"].click(pressed(page.jobs.again), now, out, **PRIVATE)
    wire_form(made)


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
