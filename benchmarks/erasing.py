"""The main job on the embedded model: seconds of every stage, and what trimming and projecting take of the erasing time.

python benchmarks/erasing.py --output runs/benchmark-erasing
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import shutil
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch

from erase.pipeline import Job, erase_concept
from erase.run import Run
from eval.report import evaluate_run


def timed(module: str, name: str, spent: dict[str, float]) -> None:
    """Replace a function where it is called from by one that adds up its seconds."""
    home = importlib.import_module(module)
    inner: Callable[..., Any] = getattr(home, name)

    def outer(*given: Any, **named: Any) -> Any:
        start = time.perf_counter()
        try:
            return inner(*given, **named)
        finally:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - start

    setattr(home, name, outer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concept", default="star")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-erasing"))
    given = parser.parse_args()
    shutil.rmtree(given.output, ignore_errors=True)
    spent: dict[str, float] = {}
    for module, name in (
        ("erase.methods.scissorhands", "trim"),
        ("erase.methods.scissorhands", "connection_sensitivity"),
        ("erase.repair", "project"),
    ):
        timed(module, name, spent)
    start = time.perf_counter()
    erase_concept(Job(concept=given.concept, output=str(given.output)))
    evaluate_run(given.output)
    total = time.perf_counter() - start
    stages = {name: facts["seconds"] for name, facts in Run.read(given.output).stages().items()}
    erasing = stages["erase"]
    result = {
        "command": f"erase-concept --concept {given.concept}",
        "date": date.today().isoformat(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "total_seconds": round(total, 1),
        "stage_seconds": stages,
        "inside_erasing": {name: round(seconds, 3) for name, seconds in spent.items()},
        "trim_and_project_share_percent": round(100 * (spent["trim"] + spent["project"]) / erasing, 2),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
