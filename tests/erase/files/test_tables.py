"""Tables are read as spreadsheets write them, whichever command reads them; what may mean two things is refused with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from erase.classifiers.forget_sets import _listed
from erase.concepts.prompt_csv import read_prompt_csv
from erase.errors import InputError
from erase.files.tables import read_table
from erase.images import read_images
from eval.attacks.text.listed import listed
from eval.prompt_sets import read_prompt_set

TEXTS = ["ein Hund, sitzend", 'eine „Katze"; groß', "北斎 🌟"]  # each separator and a quotation mark is in one of them
NAMES = ["a.png", "b.png", "c.png"]

WRITERS: dict[str, Callable[[list[list[str]]], bytes]] = {
    "CSV": lambda rows: _text(rows, ",").encode(),
    "CSV UTF-8 of Excel": lambda rows: b"\xef\xbb\xbf" + _text(rows, ",", end="\r\n").encode(),
    "CSV where the comma is a decimal mark": lambda rows: b"\xef\xbb\xbf" + _text(rows, ";", end="\r\n").encode(),
    "with sep=": lambda rows: ("sep=;\r\n" + _text(rows, ";", end="\r\n")).encode(),
    "with a rare sep=": lambda rows: ("sep=|\n" + _text(rows, "|")).encode(),
    "tabs": lambda rows: _text(rows, "\t").encode(),
    "Unicode text of Excel": lambda rows: b"\xff\xfe" + _text(rows, "\t", end="\r\n").encode("utf-16-le"),
    "UTF-16 of another byte order": lambda rows: b"\xfe\xff" + _text(rows, ",").encode("utf-16-be"),
    "empty columns and rows at the end": lambda rows: _text([[*row, "", ""] for row in [*rows, [""] * len(rows[0])]], ",").encode(),
    "lines of an old Macintosh": lambda rows: _text(rows, ",", end="\r").encode(),
    "everything quoted": lambda rows: _text(rows, ";", quote=True).encode(),
}


def _text(rows: list[list[str]], separator: str, end: str = "\n", quote: bool = False) -> str:
    def cell(text: str) -> str:
        special = quote or any(mark in text for mark in (separator, '"', "\n", "\r"))
        return '"' + text.replace('"', '""') + '"' if special else text

    return "".join(separator.join(map(cell, row)) + end for row in rows)


@pytest.fixture(params=WRITERS)
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[list[list[str]]], Path]:
    def write(rows: list[list[str]]) -> Path:
        path = tmp_path / "table.csv"
        path.write_bytes(WRITERS[request.param](rows))
        return path

    return write


def test_captions(write: Callable[[list[list[str]]], Path], tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / "set").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "set" / name)
    path = write([["file", "prompt"], *map(list, zip(NAMES, TEXTS, strict=True))])
    assert [picture.prompt for picture in read_images(tmp_path / "set", captions=path)] == TEXTS


def test_prompt_sets(write: Callable[[list[list[str]]], Path]) -> None:
    path = write([["prompt", "role", "seed", "style"], *([text, "evaluate", str(i), "a\nb"] for i, text in enumerate(TEXTS))])
    assert [(prompt.text, prompt.seed, prompt.attributes) for prompt in read_prompt_csv(path)] == [
        (text, i, {"style": "a\nb"}) for i, text in enumerate(TEXTS)
    ]
    rows = read_prompt_set(path, seed_columns=["seed"], role_column="role")
    assert [(row["text"], row["seed"], row["attributes"]) for row in rows] == [(text, i, {"style": "a\nb"}) for i, text in enumerate(TEXTS)]


def test_lists_of_attacks_and_takedowns(write: Callable[[list[list[str]]], Path]) -> None:
    prompts = listed(write([["nr", "prompt", "seed"], *(["1", text, str(i)] for i, text in enumerate(TEXTS))]))
    assert (prompts.texts, prompts.seeds) == (tuple(TEXTS), (0, 1, 2))
    takedown = write([["reason", "ID"], ["a, b; c", "x/2.png"], ["", "x/0.png"]])
    assert torch.equal(_listed(takedown, ["x/0.png", "x/1.png", "x/2.png"]), torch.tensor([True, False, True]))


def test_lines_of_json_in_utf16(tmp_path: Path) -> None:
    """As PowerShell's `>` writes them."""
    path = tmp_path / "set.jsonl"
    path.write_text('{"prompt": "groß"}\r\n{"prompt": "北"}\r\n', encoding="utf-16")
    assert [row["text"] for row in read_prompt_set(path)] == ["groß", "北"]


def test_a_comma_separates_what_it_separated_before(tmp_path: Path) -> None:
    """Semicolons and tabs in a first line that commas divide into the columns are text; empty columns inside stay in their place."""
    path = tmp_path / "a.csv"
    path.write_text("prompt,note;more,,\ta dog\nx,1;2,,3\n")
    columns, rows = read_table(path, [{"prompt"}])
    assert (columns, list(rows)) == (["prompt", "note;more", "", "a dog"], [(2, ["x", "1;2", "", "3"])])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"prompt;role;seed\na dog; a cat;evaluate;1\n", "line 2: the number of cells differs"),
        (b"prompt,role,seed,\na dog, a cat,evaluate,1\n", "line 2: the number of cells differs"),
        (b"prompt,role,seed\n\n\na dog,evaluate\n", "line 4: the number of cells differs"),
        (b"sep=;\nprompt;role;seed\na;evaluate\n", "line 3: the number of cells differs"),
        ("prompt,role,seed\nein Café,evaluate,1\n".encode("cp1252"), "is not text in UTF-8 (line 2: "),
        ("prompt,role,seed\na,evaluate,1\n".encode("utf-16-le"), "line 1: has a zero character"),
        (b"\xff\xfep", "begins as UTF-16 and is not"),
        (b'prompt,role,seed\na,evaluate,1\n"b,evaluate,2\n', "line 3: "),
    ],
)
def test_what_may_mean_two_things_is_refused_with_its_line(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "set.csv"
    path.write_bytes(data)
    with pytest.raises(InputError) as raised:
        read_prompt_csv(path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_caption_with_a_bare_comma_is_not_cut(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "captions.csv").write_text("file,prompt\na.png,a dog, sitting\n")
    with pytest.raises(InputError, match=r"captions\.csv, line 2: has 3 cells for 2 columns; put a caption with a separator in double"):
        read_images(tmp_path)
