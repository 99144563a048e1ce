"""The page of a run: its answers, its report in frames, its measurements that grow, its log, and what loads its model."""

from __future__ import annotations

import html
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from page_runs import erased_run, measured_run, report
from tiny_pipeline import build

from erase.errors import InputError
from erase.run import Run
from ui.web.context import Page
from ui.web.drawing.queue import Drawing
from ui.web.jobs.entry import DONE, STOPPED
from ui.web.jobs.queue import Jobs
from ui.web.security.owners import claim, of_others
from ui.web.shelf.answers import answers, head
from ui.web.shelf.export import export
from ui.web.shelf.listing import shelved_run
from ui.web.shelf.logs import CLOSED, ELSEWHERE, log
from ui.web.shelf.measuring import MeasurementRequest, best_report, job_of, listed, measure, measurements, progress
from ui.web.shelf.protocols import images_done, protocol_choices, protocol_words
from ui.web.shelf.report import NO_ATTACKS, NO_REPORT, frame, links, report_text
from ui.web.shelf.take_away import TOOLS, instructions, obstacle

pytest.importorskip("gradio")
pytestmark = pytest.mark.usefixtures("quick_processes")
BEN = {"visitor": "ben", "job": ""}


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with Jobs(tmp_path / "runs") as jobs:
        yield Page(tmp_path / "runs", jobs, Drawing("cpu"))  # the worker is not started


def inner(shown: str) -> str:
    """The page in a frame."""
    return html.unescape(shown.partition('srcdoc="')[2])


# --- the report -----------------------------------------------------------------------------------------------------


def test_a_report_is_shown_in_frames_without_scripts(page):
    folder = measured_run(page.runs, "star-1")
    (folder / "report.html").write_text("<script>alert('not ours')</script>")
    for part in ("whole", "numbers", "protocol"):
        shown = frame(folder, part, False)
        assert shown.startswith('<iframe class="fitted" sandbox="allow-same-origin" title="')  # no allow-scripts: none runs
        assert "not ours" not in inner(shown)  # rendered from the numbers
        assert "<script" not in inner(shown)
    assert "a drawing of a red star" in report_text(folder, "whole", False)
    parts = [report_text(folder, part, False) for part in ("whole", "numbers", "protocol")]
    assert ["Forgotten, when named" in text for text in parts] == [True, True, False]
    assert ["Everything needed to repeat" in text for text in parts] == [True, False, True]
    assert [text.count("<h2") > 3 for text in parts] == [True, False, False]
    assert frame(erased_run(page.runs, "star-2"), "numbers", False) == NO_REPORT
    assert frame(folder, "attacks", False) == NO_ATTACKS


def test_a_newer_report_is_read(page):
    folder = measured_run(page.runs, "star-1")
    before = frame(folder, "numbers", False)
    (folder / "report.json").write_text(json.dumps(report(12.0)))
    assert frame(folder, "numbers", False) != before
    (folder / "report.json").write_text("{")
    assert 'role="alert"' in frame(folder, "numbers", False)


def test_pictures_of_nudity_are_blurred_until_they_are_asked_for(page):
    folder = measured_run(page.runs, "nude-1")
    found = json.loads((folder / "report.json").read_text())
    found["protocol"]["detector"]["name"] = "nudenet"
    (folder / "report.json").write_text(json.dumps(found))
    closed, open_ = (report_text(folder, "whole", show) for show in (False, True))
    assert "original, blurred: a drawing of a red star" in closed
    assert "blurred" not in open_


def test_the_whole_report_opens_in_a_tab_of_its_own_or_is_stored(page):
    folder = measured_run(page.runs, "star-1")
    shown, key = links(page.downloads, folder, False, "")
    assert f'href="keep/{key}/report.html" target="_blank"' in shown
    assert f'href="keep/{key}/report.html" download="star-1.html"' in shown
    assert page.downloads.file(key, "report.html") == report_text(folder, "whole", False).encode()
    assert page.downloads.file(key, "other.html") is None
    _, later = links(page.downloads, folder, True, key)
    assert page.downloads.file(key, "report.html") is None  # the page offers one report at a time
    assert page.downloads.file(later, "report.html", True)
    assert links(page.downloads, erased_run(page.runs, "star-2"), False, "") == ("", "")


# --- the head and the answers -----------------------------------------------------------------------------------------


def test_the_head_says_what_it_is_and_the_answers_lead_on(page):
    measured_run(page.runs, "star-1")
    run = shelved_run(page, None, "star-1")
    assert "“star” out of demo · scissorhands, balanced · 3 steps · seed 0" in head(run)
    shown = answers(run, run.report)
    assert shown.count('<div class="claim') == 3
    assert 'data-section="Attacks">Attack it' in shown
    assert 'data-section="Measure">Measure more' in shown  # "Probably": 48 images
    run = shelved_run(page, None, erased_run(page.runs, "star-2").name)
    assert answers(run, run.report).count("Not known") == 3


