"""The Markdown tables of docs/classify.md from the records of benchmarks/classify.py.

    python benchmarks/classify_tables.py benchmarks/results/classify.json benchmarks/results/classify-tuned.json

Records of cells give the average gaps, and for cells with relearning what Scissorhands costs; records of figures the gaps by the share
that is forgotten, and the ablation. A table is of the cells that a record has, so a benchmark that is still running may be read.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erase.files import read_object
from eval.classifiers.measure import BASELINES, ranked
from eval.classifiers.report import number_text

Report = Mapping[str, Any]
Reports = Mapping[str, Report]
"""Name of a cell -> its report."""

RATIO, OPTIONS = "ratio-", "options"
COSTS = (  # heading, method, metric
    ("processor time, % of retraining", "scissorhands", "run_time"),
    ("relearn gap", "scissorhands", "relearn_gap"),
    ("relearn gap of SalUn", "salun", "relearn_gap"),
)
INITIALISATIONS = ("uniform", "normal", "zero", "one")


def gaps(reports: Reports) -> str:
    """Average gap: a line a method, a column a cell; the smallest in bold, cells that cannot tell methods apart in brackets."""
    labels = list(dict.fromkeys(row["label"] for report in reports.values() for row in report["methods"] if row["label"] != BASELINES[1]))
    heads = [name if report["protocol"]["separates"] else f"({name})" for name, report in reports.items()]
    return _table("method", heads, [[label, *(_gap(report, label) for report in reports.values())] for label in labels])


def costs(reports: Reports) -> str:
    """Time and relearning of Scissorhands beside SalUn, in the cells that can tell methods apart."""
    meaningful = {name: report for name, report in reports.items() if report["protocol"]["separates"]}
    rows = []
    for words, label, metric in COSTS:
        means = [_row(report, label).get(metric, {}).get("mean") for report in meaningful.values()]
        rows.append([words, *("–" if mean is None else f"{mean:.{0 if metric == 'run_time' else 1}f}" for mean in means)])
    return _table("Scissorhands", list(meaningful), rows)


def ratios(reports: Reports) -> str:
    """Average gap by the share that is forgotten."""
    shares = {name.removeprefix(RATIO): report for name, report in reports.items() if name.startswith(RATIO)}
    labels = list(dict.fromkeys(row["label"] for report in shares.values() for row in report["methods"] if row["label"] != BASELINES[1]))
    rows = [[label, *(_gap(report, label) for report in shares.values())] for label in labels]
    return _table("forgotten", [f"{share} %" for share in shares], rows)


def ablation(report: Report) -> str:
    """Average gap by initialisation, projected and not."""
    rows = []
    for how in INITIALISATIONS:
        labels = [f"scissorhands:initialisation={how},projected={projected}" for projected in ("true", "false")]
        rows.append([how, *(number_text(_row(report, label).get("average_gap"), "average_gap") for label in labels)])
    return _table("initialisation (10 %)", ["projected", "not projected"], rows)


def tables(reports: Reports) -> str:
    """Every table that a record has the cells of."""
    if any(name.startswith(RATIO) for name in reports):
        return "\n\n".join([ratios(reports), *([ablation(reports[OPTIONS])] if OPTIONS in reports else [])])
    relearned = any("relearn_gap" in row for report in reports.values() for row in report["methods"])
    return "\n\n".join([gaps(reports), *([costs(reports)] if relearned else [])])


def _gap(report: Report, label: str) -> str:
    best = next(iter(ranked(report["methods"])), {}).get("label")
    value = number_text(_row(report, label).get("average_gap"), "average_gap")
    return f"**{value}**" if label == best else value


def _row(report: Report, label: str) -> Mapping[str, Any]:
    return next((row for row in report["methods"] if row["label"] == label), {})


def _table(first: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[first, *heads], *rows]
    text = ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join([text[0], "|---" + "|---:" * len(heads) + "|", *text[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs="+", type=Path, help="classify.json, tuned.json or figures.json")
    for path in parser.parse_args().records:
        record = read_object(path)
        seeds = {len(report["protocol"]["seeds"]) for report in record["reports"].values()}
        print(f"{path.name}: {record['cpu']}, torch {record['torch']}, {record['date']}, seeds {', '.join(map(str, sorted(seeds)))}\n")
        print(tables(record["reports"]), end="\n\n")


if __name__ == "__main__":
    main()
