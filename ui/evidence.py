"""The tab Evidence: any run's report, several runs beside each other, a measurement by a named protocol. Layout and wiring.

Annotations are not postponed here: gradio reads them to hand over its Request, which has no name outside `build`.
"""

from typing import Any

from erase.task import InputError
from ui.comparing import problem
from ui.context import Page
from ui.reports import beside, beside_files, charts, measure, measured, protocol_choices, protocol_words, report_frame, reported, table

HELLO = "**Trust it.** What was measured, how, and what was not. A number stands beside the protocol that repeats it."
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

# --- handlers ---------------------------------------------------------------------------------------------------------


def one(page: Page, name: str | None, show: bool) -> str:
    """The report of a run, or why there is none."""
    try:
        return report_frame(page.runs, name, show)
    except InputError as error:
        return problem(error)


def several(page: Page, names: list[str]) -> tuple[str, str, str]:
    """Table, links and charts of the chosen runs."""
    if not names:
        return '<p class="muted">Choose two runs or more.</p>', "", ""
    try:
        rows = beside(page.runs, names)
        return table(rows), beside_files(page, rows), charts(page.runs, rows)
    except InputError as error:
        return problem(error), "", ""


# --- layout and wiring ------------------------------------------------------------------------------------------------


def build(page: Page) -> None:
    """Three views of the same runs."""
    import gradio as gr

    gr.Markdown(HELLO)
    with gr.Tabs():
        with gr.Tab("One run", id="one"):
            _one(page)
        with gr.Tab("Several runs", id="several"):
            _several(page)
        with gr.Tab("Measure", id="measure"):
            _measure(page)


def connect(page: Page) -> None:
    """The lists of runs are read anew when the page or the tab is opened."""
    import gradio as gr

    choices = [page.links[f"evidence.{name}"] for name in ("run", "runs", "measured")]

    def listed(now: str | None, chosen: list[str], again: str | None) -> list[Any]:
        names = reported(page.runs)
        first = names[0] if names else None
        runs = [name for name in chosen or [] if name in names] or names[:3]
        return [
            gr.Dropdown(choices=names, value=now if now in names else first),
            gr.Dropdown(choices=names, value=runs),
            gr.Dropdown(choices=names, value=again if again in names else first),
        ]

    for event in (page.links["blocks"].load, page.links["tab.evidence"].select):
        event(listed, choices, choices, **PRIVATE)


def _one(page: Page) -> None:
    import gradio as gr

    with gr.Row():
        run = gr.Dropdown(
            [], label="Run", info="Finished runs and evaluations, newest first.", scale=3, min_width=260, elem_id="evidence-run"
        )
        show = gr.Checkbox(False, label="Show nudity", info="Blurred until you tick this, for this visit only.", scale=1, min_width=260)
    frame = gr.HTML(apply_default_css=False, elem_id="report")
    page.links["evidence.run"] = run
    for event in (run.change, show.input):
        event(lambda *now: one(page, *now), [run, show], frame, **PRIVATE)


def _several(page: Page) -> None:
    import gradio as gr

    runs = gr.Dropdown(
        [], multiselect=True, label="Runs", info="Up to twelve, in this order; the first is what the others are held against."
    )
    page.links["evidence.runs"] = runs
    out = [gr.HTML(apply_default_css=False, elem_id="beside"), gr.HTML(apply_default_css=False), gr.HTML(apply_default_css=False)]
    runs.change(lambda names: several(page, names), runs, out, **PRIVATE)


def _measure(page: Page) -> None:
    import gradio as gr

    run = gr.Dropdown([], label="Run", info="Its erased model is measured against its original, with new pictures.")
    page.links["evidence.measured"] = run
    named = [("the concept's own prompts, no named protocol", ""), *protocol_choices()]
    protocol = gr.Dropdown(named, value="", label="Protocol", info="What a published measurement fixes: prompts, sampler, detector.")
    words = gr.HTML(apply_default_css=False, visible=False)
    prompts = gr.Textbox(
        label="Prompts file", info="The protocol's prompts: a .csv, .tsv or .jsonl file in an allowed folder.", visible=False
    )
    count = gr.Slider(
        4, 200, 48, step=1, label="Pictures", info="That name the concept; as many others, and half as many that describe it."
    )
    start = gr.Button("Measure", variant="primary", elem_id="measure")
    how = gr.HTML(apply_default_css=False, elem_id="measuring")
    job, clock = gr.State(""), gr.Timer(1.0, active=False)

    def started(name: str | None, by: str | None, file: str, n: float | None, request: gr.Request) -> list[Any]:
        try:
            entry = measure(page, name, by, file or "", n, str(request.session_hash))
        except InputError as error:
            return ["", problem(error), gr.Timer(active=False)]
        return [entry.id, measured(page, entry.id)[0], gr.Timer(active=True)]

    def told(id: str) -> list[Any]:
        said, active = measured(page, id)
        return [said, gr.Timer(active=active)]

    def chosen(name: str) -> list[Any]:
        said, brought = protocol_words(name)
        return [gr.HTML(said, visible=bool(said)), gr.Textbox(visible=brought), gr.Slider(visible=not name)]

    protocol.change(chosen, protocol, [words, prompts, count], **PRIVATE)
    start.click(started, [run, protocol, prompts, count], [job, how, clock], **PRIVATE)
    clock.tick(told, job, [how, clock], **PRIVATE)
