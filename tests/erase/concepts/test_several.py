"""Several concepts: none is in what is kept, each gives way to its own anchor also where one prompt names two, and one alone is as ever."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest
from pipeline_runs import COUNTS, METHOD, Stop, results, stop_at

from erase.checkpoints.folder import read_provenance
from erase.concepts import load_concept, naming, prompts
from erase.concepts.record import concept_of
from erase.concepts.several import (
    all_apart,
    also_earlier,
    apart,
    evaluation_rows,
    forget_prompts,
    load_concepts,
    own_anchors,
    retain_prompts,
    settings_of,
    together,
)
from erase.errors import InputError
from erase.images import read_images
from erase.pipeline import Job, erase_concept
from erase.pipeline.earlier_run import model_of
from erase.run import Run, read_lines
from eval.report import evaluate_run, table
from ui.cli.main import main

BOTH = load_concepts(("star", "red"), "demo")
APART = all_apart(BOTH)


def test_one_concept_is_as_if_there_were_no_others() -> None:
    star = load_concept("star")
    one = load_concepts(("star",))
    assert one == all_apart(one) == (star,)
    assert together(one) == "star"
    forget = forget_prompts(one, one, 30, 3)
    assert [(p.text, p.attributes) for p in forget] == [(p.text, p.attributes) for p in prompts(star, "forget", 30, 3)]
    assert all(p.anchors[0] in q.anchors for p, q in zip(forget, prompts(star, "forget", 30, 3), strict=True))
    assert retain_prompts(one, 30, 3) == prompts(star, "retain", 30, 3)
    rows = evaluation_rows(one, one, 8, 3)
    drawn = [*prompts(star, "evaluate", 8, 3), *prompts(star, "implicit", 4, 3), *prompts(star, "evaluate-retain", 8, 3)]
    assert rows == [{"text": p.text, "role": p.role, "attributes": dict(p.attributes)} for p in drawn]


def test_what_is_kept_names_neither_and_leaves_neither_open() -> None:
    names = naming(["star", "red"])
    kept = retain_prompts(APART, 400)
    assert len(kept) == 400
    assert [p.index for p in kept] == list(range(400))
    for prompt in [*kept, *prompts(APART[0], "evaluate-retain", 200), *prompts(APART[1], "evaluate-retain", 200)]:
        assert not names.search(prompt.text)
        assert {"shape", "colour"} <= prompt.attributes.keys()
    assert {p.attributes["shape"] for p in kept} == {"circle", "ring", "square", "diamond", "triangle", "cross", "heart"}
    assert {p.attributes["colour"] for p in kept} == {"blue", "green", "yellow", "purple"}


def test_both_are_forgotten_in_turn_and_a_prompt_that_names_both_gives_way_twice() -> None:
    forget = forget_prompts(APART, BOTH, 96)
    assert len(forget) == 192
    assert [p.attributes.get("shape" if i % 2 == 0 else "colour") for i, p in enumerate(forget)] == ["star", "red"] * 96
    assert len({(p.text, i % 2) for i, p in enumerate(forget)}) > 150
    twice = [p for p in forget if naming(["star"]).search(p.text) and naming(["red"]).search(p.text)]
    assert len(twice) > 10
    for prompt in forget:
        (anchor,) = prompt.anchors
        assert not naming(["star", "red"]).search(anchor)
        assert len(anchor.split()) == len(prompt.text.split())
    assert {re.sub(r"\W", "", w) for p in twice for w in p.anchors[0].split()} & {"cross", "diamond", "triangle"}


def test_two_of_one_domain_do_not_stand_in_for_each_other() -> None:
    two = all_apart(load_concepts(("star", "cross"), "demo"))
    assert two[0].anchors == ("diamond", "triangle")
    assert "cross" not in two[0].vocabulary["shape"]
    assert "star" not in two[1].vocabulary["shape"]
    assert not [row for row in evaluation_rows(two, load_concepts(("star", "cross"), "demo"), 8) if " + " in row.get("concept", "")]


def test_evaluation_has_prompts_of_each_and_of_both_and_says_whose_they_are() -> None:
    rows = evaluation_rows(APART, BOTH, 8)
    assert Counter((row["role"], row.get("concept", "")) for row in rows) == {
        ("evaluate", "star"): 8, ("evaluate", "red"): 8, ("implicit", "star"): 4, ("implicit", "red"): 4,
        ("evaluate", "star + red"): 4, ("evaluate-retain", ""): 8,
    }  # fmt: skip
    for row in rows:
        says = [bool(naming([word]).search(row["text"])) for word in ("star", "red")]
        if row["role"] == "evaluate":
            assert says == [name in row["concept"].split(" + ") for name in ("star", "red")]
        else:
            assert says == [False, False]
        assert row.get("means", []) == [{"star": "shape", "red": "colour"}[n] for n in row.get("concept", "").split(" + ") if n]
        assert "concept" not in row or all(row["attributes"][d] in ("star", "red") for d in row["means"])
    assert evaluation_rows(APART, BOTH, 8) == rows


def test_no_evaluation_prompt_was_trained_on() -> None:
    trained = {p.text for p in [*forget_prompts(APART, BOTH, 300), *retain_prompts(APART, 600)]}
    assert not trained & {row["text"] for row in evaluation_rows(APART, BOTH, 60)}


def test_a_users_caption_gives_way_for_every_concept_that_it_names() -> None:
    assert own_anchors(APART, "my old star") == ("my old cross",) or "star" not in own_anchors(APART, "my old star")[0]
    (both,) = own_anchors(APART, "a red star of mine")
    assert not naming(["star", "red"]).search(both)
    assert both.endswith("of mine")


def test_whole_prompts_as_anchors_are_not_mixed_with_others() -> None:
    nudity, gnome = pair = load_concept("nudity"), load_concept("garden gnome", "a/b")
    for prompt in forget_prompts(tuple(apart(c, [o for o in pair if o is not c]) for c in pair), pair, 20):
        assert not (naming(gnome.words).search(prompt.text) and naming(nudity.words).search(prompt.text))


@pytest.mark.parametrize(
    ("names", "model", "said"),
    [
        (("star", "star"), "demo", '--concept "star" and --concept "star" are the same concept; give each once'),
        (("star", "Star"), None, "are the same concept"),
        (("a dog", "dogs"), None, "are the same concept"),
        (("star", "nudity"), None, "star is meant for demo and nudity for CompVis/stable-diffusion-v1-4; say with --model"),
        (("nudity", "van-gogh"), "a/b", "erase them one after another"),
        (("star", ""), "demo", "the concept is empty"),
        (("star + red",), "demo", 'give each by itself: --concept "star" --concept "red"'),
        ((), "demo", "--concept is missing"),
    ],
)
def test_concepts_that_do_not_go_together_are_one_line(names: tuple[str, ...], model: str | None, said: str) -> None:
    with pytest.raises(InputError) as caught:
        load_concepts(names, model)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_recommendations_that_differ_are_named() -> None:
    church = load_concept("church")
    assert settings_of([church]) == church.settings
    with pytest.raises(InputError, match="recommend different values for --scope: cross-attention and not-cross-attention; give --scope"):
        settings_of([church, load_concept("nudity")])


def test_a_concept_survives_its_record() -> None:
    for concept in (*BOTH, load_concept("nudity")):
        assert concept_of(json.loads(json.dumps(asdict(concept)))) == concept


# --- whole jobs -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """star and red erased together."""
    return erase_concept(job_of(tiny_pipeline, tmp_path_factory.mktemp("two") / "run", "star", "red"), METHOD)


def job_of(model: Path, output: Path, *concepts: str, **options: object) -> Job:
    return Job(concepts, str(model), output=str(output), **{**COUNTS, **options})  # type: ignore[arg-type]


def test_a_job_of_two_has_the_pictures_of_both_and_a_number_for_each(two: Path) -> None:
    assert len(read_images(two / "images" / "forget")) == 8
    anchors = [p.prompt for p in read_images(two / "images" / "anchor")]
    assert not [text for text in anchors if naming(["star", "red"]).search(text)]
    options = Run.read(two).options
    assert (options["concept"], [c["name"] for c in options["concepts"]]) == ("star + red", ["star", "red"])
    assert read_provenance(two / "model")["concept"] == "star + red"
    report = evaluate_run(two)
    assert report["concept"] == "star + red"
    assert list(report["concepts"]) == ["star", "red", "star + red"]
    assert "earlier" not in report
    counts = {name: part["after"]["ua"]["n"] for name, part in report["concepts"].items()}
    assert counts == {"star": 4, "red": 4, "star + red": 2}
    assert report["after"]["ua"]["n"] == 10
    assert report["after"]["ira"]["n"] == 4
    assert "star + red: ua" in table(report)


def test_a_job_of_two_that_was_stopped_goes_on_to_the_same_bits(two: Path, tiny_pipeline: Path, tmp_path: Path) -> None:
    this = job_of(tiny_pipeline, tmp_path / "run", "star", "red")
    for stage, done in (("images: forget", 4), ("latents", 4), ("erase", 3)):
        with pytest.raises(Stop):
            erase_concept(this, METHOD, stop_at(stage, done))
    again = results(erase_concept(this, METHOD))
    assert again == {name: data for name, data in results(two).items() if not name.startswith(("comparison", "measured"))}


def test_one_after_another_the_earlier_stays_in_the_forget_set_and_in_the_report(two: Path, tiny_pipeline: Path, tmp_path: Path) -> None:
    """From the run's folder and from its model; a third job knows all that went before."""
    first = erase_concept(job_of(tiny_pipeline, tmp_path / "first", "star"), METHOD)
    for model in (first, first / "model"):
        found, gone = model_of(str(model))
        assert found == str(first / "model")
        assert [c.name for c in gone] == ["star"]
    second = erase_concept(job_of(first, tmp_path / "second", "red"), METHOD)
    options = Run.read(second).options
    assert (options["concept"], options["earlier"], options["model"]) == ("red", ["star"], str(first / "model"))
    texts = [p.prompt for p in read_images(second / "images" / "forget")]
    assert len([t for t in texts if naming(["star"]).search(t)]) >= 4
    assert [row["concept"] for row in read_lines(second / "samples" / "prompts.jsonl") if row["role"] == "evaluate"][:8] == ["red"] * 4 + [
        "star"
    ] * 4
    report = evaluate_run(second)
    assert (report["concept"], report["earlier"]) == ("red", ["star"])
    assert "star (erased earlier): ua" in table(report)
    assert report["after"]["ua"]["n"] == 4 + 2  # those of red, and those that name both; what was gone before counts by itself
    assert len(read_lines(second / "records.jsonl")) == len(read_lines(second / "samples" / "prompts.jsonl"))
    assert [c.name for c in model_of(str(second))[1]] == ["red", "star"]
    alone = erase_concept(job_of(first, tmp_path / "alone", "red", stay_gone=False), METHOD)
    assert "concepts" not in Run.read(alone).options
    assert not [
        p for p in read_images(alone / "images" / "forget") if naming(["star"]).search(p.prompt) and not naming(["red"]).search(p.prompt)
    ]


