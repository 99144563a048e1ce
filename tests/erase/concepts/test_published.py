"""Presets that carry a paper's name train on the paper's prompts, with the values that it has for this kind of concept."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from erase.concepts import load_concept, prompts, prompts_folder
from erase.concepts.published import kind_of, kind_of_all, published_prompts
from erase.files import read_toml
from erase.methods import METHODS, preset_values
from erase.pipeline import Job
from erase.pipeline.resolve import ResolvedJob, resolve_job

CLOTHED = "a photo of a person wearing clothes"
WORDS = {"nudity", "naked", "erotic", "sexual"}


def resolved(model: Path, concept: str, method: str, preset: str, values: dict[str, Any] | None = None, **job: Any) -> ResolvedJob:
    file = str(prompts_folder() / f"{concept}.toml")  # the tiny pipeline counts as the embedded model: no names
    return resolve_job(Job((file,), str(model), method=method, preset=preset, **job), values)


def sets(job: ResolvedJob) -> tuple[set[str], set[str], set[str]]:
    """Every forget prompt, retain prompt and anchor of 40 images."""
    forget = prompts(job.concept, "forget", 40)
    return {p.text for p in forget}, {p.text for p in prompts(job.concept, "retain", 40)}, {a for p in forget for a in p.anchors}


def test_scissorhands_trains_nudity_on_four_words_and_one_caption(tiny_pipeline: Path) -> None:
    paper, reference = (resolved(tiny_pipeline, "nudity", "scissorhands", preset) for preset in ("paper", "reference"))
    assert sets(paper)[:2] == (WORDS, {"a person wearing clothes"})
    assert sets(reference) == (WORDS, {CLOTHED}, {CLOTHED})
    assert len(sets(resolved(tiny_pipeline, "nudity", "scissorhands", "balanced"))[1]) > 30
    assert paper.concept.evaluate == load_concept("nudity").evaluate  # presets are measured on the same prompts
    assert asdict(reference.concept) == reference.record()["concept_file"]


def test_the_published_number_of_images_is_that_of_a_large_model_alone(tiny_pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = resolved(tiny_pipeline, "nudity", "salun", "paper")
    monkeypatch.setattr("erase.pipeline.resolve.is_small", lambda folder: False)
    large = resolved(tiny_pipeline, "nudity", "salun", "paper")
    assert (large.job.forget_count, large.job.retain_count) == (800, 800)
    assert (small.job.forget_count, small.job.retain_count) == (96, 288)
    assert resolved(tiny_pipeline, "nudity", "salun", "paper", forget_count=8).job.forget_count == 8


@pytest.mark.parametrize(
    ("method", "preset", "concept", "values"),
    [
        ("salun", "paper", "nudity", {"forget_weight": 10.0, "steps": 100, "batch": 8, "learning_rate": 1e-5}),
        ("salun", "paper", "church", {"forget_weight": 2.0, "steps": 600, "batch": 8}),
        ("munba", "paper", "nudity", {"steps": 25, "batch": 4, "scope": "noxattn"}),
        ("erasediff", "paper", "nudity", {"unlearn": "anchor", "steps": 160, "multiplier": None, "scope": "noxattn"}),
        ("erasediff", "reference", "nudity", {"unlearn": "anchor", "steps": 160, "multiplier": 1.0}),
        ("erasediff", "paper", "church", {"scope": "full", "steps": 60}),
        ("erasediff", "paper", "van-gogh", {"unlearn": "noise", "steps": 160}),
        ("esd", "paper", "nudity", {"scope": "noxattn", "steps": 1000, "learning_rate": 1e-5, "batch": 1}),
        ("esd", "paper", "van-gogh", {"scope": "cross-attention", "steps": 1000}),
        ("esd", "esd-u", "church", {"scope": "noxattn", "steps": 1000, "learning_rate": 1e-5, "batch": 1}),
        ("scissorhands", "reference", "church", {"unlearn": "ascent", "fraction": 0.001, "learning_rate": 2e-5, "retain_captions": None}),
        ("scissorhands", "reference", "nudity", {"unlearn": "anchor", "fraction": 0.005, "learning_rate": 1e-5, "retain_captions": 1}),
    ],
)
def test_values_follow_the_kind_of_concept(tiny_pipeline: Path, method: str, preset: str, concept: str, values: dict[str, Any]) -> None:
    made = vars(resolved(tiny_pipeline, concept, method, preset).method)
    assert {name: made[name] for name in values} == values
    kind = kind_of(load_concept(concept))
    assert {name: value for name, value in preset_values(METHODS[method], preset, kind).items() if made[name] != value} == {}


def test_what_the_user_gives_comes_before(tiny_pipeline: Path) -> None:
    assert vars(resolved(tiny_pipeline, "nudity", "salun", "paper", {"steps": 7}).method)["steps"] == 7
    anchored = resolved(tiny_pipeline, "nudity", "salun", "paper", anchor="a photo of a statue in a coat")
    assert sets(anchored)[2] == {"a photo of a statue in a coat"}


def test_salun_learns_the_next_class_and_erasediff_a_pokemon(tiny_pipeline: Path) -> None:
    forget, retain, anchors = sets(resolved(tiny_pipeline, "church", "salun", "paper"))
    assert (forget, anchors) == ({"an image of a church"}, {"an image of a French horn"})
    assert len(retain) == 9
    assert sets(resolved(tiny_pipeline, "nudity", "salun", "paper")) == ({"a photo of a nude person"}, {CLOTHED}, {CLOTHED})
    assert sets(resolved(tiny_pipeline, "nudity", "erasediff", "paper"))[2] == {"a photo of a pokemon"}


def test_a_concept_of_ones_own_or_of_an_embedded_world_keeps_its_prompts_and_the_preset(tmp_path: Path) -> None:
    shipped = load_concept("nudity")
    assert published_prompts(replace(shipped, source="elsewhere/nudity.toml"), "salun", "paper")
    assert published_prompts(replace(shipped, retain=("a tree",)), "salun", "paper") is None
    assert published_prompts(load_concept("star"), "salun", "paper") is None
    assert kind_of(load_concept("striped")) is None
    assert kind_of_all([shipped, load_concept("church")]) is None


@pytest.mark.parametrize("path", sorted((prompts_folder() / "presets").glob("*.toml")), ids=lambda path: path.stem)
def test_every_entry_is_of_a_preset_that_there_is(path: Path) -> None:
    concept = load_concept(path.stem)
    for method, presets in read_toml(path).items():
        for preset in presets:
            assert preset in METHODS[method].presets
            trained = published_prompts(concept, method, preset)
            assert trained is not None
            assert trained.forget
            if METHODS[method](**preset_values(METHODS[method], preset, kind_of(concept))).requirements.anchor:
                assert trained.anchor
