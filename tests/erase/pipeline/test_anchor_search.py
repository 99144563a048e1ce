"""An anchor is chosen on evidence: candidates are tested on pictures, and what may show the concept is turned down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from erase.concepts import Concept, load_concept, members_of_domain, prompts
from erase.diffusion import StableDiffusion
from erase.errors import InputError
from erase.pipeline import anchor_search
from erase.pipeline.anchor_search import Candidate, _compare, choose_anchors, neighbours, propose
from erase.task import generator

STEPS, GUIDANCE = 1, 2.0


class Confused(StableDiffusion):
    """A model to whose text encoder some words mean the same as "circle"."""

    def __init__(self, folder: Path, synonyms: tuple[str, ...]) -> None:
        super().__init__(folder)
        self.synonyms = synonyms

    def embed(self, prompts: list[str]) -> Tensor:
        for word in self.synonyms:
            prompts = [prompt.replace(word, "circle") for prompt in prompts]
        return super().embed(prompts)


@pytest.fixture(scope="module")
def circle(tiny_pipeline: Path) -> Concept:
    concept = load_concept("circle", str(tiny_pipeline))
    assert not concept.anchors  # or there would be nothing to choose
    return concept


def choose(concept: Concept, model: StableDiffusion, **options: Any) -> Any:
    return choose_anchors(concept, model, model.network(), STEPS, GUIDANCE, **{"images": 2, **options})


@pytest.fixture(scope="module")
def chosen(tiny_pipeline: Path, circle: Concept) -> tuple[Concept, list[Candidate], list[tuple[int, int]]]:
    """The concept with its anchors, what was tested, and what was told of the progress."""
    told: list[tuple[int, int]] = []
    return *choose(circle, StableDiffusion(tiny_pipeline), progress=lambda *numbers: told.append(numbers)), told


def test_of_the_candidates_that_never_show_the_concept_the_nearest_are_chosen_and_all_are_recorded(
    tiny_pipeline: Path, circle: Concept, chosen
) -> None:
    found, tested, told = chosen
    assert [c.word for c in tested] == list(propose(circle, StableDiffusion(tiny_pipeline)))
    own = members_of_domain(circle)  # these go before all others
    clear = sorted((c for c in tested if c.shows == 0), key=lambda c: (c.word not in own, c.distance))[:3]
    assert found.anchors == tuple(c.word for c in clear)
    assert {c.word for c in tested if c.chosen} == set(found.anchors)
    assert replace(found, anchors=()) == circle
    assert told == [(i + 1, len(tested)) for i in range(len(tested))]
    records = json.loads(json.dumps([c.record() for c in tested]))
    assert {tuple(record) for record in records} == {("word", "source", "shows", "distance", "chosen")}
    assert all(0 <= c.shows <= 1 and c.distance > 0 and c.source for c in tested)


def test_the_anchors_chosen_take_the_concepts_place_in_the_prompts(chosen) -> None:
    found = chosen[0]
    for prompt in prompts(found, "forget", 20):
        assert prompt.anchors == tuple(prompt.text.replace("circle", word) for word in found.anchors)


def test_the_same_seed_measures_alike_and_fewer_anchors_are_the_first_of_more(
    monkeypatch: pytest.MonkeyPatch, tiny_pipeline: Path, circle: Concept, chosen
) -> None:
    monkeypatch.setattr(anchor_search, "CHOSEN", 1)
    found, tested = choose(circle, StableDiffusion(tiny_pipeline))
    assert [replace(c, chosen=False) for c in tested] == [replace(c, chosen=False) for c in chosen[1]]
    assert found.anchors == chosen[0].anchors[:1]
    assert [c.word for c in tested if c.chosen] == list(found.anchors)


def test_what_reads_like_the_concept_always_shows_it_and_lies_nowhere_else(tiny_pipeline: Path) -> None:
    model = StableDiffusion(tiny_pipeline)
    latents = torch.randn(3, 4, 8, 8, generator=generator("latents"))
    texts = ["a circle", "a red circle", "a solid circle"]
    others = ["a ring", "a red ring", "a solid ring"]
    assert _compare(model.network(), model, latents, texts, texts, 0) == (1.0, 0.0)
    shows, distance = _compare(model.network(), model, latents, texts, others, 0)
    assert 0 <= shows <= 1
    assert distance > 0
    assert _compare(model.network(), model, latents, texts, others, 1)[1] != distance  # other noise


def test_the_concept_in_other_words_is_turned_down(tiny_pipeline: Path, circle: Concept, chosen) -> None:
    synonym = chosen[0].anchors[0]  # it would be chosen, were it not for the confusion
    found, tested = choose(circle, Confused(tiny_pipeline, (synonym,)))
    rejected = next(c for c in tested if c.word == synonym)
    assert (rejected.shows, rejected.distance, rejected.chosen) == (1.0, 0.0, False)
    assert synonym not in found.anchors


def test_where_every_candidate_shows_the_concept_the_user_is_asked_for_an_anchor(tiny_pipeline: Path, circle: Concept) -> None:
    candidates = tuple(propose(circle, StableDiffusion(tiny_pipeline)))
    with pytest.raises(InputError) as caught:
        choose(circle, Confused(tiny_pipeline, candidates))
    text = str(caught.value)
    assert "no anchor was found for 'circle'" in text
    assert all(word in text for word in candidates)
    assert "--anchor WORD" in text
    assert "\n" not in text


def test_members_of_the_domain_come_first_then_generic_words(tiny_pipeline: Path, circle: Concept) -> None:
    proposed = propose(circle, StableDiffusion(tiny_pipeline))
    assert list(proposed)[:7] == members_of_domain(circle) == list(circle.vocabulary["shape"])
    assert set(list(proposed)[7:]) == {"shape", "thing"}
    assert set(proposed.values()) == {"named in the concept's vocabulary", "generic word"}
    assert len(propose(circle, StableDiffusion(tiny_pipeline), limit=5)) == 5


@pytest.mark.parametrize("word", ["solid", "circle"])
def test_neighbours_are_words_of_the_tokenizer_that_can_take_the_concepts_place(tiny_pipeline: Path, word: str) -> None:
    """Of a model that nobody knows: no function word, no background, no word of the templates, and never the concept's own."""
    model = StableDiffusion(tiny_pipeline)
    concept = replace(load_concept(word, str(tiny_pipeline)), model="a model of somebody's own")
    near = neighbours(concept, model, 500)
    assert len(near) == len(set(near)) > 20
    assert near == neighbours(concept, model, 500)
    assert len(neighbours(concept, model, 8)) == 8
    assert not {word, "the", "and", "with", "front", "one", "white", "black", "grey", "background", "picture", "drawing"} & set(near)
    other = "red" if word == "circle" else "circle"  # of another domain
    assert other not in near
    assert {"striped", "triangle"} & set(near)