def test_an_earlier_run_that_has_no_model_is_one_line(two: Path, tmp_path: Path) -> None:
    shutil.copytree(two, tmp_path / "run", ignore=shutil.ignore_patterns("model"))
    with pytest.raises(InputError, match="has no model yet; give that run's command again"):
        model_of(str(tmp_path / "run"))
    assert model_of("demo") == ("demo", ())
    assert model_of(None) == (None, ())


def test_what_is_erased_anew_is_not_earlier_and_parts_of_it_are_refused() -> None:
    star, red = BOTH
    assert also_earlier((star,), (star, red)) == (red,)
    gnome, garden = load_concept("garden gnome", "a/b"), load_concept("gnome", "a/b")
    with pytest.raises(InputError, match="give --no-stay-gone"):
        also_earlier((garden,), (gnome,))


def test_a_job_of_one_has_no_new_keys(tiny_pipeline: Path, tmp_path: Path) -> None:
    run = erase_concept(job_of(tiny_pipeline, tmp_path / "run", "star"), METHOD)
    assert not {"concepts", "earlier", "stay_gone"} & Run.read(run).options.keys()
    assert all(row.keys() == {"index", "text", "role", "attributes", "seed"} for row in read_lines(run / "samples" / "prompts.jsonl"))
    assert not {"concepts", "earlier"} & evaluate_run(run).keys()


def test_the_command_takes_several_and_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--concept", "star", "--concept", "star", "--output", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said == 'erase-concept: --concept "star" and --concept "star" are the same concept; give each once\n'
    assert main(["--concept", "star", "--concept", "red", "--anchor", "ring", "--output", str(tmp_path / "run")]) == 2
    assert "there are 2; write it into a concept file" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_report_of_several_shows_each_on_its_page(two: Path) -> None:
    evaluate_run(two)
    page = (two / "report.html").read_text()
    assert "Each concept" in page
    assert page.count("star + red") > 2
