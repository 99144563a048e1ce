"""The screenshots of the page in docs/screenshots/: `python tests/screenshots.py RUNS`, where RUNS is a folder of runs (made if need be).

Compare, the run and its attacks are of the example that comes with the package. On the page itself the star is erased, with a quick look,
unless RUNS has that run already.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from browser import LATE, PHONE, ROOT, SOON, WIDE, enter, go, opened, served, until
from PIL import Image

from ui.web.example.unpack import NAME

SHOTS = ROOT / "docs" / "screenshots"
RUN = "star-demo-scissorhands-1"
HOUR = 3_600_000
SIZES = ((WIDE, "light", ""), (WIDE, "dark", "-dark"), (PHONE, "light", "-phone"), (PHONE, "dark", "-phone-dark"))
BELOW = {"inside": "#run-sections", "compare-phone": "#grid", "compare-phone-dark": "#grid"}
MOST = 200_000  # bytes of a file


def shot(tab: Any, name: str) -> None:
    """What is in view, from the top or from what the screenshot is of."""
    where = BELOW.get(name)
    tab.evaluate("(place) => place ? document.querySelector(place).scrollIntoView() : window.scrollTo(0, 0)", where)
    tab.mouse.move(0, 0)
    tab.wait_for_timeout(1500)  # frames inside the page set their height after they have loaded
    path = SHOTS / f"{name}.png"
    tab.screenshot(path=path)
    for colours in (256, 128, 64):
        Image.open(path).convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= MOST:
            break
    print(f"docs/screenshots/{name}.png", path.stat().st_size, flush=True)


def erase(tab: Any, concept: str) -> None:
    """On the page, to the end; and screenshots on the way and of the verdict."""
    go(tab, "Erase")
    enter(tab, "#erase-concept", concept)
    tab.get_by_role("radio", name="Quick look").check()
    tab.locator("#cost b", has_text="about").wait_for(timeout=SOON)
    tab.locator("#start").click()
    until(tab, "running", LATE)
    tab.locator("#curves svg").wait_for(timeout=HOUR)
    tab.locator("#pictures .latest figcaption", has_text="step 30").first.wait_for(timeout=HOUR)
    shot(tab, "erase-live")
    until(tab, "done", HOUR)


def ready(tab: Any, name: str) -> None:
    """The tab with something to see."""
    if name == "run":
        tab.goto(f"{tab.url.split('?')[0]}?run={NAME}{'&__theme=dark' if '__theme=dark' in tab.url else ''}")
    elif name == "inside":
        ready(tab, "run")
        tab.locator("#run-answers .answer").first.wait_for(timeout=SOON)
        tab.locator("#run-sections [role=tab]", has_text="Inside").click()
    elif name == "runs":
        go(tab, "Runs")
    elif name == "erase":
        go(tab, "Erase")
    elif name == "attack":
        go(tab, "Evidence")
        tab.get_by_role("tab", name="Attack").click()
        enter(tab, "#attack-run", NAME)
    where = {
        "compare": '#grid .bench[data-key]:not([data-key=""])', "erase": "#verdict .answer", "run": "#run-pictures .gallery img",
        "inside": "#inside-map svg", "runs": "#shelf li", "attack": "#attack-result iframe",
    }  # fmt: skip
    tab.locator(where[name]).first.wait_for(timeout=SOON)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="a folder for the runs")
    runs = parser.parse_args().runs.resolve()
    runs.mkdir(parents=True, exist_ok=True)
    SHOTS.mkdir(parents=True, exist_ok=True)
    with served(runs) as address:
        for size, scheme, end in SIZES:
            for name in ("compare", "run") if end else ("compare", "run", "inside", "attack"):
                with opened(address, size, scheme) as tab:
                    ready(tab, name)
                    shot(tab, f"{name}{end}")
        if not (runs / RUN).exists():
            with opened(address, WIDE) as tab:
                erase(tab, RUN.split("-")[0])
        for name in ("erase", "runs"):
            with opened(address, WIDE) as tab:
                ready(tab, name)
                shot(tab, name)


if __name__ == "__main__":
    main()
