"""Every method beside retraining, cell by cell: data set x request, over seeds; and the curves and the ablation of the paper.

    python benchmarks/classify.py --output runs/cells                      the cells, defaults of every method
    python benchmarks/classify.py --output runs/cells --tune               the same, each method's options chosen on validation samples
    python benchmarks/classify.py --output runs/cells --only figures       k, lambda and forgetting-ratio curves; Table 3's ablation

Resumable: every cell is an ordinary folder of `erase-concept classify`. Writes classify.json (tuned.json, figures.json) and the same
as Markdown; figures also as SVG.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host import facts

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


def cells(root: Path, seeds: int, tune: bool, names: list[str]) -> dict[str, Any]:
    """Name -> report."""
    more = ("--tune", "--relearn", "20") if tune else ("--relearn", "20")
    return {cell.name: run(root / cell.name, (*cell.options, *more), seeds) for cell in CELLS if not names or cell.name in names}


def summary(reports: dict[str, Any]) -> str:
    """Mean average gap: a line a method, a column a cell; the smallest of a column in bold, cells that separate nothing in brackets."""
    labels = list(dict.fromkeys(row["label"] for report in reports.values() for row in report["methods"] if row["label"] != "retrain"))
    heads = [name if report["protocol"]["separates"] else f"({name})" for name, report in reports.items()]
    text = ["| method | " + " | ".join(heads) + " |", "|---" + "|---:" * len(heads) + "|"]
    for label in labels:
        shown = []
        for report in reports.values():
            row = next((row for row in report["methods"] if row["label"] == label), {})
            best = next(iter(ranked(report["methods"])), {}).get("label")
            value = number_text(row.get("average_gap"), "average_gap")
            shown.append(f"**{value}**" if label == best else value)
        text.append(f"| {label} | " + " | ".join(shown) + " |")
    return "\n".join(text)


def figures(root: Path, seeds: int) -> dict[str, Any]:
    """Curves over k, lambda and the share to forget, and the ablation of projection and initialisation."""
    swept = [f"scissorhands:fraction={k:g}" for k in FRACTIONS] + [f"scissorhands:forget_weight={w:g}" for w in WEIGHTS]
    base = (*FIGURES, "--forget", "random:10%", "--methods", "scissorhands", *swept, *ABLATION)
    found = {"options": run(root / "figure-options", base, seeds)}
    for ratio in RATIOS:
        options = (*FIGURES, "--forget", f"random:{ratio}%", "--methods", *COMPARED)
        found[f"ratio-{ratio}"] = run(root / f"figure-ratio-{ratio}", options, seeds)
    series: dict[str, list[Value]] = {name: [] for name in COMPARED}
    for ratio in RATIOS:
        for row in found[f"ratio-{ratio}"]["methods"]:
            if row["label"] in series and "average_gap" in row:
                series[row["label"]].append(Value(ratio, row["average_gap"]["mean"], row["average_gap"]["std"]))
    (root / "ratio.svg").write_text(
        lines(series, "Average gap by the share that is forgotten", "forget set, %", "points"), encoding="utf-8"
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/cells"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cells", nargs="+", default=[], help="only these cells")
    parser.add_argument("--tune", action="store_true", help="choose every method's options on validation samples first")
    parser.add_argument("--only", choices=("cells", "figures"), default="cells")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    name = "figures" if given.only == "figures" else "tuned" if given.tune else "classify"
    root = given.output / name
    root.mkdir(exist_ok=True)
    reports = figures(root, given.seeds) if given.only == "figures" else cells(root, given.seeds, given.tune, given.cells)
    (given.output / f"{name}.json").write_text(json.dumps({**facts(), "reports": reports}, indent=1) + "\n", encoding="utf-8")
    parts = [summary(reports), *(f"## {cell}\n\n{markdown(report)}" for cell, report in reports.items())]
    (given.output / f"{name}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(f"\n{summary(reports)}")


if __name__ == "__main__":
    main()
