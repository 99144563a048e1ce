"""erase-concept: take a concept out of the weights of a text-to-image model, and show that it is gone.

Importing this imports torch, but none of diffusers, transformers, gradio or nudenet: those load where they are used.
"""

from erase.concepts import Concept, load_concept
from erase.loaders import unlearn
from erase.methods import CLASSIFIER_METHODS, METHODS, make_method
from erase.pipeline import Job, erase_concept
from erase.project import project
from erase.repair import repair
from erase.sensitivity import connection_sensitivity
from erase.task import Diverged, InputError, Step, Task
from erase.trim import trim

__all__ = [
    "CLASSIFIER_METHODS",
    "METHODS",
    "Concept",
    "Diverged",
    "InputError",
    "Job",
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
