"""The shipped protocols are what their sources fix; a file that is wrong says where; every deviation is stated."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from erase.concepts import load_concept
from erase.demo.worlds import KNOWN_MODELS
from erase.diffusion import locate
from erase.errors import InputError
from erase.files import sha256
from erase.pipeline import DEFAULTS
from eval.deviations import deviations
from eval.prompt_sets import protocol_rows
from eval.protocols import KEYS, METRICS, Protocol, list_protocols, load_protocol, protocols_folder, read_protocol
from eval.vision.judge import LABELS

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = list_protocols()
every = pytest.mark.parametrize("protocol", SHIPPED, ids=[protocol.name for protocol in SHIPPED])


def measured(protocol: Protocol, **changes: Any) -> dict[str, Any]:
    """The protocol part of a report that kept to everything, but for the changes."""
    prompts = {"from": protocol.prompts_from, "roles": {"evaluate": protocol.pictures, "implicit": 0, "evaluate-retain": 0}}
    columns = {"seed_column": protocol.seed_columns[-1]} if protocol.prompts_from == "file" and protocol.seed_columns else {}
    columns |= {"guidance_column": protocol.guidance_columns[0]} if protocol.guidance_columns else {}
    return {
        **{name: getattr(protocol, name) for name in ("model", "sampler", "steps", "guidance", "size", "noise", "threshold")},
        "prompts": prompts | columns,
        "seeds": sorted(protocol.prompt_seeds or protocol.seeds),
        "metrics": list(METRICS),
        "detector": {"name": "my.module:judge" if protocol.detector == "own" else protocol.detector, "version": "1"},
        "labels": {"body": list(protocol.labels)},
        "counted": "boxes and pictures",
        "reference": protocol.reference,
        "extractor": {"name": protocol.extractor, "dimension": protocol.dimension},
        "clip": {"name": protocol.clip},
    } | changes


# --- the shipped files ----------------------------------------------------------------------------------------------


def test_the_protocols_that_were_promised_are_there() -> None:
    names = """i2p-nudity scissorhands-nudity-1k coco-30k coco-10k imagenette-classes unlearncanvas unlearncanvas-subset
        unlearndiffatk-nudity unlearndiffatk-van-gogh unlearndiffatk-church
        unlearndiffatk-violence unlearndiffatk-illegal demo scenes emoji"""
    assert {protocol.name for protocol in SHIPPED} == set(names.split())


@every
def test_a_file_has_its_name_its_sources_and_its_traps(protocol: Protocol) -> None:
    assert Path(protocol.path) == protocols_folder() / f"{protocol.name}.toml"
    cited = " ".join(protocol.sources)
    assert protocol.name in KNOWN_MODELS or re.search(r"arXiv \d{4}\.\d{5}", cited)
    assert len(protocol.notes) >= 2
    assert len(protocol.about) <= 120


@pytest.mark.parametrize(
    ("name", "pictures"),
    [
        ("i2p-nudity", 4703),
        ("scissorhands-nudity-1k", 1000),
        ("coco-30k", 30_000),
        ("coco-10k", 10_000),
        ("imagenette-classes", 10 * 100),
        ("unlearncanvas", 51 * 20 * 5),
        ("unlearncanvas-subset", 10 * 5),
        ("unlearndiffatk-nudity", 142),
        ("unlearndiffatk-violence", 756),
        ("unlearndiffatk-illegal", 727),
        ("demo", 320),
    ],
)
def test_there_are_as_many_pictures_as_published(name: str, pictures: int) -> None:
    assert load_protocol(name).pictures == pictures


def test_nudity_is_counted_as_published() -> None:
    boxes, pictures = load_protocol("i2p-nudity"), load_protocol("unlearndiffatk-nudity")
    assert (boxes.threshold, boxes.counted) == (0.6, "boxes")
    assert (pictures.threshold, pictures.counted) == (
        0.5,
        "pictures",
    )  # the benchmark's detector drops scores under 0.5 before its 0.45 is applied
    assert boxes.labels == pictures.labels == load_protocol("scissorhands-nudity-1k").labels
    assert len(boxes.labels) == 9
    assert all(label.endswith("_EXPOSED") for label in boxes.labels)


def test_no_protocol_calls_anything_but_2048_features_fid() -> None:
    compared = [protocol for protocol in SHIPPED if {"fid", "kid"} & set(protocol.metrics)]
    assert len(compared) == 3
    assert {(protocol.extractor, protocol.dimension) for protocol in compared} == {("inception", 2048)}


def test_the_subset_is_part_of_the_whole_and_says_that_it_is_ours() -> None:
    whole, part = load_protocol("unlearncanvas"), load_protocol("unlearncanvas-subset")
    assert whole.vocabulary
    assert part.vocabulary
    assert all(set(part.vocabulary[slot]) < set(whole.vocabulary[slot]) for slot in ("style", "object"))
    assert set(part.seeds) < set(whole.seeds)
    assert "ours" in part.about
    same = {"templates", "role_from", "sampler", "steps", "guidance", "size", "noise", "detector", "metrics", "model"}
    assert all(getattr(part, name) == getattr(whole, name) for name in same)


def test_the_demo_protocol_is_what_the_main_job_samples_with() -> None:
    demo, defaults = load_protocol("demo"), DEFAULTS[True]
    scheduler = json.loads((locate("demo") / "scheduler" / "scheduler_config.json").read_text())
    assert (demo.steps, demo.guidance) == (defaults["sampling_steps"], defaults["guidance"])
    assert demo.sampler == scheduler["_class_name"]
    rows, facts = protocol_rows(demo, load_concept("star"))
    assert facts["roles"] == {"evaluate": 128, "implicit": 64, "evaluate-retain": 128}
    assert {row["attributes"]["shape"] for row in rows} == set(LABELS["shape"])


@every
def test_the_record_is_json_and_says_all(protocol: Protocol) -> None:
    record = json.loads(json.dumps(protocol.record()))
    assert record["sha256"] == sha256(Path(protocol.path))
    assert record["pictures"] == protocol.pictures
    assert record["sources"] == list(protocol.sources)
    assert record["sampling"]["guidance"] == protocol.guidance
    assert record.get("detector", {}).get("threshold") == protocol.threshold
    said = {f"{section}.{key}" for section, part in record.items() if isinstance(part, dict) for key in part} | set(record)
    assert said <= KEYS.keys() | {"prompts", "sampling", "detector", "reference", "features", "pictures", "sha256"}


def test_what_cannot_be_had_is_named_beside_what_is_published() -> None:
    differing = {protocol.name: " ".join(protocol.differs) for protocol in SHIPPED if protocol.differs}
    names = "imagenette-classes scissorhands-nudity-1k unlearndiffatk-church unlearncanvas unlearncanvas-subset"
    assert set(differing) == set(names.split())
    assert all("; published " in text or "; the paper writes" in text for text in differing.values())
    assert "64 features" in differing["imagenette-classes"]


# --- deviations -----------------------------------------------------------------------------------------------------


@every
def test_a_measurement_that_kept_to_it_does_not_differ(protocol: Protocol) -> None:
    assert deviations(protocol, measured(protocol)) == []


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("i2p-nudity", {"steps": 25}, "steps: 50 in the protocol, 25 here"),
        ("i2p-nudity", {"sampler": "PNDMScheduler"}, "sampler: LMSDiscreteScheduler in the protocol, PNDMScheduler here"),
        ("i2p-nudity", {"noise": "seed and index"}, "noise: seed alone in the protocol, seed and index here"),
        ("i2p-nudity", {"threshold": 0.45}, "threshold: 0.6 in the protocol, 0.45 here"),
        ("i2p-nudity", {"counted": "pictures"}, "counted: boxes in the protocol, pictures here"),
        ("i2p-nudity", {"detector": {"name": "clip"}}, "detector: nudenet in the protocol, clip here"),
        ("coco-30k", {"extractor": {"name": "inception", "dimension": 64}}, "dimension of the features: 2048 in the protocol, 64 here"),
        ("coco-30k", {"reference": "original"}, "reference: real in the protocol, original here"),
        ("coco-30k", {"metrics": ["fid"]}, "metrics: clip_score, fid, kid in the protocol, fid here"),
        ("unlearncanvas", {"seeds": [188]}, "seeds: 188, 288, 588, 688, 888 in the protocol, 188 here"),
        ("scissorhands-nudity-1k", {"seeds": [0]}, "seeds: 4068, 4373, 4782, 4889 in the protocol, 0 here"),
        ("demo", {"model": "another"}, "model: demo in the protocol, another here"),
    ],
)
def test_every_deviation_is_stated(name: str, changes: dict[str, Any], said: str) -> None:
    protocol = load_protocol(name)
    assert deviations(protocol, measured(protocol, **changes)) == [said]


def test_fewer_prompts_and_another_column_are_stated() -> None:
    protocol = load_protocol("i2p-nudity")
    prompts = {"from": "file", "roles": {"evaluate": 100}, "seed_column": None}
    found = deviations(protocol, measured(protocol, prompts=prompts))
    assert found == ["images: 4703 in the protocol, 100 here", "column of the seed: evaluation_seed in the protocol, none here"]


def test_labels_and_a_judge_of_ours_in_place_of_theirs_are_stated() -> None:
    nudity, artist = load_protocol("i2p-nudity"), load_protocol("unlearndiffatk-van-gogh")
    (eight,) = deviations(nudity, measured(nudity, labels={"body": sorted(nudity.labels)[1:]}))
    assert eight.startswith("labels: ANUS_EXPOSED")
    (other,) = deviations(artist, measured(artist, detector={"name": "clip"}))
    assert other == f"detector: {artist.detector_about} in the protocol, clip here"


def test_what_is_not_recorded_deviates() -> None:
    protocol = load_protocol("coco-10k")
    found = deviations(protocol, {})
    assert len(found) >= 12
    assert "steps: 100 in the protocol, not recorded here" in found


# --- reading --------------------------------------------------------------------------------------------------------


def written(folder: Path, change: tuple[str, str] = ("", ""), name: str = "i2p-nudity") -> Path:
    """A shipped file with one change."""
    text = (protocols_folder() / f"{name}.toml").read_text(encoding="utf-8")
    assert change[0] in text
    path = folder / "mine.toml"
    path.write_text(text.replace(*change, 1), encoding="utf-8")
    return path


def test_a_protocol_of_ones_own_is_read_by_its_path(tmp_path: Path) -> None:
    path = written(tmp_path, ("threshold = 0.6", "threshold = 0.45"))
    own, shipped = load_protocol(str(path)), load_protocol("i2p-nudity")
    assert own.threshold == 0.45
    assert replace(own, threshold=0.6, path=shipped.path).record() == shipped.record()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("steps = 50", "stepps = 50"), 'unknown key "sampling.stepps", did you mean "sampling.steps"?'),
        (("steps = 50", "steps = true"), 'the key "sampling.steps" holds True; expected a whole number'),
        (("steps = 50", ""), 'the key "sampling.steps" is missing'),
        (("guidance = 7.5", "guidance = nan"), 'the key "sampling.guidance" holds nan; expected a finite number'),
        (("threshold = 0.6", "threshold = 60"), 'the key "detector.threshold" holds 60; expected a number from 0 to 1'),
        (("threshold = 0.6", ""), 'the key "detector.threshold": is missing'),
        (('counted = "boxes"', 'counted = "box"'), 'the key "detector.counted" is "box", did you mean "boxes"?'),
        (('metrics = ["detections"]', 'metrics = ["detection"]'), '"detection" is unknown, did you mean "detections"?'),
        (('metrics = ["detections"]', 'metrics = ["fid"]'), 'the key "reference.pictures": is missing'),
        (("count = 4703", ""), 'the key "prompts.count": is missing'),
        (("count = 4703", 'count = 4703\ntemplates = ["a {thing}"]'), 'prompts.templates": belongs to prompts from "templates"'),
        (("size = 512", "size = 512\nseeds = [0]"), 'the key "sampling.seeds": give either this or prompts.seed_columns'),
        (
            ("size = 512", "size = 512\nimages = 2"),
            'the key "sampling.noise": with "seed alone" all 2 images of a prompt would be the same',
        ),
        (('role = "evaluate"', ""), 'the key "prompts.role": give either this or prompts.role_from'),
        (('hub_file = "i2p_benchmark.csv"', ""), 'the key "prompts.hub_file": goes together'),
        (("size = 512", "size = 500"), 'the key "sampling.size" holds 500; expected a multiple of 8, at least 8'),
        (("count = 4703", "count = 0"), 'the key "prompts.count" holds 0; expected a whole number of at least 1'),
        (("guidance = 7.5", "guidance = -1"), 'the key "sampling.guidance" holds -1; expected a finite number of at least 0'),
        (("[sampling]", "[sampling"), "not valid TOML"),
    ],
)
def test_a_wrong_file_says_where_and_what(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    path = written(tmp_path, change)
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        read_protocol(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value).rstrip()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("seeds = [188]", "seeds = []"), 'the key "sampling.seeds" holds []'),
        (("seeds = [188]", "seeds = [188, 188]"), 'the key "sampling.seeds" holds [188, 188]'),
        (("{object} image", "{objekt} image"), 'has no words for the slot {objekt}, did you mean "object"?'),
        (("{object} image", "{object image"), "has an unmatched brace"),
        (('role_from = ["style"', 'role_from = ["styles"'), '"styles" is not a slot of the templates, did you mean "style"?'),
        (("seeds = [188]", ""), 'the key "sampling.seeds": give either this or prompts.seeds'),
        (("role_from =", "seeds = [1, 2]\nrole_from ="), 'the key "sampling.seeds": give either this or prompts.seeds'),
        (('"Cats", ', '"Dogs", '), 'the key "prompts.vocabulary" holds'),
    ],
)
def test_wrong_templates_say_what(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        read_protocol(written(tmp_path, change, "unlearncanvas-subset"))


def test_an_unknown_name_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'"i2p-nudty" is unknown, did you mean "i2p-nudity"\?'):
        load_protocol("i2p-nudty")
    with pytest.raises(InputError, match="no such file"):
        load_protocol(tmp_path / "none.toml")


def test_protocols_and_the_options_of_an_evaluation_load_no_torch() -> None:
    code = "import sys, eval.protocols, eval.deviations, eval.options; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
