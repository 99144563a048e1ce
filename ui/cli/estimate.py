"""`erase-concept estimate`: what a job would take."""

from __future__ import annotations

import json

from ui.cli.display import quiet_libraries
from ui.cli.flags import PROGRAM
from ui.cli.job_flags import main_job


def estimate(arguments: list[str]) -> int:
    """Say what a job would take in time, memory and disk, without starting it; takes the flags of the main job."""
    example = f"example: {PROGRAM} estimate --concept nudity --device cuda --dtype bfloat16"
    job, values, as_json = main_job(f"{PROGRAM} estimate", arguments, str(estimate.__doc__), example)
    from erase.pipeline.estimate import estimate as estimated
    from erase.pipeline.estimate import lines

    quiet_libraries()
    cost = estimated(job, values)
    print(json.dumps(cost._asdict(), indent=1) if as_json else lines(cost))
    return 0
