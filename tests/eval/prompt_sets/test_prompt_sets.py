"""Prompt sets come row by row as they are in the file, or are refused with the line; templates give the whole product."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from huggingface_hub import constants

from erase.concepts import load_concept
from erase.errors import InputError
from erase.files import sha256
from erase.run import lines_of
from eval.prompt_sets import check_measured, expand, fetch_prompt_set, protocol_rows, read_prompt_set, spread
from eval.protocols import load_protocol
from eval.samples import prompts_file, read_prompts

PUBLISHED = """image_id,source,prompt,evaluation_seed
000000203564,coco-30k,A bicycle replica with a clock as the front wheel.,41337
000000482917,coco-30k,"A dog sitting between its masters feet, watching ""tv""
",64297
000000106140,coco-30k,Café Terrace at Night,3500000000
"""


def put(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.fixture
def published(tmp_path: Path) -> Path:
    return put(tmp_path / "coco.csv", PUBLISHED)


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_published_file_is_read_as_it_is(published: Path) -> None:
    rows = read_prompt_set(published, "prompt", ["evaluation_seed"], role="evaluate-retain")
    assert [row["text"] for row in rows] == [
        "A bicycle replica with a clock as the front wheel.",
        'A dog sitting between its masters feet, watching "tv"',
        "Café Terrace at Night",
    ]
    assert [row["seed"] for row in rows] == [41337, 64297, 3_500_000_000]
    assert [row["index"] for row in rows] == [0, 1, 2]
    assert {row["role"] for row in rows} == {"evaluate-retain"}
    assert rows[1]["attributes"] == {"image_id": "000000482917", "source": "coco-30k"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_encoding_marks_and_line_ends_change_nothing(tmp_path: Path, published: Path, encoding: str, ending: str) -> None:
    other = put(tmp_path / "other.CSV", PUBLISHED.replace("\n", ending), encoding)
    assert read_prompt_set(other, seed_columns=["evaluation_seed"]) == read_prompt_set(published, seed_columns=["evaluation_seed"])


def test_tables_and_objects_say_the_same(tmp_path: Path, published: Path) -> None:
    with published.open(newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    with (tmp_path / "same.tsv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(records[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(records)
    put(tmp_path / "same.jsonl", lines_of([record | {"evaluation_seed": int(record["evaluation_seed"])} for record in records]))
    wanted = read_prompt_set(published, seed_columns=["evaluation_seed"])
    for name in ("same.tsv", "same.jsonl"):
        assert read_prompt_set(tmp_path / name, seed_columns=["evaluation_seed"]) == wanted


def test_the_prompts_of_a_run_are_a_prompt_set_and_the_other_way_round(tmp_path: Path) -> None:
    rows, _ = protocol_rows(load_protocol("demo"), load_concept("striped"))
    path = prompts_file(tmp_path)
    path.parent.mkdir()
    put(path, lines_of(rows))
    assert read_prompts(tmp_path) == rows
    assert read_prompt_set(path, "text", ["seed"], role_column="role") == rows


def test_the_first_of_the_seed_columns_counts(tmp_path: Path) -> None:
    path = put(tmp_path / "two.csv", "prompt,sd_seed,evaluation_seed\na star,1,2\n")
    assert read_prompt_set(path, seed_columns=["evaluation_seed", "sd_seed"])[0]["seed"] == 2
    assert read_prompt_set(path, seed_columns=["seed", "sd_seed"])[0]["seed"] == 1
    assert read_prompt_set(path)[0] | {"attributes": {}} == {"index": 0, "text": "a star", "role": "evaluate", "attributes": {}, "seed": 0}


def test_thirty_thousand_rows_are_all_there(tmp_path: Path) -> None:
    path = put(tmp_path / "many.csv", "prompt,seed\n" + "".join(f"caption {i},{i}\n" for i in range(30_000)))
    rows = read_prompt_set(path, seed_columns=["seed"])
    assert [row["seed"] for row in rows] == [row["index"] for row in rows] == list(range(30_000))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "Prompts,seed\na star,1\n", 'has no column "prompt", did you mean "Prompts"?; it has Prompts, seed'),
        ("a.csv", "prompt,evaluation_sed\na,1\n", 'has no column "evaluation_seed" or "seed", did you mean "evaluation_sed"?'),
        ("a.csv", "prompt|seed\na|1\n", "it has prompt|seed"),
        ("a.csv", "prompt,seed\na,1\n  ,2\n", "line 3: the prompt"),
        ("a.csv", 'prompt,seed\n"a\nb",1\nc,1.5\n', 'line 4: the seed (column "seed") is "1.5"'),
        ("a.csv", "prompt,seed\na,-1\n", 'is "-1"; expected a whole number'),
        ("a.csv", "prompt,seed\na,\n", 'line 2: the seed (column "seed") is ""'),
        ("a.csv", "prompt,seed\na, b,1\n", "line 2: has 3 cells for 2 columns"),
        ("a.csv", "prompt,seed\na\n", "line 2: has 1 cells for 2 columns"),
        ("a.csv", 'prompt,seed\n"a,1\nb,2\n', "line 2: is not a table"),
        ("a.csv", "prompt,seed,prompt\na,1,b\n", 'names the column "prompt" twice'),
        ("a.csv", "prompt,seed\n", "has no prompts"),
        ("a.csv", "", "has no prompts"),
        ("a.jsonl", '{"prompt": "a", "seed": 1}\n{"prompt": "b", "se', "line 2: not JSON in UTF-8"),
        ("a.jsonl", '{"prompt": "a", "seed": true}\n', 'the seed (column "seed") is "True"'),
        ("a.jsonl", '{"prompt": 7, "seed": 1}\n', "is empty or not a text"),
        ("a.jsonl", '["a", 1]\n', "line 1: a list is not an object"),
        ("a.md", "a star\n", "is of an unknown kind; expected a prompt set that ends in .csv, .tsv, .txt, .jsonl"),
        ("a.txt", "prompts\na star\n", 'has no column "prompt", did you mean "prompts"?'),
    ],
)
def test_a_wrong_file_says_where_and_what(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = put(tmp_path / name, text)
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        read_prompt_set(path, "prompt", ["evaluation_seed", "seed"])
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_wrong_role_another_encoding_and_no_file_at_all(tmp_path: Path) -> None:
    path = put(tmp_path / "roles.csv", "prompt,role\na,evaluate\nb,retain\n")
    with pytest.raises(InputError, match=r'line 3: the role .* is "retain"'):
        read_prompt_set(path, role_column="role")
    with pytest.raises(InputError, match="is not text in UTF-8"):
        read_prompt_set(put(tmp_path / "latin.csv", "prompt\nCafé\n", "latin-1"))
    with pytest.raises(InputError, match="no such prompt set"):
        read_prompt_set(tmp_path / "none.csv")


# --- the hub --------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, empty, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cached(hub: Path, repo: str, name: str, text: str) -> Path:
    """A file as the hub's client leaves it."""
    folder = hub / f"datasets--{repo.replace('/', '--')}"
    commit = "0" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    return put(folder / "snapshots" / commit / name, text)


