"""Another scheduler in place of a pipeline's own, and whether one draws, as it is configured, in a number of steps."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from erase.checkpoints.check.noise import SCHEDULERS
from erase.errors import InputError, first_line


def with_class(scheduler: Any, name: str) -> Any:
    """A scheduler of diffusers by class name, with the configuration of another one; InputError for one that cannot be."""
    import diffusers

    if name not in SCHEDULERS:
        raise InputError(f"the sampler {name!r} is unknown; expected the name of one of diffusers, e.g. LMSDiscreteScheduler")
    if (own := type(scheduler).__name__) not in SCHEDULERS:
        raise InputError(f"the sampler {name} has a schedule of betas, and this model is drawn by flow matching ({own}); leave it out")
    return getattr(diffusers, name).from_config(scheduler.config)


def check_steps(folder: Path, scheduler: Any, steps: int) -> None:
    """InputError where a scheduler, configured in `folder`, cannot draw in so many steps; it is asked on a copy."""
    shifted = {"mu": 1.0} if scheduler.config.get("use_dynamic_shifting") else {}
    try:
        copy.deepcopy(scheduler).set_timesteps(steps, **shifted)
    except Exception as error:  # each class has checks of its own, and computes with whatever its configuration holds
        problem = f"cannot draw in {steps} steps ({first_line(error)})"
        raise InputError(f"{folder} {problem}; give another number, or correct its configuration") from error
