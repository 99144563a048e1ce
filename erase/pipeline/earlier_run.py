"""A run folder as --model: its model, and the concepts that were erased from it."""

from __future__ import annotations

from pathlib import Path

from erase.concepts import Concept, with_anchors
from erase.concepts.record import concept_of
from erase.concepts.several import Concepts
from erase.errors import InputError
from erase.files import read_object, user_path
from erase.files.schema import check_schema
from erase.run import Run


def model_of(model: str | None) -> tuple[str | None, Concepts]:
    """The folder that --model means if it is a run folder or the model in one, and the concepts that were erased from it."""
    if model is None:
        return None, ()
    path = user_path(model)
    run = path if (path / "options.json").is_file() else path.parent if path.name == "model" else None
    if run is None or not (run / "options.json").is_file():
        return model, ()
    options = Run.read(run).options
    if "method_options" not in options:
        raise InputError(f"--model {model} is an evaluation, which has no model; give the run that it measured")
    if not (run / "model" / "model_index.json").is_file():
        raise InputError(f"--model {model} has no model yet; give that run's command again, it resumes, and then this one")
    gone = tuple(concept_of(record) for record in options.get("concepts") or [options["concept_file"]])
    return str(run / "model"), tuple(_with_chosen(concept, run) for concept in gone)


def _with_chosen(concept: Concept, run: Path) -> Concept:
    """The concept with the anchors that its run chose, if its file has none."""
    path = run / "anchor.json"
    known = read_object(path) if path.is_file() else {}
    record = known.get(concept.name, known)
    check_schema(record, {"anchors": [str]}, str(path), concept.name)
    anchors = (record or {}).get("anchors")
    return with_anchors(concept, anchors) if anchors and not (concept.anchors or concept.anchor_prompts) else concept
