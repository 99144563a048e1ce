"""The base classes of all methods: what a job may ask of a method, each with a default.

A method is a frozen dataclass of hyperparameters. Its fields are its command-line flags, its form in the web page and its
record in the run folder. Calling it on a task changes the task's network in place and yields a Step after each step.
Imports no torch, so that the options of all methods can be listed quickly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from erase.methods.requirements import Requirements
from erase.options import check
from erase.training.learning_rates import rate_of

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from erase.classifiers.task import ClassifierTask
    from erase.diffusion.batches import DiffusionBatch
    from erase.diffusion.safe_guidance import SafeGuidance
    from erase.task import Step, Task

Presets = Mapping[str, Mapping[str, Any]]
"""Preset name -> values of options that differ from the defaults. Every method has the preset `balanced`."""

Kinds = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Preset name -> kind of concept (`erase.concepts.published.kind_of`) -> values that differ from the preset's for such concepts."""

Shares = Mapping[str, Presets]
"""Preset name -> cell -> values that differ from the preset where as much is forgotten (`erase.methods.classifiers.released`)."""


@dataclass(frozen=True)
class Method:
    """What methods for diffusion models and for classifiers share: presets, and checked options."""

    presets: ClassVar[Presets] = {"balanced": {}}

    def __post_init__(self) -> None:
        """InputError for an option outside its bounds. A method that overrides this calls it."""
        check(self)


@dataclass(frozen=True)
class DiffusionMethod(Method):
    """An unlearning method for text-to-image diffusion models."""

    kinds: ClassVar[Kinds] = {}

    @property
    def requirements(self) -> Requirements:
        """What the job prepares for this method."""
        return Requirements()

    @property
    def learning_rate(self) -> float | None:
        """The chosen learning rate. A method that has one declares it as a field, with `rate_option`."""
        return None

    def rate(self, weights: Mapping[str, Tensor]) -> float | None:
        """The learning rate used on `weights`, for the record of the run; None for a method without the option `learning_rate`."""
        if "learning_rate" not in {item.name for item in fields(self)}:
            return None
        return rate_of(self, weights)

    def finished(self, concept: str, original: Path) -> Path | None:
        """The folder of a pipeline that already lacks `concept`, which replaces erasing it from `original`; None: erase it."""
        return None

    def guidance(self, words: tuple[str, ...]) -> SafeGuidance | None:
        """What the model is drawn with, for a concept of these words, by a method that changes no weights; None: nothing."""
        return None

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Change `task.network` in place; a Step after each step. `resume` is the snapshot of an earlier Step."""
        raise NotImplementedError(f"{type(self).__name__} has no __call__")


@dataclass(frozen=True)
class ClassifierMethod(Method):
    """An unlearning method for image classifiers."""

    shares: ClassVar[Shares] = {}

    @property
    def scope(self) -> str:
        """The weights that the method may change (`erase.scope`). A method that lets the user choose declares it as a field."""
        return "full"

    @property
    def epochs(self) -> int | None:
        """Epochs of training, declared as a field; None for a method that does not train in epochs."""
        return None

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Change `task.network` in place; a Step after each step. `resume` is the snapshot of an earlier Step."""
        raise NotImplementedError(f"{type(self).__name__} has no __call__")
