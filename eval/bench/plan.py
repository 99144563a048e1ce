"""The plan of a bench: rows (methods with options) by concepts by seeds on one model, with every default filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from erase.concepts import Concept, load_concept
from erase.errors import InputError
from erase.methods.spec import RETRAIN, Entry
from erase.options import added_options
from erase.pipeline.job import DEFAULTS, PARTS, Job, as_begun
from erase.run import recorded_options
from eval.gold import gold_folder
from eval.options import RATES, Relearning

# Fields of Job that a bench sets itself, or that are of one concept.
OWN = (
    *("concepts", "method", "preset", "anchor", "output", "seed", "overwrite", "preview_every"),
    *("forget_images", "forget_image_captions", "retain_images", "retain_image_captions"),
)
FREE = (*OWN[:8], "parts", "micro_batch", "checkpointing")  # fields of Job that may differ between two runs of one bench


@dataclass(frozen=True)
class Bench:
    """Rows by concepts by seeds; `job` holds what all runs share, `gold` the gold model of each concept that has one."""

    job: Job
    concepts: tuple[str, ...]
    rows: tuple[Entry, ...]
    seeds: tuple[int, ...]
    gold: Mapping[str, Path] = field(default_factory=dict)
    relearning: Relearning = field(default_factory=Relearning)

    def __post_init__(self) -> None:
        labels = [row.label for row in self.rows] + [RETRAIN] * bool(self.gold)
        _check_unique("rows", labels, "give each row once, or other options to one", "methods")
        methods = [(row.method, repr(row.make())) for row in self.rows]
        for i, row in enumerate(self.rows):
            if methods[i] in methods[:i]:
                first = self.rows[methods.index(methods[i])].label
                raise InputError(f"the rows {first} and {row.label} are the same method and options; give one", option="methods")
        for name, folder in self.gold.items():
            if name not in self.concepts:
                expected = ", ".join(self.concepts)
                raise InputError(f"--gold {name}={folder} is of none of the concepts; expected one of {expected}", option="gold")


def filled(plan: Bench, folder: Path | None = None) -> Bench:
    """With every default that depends on the model, or that the bench in `folder` was begun with by an earlier version.

    InputError for unknown concepts, or concepts of several models.
    """
    from erase.checkpoints.folder import is_small
    from erase.diffusion import locate, pick_device

    if folder is not None:
        plan = replace(plan, job=replace(plan.job, **as_begun(plan.job, recorded_options(folder))))
    concepts = [load_concept(name, plan.job.model) for name in plan.concepts]
    _check_unique("concepts", [concept.name for concept in concepts], "give each once", "concepts")
    model = plan.job.model or concepts[0].model
    if other := next((concept for concept in concepts if plan.job.model is None and concept.model != model), None):
        raise InputError(
            f"{concepts[0].title} is of the model {model} and {other.title} of {other.model}; name one model with --model", option="model"
        )
    small = is_small(locate(model, plan.job.parts or plan.job.tokenizer, plan.job.prediction_type))
    defaults: dict[str, Any] = {name: value for name, value in DEFAULTS[small].items() if getattr(plan.job, name) is None}
    job = replace(plan.job, model=model, device=pick_device(plan.job.device), **defaults)
    relearning = replace(plan.relearning, relearn_rate=plan.relearning.relearn_rate or RATES[small])
    return replace(plan, job=job, gold={**_shipped(plan, concepts, model), **plan.gold}, relearning=relearning)


def _shipped(plan: Bench, concepts: Sequence[Concept], model: str) -> dict[str, Path]:
    """Gold models that are shipped with the embedded models, unless a row retrains."""
    from erase.demo.worlds import KNOWN_MODELS

    if model not in KNOWN_MODELS or any(row.method == RETRAIN for row in plan.rows):
        return {}
    folders = {name: KNOWN_MODELS[model].gold(slug(concept.name)) for name, concept in zip(plan.concepts, concepts, strict=True)}
    return {name: folder for name, folder in folders.items() if folder.is_dir()}


def shared_options(plan: Bench) -> dict[str, Any]:
    """The options that must stay the same in the folder of a bench; rows, concepts and seeds may be added."""
    from erase.checkpoints.folder import weight_hashes
    from erase.diffusion import locate

    folder = locate(str(plan.job.model), plan.job.parts or plan.job.tokenizer, plan.job.prediction_type)
    usual = {**added_options(Job), "part": PARTS[0]}  # benches of earlier versions did not record them
    shared = {name: value for name, value in asdict(plan.job).items() if name not in FREE and (name not in usual or value != usual[name])}
    return {"kind": "bench", **shared, "weights": weight_hashes(folder)}


def facts(plan: Bench) -> dict[str, Any]:
    """For the protocol: the rows' method, preset and every option; and the hashes of the gold models."""
    from erase.checkpoints.folder import weight_hashes

    rows = {
        row.label: {"method": row.method, "preset": row.preset, "options": json.loads(json.dumps(asdict(row.make())))} for row in plan.rows
    }
    return {"rows": rows, "gold": {name: weight_hashes(gold_folder(path)) for name, path in plan.gold.items()}}


def slug(*parts: object) -> str:
    """A name in the form that is safe for a folder."""
    return "-".join(re.sub(r"[^\w.=,+-]+", "-", str(part)).strip("-.") or "x" for part in parts)


def _check_unique(kind: str, names: Sequence[str], remedy: str, option: str) -> None:
    """InputError for two names that are the same, or the same as the name of a folder."""
    known: dict[str, str] = {}
    for name in names:
        if (key := slug(name).lower()) in known:
            both = f"named {name}" if name == known[key] else f"named {known[key]} and {name}, which is one name for a folder"
            raise InputError(f"two {kind} are {both}; {remedy}", option=option)
        known[key] = name
