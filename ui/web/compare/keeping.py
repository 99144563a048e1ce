"""A comparison becomes a measurement: an evaluation folder for each erased model, with protocol, which Evidence and Runs show.

What cannot honestly be one is refused in a sentence. The folder is written and measured by `ui.web.compare.kept`, in a process of its own.
"""

from __future__ import annotations

import json
import logging
import subprocess
import tempfile
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from erase.errors import InputError
from ui.web.compare.asking import is_held_out
from ui.web.context import Page
from ui.web.drawing.downloads import Comparison
from ui.web.drawing.order import Order
from ui.web.jobs.child import python, read_error
from ui.web.jobs.process import PASSIVE, SHORT, environment
from ui.web.security.owners import claim

LONGEST = 600.0  # seconds
NOISE = "seed alone"  # as the evaluation calls noise that depends on nothing else
NAMED = 60  # letters of a prompt that a message repeats

log = logging.getLogger(__name__)


def keep(page: Page, key: str, owner: str) -> list[str]:
    """Make the evaluations of a comparison, one for each erased model; the names of their folders. InputError where that is not honest."""
    comparison = page.downloads.comparison(key)
    check_honest(comparison)
    page.rate.click(owner)
    return [_kept(page, comparison, model, owner) for model in range(1, len(comparison.order.models))]


def check_honest(comparison: Comparison) -> None:
    """InputError where a comparison says less than a measurement must."""
    order = comparison.order
    if len(order.models) < 2:
        raise InputError("a measurement compares an erased model with its original; choose one under Erased models")
    if order.concept is None or any(image.shows is None for image in comparison.images):
        raise InputError("nothing has looked for the concept in these images, so they cannot be a measurement")
    if order.negative:
        raise InputError("a measurement is of the prompts alone; draw without a negative prompt to keep one")
    if unknown := next((ask.text for ask in order.asks if not ask.role), None):
        text = unknown if len(unknown) <= NAMED else f"{unknown[:NAMED].rstrip()} …"
        raise InputError(f"nobody knows whether “{text}” should show the concept; leave it out to keep the rest as a measurement")


def options_of(comparison: Comparison, model: int) -> dict[str, Any]:
    """The options.json of the evaluation of one erased model."""
    order, facts = comparison.order, comparison.facts
    assert order.concept is not None
    own = sum(is_held_out(ask, order.concept) for ask in order.asks)
    origin = "the concept's held-out prompts, chosen on the page" if own == len(order.asks) else "typed on the page"
    return {
        "kind": "evaluation", "concept": order.concept["name"], "method": None, "preset": None, "seed": None,
        "concept_file": dict(order.concept), "protocol": None, "prompts": {"from": origin}, "asked": {},
        "model": order.models[0][1], "erased": _place(order.models[model][1]), "dtype": "float32",
        "sampling": _sampling(order, facts[model]),
    }  # fmt: skip


def _sampling(order: Order, facts: Mapping[str, Any]) -> dict[str, Any]:
    drawn = {"scheduler": facts["sampler"], "size": facts["size"], "batch": min(facts["batch"], order.count)}
    return {**drawn, "steps": order.steps, "guidance": order.guidance, "noise": NOISE}


def _place(source: str) -> str:
    """A run by its folder, as an evaluation names it."""
    path = Path(source)
    return str(path.parent) if path.name == "model" and (path.parent / "options.json").is_file() else source


def _kept(page: Page, comparison: Comparison, model: int, owner: str) -> str:
    """The name of the folder of one evaluation."""
    order = comparison.order
    folder = _room(page, order.models[model][0])
    claim(page.jobs.home, folder.name, owner)
    places = [(p, i) for p in range(len(order.asks)) for i in range(order.count)]
    rows = [{**order.asks[p].row(), "seed": order.seed_of(i)} for p, i in places]
    by_place = {image.place: image.png for image in comparison.images}
    with tempfile.TemporaryDirectory(prefix="erase-concept-") as scratch:
        for which, number in (("before", 0), ("after", model)):
            (Path(scratch) / which).mkdir()
            for k, (p, i) in enumerate(places):
                (Path(scratch) / which / f"{k:05d}.png").write_bytes(by_place[p, number, i])
        sources = {which: order.models[number][1] for which, number in (("before", 0), ("after", model))}
        hashes = {which: comparison.facts[number]["hash"] for which, number in (("before", 0), ("after", model))}
        task = {
            "folder": str(folder.resolve()),
            "options": options_of(comparison, model),
            "rows": rows,
            "sources": sources,
            "hashes": hashes,
        }
        (Path(scratch) / "task.json").write_text(json.dumps(task), encoding="utf-8")
        _run(Path(scratch))
    return folder.name


def _run(scratch: Path) -> None:
    """Measure in a process of its own; what it prints is for the log of the page's owner."""
    error_file = scratch / "error.json"
    line = python("ui.web.compare.kept", "main", str(scratch), str(error_file))
    with SHORT:
        try:
            done = subprocess.run(
                line, env=environment() | PASSIVE, stdin=subprocess.DEVNULL, capture_output=True, timeout=LONGEST, check=False
            )
        except subprocess.TimeoutExpired:
            raise InputError(f"measuring took longer than {LONGEST:.0f} s and was stopped; keep fewer images") from None
    if done.returncode:
        log.warning("a measurement ended with exit status %s: %s", done.returncode, done.stderr.decode(errors="replace")[-2000:])
        raise read_error(error_file) or InputError("the images could not be measured; the log of the page says why")


def _room(page: Page, label: str) -> Path:
    """A folder that is not there yet."""
    name = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in label).strip("-.") or "model"
    return next(folder for n in range(1, 10_000) if not (folder := page.runs / f"{name}-compared-{n}").exists())


def kept_words(names: list[str]) -> str:
    """Where the measurements are, as HTML."""
    links = ", ".join(f'<a data-run="{escape(name)}" href="?run={escape(name)}">{escape(name)}</a>' for name in names)
    return f'<p role="status">Kept as {links}: a measurement with its protocol. Evidence lists it too.</p>'
