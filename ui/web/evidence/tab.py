"""The tab Evidence: any run's report, several runs beside each other, a measurement by a named protocol, attacks. Layout and wiring."""

from __future__ import annotations

from typing import Any

from erase.errors import InputError
from ui.web.context import Page
from ui.web.evidence import attack_tab as attack
from ui.web.evidence.handlers import (
    beside,
    beside_files,
    charts,
    measure,
    measured,
    protocol_choices,
    protocol_words,
    report_frame,
    reported,
    table,
)
from ui.web.messages import problem
from ui.web.visitor import owner, sight

HELLO = "**Trust it.** What was measured, how, and what was not. A number stands beside the protocol that repeats it."
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

# --- handlers ---------------------------------------------------------------------------------------------------------


def one(page: Page, name: str | None, show: bool) -> str:
    """The report of a run, or why there is none."""
    try:
        return report_frame(page, name, show)
    except InputError as error:
        return problem(error)


def several(page: Page, names: list[str]) -> tuple[str, str, str]:
    """Table, links and charts of the chosen runs."""
    if not names:
        return '<p class="muted">Choose two runs or more.</p>', "", ""
    try:
        rows = beside(page, names)
        return table(rows), beside_files(page, rows), charts(page, rows)
    except InputError as error:
        return problem(error), "", ""


# --- layout and wiring ------------------------------------------------------------------------------------------------


def build(page: Page) -> None:
    """Four views of the same runs."""
    import gradio as gr

    gr.Markdown(HELLO)
    with gr.Tabs():
        with gr.Tab("One run", id="one"):
            _one(page)
        with gr.Tab("Several runs", id="several"):
            _several(page)
        with gr.Tab("Measure", id="measure"):
            _measure(page)
        with gr.Tab("Attack", id="attack"):
            attack.build(page)


def connect(page: Page) -> None:
    """The lists of runs are read anew when the page or the tab is opened."""
    import gradio as gr

    seat, choices = page.links["erase.seat"], [page.links[f"evidence.{name}"] for name in ("run", "runs", "measured")]

    def listed(seat_now: Any, now: str | None, chosen: list[str], again: str | None) -> list[Any]:
        names = reported(sight(page, seat_now))
        first = names[0] if names else None
        runs = [name for name in chosen or [] if name in names] or names[:3]
        return [
            gr.Dropdown(choices=names, value=now if now in names else first),
            gr.Dropdown(choices=names, value=runs),
            gr.Dropdown(choices=names, value=again if again in names else first),
        ]

    for event in (page.links["blocks"].load, page.links["tab.evidence"].select):
        event(listed, [seat, *choices], choices, **PRIVATE)
    for wire in (_wire_one, _wire_several, _wire_measure):
        wire(page, seat)
    attack.connect(page)


def _one(page: Page) -> None:
    import gradio as gr

    with gr.Row():
        run = gr.Dropdown(
            [], label="Run", info="Finished runs and evaluations, newest first.", scale=3, min_width=260, elem_id="evidence-run"
        )
        show = gr.Checkbox(False, label="Show nudity", info="Blurred until you tick this, for this visit only.", scale=1, min_width=260)
    frame = gr.HTML(apply_default_css=False, elem_id="report")
    page.links.update({"evidence.run": run, "evidence.one": (run, show, frame)})


def _wire_one(page: Page, seat: Any) -> None:
    run, show, frame = page.links["evidence.one"]
    for event in (run.change, show.input):
        event(lambda seat_now, *now: one(sight(page, seat_now), *now), [seat, run, show], frame, **PRIVATE)


def _several(page: Page) -> None:
    import gradio as gr

    runs = gr.Dropdown([], multiselect=True, label="Runs", info="Up to twelve; the first is what the others are held against.")
    out = [gr.HTML(apply_default_css=False, elem_id="beside"), gr.HTML(apply_default_css=False), gr.HTML(apply_default_css=False)]
    page.links.update({"evidence.runs": runs, "evidence.several": out})


def _wire_several(page: Page, seat: Any) -> None:
    runs, out = page.links["evidence.runs"], page.links["evidence.several"]
    runs.change(lambda seat_now, names: several(sight(page, seat_now), names), [seat, runs], out, **PRIVATE)


def _measure(page: Page) -> None:
    import gradio as gr

    run = gr.Dropdown([], label="Run", info="Its erased model is measured against its original, with new pictures.")
    named = [("the concept's own prompts, no named protocol", ""), *protocol_choices()]
    protocol = gr.Dropdown(named, value="", label="Protocol", info="What a published measurement fixes: prompts, sampler, detector.")
    words = gr.HTML(apply_default_css=False, visible=False)
    prompts = gr.Textbox(
        label="Prompts file", info="The protocol's prompts: a .csv, .tsv or .jsonl file in an allowed folder.", visible=False
    )
    count = gr.Slider(4, 200, 48, step=1, label="Pictures", info="Of the concept; as many others, and half as many that describe it.")
    start = gr.Button("Measure", variant="primary", elem_id="measure")
    how = gr.HTML(apply_default_css=False, elem_id="measuring")
    page.links.update({"evidence.measured": run, "evidence.measure": (protocol, words, prompts, count, start, how)})


def _wire_measure(page: Page, seat: Any) -> None:
    import gradio as gr

    run, (protocol, words, prompts, count, start, how) = page.links["evidence.measured"], page.links["evidence.measure"]
    job, clock = gr.State(""), gr.Timer(1.0, active=False)

    def started(seat_now: Any, name: str | None, by: str | None, file: str, n: float | None) -> list[Any]:
        try:
            entry = measure(sight(page, seat_now), name, by, file or "", n, owner(page, seat_now))
        except InputError as error:
            return ["", problem(error), gr.Timer(active=False)]
        return [entry.id, measured(page, entry.id)[0], gr.Timer(active=True)]

    lists = [page.links["evidence.run"], page.links["evidence.runs"]]

    def told(seat_now: Any, id: str) -> list[Any]:
        said, active = measured(page, id)
        known = [gr.skip(), gr.skip()] if active else [gr.Dropdown(choices=reported(sight(page, seat_now)))] * 2
        return [said, gr.Timer(active=active), *known]

    def chosen(name: str) -> list[Any]:
        said, brought = protocol_words(name)
        return [gr.HTML(said, visible=bool(said)), gr.Textbox(visible=brought), gr.Slider(visible=not name)]

    protocol.change(chosen, protocol, [words, prompts, count], **PRIVATE)
    start.click(started, [seat, run, protocol, prompts, count], [job, how, clock], **PRIVATE)
    clock.tick(told, [seat, job], [how, clock, *lists], **PRIVATE)
