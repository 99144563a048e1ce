"""What Compare offers: models, originals and concepts. It asks the registry of known models and reads folders; nothing is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from erase.concepts import EMBEDDED, Concept, list_concepts, load_concept
from erase.demo.worlds import KNOWN_MODELS, KnownModel, known_model
from erase.errors import InputError
from ui.web.context import Page
from ui.web.runs import OWN, SMALL, Erased, erased, erased_runs

MOST = 200  # models of a folder that are listed


# --- models -------------------------------------------------------------------------------------------------------------


def erased_choices(page: Page) -> list[str]:
    """Erased models to choose from: the visitor's runs, newest first, models that never learned a concept, those of the model folders."""
    return [*erased_runs(page), *_never_taught(), *folder_models(page)]


def original_choices(page: Page) -> list[str]:
    """Models to compare with: the run's own, the embedded ones, those of the model folders, and hub names of this page."""
    return [OWN, *EMBEDDED, *folder_models(page), *page.hub]


def folder_models(page: Page) -> list[str]:
    """The models in the folders of --models, as paths that `Page.model` understands."""
    found = []
    for root in page.allowed:
        places = [root, *_entries(root), *(inner for folder in _entries(root) if folder.is_dir() for inner in _entries(folder))]
        names = [place.relative_to(root).as_posix() if place != root else str(root) for place in places if _is_model(place)]
        found += sorted(names)
    return list(dict.fromkeys(found))[:MOST]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))[:MOST]
    except OSError:
        return []


def _is_model(place: Path) -> bool:
    return (place / "model_index.json").is_file() or (place.suffix.lower() == ".safetensors" and place.is_file())


@cache
def _never_taught() -> dict[str, Erased]:
    """Models of the package that were trained without a concept: what a perfect erasure would be like."""
    models = {}
    for known in KNOWN_MODELS.values():
        home = known.gold("")
        for folder in sorted(home.iterdir()) if home.is_dir() else ():
            if (folder / "pipeline" / "model_index.json").is_file():
                label = f"{known.name}, never taught {folder.name}"
                record = asdict(load_concept(folder.name, known.name))
                models[label] = Erased(label, str(folder / "pipeline"), known.name, record, *SMALL)
    return models


def chosen(page: Page, name: str) -> Erased:
    """One of the chosen models; InputError for what may not be opened."""
    return _never_taught().get(name) or erased(page, name)


def world_of(source: str) -> KnownModel | None:
    """The embedded world of a model, by name or folder; None for any other."""
    return known_model(source) if source in EMBEDDED or Path(source).is_dir() else None


# --- concepts -----------------------------------------------------------------------------------------------------------


@cache
def concepts_of(world: str | None) -> tuple[Concept, ...]:
    """The shipped concepts of a world, by its name; those that belong to none for None."""
    if world is None:
        return tuple(concept for concept in list_concepts() if concept.model not in EMBEDDED)
    return tuple(concept for concept in list_concepts(world) if concept.model == world)


def concept_choices(world: KnownModel | None) -> list[str]:
    """What may be looked for: the run's own concept, or one of those of its world."""
    return [OWN, *(concept.name for concept in concepts_of(world.name if world else None))]


def looked_for(name: str, models: Sequence[Erased], world: KnownModel | None) -> dict[str, Any] | None:
    """The concept to look for, as dataclasses.asdict has it: the chosen one, else that of the first model, else the first of its world."""
    if name in ("", OWN):
        if models:
            return next((dict(model.concept) for model in models if model.concept), None)
        return asdict(first_concept(world)) if world else None
    listed = concepts_of(world.name if world else None)
    if concept := next((concept for concept in listed if concept.name == name), None):
        return asdict(concept)
    if world and len(meanings := world.meanings(name)) == 1:
        return asdict(load_concept(meanings[0], world.name))
    raise InputError(f"{name[:80]!r} is not one of the concepts here; choose one from the list")  # a path would read any file


def first_concept(world: KnownModel) -> Concept:
    """The concept of a first visit to a world."""
    example = next(iter(world.examples.values()), None)
    return load_concept(example, world.name) if example else concepts_of(world.name)[0]