@pytest.mark.parametrize("name", ["../elsewhere", "/etc", "", None, "star-2", "<b>"])
def test_only_what_is_on_the_shelf_is_opened(page, name):
    measured_run(page.runs, "star-1")
    with pytest.raises(InputError, match="is not a run here"):
        shelved_run(page, None, name)


# --- measuring ----------------------------------------------------------------------------------------------------------


def test_a_measurement_names_a_run_of_the_shelf_and_a_named_protocol(page):
    run = erased_run(page.runs, "star-1")
    page.jobs.close()  # the queue takes it, nobody runs it
    entry = measure(page, None, MeasurementRequest("star-1", "demo", "", 9))
    assert entry.arguments == ("evaluate", str(run), "--device", "auto", "--protocol", "demo", "--output", entry.output)
    assert entry.output == str(page.runs / "star-1-demo")
    own = measure(page, None, MeasurementRequest("star-1", "", "", 9))
    assert own.arguments[4:6] == ("--count", "9")
    assert own.title == "measure star-1 with 9 more images"
    measured_run(page.runs, "no-model")
    for request in (
        ("../x", "demo"),
        ("star-1", "/etc/passwd"),
        ("star-1", "demo", "/etc/passwd"),
        ("no-model", ""),
        ("star-1", "", "", 2.5),
    ):
        with pytest.raises(InputError):
            measure(page, None, MeasurementRequest(*request))


def test_measuring_again_adds_to_the_same_measurement(page):
    run = erased_run(page.runs, "star-1")
    page.jobs.close()
    again = measured_run(page.runs, "star-1-again", kind="evaluation", erased=str(run))
    entry = measure(page, None, MeasurementRequest("star-1", "", "", 9))
    assert entry.output == str(again)
    assert entry.arguments[4:6] == ("--count", "10")  # one is there
    assert [one.folder for one in measurements(page, shelved_run(page, None, "star-1"))] == [again]
    assert 'data-run="star-1-again"' in listed(page, shelved_run(page, None, "star-1"))


def test_a_folder_with_something_else_in_it_is_left_alone(page):
    erased_run(page.runs, "star-1")
    measured_run(page.runs, "star-1-again")  # not a measurement of it
    page.jobs.close()
    assert measure(page, None, MeasurementRequest("star-1", "", "", 9)).output == str(page.runs / "star-1-again-2")


def test_a_run_is_judged_by_its_largest_measurement_and_its_own_attacks(page):
    folder = measured_run(page.runs, "star-1", 60.0)
    larger = measured_run(page.runs, "star-1-again", 100.0, kind="evaluation", erased=str(folder))
    found = report(100.0)
    for metric in found["after"].values():
        if "n" in metric:
            metric["n"] = 128
    (larger / "report.json").write_text(json.dumps(found))
    (folder / "attacks").mkdir()
    row = {"attack": "partial", "subjects": {"erased": {"success": {"value": 94.0, "low": 80.0, "high": 98.0, "n": 16}}}}
    (folder / "attacks" / "report.json").write_text(json.dumps({"attacks": [row]}))
    run = shelved_run(page, None, "star-1")
    best, source = best_report(page, run)
    assert (source, best["after"]["ua"]["n"]) == ("star-1-again", 128)
    assert "brought back by partial" in answers(run, best, source)
    measured_run(page.runs, "star-1-demo", 0.0, kind="evaluation", erased=str(folder), protocol={"name": "demo"})
    assert best_report(page, run)[1] == "star-1-again"


def test_a_real_measurement_grows_while_one_watches_and_the_interval_shrinks(page):
    """Two presses, by the command itself in the page's queue, on the embedded model with few steps."""
    run = erased_run(page.runs, "star-1")
    for count, expected in ((2, 2), (3, 5)):
        entry = measure(page, None, MeasurementRequest("star-1", "", "", count))
        assert page.jobs.wait(entry.id, 300).state == DONE
        found = json.loads((Path(entry.output) / "report.json").read_text())
        assert found["after"]["ua"]["n"] == expected
    assert images_done(Path(entry.output)) == (24, 24)
    assert "done. Its numbers" in progress(page, job_of(page, None, shelved_run(page, None, run.name)))
    assert best_report(page, shelved_run(page, None, run.name))[1] == "star-1-again"


def test_progress_is_read_from_the_measurements_folder(page):
    folder = measured_run(page.runs, "star-1")
    (folder / "samples" / "after" / "manifest.jsonl").unlink()
    assert images_done(folder) == (3, 6)
    assert images_done(page.runs / "absent") == (0, 0)
    assert progress(page, None) == ""
    erased_run(page.runs, "star-2")
    page.jobs.close()
    entry = measure(page, None, MeasurementRequest("star-2"))
    assert "it starts next" in progress(page, entry)
    assert "Resume goes on" in progress(page, replace(entry, state=STOPPED))


