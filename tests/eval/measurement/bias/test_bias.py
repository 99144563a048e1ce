"""Bias on neutral prompts: what is told, what is left out, and that images that are there are not drawn again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import attacking
import pytest

from erase.demo.worlds import KNOWN_MODELS
from erase.diffusion import StableDiffusion
from erase.errors import InputError
from erase.files import sha256
from eval.evaluate import evaluate
from eval.measurement.bias.neutral import neutral_prompts, sets
from eval.measurement.bias.numbers import clear, found, numbers
from eval.measurement.bias.report_section import bias_of, label_rows, sentence
from eval.options import Evaluation
from eval.report import table
from eval.vision.detector import Detection
from eval.vision.scene_objects import LABELS as THINGS

STAR = {"domain": "shape", "words": ("star",)}
LABELS = {"shape": ["star", "ring", "cross"], "colour": ["red", "blue"]}


def test_a_classifier_gives_a_label_a_domain_and_a_lister_those_of_all_things():
    seen = [[Detection("star", 0.9), Detection("red", 0.8)], [Detection("ring", 0.5)]]
    assert found(seen, LABELS, ["shape", "colour"]) == {"shape": [["star"], ["ring"]], "colour": [["red"], []]}
    listed = [[Detection("red star", 0.9, (0, 0, 9, 9)), Detection("red ring", 0.9, (20, 0, 9, 9))], []]
    expected = {"shape": [["star", "ring"], []], "colour": [["red", "red"], []], "count": [["two"], ["none"]]}
    assert found(listed, THINGS, ["shape", "colour", "count"]) == expected


def test_the_concept_itself_is_left_out_of_its_domain_and_its_going_is_no_bias():
    before = {"shape": [["star"], ["star"], ["ring"], ["cross"], ["ring"], ["cross"]]}
    after = {"shape": [["ring"], ["cross"], ["ring"], ["cross"], ["ring"], ["cross"]]}
    record = numbers(before, after, LABELS, [STAR])["shape"]
    assert record["distance"]["value"] == 0
    assert record["left_out"] == ["star"]
    assert record["labels"]["star"] == {"before": 2, "after": 0}
    assert numbers(before, after, LABELS, [])["shape"]["distance"]["value"] == pytest.approx(100 / 3, abs=1e-3)
    assert label_rows(record)[0] == ["star", "33.3", "0.0", "-33.3"]


def test_a_shift_is_clear_beyond_what_halves_of_the_original_have_and_says_whether_it_is_more_uneven():
    even, onesided = ([["red"], ["blue"]] * 40, [["red"]] * 80)
    record = numbers({"colour": even}, {"colour": onesided}, LABELS, [STAR])["colour"]
    assert clear(record)
    assert sentence("colour", record).startswith("colour: moved, distance 50.0 (by chance ")
    assert sentence("colour", record).endswith("; most of all red, 50.0 → 100.0 %; more uneven by 50.0 points")
    same = numbers({"colour": even}, {"colour": even[::-1]}, LABELS, [STAR])["colour"]
    assert clear(same) is False
    assert "no clear change" in sentence("colour", same)
    nothing = numbers({"colour": [[]] * 4}, {"colour": [[]] * 4}, LABELS, [])["colour"]
    assert clear(nothing) is None
    assert "not measured" in sentence("colour", nothing)


def test_every_embedded_model_has_a_set_whose_domains_its_detector_tells_and_whose_words_it_knows():
    for name, known in KNOWN_MODELS.items():
        chosen = neutral_prompts(None, name)
        assert name in chosen.models
        assert set(chosen.domains) <= set(chosen.make_detector({}).facts()["labels"])
        words = {word for prompt in chosen.prompts for word in prompt.split()}
        assert words <= set(known.words())


def test_any_other_model_has_people_with_the_warning_and_no_prompt_says_what_is_told():
    people = neutral_prompts(None, "CompVis/stable-diffusion-v1-4")
    assert people.name == "people"
    assert "not anybody's identity" in people.warning
    labels = {word for members in (people.labels or {}).values() for label in members for word in label.split()} - {"person"}
    assert not {word for prompt in people.prompts for word in prompt.split()} & labels
    assert set(sets()) == {"shapes", "scenes", "emoji", "people"}


def test_what_is_wrong_with_a_set_is_named(tmp_path: Path):
    with pytest.raises(InputError, match='"peple" is unknown, did you mean "people"'):
        neutral_prompts("peple", "demo")
    text = 'name = "x"\nabout = "x"\nprompts = ["a"]\n[detector]\nname = '
    (tmp_path / "a.toml").write_text(text + '"clip"\n')
    with pytest.raises(InputError, match=r"detector.labels.* is missing"):
        neutral_prompts(str(tmp_path / "a.toml"), "demo")
    (tmp_path / "b.toml").write_text(text + '"judge"\ndomains = ["shap"]\n')
    with pytest.raises(InputError, match=r'"shap" is none of shape, colour, style'):
        neutral_prompts(str(tmp_path / "b.toml"), "demo").make_detector({})
    for mistake, message in (
        ({"neutral": "people"}, "--neutral is of --bias"),
        ({"bias": True, "before": "a", "after": "b"}, "--bias draws images of its own"),
    ):
        with pytest.raises(InputError, match=message):
            Evaluation(**mistake)


@pytest.fixture(scope="module")
def run(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return attacking.finished_run(tmp_path_factory.mktemp("runs") / "star", tiny_pipeline).folder


def test_a_run_gets_the_section_and_more_images_go_on_from_those_that_are_there(run: Path, monkeypatch: pytest.MonkeyPatch):
    job = Evaluation(str(run), bias=True, neutral="shapes", bias_count=4, device="cpu")
    evaluate(job)
    report = json.loads((run / "report.json").read_text())
    assert set(report["bias"]["shapes"]["domains"]) == {"shape", "colour", "style"}
    assert report["bias"] == bias_of(run)
    assert report["bias"]["shapes"]["protocol"]["images"] == 4
    assert "bias, shapes, 4 images: colour" in table(report)
    assert "Neutral prompts: shapes, 4 images of each model" in (run / "report.html").read_text()
    kept = {path.name: sha256(path) for path in (run / "bias" / "shapes" / "after").glob("*.png")}
    assert len(kept) == 4
    drawn: list[str] = []
    sampler = StableDiffusion.sampler

    def counted(model: StableDiffusion, *given: Any) -> Any:
        sample = sampler(model, *given)
        return lambda texts, generators: drawn.extend(texts) or sample(texts, generators)

    monkeypatch.setattr(StableDiffusion, "sampler", counted)
    evaluate(replace(job, bias_count=6))
    now = {path.name: sha256(path) for path in (run / "bias" / "shapes" / "after").glob("*.png")}
    assert drawn == ["a picture of a thing", "an object"] * 2
    assert len(now) == 6
    assert kept.items() <= now.items()
