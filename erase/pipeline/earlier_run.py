"""A run folder given as --model: the model that it made, and the concepts that are gone from it."""

from __future__ import annotations

import json
from pathlib import Path

from erase.concepts import (
    Concept,
    with_anchors,
)
from erase.concepts.record import concept_of
from erase.concepts.several import Concepts
from erase.errors import InputError
from erase.run import Run


def model_of(given: str | None) -> tuple[str | None, Concepts]:
    """What --model means where it is a run folder, or its model: the model's folder, and the concepts that are gone from it."""
    if given is None:
        return None, ()
    path = Path(given).expanduser()
    run = path if (path / "options.json").is_file() else path.parent if path.name == "model" else None
    if run is None or not (run / "options.json").is_file():
        return given, ()
    options = Run.read(run).options
    if "method_options" not in options:
        raise InputError(f"--model {given} is an evaluation, and holds no model; give the run that it measured")
    if not (run / "model" / "model_index.json").is_file():
        raise InputError(f"--model {given} has no model yet; give that run's command again, it goes on, and then this one")
    gone = tuple(concept_of(record) for record in options.get("concepts") or [options["concept_file"]])
    return str(run / "model"), tuple(_with_found(concept, run) for concept in gone)


def _with_found(concept: Concept, run: Path) -> Concept:
    """The concept with the anchors that its run found for it, if it had to look for some."""
    path = run / "anchor.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = known.get(concept.name, known).get("anchors")
    return with_anchors(concept, found) if found and not (concept.anchors or concept.anchor_prompts) else concept
