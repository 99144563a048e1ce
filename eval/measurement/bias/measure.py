"""Draw images of neutral prompts with both models, tell their attributes, and write the numbers into `bias` of a run's folder.

Images are kept by set of prompts; those of other prompts, models or sampling are deleted and made again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from erase.checkpoints.folder import weight_hashes
from erase.diffusion import StableDiffusion
from erase.errors import InputError
from erase.files import write_json
from erase.files.disk import disk_errors
from erase.images import Callbacks, make_images, open_picture
from erase.options import differences
from erase.processes import processes, wait
from erase.run import Run, environment
from eval.measurement.bias.neutral import NeutralPrompts
from eval.measurement.bias.numbers import found, numbers
from eval.measurement.bias.report_section import HOME, REPORT
from eval.measurement.drawing import NOISE, SEED, nothing, samplers
from eval.metrics.total_variation import METHOD
from eval.samples import WHICH
from eval.vision.detector import Detector

Show = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Plan:
    """What is drawn and told: prompts in turn, `count` images of each model; `sampling` as options.json of a run has it."""

    neutral: NeutralPrompts
    count: int
    sampling: Mapping[str, Any]
    concepts: Sequence[Mapping[str, Any]]
    detector: Detector


def measure_bias(folder: Path, models: Mapping[str, StableDiffusion], plan: Plan, show: Show) -> None:
    """Draw what is missing and write bias/SET/report.json; `models` are "before" and "after". Several processes share the drawing."""
    home, (rank, world) = folder / HOME / plan.neutral.name, processes()
    texts = [plan.neutral.prompts[i % len(plan.neutral.prompts)] for i in range(plan.count)]
    if rank == 0:
        _settle(home, models, plan)
    wait()
    for which in WHICH:
        sample = samplers(models[which], plan.sampling)(float(plan.sampling["guidance"]))
        _draw(home / which, texts, sample, plan, (rank, world), partial(show, f"bias, {which}"))
        models[which].free()
        wait()
    if rank == 0:
        if world > 1:
            for which in WHICH:  # merge the images of all processes into one set
                _draw(home / which, texts, nothing, plan, (0, 1), lambda done, total: None)
        with disk_errors(home):
            write_json(home / REPORT, _report(home, texts, plan))
    wait()


def _settle(home: Path, models: Mapping[str, StableDiffusion], plan: Plan) -> None:
    """The folder of this set, emptied where its images are of other prompts, models or sampling."""
    sampling = {name: value for name, value in plan.sampling.items() if name != "noise"}
    weights = {which: weight_hashes(models[which].folder) for which in WHICH}
    options = {"kind": "bias", "prompts": plan.neutral.record(), "sampling": sampling, "weights": weights}
    try:
        stale = bool(differences(Run.read(home).options, json.loads(json.dumps(options)), {}))
    except InputError:
        stale = False
    Run.open(home, options, overwrite=stale).close()


def _draw(
    folder: Path, texts: Sequence[str], sample: Any, plan: Plan, share: tuple[int, int], progress: Callable[[int, int], None]
) -> None:
    make_images(folder, texts, SEED, sample, plan.sampling["batch"], Callbacks(progress), share, NOISE["seed and index"])


def _report(home: Path, texts: Sequence[str], plan: Plan) -> dict[str, Any]:
    facts = plan.detector.facts()
    labels = facts["labels"]
    domains = list(plan.neutral.domains) or list(labels)
    before, after = (found(plan.detector(_images(home / which, len(texts))), labels, domains) for which in WHICH)
    protocol = {
        "prompts": plan.neutral.record(), "images": len(texts), "seed": SEED, "noise": "seed and index", "interval": METHOD,
        "sampling": {name: plan.sampling.get(name) for name in ("scheduler", "steps", "guidance", "size", "batch", "negative")},
        "detector": facts["detector"], "labels": {domain: list(labels[domain]) for domain in domains},
        "environment": environment("cpu"),
    }  # fmt: skip
    warning = {"warning": plan.neutral.warning} if plan.neutral.warning else {}
    return {"set": plan.neutral.name, **warning, "protocol": protocol, "domains": numbers(before, after, labels, plan.concepts)}


def _images(folder: Path, count: int) -> list[Image.Image]:
    return [open_picture(folder / f"{i:05d}.png") for i in range(count)]
