"""What Attack does: the runs that can be attacked, and the values of the form as a command in the queue. Without gradio.

What can be checked without a model is checked here, before anything waits; the command checks the rest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from erase.concepts import EMBEDDED
from erase.concepts.english import hint, spoken_duration
from erase.errors import InputError
from erase.files import user_path
from erase.run import Run
from eval.attacks.catalogue import CATALOGUE, FAMILIES
from eval.attacks.options import Campaign
from eval.attacks.report_section import HOME
from ui.web.context import Page
from ui.web.forms import changed, flags, form, labels_of
from ui.web.jobs.entry import Entry
from ui.web.jobs.process import command
from ui.web.messages import labelled
from ui.web.runs import brief, visible_runs
from ui.web.security.access import HUB
from ui.web.security.owners import is_of
from ui.web.visitor import own_jobs, owner, page_for

KINDS = {"quick": "A quick round", "all": "All of them", "some": "Some by name"}
MINUTES = {"quick": 5, "all": 30, "some": 30}
MOST = 24 * 60  # minutes
OPTIONS = form(Campaign, only=("seed", "attempts", "at_once"))
LABELS = {
    "lists": "Prompt lists",
    "gold": "Gold standard",
    "pictures": "Images of it",
    "attacks": "Attacks",
    "budget": "Budget",
    **labels_of(OPTIONS),
}
SECONDS = 300.0  # that an estimate may take: it opens the models and looks at images


@dataclass(frozen=True)
class AttackRequest:
    """The values of the form. `names`: the ticked attacks; `lists`: one file per line."""

    run: str | None
    kind: str = "quick"
    names: Sequence[str] = ()
    minutes: Any = MINUTES["quick"]
    concept: str | None = None
    lists: str = ""
    gold: str = ""
    pictures: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


# --- what can be chosen -----------------------------------------------------------------------------------------------


def attackable(page: Page, session: Any) -> tuple[list[str], dict[str, str]]:
    """The visitor's finished runs and evaluations whose original is available, newest first; and the others with the reason.

    An attack writes into the run. So where strangers see the page, only who has started a run may attack it.
    """
    stamps, others = {}, {}
    for folder in visible_runs(page_for(page, session)):
        stamp = _finished(folder)
        if stamp is None:
            continue
        if (reason := _obstacle(folder, not page.shared or is_of(page.jobs.home, folder.name, owner(page, session)))) is None:
            stamps[folder.name] = stamp
        else:
            others[folder.name] = reason
    return sorted(stamps, key=lambda name: -stamps[name]), others


def _finished(folder: Path) -> int | None:
    """When a run with a report, prompts and a model has ended; None for anything else."""
    report = folder / "report.json"
    if not report.is_file() or not (folder / "samples" / "prompts.jsonl").is_file():
        return None
    options = brief(folder) or {}
    model = folder / "model" if "method_options" in options or (folder / "model").is_dir() else options.get("erased")
    return report.stat().st_mtime_ns if model and (Path(model) / "model_index.json").is_file() else None


def _obstacle(folder: Path, mine: bool) -> str | None:
    """Why a finished run cannot be attacked here."""
    if not mine:
        return "it is not yours, and attacks are stored in the run; measure it, and attack that measurement"
    model = str((brief(folder) or {}).get("model"))
    available = model in EMBEDDED or user_path(model).exists() or (HUB.fullmatch(model) and not model.startswith("."))
    return None if available else f"its original, {model}, is not available; put it back"


def folder_of(page: Page, session: Any, name: str | None) -> Path:
    """A run by its name; only names that `attackable` lists are opened."""
    names, others = attackable(page, session)
    if name in others:
        raise InputError(f"{name} cannot be attacked: {others[name]}")
    if name not in names:
        raise InputError(f"{str(name or '')[:80]!r} is not a finished run here; choose one from the list, or erase something first")
    return page.runs / str(name)


def concepts_of(folder: Path) -> list[str]:
    """The concepts that a run erased."""
    options = Run.read(folder).options
    return [str(record["name"]) for record in options.get("concepts") or [options["concept_file"]]]


def families() -> dict[str, list[tuple[str, str]]]:
    """Family -> (name: what the attacker knows, name) of its attacks."""
    return {
        family: [(f"{name}: {attack.assumes}", name) for name, attack in CATALOGUE.items() if attack.family == family]
        for family in FAMILIES
    }


def job_of(page: Page, session: Any, name: str | None) -> Entry | None:
    """The visitor's last attack on a run; without a name, on any."""
    attacks = [entry for entry in own_jobs(page, session) if entry.attacks and name in (None, entry.run.name)]
    return next(iter([*(entry for entry in attacks if entry.active), *attacks]), None)


