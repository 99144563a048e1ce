"""The whole page in Chromium, as a visitor meets it: compare, erase, stop, resume, reload, download, make mistakes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import JOIN, LATE, PHONE, SOON, WIDE, chromium, enter, few, findings, go, late, opened, served, started, unfold, until
from page_runs import erased_run, measured_run

from erase.run import Run

LINES = "a picture of a blue dotted ring\na picture of a red solid star\n<b>elephant</b>"
TABS = ("Compare", "Erase", "Runs", "Evidence")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "runs"
    erased_run(folder, "ring-demo-scissorhands-1")
    return folder


@pytest.fixture(scope="module")
def address(runs: Path) -> Iterator[str]:
    chromium()
    with served(runs) as found, started():
        yield found


def drawn(tab: Any) -> int:
    return tab.locator("#grid img").count()


def whole(tab: Any) -> None:
    """Until a comparison is complete."""
    tab.locator('#grid .bench[data-key]:not([data-key=""])').wait_for(timeout=SOON)


def test_a_first_visit_sees_images_without_a_click(address):
    with opened(address) as tab:
        whole(tab)
        assert drawn(tab) == 24  # of each kind of prompt four from each model
        assert tab.url.rstrip("/") == address  # which says nothing that nobody has asked for


def test_a_comparison_of_ones_own_from_the_keyboard_to_a_reload_of_its_address(address):
    """Several prompts, drawn by Ctrl + Enter; marks by role; the lightbox by keyboard; the address opens the same again."""
    with opened(address) as tab:
        whole(tab)
        tab.locator("#prompt textarea").fill(LINES)
        tab.locator("#reading", has_text="demo does not know: b, elephant.").wait_for(timeout=SOON)
        tab.locator("#seed input").fill("7")
        tab.locator("#count input").fill("2")
        unfold(tab, "Drawing and detection")
        tab.locator("#steps input").fill("15")
        tab.locator("#seed input").press("Control+Enter")  # draws in the prompts only
        tab.locator("#prompt textarea").press("Control+Enter")
        tab.locator('#grid .bench[data-seed="7"][data-key]:not([data-key=""])').wait_for(timeout=SOON)
        assert drawn(tab) == 12
        assert tab.locator("#grid b", has_text="elephant").count() == 0
        marks = tab.locator("#grid .mark").all_inner_texts()
        assert marks == ["as asked"] * 4 + ["shows star"] * 2 + ["still there"] * 2
        assert "elephant" not in tab.locator("#status").inner_text()
        assert "prompt=%3Cb%3Eelephant" in tab.url
        assert "seed=7" in tab.url

        box = tab.locator("#lightbox")
        tab.locator('#grid .shot[data-place="0-0-1"]').focus()
        tab.keyboard.press("Enter")
        assert "original demo" in box.inner_text()
        assert "seed 8" in box.locator(".facts").inner_text()
        assert not box.locator(".wipe").is_visible()
        tab.keyboard.press("ArrowDown")  # the same prompt and seed by the other model
        assert "ring-demo-scissorhands-1" in box.locator(".who").inner_text()
        tab.keyboard.press("ArrowRight")  # its next image, of the next prompt
        assert "still there · seed 7" in box.locator(".facts").inner_text()
        slider = box.get_by_role("slider", name="Share of the original that lies over the erased image")
        slider.focus()
        for _ in range(30):
            tab.keyboard.press("ArrowRight")
        assert slider.get_attribute("aria-valuetext") == "original 30%, erased 70%"
        assert "still there · seed 7" in box.locator(".facts").inner_text()  # the slider moved, the image did not change
        assert findings(tab) == []
        tab.keyboard.press("Escape")
        assert not box.is_visible()
        assert tab.evaluate("document.activeElement.dataset.place") == "1-1-0"

        with tab.expect_download() as download:
            tab.locator("#files a").first.click()
        with zipfile.ZipFile(download.value.path()) as archive:
            assert sum(name.endswith(".png") for name in archive.namelist()) == 13
        tab.reload()
        tab.locator('#grid .bench[data-seed="7"][data-key]:not([data-key=""])').wait_for(timeout=SOON)
        assert drawn(tab) == 12
        assert tab.locator("#prompt textarea").input_value() == LINES
        assert (tab.locator("#seed input").input_value(), tab.locator("#count input").input_value()) == ("7", "2")
        tab.locator("#history input").click()
        tab.get_by_role("option", name="a picture of a red solid star").wait_for(timeout=SOON)


def test_on_an_error_the_old_images_go_and_the_dice_takes_any_seed(address):
    with opened(address) as tab:
        whole(tab)
        tab.locator("#count input").fill("99")
        tab.locator("#draw").click()
        tab.locator("#status .problem", has_text="at most 16").wait_for(timeout=SOON)
        assert drawn(tab) == 0
        tab.locator("#count input").fill("1")
        tab.locator("#dice").click()
        tab.wait_for_function("document.querySelector('#seed input').value == '-1'", timeout=SOON)
        tab.locator("#draw").click()
        whole(tab)
        seed = tab.locator("#grid .bench").get_attribute("data-seed")
        assert int(seed) > 0
        tab.locator("#reuse").click()
        tab.wait_for_function(f"document.querySelector('#seed input').value == '{seed}'", timeout=SOON)


def test_a_prompt_that_is_written_while_the_page_proposes_one_is_drawn(address):
    with opened(address) as tab:
        whole(tab)
        unfold(tab, "Drawing and detection")
        with late(tab, lambda inputs: inputs[1:2] == [[]]):
            tab.locator("#models .token-remove").first.click()
            tab.locator("#prompt textarea").fill("a dotted blue ring")
        tab.wait_for_function("document.querySelector('#steps input').value == '25'", timeout=SOON)
        assert tab.locator("#prompt textarea").input_value() == "a dotted blue ring"
        with late(tab, lambda inputs: "a dotted blue ring" in inputs):
            tab.locator("#draw").click()
            tab.locator("#status", has_text="Queued").wait_for(timeout=SOON)
        tab.locator('#grid img[alt*="dotted"]').nth(3).wait_for(timeout=SOON)


def test_a_click_before_the_form_has_followed_a_choice_is_for_that_choice(address, runs):
    with opened(address) as tab:
        go(tab, "Erase")
        with late(tab, lambda inputs: inputs[0] == "red"):
            enter(tab, "#erase-concept", "red")
            with tab.expect_response(JOIN):
                tab.locator("#start").click()
        tab.locator("#head .badge.running, #erase-problem .problem").first.wait_for(timeout=SOON)
        assert tab.locator("#erase-problem .problem").count() == 0
        tab.locator("#job-stop").click()
        until(tab, "stopped", LATE)
    (job,) = (job for job in json.loads((runs / ".ui" / "queue.json").read_text()) if job["title"] == "red from demo")
    flags = [flag.partition("=")[0] for flag in job["arguments"]]
    assert flags == ["--concept", "--model", "--method", "--preset", "--device", "--preview-every", "--output"]


@pytest.mark.slow
def test_erase_to_the_end_and_reload_on_the_way(address, runs):
    """The whole path: form, queue, live view, reload, verdict, and from there to each other tab and to a file."""
    with opened(address) as tab:
        go(tab, "Erase")
        enter(tab, "#erase-concept", "star")
        tab.locator("#erase-about", has_text="star").wait_for(timeout=SOON)
        few(tab, 3)
        tab.locator("#start").click()
        until(tab, "running")
        tab.reload()
        go(tab, "Erase")
        tab.locator("#head .badge").wait_for(timeout=SOON)
        assert "star from demo" in tab.locator("#head").inner_text()
        tab.locator("#curves svg").wait_for(timeout=LATE)
        tab.locator("#pictures img").first.wait_for(timeout=LATE)
        until(tab, "done", LATE)
        tab.locator("#verdict .answer").first.wait_for(timeout=SOON)
        run = runs / "star-demo-scissorhands-1"
        assert Run.read(run).report.is_file()
        assert tab.locator("#verdict a").get_attribute("href") == f"?run={run.name}"
        tab.locator("#job-compare").click()
        tab.locator("#models", has_text=run.name).wait_for(timeout=SOON)
        tab.locator("#draw").click()
        tab.locator("#grid .who", has_text=run.name).first.wait_for(timeout=SOON)
        go(tab, "Erase")
        tab.locator("#job-report").click()
        tab.locator("#run-answers .answer").first.wait_for(timeout=SOON)
        assert tab.url.endswith(f"?run={run.name}")
        go(tab, "Erase")
        tab.locator("#job-inside").click()
        tab.locator("#inside-map svg").wait_for(timeout=SOON)
        tab.locator("#inside-curves svg").wait_for(timeout=SOON)
        assert "weights were trimmed" in tab.locator("#inside-map").inner_text()


def test_from_the_shelf_to_a_run_that_stays_after_a_reload_and_away_with_it(address, runs):
    name = "ring-demo-scissorhands-1"
    measured_run(runs, "star-measured-1")
    with opened(address) as tab:
        go(tab, "Runs")
        tab.locator(f"#shelf a[data-run={name}]").wait_for(timeout=SOON)
        tab.locator("#shelf a[data-run=star-measured-1]").click()
        tab.locator("#run-answers .answer", has_text="Yes").first.wait_for(timeout=SOON)
        tab.locator("#run-pictures .gallery button").first.click()
        tab.locator("dialog.enlarged [role=status]", has_text="1 of 3").wait_for(timeout=SOON)
        tab.keyboard.press("ArrowRight")
        tab.locator("dialog.enlarged [role=status]", has_text="2 of 3").wait_for(timeout=SOON)
        tab.keyboard.press("Escape")
        tab.locator("dialog.enlarged").wait_for(state="detached", timeout=SOON)
        tab.go_back()
        tab.locator(f"#shelf a[data-run={name}]").click()
        tab.locator("#run-head h2", has_text=name).wait_for(timeout=SOON)
        assert tab.url.endswith(f"?run={name}")
        tab.locator("#grid img").nth(7).wait_for(state="attached", timeout=SOON)  # Compare draws behind it, and says so in no address
        tab.reload()
        tab.locator("#run-head h2", has_text=name).wait_for(timeout=SOON)
        enter(tab, "#take-tool", "A1111 or Forge")
        tab.locator("#take-words", has_text="4 attention heads, not 8").wait_for(timeout=SOON)
        assert tab.locator("#take-write").is_disabled()
        enter(tab, "#take-tool", "diffusers (Python)")
        tab.locator("#take-words pre", has_text="from_pretrained").wait_for(timeout=SOON)
        tab.locator("#take-write").click()
        tab.locator("#take-download").wait_for(timeout=SOON)
        with tab.expect_download(timeout=SOON) as download:
            tab.locator("#take-download").click()
        with zipfile.ZipFile(download.value.path()) as archive:
            assert f"{name}/model_index.json" in archive.namelist()


@pytest.mark.slow
def test_from_a_word_of_ones_own_to_a_finished_job(address, runs):
    """Open, a word of one's own, the cost before the press, start, live, finished."""
    with opened(address) as tab:
        go(tab, "Erase")
        enter(tab, "#erase-model", "demo")
        enter(tab, "#erase-concept", "circle")
        tab.locator("#erase-about", has_text="circle").wait_for(timeout=SOON)
        tab.locator("#cost b", has_text="about").wait_for(timeout=SOON)
        assert "Nothing is downloaded" in tab.locator("#cost").inner_text()
        for place in ("#cost", "#start", "#erase-effort"):  # in view without scrolling
            box = tab.locator(place).bounding_box()
            assert box["y"] + box["height"] < WIDE["height"]
        few(tab, 2)
        tab.locator("button.label-wrap", has_text="All options · ").click()
        tab.locator("#start").click()
        tab.locator("#erase-problem .started", has_text="circle-demo-scissorhands-1").wait_for(timeout=SOON)
        tab.locator("#head .clock", has_text="left").wait_for(timeout=SOON)
        tab.locator("#pictures .latest img").nth(1).wait_for(timeout=LATE)
        tab.wait_for_function("document.title.includes(' % · circle')", timeout=SOON)
        until(tab, "done", LATE)
        tab.locator("#verdict .answer").first.wait_for(timeout=SOON)
        tab.wait_for_function("document.title.startsWith('finished · circle')", timeout=SOON)
        assert tab.locator("#verdict a").get_attribute("href") == "?run=circle-demo-scissorhands-1"
        tab.locator("#start").click()
        tab.locator("#erase-problem .problem", has_text="has been done already").wait_for(timeout=SOON)
        tab.locator("#start-again").wait_for(timeout=SOON)
    assert Run.read(runs / "circle-demo-scissorhands-1").report.is_file()


