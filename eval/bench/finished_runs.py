"""Finished run folders as the cells of a bench: label, concept and seed come from each run's own options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from erase.checkpoints.diff import changed_bytes
from erase.concepts import load_concept
from erase.concepts.published import kind_of
from erase.concepts.record import concept_of
from erase.diffusion import locate
from erase.errors import InputError
from erase.files import sha256
from erase.methods import METHODS, preset_values
from erase.pipeline.job import Job, Show
from erase.run import Run
from eval.bench.cells import Cell, Measure, unfinished
from eval.bench.gold import gold_cell
from eval.bench.plan import OWN, Bench
from eval.gold import gold_folder
from eval.options import Relearning


def cells_of(folders: Sequence[Path]) -> list[Cell]:
    """A cell for each finished run.

    InputError for an unfinished one, for two of one name, concept and seed, and for runs of one concept and seed whose
    images are of different prompts or models: they cannot be compared in one table.
    """
    by_key: dict[tuple[str, str, int], Cell] = {}
    for folder in folders:
        cell = _cell(Path(folder))
        key = (cell.label, cell.concept, cell.seed)
        if key in by_key:
            raise InputError(
                f"two rows are named {cell.label} ({cell.concept}, seed {cell.seed}): {by_key[key].folder} and {folder}; give one"
            )
        by_key[key] = cell
    cells = list(by_key.values())
    for cell in cells:
        first = next(other for other in cells if (other.concept, other.seed) == (cell.concept, cell.seed))
        _same(first.folder, cell.folder)
    return cells


def _cell(folder: Path) -> Cell:
    options = Run.read(folder).options
    if "method_options" not in options:
        raise InputError(f"{folder} is not an erasure of one concept; give run folders of `erase-concept --concept`")
    if stage := unfinished(folder):
        raise InputError(f"{folder} is not finished (its stage {stage!r} is not done); give its command again, and it resumes there")
    source = locate(str(options["model"]), options.get("tokenizer"), options.get("prediction_type"))
    return Cell(label_of(options), options["concept"], int(options["seed"]), folder, changed_bytes=changed_bytes(source, folder / "model"))


def label_of(options: Mapping[str, Any]) -> str:
    """The row of a bench that gives this run: its method, its preset if not balanced, and the options that differ from that preset."""
    method, preset = str(options["method"]), str(options["preset"])
    changed = {} if preset == "balanced" else {"preset": preset}
    if method in METHODS and preset in METHODS[method].presets:
        kind = None if options.get("concepts") else kind_of(concept_of(options["concept_file"]))
        usual = {item.name: item.default for item in fields(METHODS[method])} | preset_values(METHODS[method], preset, kind)
        own = options["concept_file"].get("settings") or {} if preset == "balanced" else {}
        usual |= {name: value for name, value in own.items() if name in usual}
        changed |= {name: value for name, value in options["method_options"].items() if usual.get(name) != value}
    text = ",".join(f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in changed.items())
    return f"{method}:{text}" if text else method


def _same(first: Path, second: Path) -> None:
    """InputError where the images of two runs before erasing differ in prompts, model or sampling."""
    prompts = [sha256(folder / "samples" / "prompts.jsonl") for folder in (first, second)]
    if prompts[0] != prompts[1]:
        raise InputError(
            f"{first} and {second} were measured on different prompts; give runs with the same --evaluate-count and concept file"
        )
    names = ("weights", "sampling")
    options = [Run.read(folder).options for folder in (first, second)]
    if different := [name for name in names if options[0].get(name) != options[1].get(name)]:
        raise InputError(f"{first} and {second} differ in {different[0]}; give runs of one model, drawn in the same way")


def golds_beside(
    cells: Sequence[Cell], golds: Mapping[str, Path], folder: Path, relearning: Relearning, measure: Measure, show: Show
) -> list[Cell]:
    """Images of models that were trained without a concept, for the prompts of these runs, under `folder`/runs; measured.

    InputError for a concept that none of the runs has, and for a folder that is not a model.
    """
    names = {cell.concept for cell in cells}
    if strange := next((name for name in golds if name not in names), None):
        expected = ", ".join(sorted(names))
        raise InputError(f"--gold {strange}={golds[strange]} names a concept that no run erased; expected one of {expected}")
    models = {name: gold_folder(path) for name, path in golds.items()}
    results = []
    for cell in {(cell.concept, cell.seed): cell for cell in reversed(cells) if cell.concept in golds}.values():
        options = Run.read(cell.folder).options
        shared = {item.name: options[item.name] for item in fields(Job) if item.name in options and item.name not in OWN}
        job = Job(**shared, concepts=(cell.concept,), seed=cell.seed)
        plan = Bench(job, (cell.concept,), (), (cell.seed,), {}, relearning)
        concept = load_concept(cell.concept, job.model)
        results.append(gold_cell(plan, models[cell.concept], job, concept, folder, measure, show))
    return results


def facts_of(cells: Sequence[Cell]) -> dict[str, Any]:
    """For the protocol: method, preset and every option of each row, from its first run."""
    rows: dict[str, Any] = {}
    for cell in cells:
        options = Run.read(cell.folder).options
        rows.setdefault(cell.label, {"method": options["method"], "preset": options["preset"], "options": options["method_options"]})
    return {"rows": rows, "runs": [str(cell.folder) for cell in cells]}
