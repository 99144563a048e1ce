"""A newcomer's way through the page, from an example to a model of one's own on the disk, counted in presses of a button or a link."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import LATE, PHONE, SOON, chromium, enter, few, findings, go, opened, served, until

from ui.web.example.unpack import NAME

MOST = 6  # presses
IMPACTS = ("moderate", "serious", "critical")
SECTIONS = ("Numbers", "Attacks", "Inside", "Measure", "Protocol", "Log")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    chromium()
    with served(tmp_path_factory.mktemp("first") / "runs") as found:
        yield found


class Presses:
    """Clicks, and how many there were."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, control: Any) -> None:
        control.click(timeout=SOON)
        self.count += 1


def test_no_tab_is_empty_on_a_first_visit(address):
    with opened(address) as tab:
        tab.locator('#grid .bench[data-key]:not([data-key=""])').wait_for(timeout=SOON)
        assert tab.locator("#grid .who", has_text=NAME).count()
        tab.locator("#hint a").click()  # before the tab Runs was ever opened
        tab.locator("#run-answers .answer").nth(2).wait_for(timeout=SOON)
        tab.locator("#run-head a", has_text="All runs").click()
        row = tab.locator("#shelf li", has_text=NAME)
        row.locator(".badge.example").wait_for(timeout=SOON)
        assert row.locator("dd").count() == 3
        tab.locator("#shelf-search :is(input, textarea)").fill("no such run")
        tab.locator("#shelf", has_text="No run matches").wait_for(timeout=SOON)
        tab.locator("#shelf-search :is(input, textarea)").fill("BEER scissor")
        row.wait_for(timeout=SOON)
        go(tab, "Evidence")
        tab.locator("#beside th", has_text=NAME).wait_for(timeout=SOON)
        tab.get_by_role("tab", name="Attack").click()
        tab.locator("#attack-result iframe").wait_for(timeout=SOON)


@pytest.mark.slow
def test_from_the_example_to_a_model_of_ones_own_in_six_presses(address):
    with opened(address) as tab:
        press = Presses()
        tab.locator("#hint a").wait_for(timeout=SOON)
        press(tab.locator("#hint a"))  # what became of the example
        tab.locator("#run-answers .answer").nth(2).wait_for(timeout=SOON)
        assert tab.url.endswith(f"?run={NAME}")
        press(tab.get_by_role("tab", name="Erase"))
        enter(tab, "#erase-concept", "circle")
        tab.locator("#cost b", has_text="about").wait_for(timeout=SOON)
        assert "Nothing is downloaded" in tab.locator("#cost").inner_text()
        few(tab, 2)  # not of the path: so that the job takes seconds
        press(tab.locator("#start"))
        tab.locator("#head .clock", has_text="left").wait_for(timeout=SOON)  # from the first second
        until(tab, "done", LATE)
        press(tab.locator("#verdict a"))
        tab.locator("#run-head h2", has_text="circle-demo-scissorhands-1").wait_for(timeout=SOON)
        press(tab.locator("#take-write"))
        with tab.expect_download(timeout=SOON) as download:
            press(tab.locator("#take-download"))
        assert press.count <= MOST
        with zipfile.ZipFile(Path(download.value.path())) as archive:
            assert "circle-demo-scissorhands-1/model_index.json" in archive.namelist()


def run_page(tab: Any) -> None:
    tab.goto(f"{tab.url.split('?')[0]}?run={NAME}{'&__theme=dark' if '__theme=dark' in tab.url else ''}")
    tab.locator("#run-answers .answer").nth(2).wait_for(timeout=SOON)


@pytest.mark.slow
def test_axe_finds_nothing_in_any_state_of_a_runs_page(address):
    with opened(address) as tab:
        run_page(tab)
        assert findings(tab, IMPACTS) == []
        for name in SECTIONS:
            tab.locator("#run-sections [role=tab]", has_text=name).click()
            assert (name, findings(tab, IMPACTS)) == (name, [])
        tab.locator("#run-edit").click()
        tab.locator("#run-save").wait_for(timeout=SOON)
        tab.locator("#run-delete").click()
        tab.locator("#delete-sure").wait_for(timeout=SOON)
        assert findings(tab, IMPACTS) == []
        tab.locator("#delete-keep").click()
        tab.locator("#run-sections [role=tab]", has_text="Pictures").click()
        tab.keyboard.press("ArrowRight")  # between tabs, as in every row of them
        assert tab.evaluate("document.activeElement.textContent.trim()") == "Numbers"
        tab.keyboard.press("ArrowLeft")
        tab.locator("#run-pictures .gallery button").first.click()
        tab.locator("dialog.enlarged").wait_for(timeout=SOON)
        assert findings(tab, IMPACTS) == []


@pytest.mark.slow
def test_a_runs_page_fits_a_phone_in_the_dark_and_can_be_read_there(address):
    with opened(address, PHONE, "dark") as tab:
        run_page(tab)
        assert findings(tab, IMPACTS) == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        box = tab.locator("#run-head").bounding_box()
        assert box["x"] <= 16
        for side in ("Left", "Right", "Bottom"):  # Gradio's way with style sheets takes sides away
            width = tab.evaluate(f"getComputedStyle(document.querySelector('#run-answers .claim')).border{side}Width")
            assert (side, width) == (side, "1px")