def test_without_network_the_file_and_the_option_are_named(hub: Path) -> None:
    with pytest.raises(InputError, match=r"i2p_benchmark.csv of the data set AIML-TUDA/i2p .* --prompts FILE") as caught:
        protocol_rows(load_protocol("i2p-nudity"))
    assert "\n" not in str(caught.value)


def test_what_the_hub_has_is_read_under_its_own_column_names(hub: Path) -> None:
    there = cached(hub, "AIML-TUDA/i2p", "i2p_benchmark.csv", "prompt,categories,sd_seed\na quiet room,sexual,4048508397\n")
    assert fetch_prompt_set("AIML-TUDA/i2p", "i2p_benchmark.csv").read_bytes() == there.read_bytes()
    rows, facts = protocol_rows(load_protocol("i2p-nudity"), load_concept("nudity"))
    assert rows == [
        {
            "index": 0,
            "text": "a quiet room",
            "role": "evaluate",
            "seed": 4048508397,
            "attributes": {"content": "nudity", "categories": "sexual"},
        }
    ]
    assert facts["seed_column"] == "sd_seed"
    assert (facts["hub"], facts["sha256"]) == ("AIML-TUDA/i2p", sha256(there))


# --- templates and protocols ----------------------------------------------------------------------------------------


def test_templates_give_the_whole_product_in_the_order_of_the_words() -> None:
    protocol = load_protocol("unlearncanvas")
    assert protocol.vocabulary
    texts = [text for text, _ in expand(protocol.templates, protocol.vocabulary)]
    styles, objects = protocol.vocabulary["style"], protocol.vocabulary["object"]
    assert texts == [f"A {thing} image in {style} style." for style, thing in product(styles, objects)]
    assert (texts[0], texts[-1]) == ("A Architectures image in Abstractionism style.", "A Waterfalls image in Winter style.")


def test_a_template_uses_only_its_own_slots() -> None:
    found = list(expand(["a {shape}", "nothing", "{colour} {shape} {shape}"], {"colour": ["red"], "shape": ["star", "ring"]}))
    assert found == [
        ("a star", {"shape": "star"}),
        ("a ring", {"shape": "ring"}),
        ("nothing", {}),
        ("red star star", {"colour": "red", "shape": "star"}),
        ("red ring ring", {"colour": "red", "shape": "ring"}),
    ]


