"""Retraining a diffusion model without the concept: the gold standard. It is not made here, only taken from where it was made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from erase.checkpoints.folder import check_model_folder
from erase.demo import DEMO, SCENES, gold_path, pipeline_path
from erase.demo.worlds import WORLDS
from erase.errors import InputError
from erase.options import check, option
from erase.task import Step, Task


@dataclass(frozen=True)
class DiffusionRetrain:
    """The model as it would be, had its training data never shown or named the concept. The run's model is a copy of it.

    Retraining changes the text encoder and every other part, so it is no change to a UNet, and takes hours, so it is no stage of a job.
    """

    gold: str | None = option(
        None, "folder that `python -m erase.demo.shapes.train --without CONCEPT --output DIR` filled, or a pipeline folder; by default ours"
    )

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"balanced": {}}
    optimizer: ClassVar[None] = None
    pictures: ClassVar[tuple[str, ...]] = ()
    steps: ClassVar[int] = 0
    passes: ClassVar[int] = 0

    def __post_init__(self) -> None:
        check(self)

    def finished(self, concept: str, original: Path) -> Path:
        """The pipeline folder trained without `concept`; InputError in a line where there is none."""
        model = next((name for name in WORLDS if original.resolve() == pipeline_path(name).resolve()), None)
        folder = Path(self.gold).expanduser() if self.gold else gold_path(concept, model or DEMO)
        if self.gold is None and model is None:
            raise InputError(
                f"retrain: training {original.name} again without {concept!r} is out of reach, only the embedded model is small enough; "
                "give --gold FOLDER if somebody has done it"
            )
        if not folder.is_dir():
            # scenes starts from the demo's weights, which must not have seen the concept either
            world, base = (" --world scenes", gold_path(concept)) if model == SCENES else ("", pipeline_path().parent)
            said = f"--gold {folder} is not there" if self.gold else f"no model trained without {concept!r} is at hand"
            raise InputError(
                f"retrain: {said}; `python -m erase.demo.shapes.train{world} --without {concept} --base {base} --output DIR` makes one "
                "in about an hour, then give --gold DIR"
            )
        _check_plan(folder, concept)
        found = folder / "pipeline" if (folder / "pipeline").is_dir() else folder
        check_model_folder(found)
        return found

    def __call__(self, task: Task, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Nothing can be done to a network: InputError."""
        raise InputError("retraining replaces the text encoder as well as the UNet, so it is no change to a network; use `finished`")


def _check_plan(folder: Path, concept: str) -> None:
    """A training folder says what it was trained without."""
    path = folder / "plan.json"
    if not path.is_file():
        return
    without = json.loads(path.read_text(encoding="utf-8")).get("without")
    if without != concept:
        raise InputError(f"--gold {folder} was trained {f'without {without!r}' if without else 'on everything'}, not without {concept!r}")