def test_days_and_gigabytes_are_said_before_the_press_and_the_form_is_found_again(address):
    with opened(address) as tab:
        go(tab, "Erase")
        enter(tab, "#erase-concept", "nudity")
        tab.locator("#cost .warnings li", has_text="downloaded first").wait_for(timeout=SOON)
        tab.locator("#cost .warnings li", has_text="GPU").wait_for(timeout=SOON)
        tab.locator("#theme").click()
        tab.reload()
        tab.wait_for_function("document.body.classList.contains('dark')", timeout=SOON)
        go(tab, "Erase")
        tab.wait_for_function("document.querySelector('#erase-concept input').value === 'nudity'", timeout=SOON)


@pytest.mark.slow
def test_a_job_is_stopped_from_the_page_and_resumed(address, runs):
    with opened(address) as tab:
        go(tab, "Erase")
        few(tab, 400)
        tab.locator("#start").click()
        until(tab, "running")
        tab.locator("#curves svg").wait_for(timeout=LATE)
        tab.locator("#job-stop").click()
        until(tab, "stopped", LATE)
        name = tab.locator("#head .name").inner_text()
        pictures = sorted((runs / name / "images" / "forget").glob("*.png"))
        made = [path.stat().st_mtime_ns for path in pictures]
        tab.locator("#job-again").click()
        until(tab, "running", LATE)
        tab.locator("#curves svg").wait_for(timeout=LATE)
        assert [path.stat().st_mtime_ns for path in pictures] == made
        tab.locator("#job-stop").click()
        until(tab, "stopped", LATE)


