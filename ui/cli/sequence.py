"""`erase-concept bench --sequence`: concepts erased one after another, or together."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erase.errors import InputError
from ui.cli.display import Display
from ui.cli.flags import PROGRAM

if TYPE_CHECKING:
    from eval.options import Relearning


def sequence(options: argparse.Namespace, shared: dict[str, Any], relearning: Relearning, arguments: list[str]) -> int:
    """Run the sequence, and write and print its report; 1 where every step failed."""
    from erase.methods import METHODS
    from erase.methods.spec import entries
    from erase.pipeline.job import Job
    from erase.run import RUNS
    from eval.bench.page import command
    from eval.bench.plan import facts, slug
    from eval.bench.sequence.page import REPORT, table, write
    from eval.bench.sequence.plan import plan_of
    from eval.bench.sequence.results import report_of
    from eval.bench.sequence.run import sequence as run_all

    _check(options, relearning)
    seeds, first = (1 if options.seeds is None else options.seeds), options.first_seed or 0
    if seeds < 1 or first < 0:
        raise InputError(f"--seeds is {seeds} and --first-seed {first}; expected at least 1 and at least 0", option="seeds")
    rows = tuple(entries(options.methods or ["scissorhands"], METHODS))
    names, every = tuple(options.sequence), tuple(range(first, first + seeds))
    job = Job(**shared)
    plan = plan_of(job, names, rows, every, options.together, None)
    way = ["together"] if options.together else []
    folder: Path = options.output or RUNS / slug("sequence", Path(str(plan.job.model)).name, *plan.titles, *way)
    plan = plan_of(job, names, rows, every, options.together, None if options.overwrite else folder)
    with Display() as display:
        cells = run_all(plan, folder, display, options.overwrite)
        report = report_of(plan, cells, {"command": command([PROGRAM, "bench", *arguments]), **facts(plan.bench)})
        write(folder, report)
    if options.json:
        print((folder / REPORT).read_text(encoding="utf-8"), end="")
    else:
        print(f"{table(report)}\n\nreport    {folder / 'report.html'}")
    return 0 if any(not cell.failure for cell in cells) else 1


def _check(options: argparse.Namespace, relearning: Relearning) -> None:
    """InputError for what a sequence does not have."""
    for name, value in (("concepts", options.concepts), ("gold", options.gold), ("relearn", relearning.relearn)):
        if value:
            raise InputError(f"--{name} is of a bench of single concepts, and --sequence is none; leave one of the two out", option=name)
    if options.runs:
        raise InputError("--sequence makes its runs, and run folders were given; leave one of the two out", option="sequence")
