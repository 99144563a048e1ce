"""`erase-concept estimate`: what a job would take."""

from __future__ import annotations

import json
import os
import sys
from contextlib import AbstractContextManager, nullcontext

from ui.cli.flags import PROGRAM
from ui.cli.imports import light_diffusers, quick_imports
from ui.cli.job_flags import main_job

OPTIONAL = ("accelerate", "peft", "scipy", "torchvision", "transformers")


def estimate(arguments: list[str]) -> int:
    """Say what a job would take in time, memory and disk, without starting it; takes the flags of the main job."""
    example = f"example: {PROGRAM} estimate --concept nudity --device cuda --dtype bfloat16"
    job, values, as_json = main_job(f"{PROGRAM} estimate", arguments, str(estimate.__doc__), example)
    with quick_imports():
        from erase.pipeline.estimate import estimate_resolved, lines
        from erase.pipeline.resolve import resolve_job

        resolved = resolve_job(job, values, weights=False)
    with nullcontext() if job.lora_rank is not None else _light():  # factors are those of peft, which needs transformers
        with quick_imports():
            import diffusers.models.autoencoders.autoencoder_kl
            import diffusers.models.unets.unet_2d_condition  # noqa: F401
        cost = estimate_resolved(resolved)
    print(json.dumps(cost._asdict(), indent=1) if as_json else lines(cost))
    return 0


def _light() -> AbstractContextManager[None]:
    """Leave out what diffusers imports and the networks of an estimate do not need.

    Its optional libraries are treated as not installed in this process. Does nothing where the model or a method of the user's has already
    imported diffusers, which has then decided on them, nor within another program that calls this command and may need them later.
    """
    if "diffusers" in sys.modules or sys.argv[1:2] != ["estimate"]:
        return nullcontext()
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    for name in OPTIONAL:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None: an import raises ModuleNotFoundError
    return light_diffusers()