def test_wrong_input_is_said_where_it_was_given(address, runs):
    with opened(address) as tab:
        go(tab, "Erase")
        unfold(tab, "All options")
        tab.locator("#option-steps input").fill("-1")
        tab.locator("#start").click()
        tab.locator("#erase-problem .problem", has_text="Steps is -1; expected at least 0").wait_for(timeout=SOON)
        tab.locator("#option-steps input").fill("3")
        enter(tab, "#erase-model", "/etc")
        tab.locator("#start").click()
        tab.locator("#erase-problem .problem", has_text="'/etc' is not a folder").wait_for(timeout=SOON)
        enter(tab, "#erase-model", "demo")
        enter(tab, "#erase-concept", "unicorn <img src=x onerror=alert(1)>")
        tab.locator("#erase-about .problem", has_text="does not know").wait_for(timeout=SOON)
        assert tab.locator("#erase-about img").count() == 0
    assert not list(runs.glob("unicorn*"))


def test_the_form_follows_concept_and_preset(address):
    with opened(address) as tab:
        go(tab, "Erase")
        enter(tab, "#erase-concept", "red")
        tab.locator("#erase-about", has_text="colour red").wait_for(timeout=SOON)
        unfold(tab, "Prompts")
        assert "{concept}" in tab.get_by_label("Prompts to forget").input_value()
        unfold(tab, "All options")
        tab.locator("#options").get_by_label("Preset").click()
        tab.get_by_role("option", name="paper").click()
        tab.wait_for_function("document.querySelector('#option-steps input').value == '125'", timeout=SOON)


@pytest.mark.parametrize(("scheme", "size"), [("light", WIDE), ("dark", WIDE), ("light", PHONE)], ids=["light", "dark", "phone"])
def test_nothing_is_wider_than_the_screen_and_axe_finds_nothing_serious(address, scheme, size):
    with opened(address, size, scheme) as tab:
        whole(tab)
        for name in TABS:
            go(tab, name)
            assert tab.evaluate("document.documentElement.scrollWidth") <= size["width"]
            if name == "Erase":
                unfold(tab, "Prompts")
                unfold(tab, "All options")
            assert size == PHONE or (name, findings(tab)) == (name, [])


def test_the_keyboard_is_enough(address):
    """From control to control by Tab, a click by Enter."""
    with opened(address) as tab:
        tab.get_by_role("tab", name="Compare").focus()
        tab.keyboard.press("Tab")
        tab.keyboard.press("Enter")
        tab.locator("#tab-erase").wait_for(state="visible")
        reached = set()
        for _ in range(60):
            tab.keyboard.press("Tab")
            reached.add(tab.evaluate("document.activeElement.id || document.activeElement.closest('[id^=erase], #start')?.id"))
            if "start" in reached:
                break
        assert {"start", "erase-concept", "erase-model"} <= reached
