"""The screenshots of the page in docs/screenshots/: `python tests/screenshots.py RUNS`, where RUNS is a folder of runs (made if need be).

Erases the star from the embedded model on the page itself, with the defaults, unless RUNS has that run already. So with the heart, of which
the package has a model that never knew it, and attacks that for five minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from browser import LATE, PHONE, ROOT, SOON, WIDE, enter, go, opened, served, until
from PIL import Image

SHOTS = ROOT / "docs" / "screenshots"
RUN, ATTACKED = "star-demo-scissorhands-1", "heart-demo-scissorhands-1"
HOUR = 3_600_000
TALL = {"width": 1280, "height": 1300}
TABS = ("compare", "erase", "run", "inside")


def shot(tab: Any, name: str) -> None:
    """The whole height of the page."""
    tab.evaluate("window.scrollTo(0, 0)")
    tab.mouse.move(0, 0)
    tab.wait_for_timeout(1500)  # frames inside the page set their height after they have loaded
    path = SHOTS / f"{name}.png"
    tab.screenshot(path=path, full_page=True)
    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)  # a third of the size
    print(f"docs/screenshots/{name}.png", flush=True)


def erase(tab: Any, concept: str) -> None:
    """On the page, to the end; and a screenshot on the way."""
    go(tab, "Erase")
    enter(tab, "#erase-concept", concept)
    tab.locator("#start").click()
    until(tab, "running", LATE)
    tab.locator("#curves svg").wait_for(timeout=HOUR)
    tab.locator("#pictures img").nth(3).wait_for(timeout=HOUR)
    shot(tab, "erase-live")
    until(tab, "done", HOUR)


def attacks(tab: Any) -> None:
    """A run that is attacked on the page, to the end, unless it was."""
    go(tab, "Evidence")
    tab.get_by_role("tab", name="Attack").click()
    enter(tab, "#attack-run", ATTACKED)
    tab.locator("#attack-result :is(iframe, p)").first.wait_for(timeout=SOON)
    if not tab.locator("#attack-result iframe").count():
        tab.locator("#attack-start").click()
        tab.locator("#attacking .badge.done").wait_for(timeout=HOUR)
    tab.locator("#attack-result iframe").wait_for(timeout=SOON)


def ready(tab: Any, name: str) -> None:
    """The tab with something to see."""
    if name != "compare":
        go(tab, "Erase")
        if name != "erase":
            tab.locator("#job-report" if name == "run" else "#job-inside").click()
    where = {
        "compare": "#grid figure img >> nth=7",
        "erase": "#verdict .answer",
        "run": "#run-pictures .gallery img",
        "inside": "#inside-map svg",
    }
    tab.locator(where[name]).first.wait_for(timeout=SOON)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="a folder for the runs")
    runs = parser.parse_args().runs.resolve()
    runs.mkdir(parents=True, exist_ok=True)
    SHOTS.mkdir(parents=True, exist_ok=True)
    with served(runs) as address:
        for run in (ATTACKED, RUN):
            if not (runs / run).exists():
                with opened(address, WIDE) as tab:
                    erase(tab, run.split("-")[0])
        with opened(address, TALL) as tab:
            attacks(tab)
            shot(tab, "attack")
        for size, scheme, end in ((WIDE, "light", ""), (WIDE, "dark", "-dark"), (PHONE, "light", "-phone")):
            for name in TABS if not end else ("compare",):
                with opened(address, size, scheme) as tab:
                    ready(tab, name)
                    shot(tab, f"{name}{end}")


if __name__ == "__main__":
    main()
