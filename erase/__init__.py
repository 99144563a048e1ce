"""erase-concept: take a concept out of the weights of a text-to-image model, and show that it is gone.

The names below are the public interface. Each is imported when it is first used, so that `import erase` loads no torch.
`erase.trim`, `erase.project` and `erase.repair` are functions, though modules have the same names: import anything else
of those modules by `from erase.trim import ...`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from erase.concepts import Concept, load_concept
    from erase.dataloaders import unlearn
    from erase.errors import Diverged, InputError
    from erase.methods import CLASSIFIER_METHODS, METHODS, make_method
    from erase.pipeline import Job, erase_concept
    from erase.project import Projection, project
    from erase.repair import repair
    from erase.sensitivity import connection_sensitivity
    from erase.task import Step, Task
    from erase.training.optimizers import OptimizerConfig
    from erase.trim import trim

__all__ = [
    "CLASSIFIER_METHODS",
    "METHODS",
    "Concept",
    "Diverged",
    "InputError",
    "Job",
    "OptimizerConfig",
    "Projection",
    "Step",
    "Task",
    "connection_sensitivity",
    "erase_concept",
    "load_concept",
    "make_method",
    "project",
    "repair",
    "trim",
    "unlearn",
]

_MODULES = {
    "CLASSIFIER_METHODS": "erase.methods",
    "METHODS": "erase.methods",
    "Concept": "erase.concepts",
    "Diverged": "erase.errors",
    "InputError": "erase.errors",
    "Job": "erase.pipeline",
    "OptimizerConfig": "erase.training.optimizers",
    "Projection": "erase.project",
    "Step": "erase.task",
    "Task": "erase.task",
    "connection_sensitivity": "erase.sensitivity",
    "erase_concept": "erase.pipeline",
    "load_concept": "erase.concepts",
    "make_method": "erase.methods",
    "project": "erase.project",
    "repair": "erase.repair",
    "trim": "erase.trim",
    "unlearn": "erase.dataloaders",
}


class _Exported:
    """A public name of the package. A data descriptor, so that importing the submodule `erase.trim` does not hide the function."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, package: ModuleType | None, owner: type) -> object:
        return self if package is None else getattr(import_module(_MODULES[self.name]), self.name)

    def __set__(self, package: ModuleType, value: object) -> None:
        if not isinstance(value, ModuleType):  # the import system binds each submodule to its package
            raise AttributeError(f"erase.{self.name} cannot be assigned")


class _Package(ModuleType):
    """This package, with its public names as descriptors (module `__getattr__`, PEP 562, is not asked once a submodule is bound)."""


for _name in __all__:
    setattr(_Package, _name, _Exported(_name))
sys.modules[__name__].__class__ = _Package
