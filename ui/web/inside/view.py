"""Inside a run: where in the network the concept was, what was trimmed, how far each block moved, and how the gradients conflicted."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block

from erase.errors import InputError
from erase.run import Run
from eval.rendering.charts import curve
from ui.web.context import Page
from ui.web.frame import PRIVATE, Changes, Frame
from ui.web.inside.layers import Cell, cells, parameters, read_layers, summary
from ui.web.inside.unet_map import METRICS, formatted, unet_map
from ui.web.messages import problem
from ui.web.runs import visible_runs
from ui.web.visitor import page_for

HELLO = """**Look inside.** Each column is a block of the UNet, in the order in which the signal passes; each cell is a type of layer.
The stronger its colour, the more. Point at a cell for its numbers; the table below has them all."""
CURVES = {"cosine": "Cosine of the two gradients", "coefficient": "Weight c of forgetting, in g = g_r + c g_u"}
NONE = "<p class=muted>Nothing was erased here, or it has not come to this stage yet.</p>"
OLD = "<p class=muted>This run has no record of its layers: it was made by an earlier version.</p>"
HEADS = ("Block", "Type of layer", "Weights", "In scope", "Sensitivity", "Trimmed", "Moved")

# --- handlers ---------------------------------------------------------------------------------------------------------


def listed(page: Page) -> list[str]:
    """Names of the runs that have something to show, newest first."""
    folders = [folder for folder in visible_runs(page) if (folder / "stats.jsonl").is_file() or (folder / "layers.json").is_file()]
    return [folder.name for folder in sorted(folders, key=lambda folder: -(folder / "options.json").stat().st_mtime)]


def inside_of(page: Page, name: str | None, metric: str) -> tuple[str, str, str]:
    """A run's map with its sentences, its table, and its curves, as HTML; only names that `listed` has are opened."""
    if not name:
        return NONE, "", ""
    if name not in listed(page) or metric not in METRICS:
        raise InputError(f"{name!r} is not a run with steps; choose one from the list")
    folder = page.runs / name
    measured = cells(read_layers(folder), parameters(folder))
    if not any(cell.scored for cell in measured):
        return OLD, "", gradients(folder)
    sentences = "".join(f"<p>{escape(text)}</p>" for text in summary(measured))
    svg = f'<div class="chart map" tabindex="0" role="group" aria-label="map of the UNet">{unet_map(measured, metric, name)}</div>'
    return svg + sentences, table(measured), gradients(folder)


def table(cells: Sequence[Cell]) -> str:
    """Every number of the map, the most sensitive first."""
    rows = []
    for cell in sorted(cells, key=lambda cell: -(cell.sensitivity or 0)):
        if cell.scored:
            numbers = (f"{cell.numel:,}", f"{cell.scored:,}", *(formatted(name, getattr(cell, name)) for name in METRICS))
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
    opposed = sum(isinstance(step.get("cosine"), int | float) and step["cosine"] < 0 for step in steps)
    count = sum(step.get("projected") is True for step in steps)
    about = f"{len(steps)} steps. In {opposed} of them the two gradients pointed in opposite directions (cosine below 0); "
    return f"<p>{about}the projection acted in {count}.</p><div class=chart>{curve(steps, names, f'Gradients of {folder.name}')}</div>"


# --- the view ---------------------------------------------------------------------------------------------------------


class InsideView:
    """The map of a run with its curves and numbers. Layout when constructed, events when connected."""

    def __init__(self, page: Page) -> None:
        self.page = page
        gr.Markdown(HELLO)
        self.metric = gr.Radio(
            [(words, name) for name, (words, *_) in METRICS.items()], value="sensitivity", label="Show", elem_id="inside-metric",
            info="How much the forget prompts depend on it, how much was reinitialised, or how far it is from the original now.",
        )  # fmt: skip
        self.map = gr.HTML(NONE, apply_default_css=False, elem_id="inside-map")
        with gr.Accordion("How the two goals conflicted", open=True):
            self.curves = gr.HTML(apply_default_css=False, elem_id="inside-curves")
        with gr.Accordion("Every number", open=False):
            self.numbers = gr.HTML(apply_default_css=False, elem_id="inside-table")

    @property
    def outputs(self) -> list[Block]:
        """What depends on the run."""
        return [*self._shown, self.metric]

    @property
    def _shown(self) -> list[Block]:
        return [self.map, self.numbers, self.curves]

    def connect(self, frame: Frame, name: gr.State) -> None:
        """`name` holds the run."""
        self.metric.input(self.read, [frame.session, name, self.metric], self._shown, **PRIVATE)

    def show(self, session: Any, name: str, metric: str = "sensitivity") -> Changes:
        """Map, table and curves of a run."""
        return {**dict(zip(self._shown, self.read(session, name, metric), strict=True)), self.metric: metric}

    def read(self, session: Any, name: str, metric: str) -> tuple[str, str, str]:
        """Map, table and curves as HTML."""
        page = page_for(self.page, session)
        try:
            return inside_of(page, name, metric) if name in listed(page) else (NONE, "", "")
        except InputError as error:
            return problem(error), "", ""
