"""A record of a run that is not as it was written is one line, with the file and the key."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from erase.concepts import load_concept
from erase.concepts.record import concept_of
from erase.errors import InputError
from erase.files import read_object, write_json
from erase.files.schema import Record, check_schema
from erase.run import Run
from eval.measurement.report_file import read_report

SCHEMA = {"name": str, "count": int, "share": float, "flag": bool, "list": [int], "open": {...: float}, "deep": {"a": {"b": str}}}


@pytest.mark.parametrize(
    "value",
    [{}, {"name": None}, {"share": float("inf"), "count": 0}, {"open": {"x": 1.5}, "deep": {"a": {"b": "c", "d": 1}}}, {"list": []}],
)
def test_what_fits(value: dict[str, Any]) -> None:
    check_schema(value, SCHEMA, "a.json")


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ([], "a.json: the whole is []; expected an object"),
        ({"name": 1}, "a.json: name is 1; expected a text"),
        ({"count": True}, "a.json: count is True; expected a whole number"),
        ({"count": 1.0}, "a.json: count is 1.0; expected a whole number"),
        ({"count": 2**70}, "expected a whole number"),
        ({"share": "1"}, "a.json: share is '1'; expected a number"),
        ({"share": 1e308}, "a.json: share is 1e+308; expected a number"),
        ({"share": -(10**400)}, "a.json: share is -1000"),
        ({"flag": 1}, "a.json: flag is 1; expected true or false"),
        ({"list": [0, "x"]}, "a.json: list[1] is 'x'; expected a whole number"),
        ({"open": {"x": {}}}, "a.json: open.x is {}; expected a number"),
        ({"deep": {"a": {"b": ["x" * 100]}}}, "a.json: deep.a.b is ['xxx"),
    ],
)
def test_what_does_not_fit_is_named(value: Any, line: str) -> None:
    with pytest.raises(InputError) as caught:
        check_schema(value, SCHEMA, "a.json")
    assert line in str(caught.value)
    assert len(str(caught.value)) < 150


def test_a_missing_key_names_the_file_however_deep_and_however_copied(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": {"b": [{"c": 1}]}})
    record = read_object(path)
    assert record == {"a": {"b": [{"c": 1}]}}
    assert json.loads(json.dumps(record)) == record
    for one in (record, copy.copy(record), copy.deepcopy(record)):
        for read in (lambda one=one: one["x"], lambda one=one: one["a"]["x"], lambda one=one: one["a"]["b"][0]["x"]):
            with pytest.raises(InputError, match=r"a\.json has no 'x' where one is needed"):
                read()
    assert record.get("x") is None
    assert isinstance(record, Record)


def test_a_run_and_its_concept_are_checked(tmp_path: Path) -> None:
    concept = asdict(load_concept("star"))
    with Run.open(tmp_path / "run", {"concept_file": concept, "seed": 0}):
        pass
    assert concept_of(Run.read(tmp_path / "run").options["concept_file"]) == load_concept("star")
    with pytest.raises(InputError, match=r"options\.json has no 'sampling'"):
        _ = Run.read(tmp_path / "run").options["sampling"]
    path = tmp_path / "run" / "options.json"
    record = json.loads(path.read_text())
    write_json(path, {**record, "seed": "x"})
    with pytest.raises(InputError, match=r"options\.json: seed is 'x'; expected a whole number"):
        Run.read(tmp_path / "run")
    for change in ({"words": "star"}, {"words": [1]}, {"vocabulary": {"a": "b"}}, {"strange": 1}):
        with pytest.raises(InputError):
            concept_of({**concept, **change})


def test_a_report_holds_numbers(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    good = {"protocol": {}, "before": {"ua": {"value": 1.0, "low": None, "n": 3}, "became": {"ring": 2}}, "after": {}}
    write_json(path, good)
    assert read_report(path) == good
    write_json(path, {**good, "after": {"ua": {"value": "many"}}})
    with pytest.raises(InputError, match=r"report\.json: after\.ua\.value is 'many'; expected a number"):
        read_report(path)
