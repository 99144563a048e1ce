"""The page in a real browser: the program started as a user starts it, and Chromium driven by Playwright."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SMALL = {"forget-count": "8", "retain-count": "8", "evaluate-count": "4", "sampling-steps": "2", "preview-every": "1"}
SOON, LATE = 180_000, 300_000  # milliseconds until something surely has happened, on a busy machine too
STEP = 50  # milliseconds between two looks at what has come
# Of its streams, when a document is left: they break off, and where the server has closed the session already it is not found again.
LEFT = re.compile(
    r"BodyStreamBuffer was aborted|Connection errored out|signal is aborted|Unexpected error 404: Not Found|"
    r"(ERR_INCOMPLETE_CHUNKED_ENCODING|404 \(Not Found\)) \S*/queue/data"
)
JOIN = re.compile("/queue/join")  # where the browser says that a control was used
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def chromium() -> str:
    """Where Chromium is; without it, or without Playwright, the test says so and is left out."""
    pytest.importorskip("gradio", reason='the web page needs gradio: pip install "erase-concept[ui]"')
    pytest.importorskip("playwright", reason="no Playwright here: pip install playwright")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no Chromium here (looked for {', '.join(NAMES)}): apt-get install chromium")
    return found


@contextmanager
def served(runs: Path, *flags: str) -> Iterator[str]:
    """`python app.py` over a runs folder, at a free port; its address. Ends it as Ctrl-C would."""
    line = [sys.executable, "app.py", "--runs", str(runs), "--device", "cpu", *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GRADIO_TEMP_DIR": str(runs.parent / "gradio"), "OMP_NUM_THREADS": "1"}
    page = subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        text = ""
        while " is open at " not in text:
            text = page.stdout.readline() if page.stdout else ""
            assert text, "the page did not open"
        yield text.split(" is open at ")[1].strip().rstrip("/")
    finally:
        page.send_signal(signal.SIGTERM)
        page.wait(timeout=120)


_started: list[Any] = []


@contextmanager
def _browser() -> Iterator[Any]:
    """Chromium: the one that `started` has started, else one for this block."""
    from playwright.sync_api import sync_playwright

    if _started:
        yield _started[-1]
        return
    with sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])


@contextmanager
def started() -> Iterator[None]:
    """Within, all tabs are of one Chromium: starting it takes longer than a fresh context in it."""
    with _browser() as browser:
        _started.append(browser)
        try:
            yield
        finally:
            _started.pop()
            browser.close()


@contextmanager
def opened(address: str, size: dict[str, int] = WIDE, scheme: str = "light") -> Iterator[Any]:
    """A tab of a fresh browser at the page, with nothing stored; fails on errors in its console and on requests to anywhere else."""
    with _browser() as browser, closing(browser.new_context(viewport=size, color_scheme=scheme, accept_downloads=True)) as context:
        context.set_default_timeout(SOON)
        tab = context.new_page()
        wrong: list[str] = []
        tab.on("console", lambda message: wrong.append(f"{message.text} {message.location['url']}") if message.type == "error" else None)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("request", lambda request: wrong.append(request.url) if not request.url.startswith((address, "data:", "blob:")) else None)
        tab.on("framenavigated", lambda _: wrong.__setitem__(slice(None), [text for text in wrong if not LEFT.search(text)]))
        tab.goto(f"{address}/{'?__theme=dark' if scheme == 'dark' else ''}")
        tab.get_by_role("tab", name="Compare").wait_for(timeout=SOON)
        yield tab
        assert not wrong, wrong


@contextmanager
def late(tab: Any, picked: Callable[[list[Any]], bool]) -> Iterator[None]:
    """A slow machine: events whose inputs are `picked` are done by the server, and the browser gets the answer at the end."""
    answers = []

    def hold(route: Any) -> None:
        if picked(route.request.post_data_json["data"]):
            answers.append((route, route.fetch()))
        else:
            route.continue_()

    tab.route(JOIN, hold)
    yield
    for _ in range(SOON // STEP):  # on a slow machine the page asks a while after the press
        if answers:
            break
        tab.wait_for_timeout(STEP)
    assert answers, "nothing was requested"
    for route, answer in answers:
        route.fulfill(response=answer)
    tab.unroute(JOIN)


def go(tab: Any, name: str) -> None:
    """To a tab of the page, by its name."""
    tab.get_by_role("tab", name=name).click()
    tab.locator(f"#tab-{name.lower()}").wait_for(state="visible")


def few(tab: Any, steps: int, **more: str) -> None:
    """Fill the form so that a job takes seconds."""
    unfold(tab, "All options")
    for name, value in {**SMALL, "steps": str(steps), "batch": "4", "sensitivity-batches": "1", **more}.items():
        tab.locator(f"#option-{name} :is(input, textarea)").first.fill(value)


def unfold(tab: Any, name: str) -> None:
    """Open a fold of the form, if it is not open."""
    button = tab.locator("button.label-wrap", has_text=name)
    if "open" not in (button.get_attribute("class") or ""):
        button.click()


def enter(tab: Any, place: str, text: str) -> None:
    """Type into a dropdown instead of what is there."""
    tab.locator(f"{place} input").click()
    tab.keyboard.press("Control+A")
    tab.keyboard.type(text)
    tab.keyboard.press("Enter")


def until(tab: Any, state: str, milliseconds: int = SOON) -> None:
    """Until the shown job is in this state."""
    tab.locator(f"#head .badge.{state}").wait_for(timeout=milliseconds)


def findings(tab: Any, impacts: tuple[str, ...] = ("serious", "critical")) -> list[str]:
    """What axe finds of these impacts: rule, and where."""
    axe = pytest.importorskip("axe_core_python.sync_playwright", reason="no axe here: pip install axe-core-python")
    found = axe.Axe().run(tab)["violations"]
    bad = [rule for rule in found if rule["impact"] in impacts]
    return [f"{rule['id']}: {node['html'][:160]}" for rule in bad for node in rule["nodes"]]
