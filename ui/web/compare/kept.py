"""The process that measures a kept comparison: a folder with task.json and the images becomes an evaluation folder."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from erase.errors import InputError
from ui.web.jobs.child import write_error


def main() -> None:
    """Arguments: the folder of the task, and the file for an InputError. A folder that could not be completed is removed."""
    scratch, error_file = map(Path, sys.argv[1:3])
    task = json.loads((scratch / "task.json").read_text(encoding="utf-8"))
    folder = Path(task["folder"])
    try:
        measure(scratch, folder, task)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if not isinstance(error, InputError):
            raise
        write_error(error_file, error)
        sys.exit(2)


def measure(scratch: Path, folder: Path, task: dict[str, Any]) -> None:
    """Write and measure the evaluation; InputError where a model is no longer the one that has drawn."""
    from erase.checkpoints.folder import short_hash, weight_hashes
    from erase.diffusion import locate
    from eval.measurement.drawn import measure_drawn

    folders = {which: locate(source) for which, source in task["sources"].items()}
    for which, model in folders.items():
        if short_hash(model) != task["hashes"][which]:
            raise InputError("a model has changed since it drew these images; draw them again")
    options = task["options"] | {"weights": {which: weight_hashes(model) for which, model in folders.items()}}
    measure_drawn(folder, options, task["rows"], {which: sorted((scratch / which).glob("*.png")) for which in folders})
