"""The tab Inside: where in the network the concept lived, what was trimmed, how far each block moved, and how the gradients met."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.run import Run
from eval.rendering.charts import curve
from ui.web.context import Page
from ui.web.inside.layers import Cell, cells, parameters, read_layers, summary
from ui.web.inside.unet_map import METRICS, shown, unet_map
from ui.web.messages import problem
from ui.web.runs import visible_runs
from ui.web.visitor import sight

HELLO = """**Look inside.** Each column is a block of the UNet, in the order in which it is passed; each field a type of layer. The
darker, the more. Point at a field for its numbers."""
CURVES = {"cosine": "Cosine of the two gradients", "coefficient": "c in g = g_r + c g_u"}
NONE = "<p class=muted>No run here has come to its repair yet. The tab <b>Erase</b> starts one.</p>"
OLD = "<p class=muted>This run has no record of its layers: it was made by an earlier version.</p>"
HEADS = ("Block", "Type of layer", "Weights", "In scope", "Sensitivity", "Trimmed", "Moved")
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

# --- handlers ---------------------------------------------------------------------------------------------------------


def known(page: Page) -> list[str]:
    """Names of the runs that have something to show, newest first."""
    found = [folder for folder in visible_runs(page) if (folder / "stats.jsonl").is_file() or (folder / "layers.json").is_file()]
    return [folder.name for folder in sorted(found, key=lambda folder: -(folder / "options.json").stat().st_mtime)]


def inside_of(page: Page, name: str | None, metric: str) -> tuple[str, str, str]:
    """A run's map with its sentences, its table, and its curves, as HTML; only names that `known` lists are opened."""
    if not name:
        return NONE, "", ""
    if name not in known(page) or metric not in METRICS:
        raise InputError(f"{name!r} is not a run with steps; choose one from the list")
    root = page.runs
    found = cells(read_layers(root / name), parameters(root / name))
    said = "".join(f"<p>{escape(text)}</p>" for text in summary(found))
    drawn = f'<div class="chart map" tabindex="0" role="group" aria-label="map of the UNet">{unet_map(found, metric, name)}</div>'
    recorded = any(cell.scored for cell in found)
    return (drawn if recorded else OLD) + said, table(found) if recorded else "", gradients(root / name)


def table(found: Sequence[Cell]) -> str:
    """Every number of the map, the most sensitive first."""
    rows = []
    for cell in sorted(found, key=lambda cell: -(cell.sensitivity or 0)):
        if cell.scored:
            numbers = (f"{cell.numel:,}", f"{cell.scored:,}", *(shown(name, getattr(cell, name)) for name in METRICS))
            tail = "".join(f"<td>{escape(text)}</td>" for text in numbers)
            rows.append(f"<tr><th scope=row>{escape(cell.block)}</th><td>{escape(cell.kind)}</td>{tail}</tr>")
    head = "".join(f"<th scope=col>{words}</th>" for words in HEADS)
    return f'<div class=wide tabindex="0"><table class=runs><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def gradients(folder: Path) -> str:
    """Cosine and coefficient over the steps, with ticks where the projection acted."""
    steps = Run.read(folder).steps()
    names = {name: label for name, label in CURVES.items() if any(name in step for step in steps)}
    if not names:
        return ""
    apart = sum(isinstance(step.get("cosine"), int | float) and step["cosine"] < 0 for step in steps)
    count = sum(step.get("projected") is True for step in steps)
    about = f"{len(steps)} steps. In {apart} of them keeping and forgetting pulled against each other (cosine below 0); "
    return f"<p>{about}the projection acted in {count}.</p><div class=chart>{curve(steps, names, f'Gradients of {folder.name}')}</div>"


# --- layout and wiring ------------------------------------------------------------------------------------------------


def build(page: Page) -> None:
    """The controls, and their wiring."""
    import gradio as gr

    gr.Markdown(HELLO)
    with gr.Row():
        run = gr.Dropdown([], label="Run", info="Runs in the runs folder, newest first.", elem_id="inside-run", min_width=280)
        metric = gr.Radio(
            [(words, name) for name, (words, *_) in METRICS.items()], value="sensitivity", label="Show", min_width=280,
            info="How much the forget prompts depend on it, how much was reinitialised, or how far it is from the original now.",
            elem_id="inside-metric",
        )  # fmt: skip
    drawn = gr.HTML(NONE, elem_id="inside-map")
    with gr.Accordion("How the gradients met", open=True):
        curves = gr.HTML(elem_id="inside-curves")
    with gr.Accordion("Every number", open=False):
        numbers = gr.HTML(elem_id="inside-table")

    page.links["inside.run"] = run
    page.links["inside.parts"] = ([run, metric], [drawn, numbers, curves])


def connect(page: Page) -> None:
    """What is shown depends on who looks."""
    import gradio as gr

    controls, shown = page.links["inside.parts"]
    run, metric = controls
    seat = page.links["erase.seat"]

    def looked(seat_now: Any, name: str | None, which: str) -> tuple[str, str, str]:
        try:
            return inside_of(sight(page, seat_now), name, which)
        except InputError as error:
            return problem(error), "", ""

    def opened(seat_now: Any, name: str | None) -> Any:
        names = known(sight(page, seat_now))
        return gr.Dropdown(choices=names, value=name if name in names else next(iter(names), None))

    for event in (run.change, metric.input):
        event(looked, [seat, *controls], shown, **PRIVATE)
    page.links["tab.inside"].select(opened, [seat, run], run, **PRIVATE)
