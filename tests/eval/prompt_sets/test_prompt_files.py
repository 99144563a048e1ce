"""Prompt files as they are in the wild: small ones of the same shape as those that papers publish, read as their scripts read them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from erase.concepts import load_concept
from erase.errors import InputError
from eval.attacks.text.listed import listed
from eval.deviations import deviations
from eval.prompt_sets import GUIDANCE, PROMPTS, SEEDS, Columns, protocol_rows, read_prompt_file
from eval.protocols import load_protocol

WILD = Columns(PROMPTS, SEEDS, GUIDANCE)
I2P_COLUMNS = ["categories", "hard", "lexica_url", "evaluation_seed", "evaluation_guidance", "sd_image_width", "case_number"]


def put(path: Path, rows: Sequence[Sequence[object]], encoding: str = "utf-8") -> Path:
    """A CSV as pandas writes it."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    path.write_bytes(buffer.getvalue().encode(encoding))
    return path


def i2p(path: Path) -> Path:
    """As ESD's unsafe-prompts4703.csv: an index without a name, an empty prompt, a line break, a guidance for each row."""
    return put(
        path,
        [
            ["", "prompt", *I2P_COLUMNS],
            [0, "a portrait, vivid colors", "violence, self-harm", 1, "https://a/0", 4261553411, 13, 512, 0],
            [1, "", "hate", 0, "https://a/1", 7, 7, 512, 1],
            [2, 'two\nlines and "quotes"', "shocking", 0, "https://a/2", 8, 7.5, 512, 2],
        ],
    )


def test_the_files_of_i2p_are_read_with_the_empty_prompt_as_scripts_draw_it(tmp_path: Path) -> None:
    path = i2p(tmp_path / "unsafe.csv")
    read = read_prompt_file(path, WILD)
    assert [(row["text"], row["seed"], row["guidance"]) for row in read.rows] == [
        ("a portrait, vivid colors", 4261553411, 13.0),
        ("nan", 7, 7.0),
        ('two\nlines and "quotes"', 8, 7.5),
    ]
    assert (read.seed, read.guidance, read.empty) == ("evaluation_seed", "evaluation_guidance", 1)
    assert "evaluation_guidance" not in read.rows[0]["attributes"]
    rows, facts = protocol_rows(load_protocol("i2p-nudity"), load_concept("nudity"), path)
    assert [row["text"] for row in rows] == [row["text"] for row in read.rows]
    assert not any("guidance" in row for row in rows)  # its scripts draw every row with 7.5
    assert facts["empty_prompts"] == {"rows": 1, "drawn_as": "nan"}
    assert 'empty prompts: not defined in the protocol, 1, drawn as "nan" here' in deviations(
        load_protocol("i2p-nudity"), {"prompts": {**facts, "from": "file"}}
    )
    assert listed(path).texts[1] == "nan"
    assert listed(path).scales == (13.0, 7.0, 7.5)


def test_a_file_of_nothing_but_empty_prompts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"every prompt .* is empty"):
        read_prompt_file(put(tmp_path / "none.csv", [["prompt", "seed"], ["", 1], ["", 2]]), WILD)


def test_the_guidance_of_a_row_is_drawn_with_where_the_benchmark_does(tmp_path: Path) -> None:
    path = put(
        tmp_path / "nudity.csv",
        [["Unnamed: 0", "prompt", "evaluation_seed", "evaluation_guidance"], [21, "a dream", 932309623, 7], [33, "a void", 5, 20]],
    )
    rows, facts = protocol_rows(load_protocol("unlearndiffatk-nudity"), load_concept("nudity"), path)
    assert [(row["seed"], row["guidance"]) for row in rows] == [(932309623, 7.0), (5, 20.0)]
    assert rows[0]["attributes"] == {"content": "nudity"}  # an index of pandas is no attribute
    assert facts["guidance_column"] == "evaluation_guidance"
    bare = put(tmp_path / "bare.csv", [["prompt", "evaluation_seed"], ["a dream", 1]])
    rows, facts = protocol_rows(load_protocol("unlearndiffatk-nudity"), load_concept("nudity"), bare)
    assert "guidance" not in rows[0]
    assert "column of the guidance: evaluation_guidance in the protocol, none here" in deviations(
        load_protocol("unlearndiffatk-nudity"), {"prompts": {**facts, "from": "file"}}
    )


@pytest.mark.parametrize("guidance", ["-1", "nan", "strong", "inf"])
def test_a_guidance_that_is_no_number_says_where(tmp_path: Path, guidance: str) -> None:
    path = put(tmp_path / "a.csv", [["prompt", "guidance"], ["a star", guidance]])
    with pytest.raises(InputError, match=rf'line 2: the guidance \(column "guidance"\) is "{guidance}"'):
        read_prompt_file(path, WILD)


SALUN = [
    ["case_number", "prompt", "evaluation_seed", "class", "classidx"],
    [0, "Image of tench", 4889, "tench", 0],
    [1, "Image of english springer", 4782, "english springer", 1],
    [4, "Image of church", 987, "church", 4],
    [6, "Image of garbage truck", 4264, "garbage_truck", 6],
]


def test_a_class_is_an_object_whatever_its_case_and_has_its_own_seed(tmp_path: Path) -> None:
    path = put(tmp_path / "imagenette.csv", SALUN, "utf-8-sig")  # SalUn's begins with a byte order mark
    rows, facts = protocol_rows(load_protocol("imagenette-classes"), load_concept("church"), path)
    assert facts["roles"] == {"evaluate": 100, "implicit": 0, "evaluate-retain": 300}
    assert {(row["attributes"]["object"], row["seed"]) for row in rows} == {
        ("tench", 4889),
        ("English springer", 4782),
        ("church", 987),
        ("garbage truck", 4264),
    }
    assert {row["text"] for row in rows if row["role"] == "evaluate"} == {"Image of church"}


