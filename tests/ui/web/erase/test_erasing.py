"""Erase: what is filled in becomes a command that starts; what is wrong is said in a line before anything waits."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from page_runs import erased_run

from erase.concepts import list_concepts, load_concept, read_concept
from erase.demo.worlds import KNOWN_MODELS
from erase.errors import InputError
from erase.pipeline.job import Job
from ui.cli.flags import add_flags, chosen_method
from ui.web.context import Page
from ui.web.erase.handlers import (
    FIRST,
    OWN,
    SETTINGS,
    Choice,
    ErasureRequest,
    about,
    concept_for,
    concepts,
    filled,
    order_of,
    start,
)
from ui.web.erase.prompts import texts
from ui.web.erase.watch import choices, queue, resume, run_of, stop, view_of, watched
from ui.web.forms import form as fields_of
from ui.web.jobs.entry import STATES
from ui.web.jobs.queue import Jobs
from ui.web.visitor import own_jobs, secret, session_of


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with Jobs(tmp_path / "runs") as jobs:
        yield Page(tmp_path / "runs", jobs, None, allowed=(tmp_path / "models",), device="cpu")  # type: ignore[arg-type]
        for entry in jobs.entries():
            jobs.stop(entry.id)


def command_of(page: Page, asked: ErasureRequest) -> tuple[str, list[str]]:
    """The name of what the job erases, and its flags without its folder."""
    order = order_of(page, asked)
    return order.concept, list(order.arguments)


def shared(page: Page) -> Page:
    return Page(page.runs, page.jobs, page.drawing, page.allowed, ("OWNER/NAME",), "cpu", True)


def request(page: Page, concept: str = "star", model: str = OWN, preset: str = "balanced", **values: Any) -> ErasureRequest:
    """The form as it is filled in for a concept, with some values changed."""
    choice = Choice(concept, model, "scissorhands", preset)
    return ErasureRequest(choice, values=filled(page, choice) | values, filled_for=choice)


def bare(concept: str, model: str = OWN, **more: Any) -> ErasureRequest:
    return ErasureRequest(Choice(concept, model), **more)


def settings(**values: Any) -> dict[str, Any]:
    return {field.name: values.get(field.name, field.default) for field in SETTINGS}


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What the command makes of the flags."""
    parser = argparse.ArgumentParser()
    add_flags(parser, Job)
    add_flags(parser, chosen_method([]))
    return {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}


def test_a_first_visit_starts_on_the_embedded_model(page):
    assert concepts()[0] == FIRST
    assert concepts().index("red") < concepts().index("checkered")  # what is typed finds parts of words
    concept, arguments = command_of(page, request(page))
    assert concept == "star"
    assert parsed(arguments) == {"concepts": ["star"], "model": "demo", "method": "scissorhands", "preset": "balanced", "device": "cpu"}


def test_a_model_with_words_of_its_own_offers_all_of_them_and_its_files_first():
    offered = concepts("emoji")
    assert offered[: len(list_concepts("emoji"))] == [concept.name for concept in list_concepts("emoji")]
    assert {"cat", "wine-glass", "beer mug", "EmojiOne", "musical instrument"} <= set(offered)
    assert "wine glass" not in offered  # it has a file
    assert len(offered) == len(set(offered)) > 400
    assert set(concepts("scenes")) == set(KNOWN_MODELS["scenes"].concepts)


def test_what_is_changed_is_in_the_command_and_nothing_else(page):
    asked = replace(
        request(page, "red", preset="paper", steps=3, projected=False), settings=settings(forget_count="8", seed=4, dtype="bfloat16")
    )
    found = parsed(command_of(page, asked)[1])
    named = {"concepts": ["red"], "model": "demo", "method": "scissorhands", "preset": "paper", "device": "cpu"}
    assert found == named | {"steps": 3, "projected": False, "forget_count": 8, "seed": 4, "dtype": "bfloat16"}


def test_several_concepts_are_one_job(page):
    concept, arguments = command_of(page, request(page, "star  +  red"))
    assert (concept, parsed(arguments)["concepts"]) == ("star + red", ["star", "red"])
    said, shown, some = about(page, "star + red", OWN)
    assert "star" in said
    assert "red" in said
    assert set(shown.values()) == {""}
    assert "red" in some
    emptied = replace(request(page, "star + red"), texts=shown)
    assert parsed(command_of(page, emptied)[1])["concepts"] == ["star", "red"]
    with pytest.raises(InputError, match="are the same concept"):
        command_of(page, bare("star + star"))
    with pytest.raises(InputError, match="is not a folder or file in"):
        command_of(page, bare("star + /etc/passwd.toml"))


