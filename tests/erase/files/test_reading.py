"""A file that somebody else wrote is read within bounds, or refused in one line that names it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from erase.errors import InputError
from erase.files import read_json, read_object, read_text, read_toml, reading
from erase.files.reading import DEPTH, read_objects
from erase.files.tables import cell, csv_text, read_rows


def refusal(read: Callable[[Path], Any], path: Path) -> str:
    with pytest.raises(InputError) as caught:
        list(read(path) or [])
    text = str(caught.value)
    assert str(path) in text
    assert len(text.splitlines()) == 1
    return text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 200_000, "nested too deeply"),
        (b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1), "nested too deeply"),
        (b'{"a": "\\ud800"}', "half a surrogate pair"),
        (b'{"\\uDfff": 1}', "half a surrogate pair"),
        (b'{"a": "\xff"}', "not text in UTF-8"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"", "not JSON"),
        (b'{"a": 1', "not JSON"),
        (b"1" * 5000, "not JSON"),
        (b"[" + b"{}," * 2_000_000 + b"{}]", "has 2000002 lists and objects; expected at most 2000000"),
        ("{}".encode("utf-16"), "not text in UTF-8"),
    ],
)
def test_json_that_is_not_read(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    assert reason in refusal(read_json, path)


@pytest.mark.parametrize("text", ["null", "5", "[]", "NaN", '"word"'])
def test_an_object_is_expected(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    assert "expected a JSON object" in refusal(read_object, path)


def test_depth_and_surrogate_pairs_within_bounds_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" * DEPTH + "]" * DEPTH)
    value = read_json(path)
    for _ in range(DEPTH - 1):
        (value,) = value
    assert value == []
    path.write_text('{"face": "\\ud83d\\ude00"}')
    assert read_object(path) == {"face": "\U0001f600"}


@pytest.mark.parametrize("read", [read_json, read_toml, read_text, read_rows, read_objects])
def test_what_is_not_a_plain_file_is_refused_and_not_waited_for(read: Callable[[Path], Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    assert "is a pipe; expected a file" in refusal(read, tmp_path / "pipe")
    assert "is a device; expected a file" in refusal(read, tmp_path / "zero")
    assert "is a folder; expected a file" in refusal(read, tmp_path)
    assert "cannot be read" in refusal(read, tmp_path / "loop")
    with pytest.raises(FileNotFoundError):  # which callers know the meaning of
        list(read(tmp_path / "absent"))


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(reading.JSON_BYTES + 1)
    assert "has 40 MiB; a file of this kind has at most 40" in refusal(read_json, path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a = " + "[" * 100_000, "nested too deeply"),
        (".".join("a" * 200_000) + " = 1", "nested too deeply"),
        ("[" + ".".join("a" * 1000) + "]", "nested too deeply"),
        ("a = " + "9" * 5000, "not valid TOML"),
        ("a = ", "not valid TOML"),
        ('a = "\\ud800"', "not valid TOML"),
    ],
    ids=range(6),
)
def test_toml_that_is_not_read(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    assert reason in refusal(read_toml, path)


def test_a_byte_order_mark_is_read_over_in_toml_and_tables(tmp_path: Path) -> None:
    for name, text in (("a.toml", 'a = "é"'), ("a.csv", "a,b\né,2"), ("a.jsonl", '{"a": "é"}')):
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert read_toml(tmp_path / "a.toml") == {"a": "é"}
    assert list(read_rows(tmp_path / "a.csv")) == [(1, ["a", "b"]), (2, ["é", "2"])]
    assert list(read_objects(tmp_path / "a.jsonl")) == [(1, {"a": "é"})]


def test_rows_know_their_first_line_and_keep_their_breaks(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'a,b\r\n\r\n"two\nlines",1\nlast,2')
    assert list(read_rows(path)) == [(1, ["a", "b"]), (3, ["two\nlines", "1"]), (5, ["last", "2"])]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\n" + "x" * 200_000, "line 2: is not a table (field larger"),
        ('a\n"x', "line 2: is not a table (unexpected end"),
        ("a\n\x00", "line 2: has a zero character"),
    ],
)
def test_a_table_that_is_not_read(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    assert reason in refusal(lambda path: read_rows(path, strict=True), path)


def test_too_many_rows_and_lines_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("erase.files.reading.ENTRIES", 3)
    monkeypatch.setattr("erase.files.tables.ENTRIES", 3)
    path = tmp_path / "a.csv"
    path.write_text("head\n1\n2\n3\n")
    assert len(list(read_rows(path))) == 4
    path.write_text("head\n1\n2\n3\n4\n")
    assert "more than 3 rows" in refusal(read_rows, path)
    path.write_text("{}\n" * 4)
    assert "more than 3 lines" in refusal(read_objects, path)


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-x", "@sum", "\tx", "\rx", "=cmd|' /C calc'!A0", "-", "+", "- 1"])
def test_a_cell_that_a_spreadsheet_would_run_is_escaped(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-1", "-0.5", "+1e5", "a=b", "", None, -3, 0.5, "star"])
def test_numbers_and_plain_texts_stay_as_they_are(value: object) -> None:
    assert cell(value) == value


def test_csv_escapes_columns_too() -> None:
    assert csv_text(["=a", "b"], [{"=a": "@x", "b": -1}, {"b": "y,z"}]) == "'=a,b\n'@x,-1\n,\"y,z\"\n"