def test_rows_are_spread_over_seeds_and_pictures_by_hand() -> None:
    rows = [{"text": "a", "seed": 7, "index": 0}, {"text": "b", "seed": 8, "index": 1}]
    assert [(row["index"], row["text"], row["seed"]) for row in spread(rows, (1, 2))] == [
        (0, "a", 1),
        (1, "a", 2),
        (2, "b", 1),
        (3, "b", 2),
    ]
    assert [(row["index"], row["text"], row["seed"]) for row in spread(rows, (), 2)] == [(0, "a", 7), (1, "a", 7), (2, "b", 8), (3, "b", 8)]
    assert rows[0] == {"text": "a", "seed": 7, "index": 0}


def test_the_erased_style_and_only_it_is_to_be_forgotten(tmp_path: Path) -> None:
    rows, facts = protocol_rows(load_protocol("unlearncanvas"), load_concept("van-gogh"))
    forget = [row for row in rows if row["role"] == "evaluate"]
    assert len(rows) == 5100
    assert facts["roles"] == {"evaluate": 100, "implicit": 0, "evaluate-retain": 5000}
    assert {row["attributes"]["style"] for row in forget} == {"Van Gogh"}
    assert {row["seed"] for row in forget} == {188, 288, 588, 688, 888}
    assert {row["attributes"].get("artist") for row in forget} == {"Van Gogh"}
    assert not any("artist" in row["attributes"] for row in rows if row["role"] == "evaluate-retain")


def test_the_hash_of_made_prompts_is_theirs_alone() -> None:
    protocol = load_protocol("imagenette-classes")
    (church, facts), (_, again) = (protocol_rows(protocol, load_concept("church")) for _ in range(2))
    _, other = protocol_rows(load_protocol("scissorhands-nudity-1k"), load_concept("nudity"))
    assert facts == again
    assert facts["sha256"] != other["sha256"]
    assert len(facts["sha256"]) == len(hashlib.sha256().hexdigest())
    assert [row["text"] for row in church if row["role"] == "evaluate"] == ["an image of a church"] * 100
    json.dumps([church, facts])


def test_a_file_comes_before_templates_and_says_so(tmp_path: Path) -> None:
    path = put(
        tmp_path / "imagenette.csv",
        "case_number,prompt,evaluation_seed,object\n0,Image of tench,4889,tench\n4,Image of church,987,church\n",
    )
    rows, facts = protocol_rows(load_protocol("imagenette-classes"), load_concept("church"), path)
    assert facts["from"] == "file"
    assert facts["roles"] == {"evaluate": 100, "implicit": 0, "evaluate-retain": 100}
    assert {row["seed"] for row in rows} == {4889, 987}  # the rows' own take the place of the protocol's


@pytest.mark.parametrize(
    ("name", "concept"),
    [
        ("i2p-nudity", "star"),
        ("scissorhands-nudity-1k", "church"),
        ("unlearndiffatk-nudity", "Van Gogh"),
        ("unlearndiffatk-nudity", "beer mug"),
        ("unlearndiffatk-violence", "nudity"),
    ],
)
def test_a_concept_that_the_prompts_are_not_about_is_refused_by_the_name_it_was_given(name: str, concept: str) -> None:
    protocol = load_protocol(name)
    with pytest.raises(
        InputError, match=rf'"{name}" measures {protocol.concepts[0]}, and the concept is "{concept}"; give --concept'
    ) as caught:
        check_measured(protocol, load_concept(concept, "emoji" if concept == "beer mug" else None))
    assert "\n" not in str(caught.value)
    assert caught.value.option == "concept"


def test_what_is_kept_is_measured_of_any_concept_and_a_concept_under_any_word_of_the_protocol() -> None:
    for concept in ("star", "church", "nudity"):
        check_measured(load_protocol("coco-10k"), load_concept(concept))
    nudity = load_concept("nudity")
    for words in (("nude people",), ("NSFW",), ("erotic art", "porn"), ("anything",)):  # the last by its detector
        detector = "nudenet" if words == ("anything",) else "clip"
        check_measured(load_protocol("scissorhands-nudity-1k"), replace(nudity, name=words[0], words=words, detector=detector))


def test_missing_pieces_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needs the prompt set coco_30k.csv, .* get it from github.com/.* --prompts FILE"):
        protocol_rows(load_protocol("coco-30k"))
    with pytest.raises(InputError, match=r"takes its prompts from a concept; .* --concept"):
        protocol_rows(load_protocol("demo"))
    with pytest.raises(InputError, match=r'"nudity" is not one of them'):
        protocol_rows(load_protocol("imagenette-classes"), load_concept("nudity"))
    with pytest.raises(InputError, match="no concept is given"):
        protocol_rows(load_protocol("imagenette-classes"))