# --- what is started -----------------------------------------------------------------------------------------------------


def start(page: Page, session: Any, request: AttackRequest) -> Entry:
    """Queue the attack."""
    arguments, folder = arguments_of(page, session, request)
    if (entry := job_of(page, session, folder.name)) and entry.active:
        raise InputError(f"{folder.name} is being attacked already; wait until that has ended, or click Stop")
    seconds, attacks = _seconds(request.minutes), _in_words(request)
    page.rate.click(owner(page, session))
    title = f"attack {folder.name}: {attacks}, {spoken_duration(seconds)}"
    return page.jobs.add([*arguments, f"--budget={seconds}s"], folder / HOME, title, owner(page, session))


def _in_words(request: AttackRequest) -> str:
    """The chosen attacks in a few words."""
    parts = [*request.names, *(Path(line.strip()).name for line in request.lists.splitlines() if line.strip())]
    if request.kind != "some":
        return KINDS[request.kind].lower()
    return ", ".join(parts) if len(parts) < 4 else f"{parts[0]} and {len(parts) - 1} more"


def estimate(page: Page, session: Any, request: AttackRequest) -> dict[str, Any]:
    """The command's estimate for these attacks."""
    arguments, _ = arguments_of(page, session, request)
    page.rate.click(owner(page, session))
    try:
        return dict(json.loads(command([*arguments, "--estimate", "--json"], SECONDS).check().printed))
    except InputError as error:
        raise labelled(error, LABELS) from None


def arguments_of(page: Page, session: Any, request: AttackRequest) -> tuple[list[str], Path]:
    """The command without its budget, and the run; InputError for the first mistake in the form."""
    folder, own_page = folder_of(page, session, request.run), page_for(page, session)
    if request.kind not in KINDS:
        raise InputError(f"{request.kind[:40]!r} is not a choice of attacks; expected one of {', '.join(KINDS.values())}")
    names = list(request.names) if request.kind == "some" else [request.kind]
    lists = [own_page.inside(line) for line in request.lists.splitlines() if line.strip()]
    _check_attacks(names, lists)
    if not names and not lists:
        raise InputError("no attack is chosen; tick one or more, or take the quick round")
    arguments = ["attack", str(folder), *(["--attacks", *names] if names else []), *(["--lists", *map(str, lists)] if lists else [])]
    paths = {"gold": request.gold, "pictures": request.pictures}
    folders = {name: _folder(own_page, name, text) for name, text in paths.items() if text.strip()}
    names = concepts_of(folder)
    concept = request.concept if request.concept in names else names[0]
    options = changed(OPTIONS, request.options, {field.name: field.default for field in OPTIONS}) if request.options else {}
    _check(options)
    return [*arguments, *flags({**folders, **options, "concept": concept if len(names) > 1 else None, "device": page.device})], folder


def _check_attacks(names: Sequence[str], lists: Sequence[Path]) -> None:
    """InputError for an unknown attack, or a list of prompts that cannot be read. Only the latter needs the attacks themselves."""
    for name in names:
        if name not in (*CATALOGUE, "quick", "all"):
            raise InputError(f'the attack "{name}" is unknown{hint(name, list(CATALOGUE))}; choose some of {", ".join(CATALOGUE)}')
    if lists:
        from eval.attacks.text.listed import listed

        for path in lists:
            listed(path)


def _folder(page: Page, name: str, text: str) -> str:
    path = page.inside(text)
    models = (path / "model_index.json", path / "pipeline" / "model_index.json")
    if not path.is_dir() or (name == "gold" and not any(file.is_file() for file in models)):
        gold = "a folder with model_index.json, of a model that was trained without the concept"
        raise InputError(f"{LABELS[name]} is {path.name}; expected {gold if name == 'gold' else 'a folder of images'}")
    return str(path)


def _check(options: dict[str, Any]) -> None:
    try:
        Campaign(**options)
    except InputError as error:
        raise labelled(error, LABELS) from None


def _seconds(minutes: Any) -> int:
    try:
        number = float(minutes)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number <= MOST:
        raise InputError(f"{LABELS['budget']} is {str(minutes)[:40]!r}; expected minutes, more than 0 and at most {MOST}")
    return max(1, round(60 * number))