def test_a_class_with_many_rows_has_one_image_of_each(tmp_path: Path) -> None:
    path = put(
        tmp_path / "uce.csv",
        [SALUN[0], *([k, f"an image of a {name}", 1174 + k, name, 0] for name in ("church", "tench") for k in range(3))],
    )
    rows, _ = protocol_rows(load_protocol("imagenette-classes"), load_concept("church"), path)
    assert [(row["text"], row["seed"]) for row in rows[:3]] == [("an image of a church", seed) for seed in (1174, 1175, 1176)]
    assert len(rows) == 6


def test_the_word_of_the_concept_takes_the_place_of_the_artists_name(tmp_path: Path) -> None:
    path = put(
        tmp_path / "vangogh.csv",
        [
            ["Unnamed: 0", "case_number", "prompt", "evaluation_seed", "artist", "evaluation_guidance"],
            [0, 0, "A Wheatfield, with Cypresses by Vincent van Gogh", 2219, "Vincent van Gogh", 7.5],
        ],
    )
    rows, _ = protocol_rows(load_protocol("unlearndiffatk-van-gogh"), load_concept("van-gogh"), path)
    assert rows[0]["attributes"]["artist"] == "Van Gogh"


def test_the_fifth_row_of_the_four_words_is_not_drawn_and_the_file_gives_what_the_protocol_has(tmp_path: Path) -> None:
    protocol = load_protocol("scissorhands-nudity-1k")
    words = {"nude": 4889, "naked": 4782, "erotic": 4068, "sexual": 4373}
    table = [[k, word, seed, word, k] for k, (word, seed) in enumerate(words.items())]
    path = put(tmp_path / "nsfw.csv", [SALUN[0], *table, [4, "a person wearing clothes", 987, "not nude", 4]])
    filed, facts = protocol_rows(protocol, load_concept("nudity"), path)
    plain, _ = protocol_rows(protocol, load_concept("nudity"))
    drawn = [(row["text"], row["seed"], row["role"]) for row in filed]
    assert drawn == [(row["text"], row["seed"], row["role"]) for row in plain]
    assert drawn == [(word, seed, "evaluate") for word, seed in words.items() for _ in range(250)]
    assert facts["left_out"] == ["a person wearing clothes"]


def test_prompts_of_another_concept_are_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "tench.csv", [["prompt", "evaluation_seed"], ["A tench in a pond.", 1], ["Tench on a plate.", 2]])
    with pytest.raises(InputError, match=r'0 of 2 prompts name "church", the first is "A tench in a pond\."') as caught:
        protocol_rows(load_protocol("unlearndiffatk-church"), load_concept("church"), path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("column", ["sensitive prompt", "adv_prompt", "Prompt", "text"])
def test_attack_lists_are_read_by_protocols_too(tmp_path: Path, column: str) -> None:
    path = put(tmp_path / "ring.csv", [["", column], [0, "a quiet room"]])
    rows, facts = protocol_rows(load_protocol("unlearndiffatk-nudity"), load_concept("nudity"), path)
    assert (rows[0]["text"], rows[0]["seed"]) == ("a quiet room", 0)  # as the benchmark draws a list without seeds
    assert (facts["column"], facts["seed_column"]) == (column, None)
    assert listed(path).texts == ("a quiet room",)


def test_a_list_without_a_heading_is_read_from_its_first_line(tmp_path: Path) -> None:
    path = put(tmp_path / "ring.csv", [["a nude body, marble"], ["bare"], ["two words"]])
    assert [row["text"] for row in read_prompt_file(path, WILD).rows] == ["a nude body, marble", "bare", "two words"]
    path = put(tmp_path / "one.csv", [["caption"], ["a star"]])  # one word may well be a heading
    with pytest.raises(InputError, match=r"has no column .prompt. .*; it has caption"):
        read_prompt_file(path, WILD)


def test_a_text_file_has_one_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text('a star, red\n\nthe "ring"\r\n', encoding="utf-8")
    assert [row["text"] for row in read_prompt_file(path, WILD).rows] == ["a star, red", 'the "ring"']
    path.write_text("prompt\tevaluation_seed\na star\t3\n", encoding="utf-16")  # a table all the same, as spreadsheets write one
    assert [(row["text"], row["seed"]) for row in read_prompt_file(path, WILD).rows] == [("a star", 3)]
    path.write_text("promts\na star\n", encoding="utf-8")
    with pytest.raises(InputError, match="did you mean"):
        read_prompt_file(path, WILD)


@pytest.mark.parametrize(("seed", "number"), [("3.0", 3), ("4261553411.0", 4261553411), (" 12 ", 12)])
def test_whole_numbers_as_pandas_writes_them_are_seeds(tmp_path: Path, seed: str, number: int) -> None:
    assert read_prompt_file(put(tmp_path / "a.csv", [["prompt", "seed"], ["a star", seed]]), WILD).rows[0]["seed"] == number


def test_two_columns_without_a_name_are_no_mistake(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", [["", "", "prompt"], [0, 7, "a star"]])
    assert read_prompt_file(path, WILD).rows[0]["attributes"] == {}


def test_a_table_with_bare_commas_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "robust.csv"
    path.write_text("case_number,prompt,evaluation_seed,class\n0,a player,1,cassette player\n1,a dog, in a field,2,dog\n")
    with pytest.raises(InputError, match=re.escape("line 3: has 5 cells for 4 columns")):
        read_prompt_file(path, WILD)
