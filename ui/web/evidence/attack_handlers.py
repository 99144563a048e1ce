"""Attack, behind the controls: which runs can be attacked, and what was filled in -> a command in the queue. Knows no gradio.

What can be checked without a model is checked here, before anything waits. The rest the command says, in a line.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erase.concepts import EMBEDDED
from erase.errors import InputError
from erase.run import Run
from eval.attacks.attack import FAMILIES
from eval.attacks.campaign import Campaign
from eval.attacks.registry import ATTACKS, chosen
from eval.attacks.report_section import HOME
from ui.web.context import Page
from ui.web.forms import changed, flags, form, labelled
from ui.web.jobs.entry import Entry
from ui.web.jobs.process import command
from ui.web.runs import visible_runs
from ui.web.security.access import HUB
from ui.web.security.owners import is_of
from ui.web.units import duration
from ui.web.visitor import own, owner, sight

KINDS = {"quick": "A quick round", "all": "All of them", "some": "Some by name"}
MINUTES = {"quick": 5, "all": 30, "some": 30}
MOST = 24 * 60  # minutes
OPTIONS = form(Campaign, only=("seed", "attempts", "at_once"))
LABELS = {"lists": "Prompt lists", "gold": "Gold standard", "pictures": "Pictures of it", "attacks": "Attacks", "budget": "Budget"}
SECONDS = 300.0  # that an estimate may take: it opens the models and looks at pictures


@dataclass(frozen=True)
class Wish:
    """The controls as they stand. `names`: the attacks that are ticked; `lists`: a file a line."""

    run: str | None
    kind: str = "quick"
    names: Sequence[str] = ()
    minutes: Any = MINUTES["quick"]
    concept: str | None = None
    lists: str = ""
    gold: str = ""
    pictures: str = ""
    options: Sequence[Any] = ()


# --- what can be chosen -----------------------------------------------------------------------------------------------


def attackable(page: Page, seat: Any) -> tuple[list[str], dict[str, str]]:
    """The visitor's finished runs and evaluations that have their original at hand, newest first; and why others are none.

    An attack writes into the run. So where strangers see the page, only who has started a run attacks it.
    """
    found, others = {}, {}
    for folder in visible_runs(sight(page, seat)):
        stamp = _finished(folder)
        if stamp is None:
            continue
        if (why := _lacks(folder, not page.shared or is_of(page.jobs.home, folder.name, owner(page, seat)))) is None:
            found[folder.name] = stamp
        else:
            others[folder.name] = why
    return sorted(found, key=lambda name: -found[name]), others


def _finished(folder: Path) -> int | None:
    """When a run with a report, prompts and a model has ended; None for anything else."""
    report = folder / "report.json"
    if not report.is_file() or not (folder / "samples" / "prompts.jsonl").is_file():
        return None
    options = Run.read(folder).options
    model = folder / "model" if "method_options" in options or (folder / "model").is_dir() else options.get("erased")
    return report.stat().st_mtime_ns if model and (Path(model) / "model_index.json").is_file() else None


def _lacks(folder: Path, mine: bool) -> str | None:
    """Why a finished run cannot be attacked here."""
    if not mine:
        return "it is not yours, and attacks are kept in the run; measure it, and attack what that gives"
    model = str(Run.read(folder).options.get("model"))
    there = model in EMBEDDED or Path(model).expanduser().exists() or (HUB.fullmatch(model) and not model.startswith("."))
    return None if there else f"its original, {model}, is not at hand; put it back there"


def folder_of(page: Page, seat: Any, name: str | None) -> Path:
    """A run by its name; only names that `attackable` lists are opened."""
    names, others = attackable(page, seat)
    if name in others:
        raise InputError(f"{name} cannot be attacked: {others[name]}")
    if name not in names:
        raise InputError(f"{str(name or '')[:80]!r} is no finished run here; choose one from the list, or erase something first")
    return page.runs / str(name)


def concepts_of(folder: Path) -> list[str]:
    """What a run erased."""
    options = Run.read(folder).options
    return [str(record["name"]) for record in options.get("concepts") or [options["concept_file"]]]


def families() -> dict[str, list[tuple[str, str]]]:
    """Family -> (name: what it assumes of the attacker, name) of its attacks."""
    return {
        family: [(f"{name}: {attack.assumes}", name) for name, attack in ATTACKS.items() if attack.family == family] for family in FAMILIES
    }


def job_of(page: Page, seat: Any, name: str | None) -> Entry | None:
    """The visitor's last attack on a run; without a name, of all."""
    mine = [entry for entry in own(page, seat) if entry.attacks and name in (None, entry.run.name)]
    return next(iter([*(entry for entry in mine if entry.active), *mine]), None)


