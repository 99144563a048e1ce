"""Table 9 from finished runs: FID, CLIP score and UA of several models, by protocol, beside the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from erase.errors import InputError
from eval.bench.paper.finished import FinishedRun, cells_of, deviations_of
from eval.bench.paper.items import Cell, Item
from eval.bench.paper.result import BRACKETS, DASH, Block, Result
from eval.protocols import load_protocol

FLAGS = {"fid": "--inception auto", "clip_score": "--clip ViT-B-32:openai", "ua": "--detector NAME"}
"""Metric -> the flag with which `evaluate` measures it of the images that there are."""

Metric = Mapping[str, Any]


def measures(item: Item, runs: Sequence[FinishedRun]) -> Result:
    """The table. InputError for a run that has none of its columns."""
    blocks, records, lines = [], [], [*deviations_of(item, runs)]
    for cell, own in cells_of(item, runs):
        lines += _missing(item, cell, own)
        rows = _rows(item, cell, own)
        columns = item.columns_of(cell)
        words = [[row["title"], *(_both(row, metric) for metric, _ in columns)] for row in rows]
        blocks.append(
            Block(cell.title, f"--protocol {cell.protocol}" if cell.protocol else "", ["", *(title for _, title in columns)], words)
        )
        records.append({"title": cell.title, "protocol": cell.protocol, "columns": dict(columns), "rows": rows})
    record = {"cells": records, "models": [run.record() for run in runs]}
    return Result(item, record, [*lines, *item.notes], blocks, BRACKETS)


def metric_of(run: FinishedRun, name: str) -> tuple[str, Metric] | None:
    """The name and value of a metric of the erased model; another Fréchet distance where there is no FID."""
    after = run.report["after"]
    names = [name] if name in after else [key for key in after if name == "fid" and key.startswith("frechet")]
    return next(((key, after[key]) for key in names if isinstance(after[key], Mapping) and "value" in after[key]), None)


def _rows(item: Item, cell: Cell, runs: Sequence[FinishedRun]) -> list[dict[str, Any]]:
    """The paper's rows where they have a value of either side, then the other runs; a label's runs in the order in which they came."""
    titles = [title for _, title in item.rows if title in cell.published or any(run.label == title for run in runs)]
    rows = []
    for title in [*titles, *dict.fromkeys(run.label for run in runs if run.label not in titles)]:
        own = [run for run in runs if run.label == title]
        metrics = {name: next(filter(None, (metric_of(run, name) for run in own)), None) for name, _ in item.columns_of(cell)}
        values = {name: metric[1] for name, metric in metrics.items() if metric}
        rows.append({"title": title, "values": values, "paper": dict(cell.published.get(title, {}))})
    return rows


def _missing(item: Item, cell: Cell, runs: Sequence[FinishedRun]) -> list[str]:
    """What is not measured, and how it would be; other distances under the name of FID."""
    columns = item.columns_of(cell)
    flags = " ".join(FLAGS[name] for name, _ in columns if name in FLAGS)
    if not runs:
        return [f"{cell.title}: no run was measured by `erase-concept evaluate RUN {_asked(cell)}`."]
    lines = []
    for run in runs:
        metrics = {name: metric_of(run, name) for name, _ in columns}
        if not any(metrics.values()):
            raise InputError(
                f"{run.folder} has none of {', '.join(title for _, title in columns)}; `erase-concept evaluate {run.folder} {flags}` adds "
                "them, or give an evaluation by one of the paper's protocols: "
                + " or ".join(f"`erase-concept evaluate RUN {_asked(block)}`" for block in item.cells),
                option="runs",
            )
        for name, title in columns:
            if (metric := metrics[name]) is None:
                why = run.report.get("unmeasured", {}).get(name)
                of = f"{title} ({why})" if why else title
                lines.append(f"{run.label} ({run.folder}) has no {of}: {_remedy(item, cell, run, name)}.")
            elif metric[0] != name:
                lines.append(f"{run.label} ({run.folder}): the column {title} is {metric[0]}, which is no {title}.")
    return lines


def _remedy(item: Item, cell: Cell, run: FinishedRun, name: str) -> str:
    """How a metric is had: from the images that there are; but a FID from real images needs these from the start."""
    if name == "fid" and cell in item.cells:
        return f"`erase-concept evaluate RUN {_asked(cell)}` measures it"
    return f"`erase-concept evaluate {run.folder} {FLAGS[name]}` adds it"


def _asked(cell: Cell) -> str:
    """The options that measure a block of the paper: its protocol, its prompts, real images, and a CLIP score where it has one."""
    protocol = load_protocol(cell.protocol)
    prompts = f" --prompts {protocol.file}" if protocol.prompts_from == "file" else ""
    return f"--protocol {cell.protocol}{prompts} --reference FOLDER {FLAGS['clip_score']}"


def _both(row: Mapping[str, Any], name: str) -> str:
    metric, paper = row["values"].get(name), row["paper"].get(name)
    ours = DASH
    if metric is not None:
        digits = 2 if abs(metric["value"]) >= 2 or metric["value"] == 0 else 3
        ours = f"{metric['value']:.{digits}f}"
        if metric.get("low") is not None:
            ours += f" [{metric['low']:.{digits}f}, {metric['high']:.{digits}f}]"
    return f"{ours} ({DASH if paper is None else f'{paper:g}'})"
