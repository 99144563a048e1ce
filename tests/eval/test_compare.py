"""Runs side by side: the numbers of their reports, never of different protocols without saying so."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from svg import points

from erase.errors import InputError
from erase.run import lines_of
from eval.compare import as_csv, as_json, as_table, compare, paired_runs, scatter_svg
from eval.metrics.intervals import rate
from eval.metrics.paired import paired_rates

PROTOCOL = {
    "detector": {"name": "judge", "version": "0.1.0", "sha256": "e7" * 32},
    "threshold": None,
    "prompts": {"file": "samples/prompts.jsonl", "sha256": "68" * 32},
    "seeds": [1, 2, 3],
    "sampler": "DDIMScheduler",
    "guidance": 4.0,
    "versions": {"torch": "2.13"},
}


def numbers(ua: int, ira: int, cra: int) -> dict[str, Any]:
    hits = {"ua": ua, "ira": ira, "cra": cra}
    return {name: rate([i < k for i in range(20)]).record() for name, k in hits.items()} | {"became": {"cross": 20}}


def make(folder: Path, after: tuple[int, int, int] = (19, 18, 16), protocol: dict[str, Any] | None = None, **named: Any) -> Path:
    folder.mkdir(parents=True)
    report = {"concept": "star", "model": "demo", "method": "scissorhands", "preset": "balanced", **named}
    report |= {"protocol": PROTOCOL | (protocol or {}), "before": numbers(0, 20, 16), "after": numbers(*after)}
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "options.json").write_text(json.dumps({"seed": 7}))
    return folder


def write_records(folder: Path, ok: list[bool]) -> None:
    records = [
        {"index": i, "role": "evaluate" if i < 10 else "evaluate-retain", "ok_before": True, "ok_after": k} for i, k in enumerate(ok)
    ]
    (folder / "records.jsonl").write_text(lines_of(records))


def test_a_row_holds_what_the_report_says(tmp_path: Path) -> None:
    (row,) = compare([make(tmp_path / "a")])
    assert (row["run"], row["concept"], row["method"], row["preset"], row["seed"]) == ("a", "star", "scissorhands", "balanced", 7)
    assert (row["protocol"], row["differs"], row["against_first"]) == ("A", [], {})
    assert list(row["metrics"]) == ["ua", "ira", "cra"]
    assert row["metrics"]["ua"]["after"] == numbers(19, 18, 16)["ua"]
    assert row["metrics"]["ira"]["change"]["difference"] == pytest.approx(-10)


def test_equal_protocols_share_a_letter_and_others_say_in_what_they_differ(tmp_path: Path) -> None:
    made = [
        make(tmp_path / "a"),
        make(tmp_path / "b", preset="paper", protocol={"versions": {"torch": "2.14"}}),
        make(tmp_path / "c", protocol={"guidance": 7.5, "seeds": [4, 5]}),
        make(tmp_path / "d", protocol={"detector": {**PROTOCOL["detector"], "sha256": "00" * 32}}),
        make(tmp_path / "e", protocol={"guidance": 7.5, "seeds": [4, 5]}),
    ]
    rows = compare(made)
    assert [row["protocol"] for row in rows] == ["A", "A", "B", "C", "B"]
    assert rows[1]["differs"] == []
    assert sorted(rows[2]["differs"]) == ["guidance: 7.5, not 4.0", "seeds: another list"]
    assert rows[3]["differs"] == ["detector.sha256: 000000000000..., not e7e7e7e7e7e7..."]
    table = as_table(rows)
    assert "not comparable" in table
    assert "B: " in table
    assert "guidance: 7.5, not 4.0" in table
    assert "not comparable" not in as_table(rows[:2])


def test_a_missing_threshold_is_not_the_same_as_a_different_one(tmp_path: Path) -> None:
    rows = compare([make(tmp_path / "a"), make(tmp_path / "b", protocol={"threshold": 0.6})])
    assert rows[1]["differs"] == ["threshold: 0.6, not None"]


def test_the_table_is_aligned_and_shows_both_sides(tmp_path: Path) -> None:
    table = as_table(compare([make(tmp_path / "a"), make(tmp_path / "a longer name", (20, 20, 20))]))
    head, first, second = table.splitlines()[:3]
    assert "0.0 -> 95.0 [76.4, 99.1]" in first
    assert head.index("ua") == first.index("0.0 -> 95.0") == second.index("0.0 -> 100.0")


def test_changes_are_in_percent_of_the_originals_value_too(tmp_path: Path) -> None:
    """ira 100 -> 90 is -10 %, cra 80 -> 60 is -25 %; of ua, which starts at 0, there is no percentage."""
    rows = compare([make(tmp_path / "a", (19, 18, 12))])
    percents = {name: sides["percent"] for name, sides in rows[0]["metrics"].items()}
    assert percents["ua"] is None
    assert (percents["ira"]["value"], percents["cra"]["value"]) == (-10, -25)
    change = rows[0]["metrics"]["cra"]["change"]
    assert percents["cra"]["low"] == pytest.approx(change["low"] / 0.8, abs=0.01)
    line = as_table(rows).splitlines()[1]
    assert "(-25.0 %)" in line
    assert line.count(" %)") == 2
    assert "cra_percent,cra_percent_low,cra_percent_high" in as_csv(rows)


def test_csv_and_json_come_back_as_they_were(tmp_path: Path) -> None:
    rows = compare([make(tmp_path / "a", concept='a "star", red\nand blue'), make(tmp_path / "b", protocol={"guidance": 7.5})])
    assert json.loads(as_json(rows)) == rows
    lines = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert [line["concept"] for line in lines] == ['a "star", red\nand blue', "star"]
    assert [float(line["ira_after_low"]) for line in lines] == [row["metrics"]["ira"]["after"]["low"] for row in rows]
    assert [float(line["ua_after"]) for line in lines] == [95, 95]
    assert lines[1]["differs"] == "guidance: 7.5, not 4.0"


def test_two_runs_on_the_same_pictures_are_tested_as_pairs(tmp_path: Path) -> None:
    a, b = make(tmp_path / "a"), make(tmp_path / "b", (10, 18, 16))
    first, second = [True] * 20, [i >= 7 for i in range(20)]
    write_records(a, first)
    write_records(b, second)
    found = compare([a, b])[1]["against_first"]
    assert found == {"ua": paired_rates(first[:10], second[:10]).record(), "kept": paired_rates(first[10:], second[10:]).record()}
    assert found["ua"]["difference"] == -70
    assert found["ua"]["p"] < 0.05
    assert found["kept"]["p"] == 1
    assert "b, ua: -70.0 points" in as_table(compare([a, b]))


def test_pairs_need_the_same_concept_protocol_and_pictures(tmp_path: Path) -> None:
    a = make(tmp_path / "a")
    others = [
        make(tmp_path / "b", concept="red"),
        make(tmp_path / "c", protocol={"guidance": 7.5}),
        make(tmp_path / "d"),
        make(tmp_path / "e"),
    ]
    for folder in [a, *others[:2]]:
        write_records(folder, [True] * 20)
    write_records(others[2], [True] * 19)
    assert [row["against_first"] for row in compare([a, *others])] == [{}] * 5
    assert paired_runs(a, others[0])["ua"]["difference"] == 0  # there was something to find


def test_the_scatter_has_a_point_a_run(tmp_path: Path) -> None:
    rows = compare([make(tmp_path / "a"), make(tmp_path / "b", (19, 18, 16)), make(tmp_path / "c", (2, 20, 20), {"guidance": 7.5})])
    svg = scatter_svg(rows)
    (_, first), _, (_, third) = points(svg)
    assert "a (A): 90.0, 95.0" in ET.fromstring(svg).attrib["aria-label"]  # ira 18 of 20 before; cra is as before
    assert third > first


def test_without_numbers_there_is_no_scatter(tmp_path: Path) -> None:
    folder = make(tmp_path / "a")
    report = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps(report | {"before": {}, "after": {}}))
    rows = compare([folder])
    assert "star" in as_table(rows)
    with pytest.raises(InputError, match="no run has ua"):
        scatter_svg(rows)


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    rows = compare([make(tmp_path / "x" / "star"), make(tmp_path / "y" / "star")])
    assert [row["run"] for row in rows] == ["x/star", "y/star"]


def test_the_same_folder_twice_is_refused_however_it_is_written(tmp_path: Path) -> None:
    folder = make(tmp_path / "a")
    (tmp_path / "link").symlink_to(folder)
    for again in (folder, tmp_path / "x" / ".." / "a", tmp_path / "link"):
        with pytest.raises(InputError, match="given twice"):
            compare([folder, again])


@pytest.mark.parametrize("content", [None, "{", "[]", '{"protocol": {}}', '{"protocol": 1, "before": {}, "after": {}}'])
def test_what_is_no_report_is_named_in_one_line(tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    if content is not None:
        (folder / "report.json").write_text(content)
    with pytest.raises(InputError, match="broken") as caught:
        compare([make(tmp_path / "a"), folder])
    assert "\n" not in str(caught.value)


def test_nothing_to_compare() -> None:
    with pytest.raises(InputError, match="nothing to compare"):
        compare([])


def test_a_name_that_a_spreadsheet_would_run_is_escaped_in_the_table_and_numbers_are_not() -> None:
    row = {"run": "=cmd|' /C calc'!A0", "folder": "@x", "concept": "star", "method": "esd", "preset": None, "seed": 0, "protocol": "A",
           "differs": [], "metrics": {"fid": {"after": {"value": -1.5}}}, "against_first": {}}  # fmt: skip
    (line,) = csv.DictReader(io.StringIO(as_csv([row])))
    assert (line["run"], line["folder"], line["fid_after"]) == ("'=cmd|' /C calc'!A0", "'@x", "-1.5")