# --- what is done -----------------------------------------------------------------------------------------------------


def start(page: Page, seat: Any, wish: Wish) -> Entry:
    """Put the attack into the line."""
    arguments, folder = arguments_of(page, seat, wish)
    if (entry := job_of(page, seat, folder.name)) and entry.active:
        raise InputError(f"{folder.name} is being attacked already; wait until that has ended, or press Stop")
    seconds, what = _seconds(wish.minutes), _said(wish)
    page.rate.press(owner(page, seat))
    title = f"attack {folder.name}: {what}, {duration(seconds)}"
    return page.jobs.add([*arguments, f"--budget={seconds}s"], folder / HOME, title, owner(page, seat))


def _said(wish: Wish) -> str:
    """The chosen attacks in a few words."""
    parts = [*wish.names, *(Path(line.strip()).name for line in wish.lists.splitlines() if line.strip())]
    if wish.kind != "some":
        return KINDS[wish.kind].lower()
    return ", ".join(parts) if len(parts) < 4 else f"{parts[0]} and {len(parts) - 1} more"


def estimate(page: Page, seat: Any, wish: Wish) -> dict[str, Any]:
    """What the command expects of these attacks; InputError where it can say nothing."""
    arguments, _ = arguments_of(page, seat, wish)
    page.rate.press(owner(page, seat))
    end = command([*arguments, "--estimate", "--json"], SECONDS)
    if end.status:
        raise InputError(plain(end.message))
    return dict(json.loads(end.printed))


def arguments_of(page: Page, seat: Any, wish: Wish) -> tuple[list[str], Path]:
    """The command without its budget, and the run; InputError for the first thing that is wrong with the form."""
    folder, seen = folder_of(page, seat, wish.run), sight(page, seat)
    if wish.kind not in KINDS:
        raise InputError(f"{wish.kind[:40]!r} is no choice of attacks; expected one of {', '.join(KINDS.values())}")
    names = list(wish.names) if wish.kind == "some" else [wish.kind]
    lists = [seen.inside(line) for line in wish.lists.splitlines() if line.strip()]
    if not chosen(names, lists):
        raise InputError("no attack is chosen; tick one or more, or take the quick round")
    arguments = ["attack", str(folder), *(["--attacks", *names] if names else []), *(["--lists", *map(str, lists)] if lists else [])]
    given = {"gold": wish.gold, "pictures": wish.pictures}
    folders = {name: _folder(seen, name, text) for name, text in given.items() if text.strip()}
    known = concepts_of(folder)
    concept = wish.concept if wish.concept in known else known[0]
    options = changed(OPTIONS, wish.options, {field.name: field.default for field in OPTIONS}) if wish.options else {}
    _check(options)
    return [*arguments, *flags({**folders, **options, "concept": concept if len(known) > 1 else None, "device": page.device})], folder


def plain(said: str) -> str:
    """What the command says, with the labels of the form for its flags."""
    shown = {**LABELS, **{field.name.replace("_", "-"): field.label for field in OPTIONS}}
    return re.sub(r"--([a-z][a-z-]*)", lambda flag: f"“{shown[flag[1]]}”" if flag[1] in shown else flag[0], said)


def _folder(seen: Page, name: str, text: str) -> str:
    path = seen.inside(text)
    models = (path / "model_index.json", path / "pipeline" / "model_index.json")
    if not path.is_dir() or (name == "gold" and not any(file.is_file() for file in models)):
        what = (
            "a folder with model_index.json, of a model that was trained without the concept" if name == "gold" else "a folder of pictures"
        )
        raise InputError(f"{LABELS[name]} is {path.name}; expected {what}")
    return str(path)


def _check(options: dict[str, Any]) -> None:
    try:
        Campaign(**options)
    except InputError as error:
        raise InputError(plain(str(error))) from None


def _seconds(minutes: Any) -> int:
    try:
        given = float(minutes)
    except (TypeError, ValueError):
        given = math.nan
    if not 0 < given <= MOST:
        raise InputError(f"{labelled('budget')} is {str(minutes)[:40]!r}; expected minutes, more than 0 and at most {MOST}")
    return max(1, round(60 * given))
