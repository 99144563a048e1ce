"""Erase, behind the controls: what was filled in -> a command in the queue. Plain functions; knows no gradio.

Everything is checked here, before anything waits: the command that is put into the line is one that starts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from erase.concepts import DEMO, Concept, list_concepts
from erase.concepts.several import JOINT, Concepts, load_concepts, settings_of, together
from erase.errors import InputError
from erase.methods import METHODS, make_method
from erase.pipeline.job import Job
from erase.run import disk_errors, next_run_folder
from ui.web.context import Page
from ui.web.erase.prompts import edited
from ui.web.forms import Field, changed, flags, form, preset_values, presets
from ui.web.jobs.entry import Entry
from ui.web.jobs.process import command

FIRST = "star"
OWN = "(as the concept says)"
ASIDE = ("concept", "model", "method", "preset", "output", "overwrite", "device", "anchor")  # have a place of their own, or none
METHOD_PATHS = ("gold",)
PATHS = ("tokenizer", "forget_images", "forget_image_captions", "retain_images", "retain_image_captions")
SETTINGS = [field for field in form(Job) if field.name not in ASIDE]
PREVIEW = {"preview_every": 10}  # steps; the command has it off
LONGEST = 200  # letters of a concept
SECONDS = 120.0  # that an estimate may take


@dataclass(frozen=True)
class Wish:
    """The controls as they stand. `texts` and `values`, the prompts and the method's form, are as filled for `filled_for`: concept, model,
    method and preset."""

    concept: str
    model: str = OWN
    method: str = "scissorhands"
    preset: str = "balanced"
    texts: Mapping[str, str] = field(default_factory=dict)
    values: Sequence[Any] = ()
    filled_for: tuple[str, ...] = ()
    settings: Sequence[Any] = ()


def concepts() -> list[str]:
    """The concepts to choose from, those of the embedded model first: they need neither a download nor a GPU.

    What is typed filters the list by parts of words, and Enter takes the first: so red stands before checkered.
    """
    domains = ("shape", "colour", "style")

    def place(concept: Concept) -> tuple[bool, bool, int, str]:
        domain = domains.index(concept.domain) if concept.domain in domains else len(domains)
        return concept.model != DEMO, concept.name != FIRST, domain, concept.name

    return [concept.name for concept in sorted(list_concepts(), key=place)]


def concept_for(page: Page, text: str, model: str) -> tuple[Concepts, str]:
    """The concept, or those with ` + ` between them, and where they are removed from; InputError for what is none, or not to be opened."""
    text = _written(page, text)
    if len(text) > LONGEST:
        raise InputError(f"the concept has {len(text)} letters; expected at most {LONGEST}, a name or a few words")
    chosen = None if model in ("", OWN, None) else page.model(str(model))
    found = load_concepts(text, chosen)
    return found, chosen or page.model(found[0].model)


def _written(page: Page, text: str) -> str:
    """As the command takes it: single spaces, ` + ` between several, and paths inside the allowed folders."""
    parts = " ".join(str(text or "").split()).split(JOINT)
    return JOINT.join(str(page.inside(part)) if part.endswith(".toml") else part for part in parts)


def command_of(page: Page, wish: Wish) -> tuple[str, list[str]]:
    """What the job erases, and its flags without its folder; InputError for the first thing that is wrong with the form."""
    wish = _followed(wish)
    found, model = concept_for(page, wish.concept, wish.model)
    text = _written(page, wish.concept)
    if wish.texts and len(found) == 1:
        text = str(edited(found[0], wish.texts, page.runs.resolve() / ".ui" / "concepts") or text)
    filled = preset_values(wish.method, wish.preset, settings_of(found))
    values: dict[str, Any] = {}
    if wish.values:
        values = changed(form(METHODS[wish.method]), wish.values, filled)
        values = {name: str(page.inside(str(value))) if name in METHOD_PATHS else value for name, value in values.items()}
    settings = _settings(page, wish.settings)
    named = {"concept": text, "model": model, "method": wish.method, "preset": wish.preset, "device": page.device}
    _checked(named, filled | values, settings)
    return together(found), flags(named | settings | values)


def _followed(wish: Wish) -> Wish:
    """A press may come before the form has followed a choice: what it then still holds was filled in for another, and is about to go."""
    now = (wish.concept, wish.model, wish.method, wish.preset)
    if wish.filled_for == now:
        return wish
    texts = wish.texts if wish.filled_for[:2] == now[:2] else {}
    preset = wish.preset if wish.filled_for[2:3] in ((), (wish.method,)) else presets(wish.method)[0]
    return replace(wish, texts=texts, values=(), preset=preset)


def _settings(page: Page, given: Sequence[Any]) -> dict[str, Any]:
    """The job's own options that were given; paths inside the allowed folders."""
    values = changed(SETTINGS, given, {field.name: field.default for field in SETTINGS}) if given else {}
    return {name: str(page.inside(str(value))) if name in PATHS else value for name, value in values.items()}


def _checked(named: Mapping[str, Any], values: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """What the engine would say, with the labels of the form instead of flags."""
    try:
        Job(**named, **settings)
        make_method(named["method"], named["preset"], **values)
    except InputError as error:
        raise InputError(re.sub(r"--([a-z][a-z-]*)", lambda flag: flag[1].replace("-", " ").capitalize(), str(error))) from None


def start(page: Page, wish: Wish, owner: str = "") -> Entry:
    """Put the job into the line; its run folder is made at once, so that no other job takes the name."""
    concept, arguments = command_of(page, wish)
    model = next(flag.partition("=")[2] for flag in arguments if flag.startswith("--model="))
    folder = _reserved(page.runs, concept, _short(model), wish.method)
    try:
        return page.jobs.add([*arguments, f"--output={folder.resolve()}"], folder, f"{concept} from {_short(model)}", owner)
    except InputError:
        folder.rmdir()
        raise


def estimate(page: Page, wish: Wish) -> dict[str, Any] | None:
    """Seconds, memory and disk of the job, as the command says; None where it cannot say."""
    _, arguments = command_of(page, wish)
    end = command(["estimate", *arguments, "--json"], SECONDS)
    if end.error is not None:
        raise end.error
    try:
        found = json.loads(end.printed)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _reserved(root: Path, concept: str, model: str, method: str) -> Path:
    with disk_errors(root):
        while True:
            folder = next_run_folder(root, concept, model, method)
            try:
                folder.mkdir(parents=True)
            except FileExistsError:  # another visitor was faster
                continue
            return folder


def _short(model: str) -> str:
    """What a model is called in a name: the last part, and of a run its run."""
    path = Path(model)
    return path.parent.name if path.name == "model" and path.parent.name else path.name or model


def visible(fields: Sequence[Field]) -> tuple[list[Field], list[Field]]:
    """The controls that most people look at, and the rest."""
    first = ("seed", "forget_count", "retain_count", "evaluate_count", "sampling_steps", "guidance", "preview_every")
    return [field for field in fields if field.name in first], [field for field in fields if field.name not in first]
