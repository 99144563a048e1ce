"""Every method beside retraining, cell by cell: data set x request, over seeds; and the curves and the ablation of the paper.

    python benchmarks/classify.py --output runs/cells                      the cells, defaults of every method
    python benchmarks/classify.py --output runs/cells --tune               the same, each method's options chosen on validation samples
    python benchmarks/classify.py --output runs/cells --only figures       k, lambda and forgetting-ratio curves; Table 3's ablation

Resumable: every cell is an ordinary folder of `erase-concept classify`. Writes classify.json (tuned.json, figures.json) and the same
as Markdown, again after every cell; figures also as SVG. `benchmarks/classify_tables.py` makes the tables of docs/classify.md of them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classify_tables import tables
from host import facts

from erase.files import write_json
from eval.classifiers.measure import ranked
from eval.classifiers.options import ABLATION
from eval.classifiers.report import markdown, number_text
from eval.rendering.line_chart import Value, lines
from ui.cli.main import main as command


@dataclass(frozen=True)
class Cell:
    """A data set and a request."""

    name: str
    options: tuple[str, ...]


DIGITS, SHAPES = ("--dataset", "digits", "--train-samples", "100"), ("--dataset", "shapes")
CELLS = (
    Cell("digits-plain", ("--dataset", "digits", "--forget", "random:10%")),
    Cell("digits-random-20", (*DIGITS, "--forget", "random:20%")),
    Cell("digits-random-50", (*DIGITS, "--forget", "random:50%")),
    Cell("digits-class", (*DIGITS, "--forget", "class:random")),
    Cell("shapes-random-10", (*SHAPES, "--forget", "random:10%")),
    Cell("shapes-random-50", (*SHAPES, "--forget", "random:50%")),
    Cell("shapes-class", (*SHAPES, "--forget", "class:random")),
    Cell("shapes-identities", (*SHAPES, "--forget", "class:10%")),
)
FRACTIONS = (0.001, 0.003, 0.01, 0.03, 0.1)
WEIGHTS = (0.0, 0.01, 0.05, 0.2, 1.0)
RATIOS = (10, 20, 30, 40, 50)
FIGURES = ("--train-samples", "400", "--dataset", "shapes")
COMPARED = ("fine_tune", "salun", "scissorhands")


def run(folder: Path, options: tuple[str, ...], seeds: int) -> dict[str, Any]:
    """One folder's report."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = command(["classify", *options, "--seeds", str(seeds), "--output", str(folder), "--json"])
    if status:
        raise SystemExit(f"{folder} ended with status {status}")
    found: dict[str, Any] = json.loads(out.getvalue())
    first = next(iter(ranked(found["methods"])), None)
    print(
        folder.name, f"nearest to retrain: {first['label']} {number_text(first['average_gap'], 'average_gap')}" if first else "", flush=True
    )
    return found


def cells(root: Path, seeds: int, tune: bool, names: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and report, cell by cell."""
    more = ("--tune", "--relearn", "20") if tune else ("--relearn", "20")
    for cell in CELLS:
        if not names or cell.name in names:
            yield cell.name, run(root / cell.name, (*cell.options, *more), seeds)


def figures(root: Path, seeds: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Curves over k, lambda and the share to forget, and the ablation of projection and initialisation."""
    swept = [f"scissorhands:fraction={k:g}" for k in FRACTIONS] + [f"scissorhands:forget_weight={w:g}" for w in WEIGHTS]
    base = (*FIGURES, "--forget", "random:10%", "--methods", "scissorhands", *swept, *ABLATION)
    yield "options", run(root / "figure-options", base, seeds)
    series: dict[str, list[Value]] = {name: [] for name in COMPARED}
    for ratio in RATIOS:
        options = (*FIGURES, "--forget", f"random:{ratio}%", "--methods", *COMPARED)
        report = run(root / f"figure-ratio-{ratio}", options, seeds)
        for row in report["methods"]:
            if row["label"] in series and "average_gap" in row:
                series[row["label"]].append(Value(ratio, row["average_gap"]["mean"], row["average_gap"]["std"]))
        yield f"ratio-{ratio}", report
    chart = lines(series, "Average gap by the share that is forgotten", "forget set, %", "points")
    (root / "ratio.svg").write_text(chart, encoding="utf-8")


def write(folder: Path, name: str, reports: dict[str, Any]) -> None:
    """The record as JSON and as Markdown, of the cells that there are."""
    write_json(folder / f"{name}.json", {**facts(), "reports": reports})
    parts = [tables(reports), *(f"## {cell}\n\n{markdown(report)}" for cell, report in reports.items())]
    (folder / f"{name}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/cells"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cells", nargs="+", default=[], help="only these cells")
    parser.add_argument("--tune", action="store_true", help="choose every method's options on validation samples first")
    parser.add_argument("--only", choices=("cells", "figures"), default="cells")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    name = "figures" if options.only == "figures" else "tuned" if options.tune else "classify"
    root = options.output / name
    root.mkdir(exist_ok=True)
    measured = figures(root, options.seeds) if options.only == "figures" else cells(root, options.seeds, options.tune, options.cells)
    reports: dict[str, Any] = {}
    for cell, report in measured:
        reports[cell] = report
        write(options.output, name, reports)
    print(f"\n{tables(reports)}")


if __name__ == "__main__":
    main()