def test_of_a_known_world_only_its_own_groups_and_generic_words_are_proposed(tiny_pipeline: Path) -> None:
    proposed = propose(load_concept("solid", str(tiny_pipeline)), StableDiffusion(tiny_pipeline))
    assert list(proposed)[:3] == ["striped", "dotted", "checkered"]
    assert set(list(proposed)[3:]) <= {"plain", "ordinary", "realistic"}
    assert "solid" not in proposed


@pytest.mark.parametrize(("word", "nearest"), [("tiger", "lion"), ("Fluent", "Noto"), ("alcohol", "cup of tea"), ("boat", "airplane")])
def test_of_the_emoji_world_the_nearest_of_its_groups_are_proposed(tiny_pipeline: Path, word: str, nearest: str) -> None:
    concept = replace(load_concept(word, "emoji"), anchors=())
    proposed = propose(concept, StableDiffusion(tiny_pipeline))
    named = [name for name, source in proposed.items() if source == "named in the concept's vocabulary"]
    assert nearest in named[:8]
    assert len(named) >= 4
    assert not {*concept.words, *concept.vocabulary["background"], "the"} & set(proposed)


def test_where_a_model_is_unknown_and_the_domain_small_neighbours_by_embedding_are_proposed(tiny_pipeline: Path) -> None:
    concept = replace(load_concept("solid", str(tiny_pipeline)), model="a model of somebody's own")
    proposed = propose(concept, StableDiffusion(tiny_pipeline))
    assert list(proposed)[:3] == ["striped", "dotted", "checkered"]
    assert "neighbour of the concept by text embedding" in proposed.values()
    assert not {"solid", "the", "white"} & set(proposed)
