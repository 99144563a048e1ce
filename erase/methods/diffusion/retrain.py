"""Retraining a diffusion model without the concept: the gold standard. The retrained model is not trained here, only looked up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from erase.checkpoints.folder import check_model_folder
from erase.demo import DEMO
from erase.errors import InputError
from erase.files import read_object, user_path
from erase.methods.base import DiffusionMethod
from erase.methods.requirements import Requirements
from erase.options import option

if TYPE_CHECKING:
    from torch import Tensor

    from erase.diffusion.batches import DiffusionBatch
    from erase.task import Step, Task


@dataclass(frozen=True)
class DiffusionRetrain(DiffusionMethod):
    """The model whose training data never showed or named the concept. The run's model is a copy of it.

    Retraining changes the text encoder and every other part, so it is not an edit of a UNet; and it takes hours, so it is not a
    stage of a job.
    """

    gold: str | None = option(
        None,
        "folder written by `python -m erase.demo.shapes.train --without CONCEPT --output DIR` (`erase.demo.emoji.train` for emoji, "
        "`erase.demo.flow.train` for flow), or a pipeline folder; by default the retrained model that is included for the concept",
    )

    @property
    def requirements(self) -> Requirements:
        return Requirements(steps=0, optimizer=None, passes=0, images=())

    def finished(self, concept: str, original: Path) -> Path:
        """The pipeline folder trained without `concept`; InputError, in one line, where there is none."""
        from erase.demo.worlds import KNOWN_MODELS

        known = next((known for known in KNOWN_MODELS.values() if original.resolve() == known.pipeline.resolve()), None)
        if self.gold is None and known is None:
            raise InputError(
                f"retrain: training {original.name} again without {concept!r} is out of reach, only the embedded model is small enough; "
                "give --gold FOLDER if a retrained model exists",
                option="gold",
            )
        known = known or KNOWN_MODELS[DEMO]
        folder = user_path(self.gold) if self.gold else known.gold(concept)
        if not folder.is_dir():
            problem = f"--gold {folder} does not exist" if self.gold else f"no model trained without {concept!r} is included"
            raise InputError(
                f"retrain: {problem}; `{known.training_command(concept)}` trains one in about an hour, then give --gold DIR", option="gold"
            )
        _check_plan(folder, concept)
        pipeline = folder / "pipeline" if (folder / "pipeline").is_dir() else folder
        check_model_folder(pipeline)
        return pipeline

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """InputError: there is no edit of a network."""
        raise InputError("retraining replaces the text encoder as well as the UNet, so it is not an edit of a network; use `finished`")


def _check_plan(folder: Path, concept: str) -> None:
    """InputError where a training folder records that it was trained without something else."""
    path = folder / "plan.json"
    if not path.is_file():
        return
    without = read_object(path).get("without")
    if without != concept:
        raise InputError(
            f"--gold {folder} was trained {f'without {without!r}' if without else 'on everything'}, not without {concept!r}", option="gold"
        )
