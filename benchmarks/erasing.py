"""The main job on the embedded model: seconds of every stage, and what trimming and projecting take of the erasing time.

python benchmarks/erasing.py --output runs/benchmark-erasing
"""

from __future__ import annotations

import importlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from host import facts, parser, publish

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


def main(argv: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--concept", default="star")
    options.add_argument("--output", type=Path, default=Path("runs/benchmark-erasing"))
    given = options.parse_args(argv)
    begun = facts(given.device)
    shutil.rmtree(given.output, ignore_errors=True)
    spent: dict[str, float] = {}
    for module, name in (
        ("erase.methods.diffusion.trimming", "trim"),
        ("erase.methods.diffusion.trimming", "connection_sensitivity"),
        ("erase.repair", "project"),
    ):
        timed(module, name, spent)
    start = time.perf_counter()
    erase_concept(Job(concepts=(given.concept,), output=str(given.output), device=given.device))
    evaluate_run(given.output)
    total = time.perf_counter() - start
    stages = {name: facts["seconds"] for name, facts in Run.read(given.output).stages().items()}
    erasing = stages["erase"]
    result = {
        "command": f"erase-concept --concept {given.concept}",
        "total_seconds": round(total, 1),
        "stage_seconds": stages,
        "inside_erasing": {name: round(seconds, 3) for name, seconds in spent.items()},
        "trim_and_project_share_percent": round(100 * (spent["trim"] + spent["project"]) / erasing, 2),
    } | begun
    stage_lines = [f"{name:14}{seconds:10.2f} s" for name, seconds in (stages | {"all": total}).items()]
    publish(result, "\n".join(stage_lines), given.json)


if __name__ == "__main__":
    main()