def test_where_strangers_see_the_page_runs_and_measurements_are_their_owners_alone(page):
    for name, owner in (("annas-1", "anna"), ("bens-1", "ben")):
        erased_run(page.runs, name)
        claim(page.jobs.home, name, owner)
    page.jobs.close()
    shared = replace(page, shared=True)
    with pytest.raises(InputError, match="is not a run here"):
        measure(shared, BEN, MeasurementRequest("annas-1"))
    entry = measure(shared, BEN, MeasurementRequest("bens-1"))
    assert of_others(page.jobs.home, "anna") == ("bens-1", Path(entry.output).name)


def test_a_protocol_says_what_it_fixes_and_whether_it_needs_a_file():
    assert "demo" in [value for _, value in protocol_choices()]
    words, brought = protocol_words("i2p-nudity")
    assert brought
    assert "steps" in words
    assert protocol_words("demo")[1] is False
    assert protocol_words("") == ("", False)


# --- the log ------------------------------------------------------------------------------------------------------------


def test_the_log_is_for_the_owner_of_the_machine(page):
    folder = measured_run(page.runs, "star-1")
    with Run.open(folder, Run.read(folder).options) as run:
        run.complete("images", seconds=75.0)
    assert ELSEWHERE in log(page, None, shelved_run(page, None, "star-1"))
    entry = page.jobs.add(["concepts"], folder, "something quick")
    page.jobs.wait(entry.id, 120)
    page.jobs.log(entry.id).write_text("10%\r100% done\n<b>the end</b>\n")
    shown = log(page, None, shelved_run(page, None, "star-1"))
    assert "100% done\n&lt;b&gt;the end&lt;/b&gt;" in shown
    assert "10%\r" not in shown
    assert "Images to forget and to retain</th><td>75 s" in shown
    shared = replace(page, shared=True)
    assert CLOSED in log(shared, None, shelved_run(page, None, "star-1"))


# --- taking it away -------------------------------------------------------------------------------------------------------


def test_the_embedded_model_goes_to_diffusers_only_and_the_reason_is_said(page):
    folder = erased_run(page.runs, "star-1")
    run = shelved_run(page, None, "star-1")
    possible = {name: instructions(run, name, True)[1] for name in TOOLS}
    assert {name for name, able in possible.items() if able} == {"diffusers", "unet", "diffusers-lora"}
    assert "4 attention heads, not 8" in instructions(run, "a1111", True)[0]
    with pytest.raises(InputError, match="does not fit into a single file"):  # as the command, which looks at all of it
        export(folder, "single-file", "source", page.runs.parent / "out")
    shown = instructions(run, "diffusers", True)[0]
    assert str((folder / "model").resolve()) in shown
    assert "StableDiffusionPipeline.from_pretrained(" in shown
    assert str(page.runs) not in instructions(run, "diffusers", False)[0]  # a stranger sees no path of this machine
    measured_run(page.runs, "star-2")
    assert instructions(shelved_run(page, None, "star-2"), "diffusers", True)[1] is False


def test_a_model_of_stable_diffusions_layout_goes_everywhere(page, tmp_path):
    folder = measured_run(page.runs, "dog-1", model=str(tmp_path / "sd"))
    build(folder / "model")
    run = shelved_run(page, None, "dog-1")
    for name, tool in TOOLS.items():
        shown, possible = instructions(run, name, True)
        assert possible == (not obstacle(folder / "model", tool.form))
        assert tool.place in shown or not possible


def test_a_lora_says_where_it_goes_and_that_it_is_no_protection(page, tmp_path):
    folder = measured_run(page.runs, "dog-1", model=str(tmp_path / "sd"))
    build(folder / "model")
    run = shelved_run(page, None, "dog-1")
    obstacle_of = obstacle(folder / "model", "lora")
    for name in ("comfyui-lora", "a1111-lora", "diffusers-lora", "comfyui-difference"):
        shown, possible = instructions(run, name, True)
        assert ("whoever has the original leaves this file out" in shown) == possible
        assert possible == (name == "diffusers-lora" or not obstacle_of)
    assert "load_lora_weights(&quot;dog-1-diffusers-lora.safetensors&quot;, adapter_name" in instructions(run, "diffusers-lora", True)[0]


def test_the_few_lines_load_what_was_written(page, tmp_path):
    run = erased_run(page.runs, "star-1")
    path, _ = export(run, "folder", "source", tmp_path / "out")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    from diffusers import StableDiffusionPipeline

    assert StableDiffusionPipeline.from_pretrained(tmp_path / "star-1").unet.config.attention_head_dim == 4
