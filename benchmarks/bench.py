"""Every method on concepts of the embedded model that no tuning saw, and what it was aimed at: met or missed, with the figure.

    python benchmarks/bench.py --output runs/bench                       every method, six concepts, three seeds, 320 + 320 + 160 pictures
    python benchmarks/bench.py --output runs/bench --gold heart=without-heart

`erase-concept bench` with its options fixed; resumable like it. Writes bench.json (the report) and targets.md beside the bench's own files.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from host import facts

from ui.cli.main import main as command

CONCEPTS = ("heart", "ring", "blue", "purple", "dotted", "checkered")  # the defaults were chosen on star, red and striped
OURS, RIVAL = "scissorhands", "salun"
COMPARABLE = 2.0  # points of keeping within which relearning is compared

Row = Mapping[str, Any]
Target = tuple[str, bool | None, str]  # what, whether it is met (None: not measured), the figure


def targets(report: Mapping[str, Any], ours: str = OURS) -> list[Target]:
    """Each aim with whether it was met and the figure behind it."""
    rows = {row["label"]: row for row in report["methods"]}
    if "ua" not in rows.get(ours, {}):
        return [(f"{ours} came through", False, "no numbers")]
    row, others = rows[ours], [row for label, row in rows.items() if label not in (ours, "original", "retrain") and "ua" in row]
    return [
        *(_at_least(row, name, low) for name, low in (("ua", 99.0), ("ira_kept", 98.0), ("cra_kept", 98.0))),
        *(_worst(row, name, low) for name, low in (("ua", 95.0), ("ira_kept", 93.0))),
        ("no other is better in both ua and kept", bool(row.get("front")), f"ua {_mean(row, 'ua'):.1f}, kept {_mean(row, 'kept'):.1f}"),
        _least(row, others, "average_gap", "nearest to the retrained model"),
        _least(row, _comparable(row, others), "relearned", f"least relearned of those that keep within {COMPARABLE:g} points or more"),
        *(_no_more(row, rows.get(RIVAL), name) for name in ("seconds", "peak_bytes")),
    ]


def _mean(row: Row, name: str) -> float:
    return float(row[name]["mean"])


def _at_least(row: Row, name: str, low: float) -> Target:
    return f"{name} at least {low:g}", _mean(row, name) >= low, f"{_mean(row, name):.2f}"


def _worst(row: Row, name: str, low: float) -> Target:
    found = row.get("worst", {}).get(name) or {"value": _mean(row, name), "concept": "the only one"}
    return f"worst concept: {name} at least {low:g}", found["value"] >= low, f"{found['value']:.2f} ({found['concept']})"


def _comparable(row: Row, others: list[Row]) -> list[Row]:
    return [other for other in others if "kept" in other and _mean(other, "kept") >= _mean(row, "kept") - COMPARABLE]


def _least(row: Row, others: list[Row], name: str, what: str) -> Target:
    if name not in row:
        return what, None, "not measured"
    rivals = {other["label"]: _mean(other, name) for other in others if name in other}
    best = min(rivals, key=rivals.__getitem__, default=None)
    beside = f"; {best} {rivals[best]:.2f}" if best else "; no other row"
    return what, best is None or _mean(row, name) <= rivals[best], f"{_mean(row, name):.2f}{beside}"


def _no_more(row: Row, rival: Row | None, name: str) -> Target:
    what = f"{name} at most those of {RIVAL}"
    if rival is None or name not in rival or name not in row:
        return what, None, "not measured"
    return what, _mean(row, name) <= _mean(rival, name), f"{_mean(row, name):.0f}; {_mean(rival, name):.0f}"


def table(found: list[Target]) -> str:
    """The aims as Markdown."""
    words = {True: "met", False: "missed", None: "not measured"}
    lines = ["| aim | | figure |", "|---|---|---|", *(f"| {what} | {words[met]} | {figure} |" for what, met, figure in found)]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/bench"))
    parser.add_argument("--concepts", nargs="+", default=list(CONCEPTS))
    parser.add_argument("--methods", nargs="+", default=["all"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--evaluate-count", type=int, default=320, help="pictures that name the concept, and as many that do not")
    parser.add_argument("--relearn", type=int, default=100, help="steps of relearning: as many as the default takes to erase")
    parser.add_argument("--gold", nargs="+", default=[], help="CONCEPT=FOLDER of models that were trained without it")
    given = parser.parse_args()
    words = ["bench", "--model", "demo", "--output", str(given.output), "--seeds", str(given.seeds)]
    words += ["--evaluate-count", str(given.evaluate_count), "--relearn", str(given.relearn), "--concepts", *given.concepts]
    words += ["--methods", *given.methods, *(["--gold", *given.gold] if given.gold else [])]
    if status := command(words):
        raise SystemExit(status)
    report = json.loads((given.output / "report.json").read_text(encoding="utf-8"))
    (given.output / "bench.json").write_text(json.dumps({**facts(), "report": report}, indent=1) + "\n", encoding="utf-8")
    text = table(targets(report))
    (given.output / "targets.md").write_text(text, encoding="utf-8")
    print(f"\n{text}")


if __name__ == "__main__":
    main()
