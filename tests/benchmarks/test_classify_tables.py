"""The tables of docs/classify.md are those that benchmarks/classify_tables.py makes of the records."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("classify_tables")


def reports(name: str) -> dict[str, Any]:
    reports: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))["reports"]
    return reports


def test_the_tables_in_the_docs_are_those_of_the_records(script: ModuleType) -> None:
    text = (ROOT / "docs" / "classify.md").read_text(encoding="utf-8")
    cells, figures = reports("classify"), reports("classify-figures")
    for table in (
        script.gaps(cells), script.costs(cells), script.gaps(reports("classify-tuned")), script.ratios(figures),
        script.ablation(figures["options"]),
    ):  # fmt: skip
        assert table in text
    assert script.tables(cells) == f"{script.gaps(cells)}\n\n{script.costs(cells)}"


def test_a_table_by_hand(script: ModuleType) -> None:
    """One cell that tells methods apart and one that does not; a method that diverged on a seed has a dash and is not the best."""

    def row(label: str, seeds: int, **means: float) -> dict[str, Any]:
        return {"label": label, "seeds": seeds, **{name: {"mean": mean, "std": 0.5} for name, mean in means.items()}}

    far = [row("original", 2, average_gap=9), row("retrain", 2), row("salun", 1, average_gap=1), row("scissorhands", 2, average_gap=2)]
    near = [row("original", 2, average_gap=3), row("retrain", 2), {"label": "salun", "seeds": 0}]
    made = script.gaps({"a": {"protocol": {"separates": True}, "methods": far}, "b": {"protocol": {"separates": False}, "methods": near}})
    assert made.splitlines() == [
        "| method | a | (b) |",
        "|---|---:|---:|",
        "| original | 9.00 ± 0.50 | 3.00 ± 0.50 |",
        "| salun | 1.00 ± 0.50 | – |",
        "| scissorhands | **2.00 ± 0.50** | – |",
    ]