def test_edited_prompts_are_a_concept_file(page):
    shown = texts(load_concept("star")) | {"anchors": "cross"}
    asked = replace(request(page), texts=shown)
    path = Path(parsed(command_of(page, asked)[1])["concepts"][0])
    assert (path.parent, read_concept(path).anchors) == (page.runs.resolve() / ".ui" / "concepts", ("cross",))


@pytest.mark.parametrize(
    ("concept", "model", "changes", "said"),
    [
        ("", OWN, {}, "the concept is empty"),
        ("x" * 201, OWN, {}, "at most 200"),
        ("unicorn", "demo", {}, "does not know"),
        ("/etc/passwd.toml", OWN, {}, "is not a folder or file in"),
        ("star", "/etc", {}, "is not a folder or file in"),
        ("star", "../../x", {}, "is not a folder or file in"),
        ("star", OWN, {"steps": -1}, "Steps is -1; expected at least 0"),
        ("star", OWN, {"steps": 2.5}, "Steps is '2.5'; expected a whole number"),
        ("star", OWN, {"fraction": 0}, "Fraction is 0.0; expected more than 0"),
        ("star", OWN, {"optimizer": "rm -rf"}, "Optimizer is 'rm -rf'; expected one of"),
        ("star", OWN, {"batch": None}, "Batch is empty"),
        ("star", OWN, {"scope": "nonsense"}, "Scope: scope 'nonsense' is unknown"),
        ("star", OWN, {"scope": "re:("}, "Scope: scope 're:\\(' is not a regular expression"),
        ("star", OWN, {"scope": "head"}, "Scope: scope 'head' matches no weight of demo"),
        ("star", OWN, {"trim_scope": "re:nowhere"}, "Trim scope: scope 're:nowhere' matches no weight of demo"),
    ],
)
def test_wrong_input_is_one_line_in_the_words_of_the_form(page, concept, model, changes, said):
    with pytest.raises(InputError, match=said) as error:
        command_of(page, request(page, "star", **changes) if concept == "star" and model == OWN else bare(concept, model))
    assert "\n" not in str(error.value)
    assert page.jobs.entries() == []


@pytest.mark.parametrize(
    ("given", "said"),
    [({"forget_count": "0"}, "Forget count is 0; expected at least 1"), ({"size": "100"}, "multiple of 8"),
     ({"guidance": "much"}, "a number"), ({"forget_images": "/etc"}, "not a folder or file in"), ({"dtype": "int8"}, "Dtype is 'int8'")],
)  # fmt: skip
def test_wrong_settings_too(page, given, said):
    with pytest.raises(InputError, match=said):
        command_of(page, bare("star", settings=settings(**given)))


def test_a_retrained_model_must_lie_where_the_page_may_read(page):
    choice = Choice("star", OWN, "retrain", "balanced")
    with pytest.raises(InputError, match="not a folder or file in"):
        command_of(page, ErasureRequest(choice, values={"gold": "/etc"}, filled_for=choice))
    folder = page.runs / "gold"
    folder.mkdir()
    assert f"--gold={folder}" in command_of(page, ErasureRequest(choice, values={"gold": str(folder)}, filled_for=choice))[1]


def test_strangers_open_only_the_models_of_the_page(page):
    with pytest.raises(InputError, match="not among the models of this page"):
        concept_for(shared(page), "nudity", OWN)
    assert concept_for(shared(page), "a horse", "OWNER/NAME")[1] == "OWNER/NAME"
    assert concept_for(page, "nudity", OWN)[1] == "CompVis/stable-diffusion-v1-4"


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ({"concept": "red"}, ("red", "scissorhands", "robust")),
        ({"preset": "paper"}, (".toml", "scissorhands", "paper")),  # the prompts are still those of the concept
        ({"method": "salun"}, (".toml", "salun", "balanced")),  # which has no robust
    ],
)
def test_what_the_form_still_holds_of_another_choice_is_left_out(page, chosen, named):
    shown = texts(load_concept("star")) | {"anchors": "cross"}
    form = request(page, preset="robust", steps=3)
    found = parsed(command_of(page, replace(form, texts=shown, choice=replace(form.choice, **chosen)))[1])
    concept, method, preset = named
    assert found.pop("concepts")[0].endswith(concept)
    assert found == {"model": "demo", "method": method, "preset": preset, "device": "cpu"}


def test_a_job_that_starts_has_a_folder_of_its_own(page):
    one, two = (start(page, request(page, steps=1000)) for _ in range(2))
    assert [Path(entry.output).name for entry in (one, two)] == ["star-demo-scissorhands-1", "star-demo-scissorhands-2"]
    assert one.title == "star from demo"
    page.jobs.stop(two.id)
    assert not Path(two.output).exists()  # nothing was in it


def test_a_full_queue_leaves_no_folder(page):
    page.jobs.limit = 0
    with pytest.raises(InputError, match="at most"):
        start(page, request(page))
    assert not list(page.runs.glob("star*"))


def test_an_erased_model_is_erased_from_again(page):
    run = erased_run(page.runs)
    entry = start(page, bare("red", run.name))
    assert (entry.title, Path(entry.output).name) == (f"red from {run.name}", f"red-{run.name}-scissorhands-1")
    assert f"--model={run / 'model'}" in entry.arguments


# --- whose -----------------------------------------------------------------------------------------------------------


def test_a_browser_finds_its_job_again_and_no_other_browser_does(page):
    strangers, anna, bert = shared(page), session_of(None), session_of({"visitor": "", "job": 3})
    entry = start(strangers, request(page), anna["visitor"])
    assert watched(strangers, anna).id == entry.id
    assert (watched(strangers, bert), own_jobs(strangers, bert)) == (None, [])
    assert watched(strangers, {"visitor": bert["visitor"], "job": entry.id}) is None
    assert "star" in queue(strangers, anna)
    assert "star" not in queue(strangers, bert)
    for action in (stop, resume, run_of):
        with pytest.raises(InputError, match="you have no job here"):
            action(strangers, bert)
    assert watched(page, bert).id == entry.id  # on a page that only the owner of the machine sees
    assert secret(page) == secret(page)


def test_the_owner_sees_every_job_of_the_machine(page):
    entry = start(page, request(page, steps=1000))
    assert watched(page, None).id == entry.id
    assert choices(page, None) == [(f"{Path(entry.output).name}, {STATES[page.jobs.get(entry.id).state]}", entry.id)]
    assert view_of(page, None, False).can_stop
    stop(page, None)
    page.jobs.wait(entry.id, 100)
    assert view_of(page, None, False).can_resume


def test_two_browsers_have_two_names():
    assert session_of(None)["visitor"] != session_of(None)["visitor"]
    assert session_of({"visitor": "anna", "job": "1"}) == {"visitor": "anna", "job": "1"}


# --- the form and the export -------------------------------------------------------------------------------------------


def test_the_forms_values_are_the_request(page):
    gr = pytest.importorskip("gradio")
    from ui.web.erase.form import START, EraseForm

    with gr.Blocks():
        form = EraseForm(page)
    values = {component: component.value for component in form.inputs}
    sent = form.request(values | {form.options.settings["seed"]: 7})
    assert (sent.choice, sent.filled_for, sent.texts) == (START, START, texts(load_concept(FIRST)))
    assert sent.values.keys() == {field.name for field in fields_of(chosen_method([]))}
    assert parsed(command_of(page, sent)[1]) == parsed(command_of(page, request(page, FIRST))[1]) | {"seed": 7, "preview_every": 10}


def test_the_form_follows_a_choice_and_leaves_alone_what_was_written_for_it(page):
    gr = pytest.importorskip("gradio")
    from ui.web.erase.form import EraseForm

    with gr.Blocks():
        form = EraseForm(page)
    values = {component: component.value for component in form.inputs}
    assert list(form.follow(values)) == [form.filled_for]
    changes = form.follow(values | {form.concept: "red", form.options.preset: "paper"})
    assert changes[form.options.of["scissorhands"]["steps"]] == 125
    assert changes[form.texts["words"]] == "red"
    assert changes[form.filled_for] == ["red", OWN, "scissorhands", "paper", "paper"]
    changes = form.follow(values | {form.options.method: "salun", form.options.preset: "robust"})
    assert changes[form.filled_for] == [FIRST, OWN, "salun", "balanced", "standard"]
    assert form.texts["words"] not in changes


def test_a_concept_is_shown_in_words_or_what_is_wrong_with_it(page):
    said, shown, some = about(page, "star", OWN)
    assert "embedded world" in said
    assert shown["anchors"] == "cross\ndiamond\ntriangle"
    assert "<dd>" in some
    said, shown, some = about(page, "<b>unicorn", "demo")
    assert "&lt;b&gt;unicorn" in said
    assert (set(shown.values()), some) == ({""}, "")
