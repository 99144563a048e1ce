"""`erase-concept bench`: methods side by side."""

from __future__ import annotations

import argparse
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from erase.errors import InputError
from erase.files import check_folder, check_own_folder
from erase.options import MANY, SEED
from ui.cli.display import Display, measured
from ui.cli.flags import PROGRAM, Parser, add_flags, at_most, golds_of
from ui.cli.sequence import sequence

if TYPE_CHECKING:
    from eval.bench.cells import Cell
    from eval.options import Relearning


class Result(NamedTuple):
    """The folder of a bench, its cells, and what the protocol records of the rows."""

    folder: Path
    cells: list[Cell]
    facts: dict[str, Any]


def bench(arguments: list[str]) -> int:
    """Compare methods on the same model, prompts and seeds, and with a model that was trained without the concept."""
    from erase.methods import METHODS
    from erase.pipeline.job import Job
    from eval.bench.plan import OWN
    from eval.options import Relearning

    examples = f"""examples:
  {PROGRAM} bench --concepts heart --methods scissorhands scissorhands:preset=paper           on the embedded model
  {PROGRAM} bench --concepts heart blue --methods all --seeds 3 --gold heart=./without-heart --relearn 80
  {PROGRAM} bench runs/star-demo-scissorhands-1 runs/star-demo-scissorhands-2                    finished runs
  {PROGRAM} bench --sequence star red striped --methods scissorhands uce                         one after another

A row is a method, or METHOD:option=value,... The same command resumes where it stopped; rows, concepts and seeds may be added."""
    parser = Parser(
        prog=f"{PROGRAM} bench", description=bench.__doc__, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", type=Path, help="finished run folders to compare, instead of making runs")
    parser.add_argument("--concepts", nargs="+", default=[], help="what to erase, each in runs of its own")
    parser.add_argument("--sequence", nargs="+", default=[], metavar="CONCEPT", help="erase these one after another, from the last model")
    parser.add_argument("--together", action="store_true", help="erase those of --sequence in one run instead, measured in the same way")
    parser.add_argument("--methods", nargs="+", help=f"all, or some of {', '.join(METHODS)} (default: all; of a sequence scissorhands)")
    parser.add_argument("--seeds", type=at_most(int, MANY), help="how often everything is repeated (default: 1)")
    parser.add_argument("--first-seed", type=at_most(int, SEED - MANY), help="the first of these seeds (default: 0)")
    parser.add_argument(
        "--gold",
        nargs="+",
        default=[],
        metavar="CONCEPT=FOLDER",
        help="models trained without a concept, the standard for the others",
    )
    parser.add_argument("--output", type=Path, help="folder of the bench; by default runs/bench-<model>-<concepts>")
    parser.add_argument("--overwrite", action="store_true", help="start again in a folder that holds another bench")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_flags(parser.add_argument_group("relearning"), Relearning)
    add_flags(parser.add_argument_group("of every run, as in the main job"), Job, skip=OWN)
    options = parser.parse_args(arguments)
    values = {name: value for name, value in vars(options).items() if value is not None}
    relearning = Relearning(**{item.name: values[item.name] for item in fields(Relearning) if item.name in values})
    shared = {item.name: values[item.name] for item in fields(Job) if item.name in values and item.name not in OWN}
    if options.sequence:
        return sequence(options, shared, relearning, arguments)
    if options.together:
        raise InputError("--together is of --sequence, which is missing; give both", option="together")
    with Display() as display:
        result = (_compare_runs if options.runs else _run)(options, shared, relearning, display)
    return _report(result, options.json, [PROGRAM, "bench", *arguments])


def _run(options: argparse.Namespace, shared: dict[str, Any], relearning: Relearning, display: Display) -> Result:
    """A bench with runs of its own."""
    from erase.methods import METHODS
    from erase.methods.spec import entries
    from erase.pipeline.job import Job
    from erase.run import RUNS
    from eval.bench.plan import Bench, facts, filled, slug
    from eval.bench.run import bench as run_all

    if not options.concepts:
        raise InputError(
            "--concepts is missing; give names (`erase-concept concepts` lists them), or finished run folders", option="concepts"
        )
    seeds, first = (1 if options.seeds is None else options.seeds), options.first_seed or 0
    if seeds < 1 or first < 0:
        raise InputError(f"--seeds is {seeds} and --first-seed {first}; expected at least 1 and at least 0", option="seeds")
    gold = golds_of(options.gold)
    rows = tuple(entries(options.methods or ["all"], METHODS))
    requested = Bench(Job(**shared), tuple(options.concepts), rows, tuple(range(first, first + seeds)), gold, relearning)
    plan = filled(requested)
    folder = options.output or RUNS / slug("bench", Path(str(plan.job.model)).name, *plan.concepts)
    plan = filled(requested, None if options.overwrite else folder)
    cells = run_all(plan, folder, partial(measured, display), display, options.overwrite)
    return Result(folder, cells, facts(plan))


def _compare_runs(options: argparse.Namespace, shared: dict[str, Any], relearning: Relearning, display: Display) -> Result:
    """A bench of finished runs."""
    from erase.run import RUNS, Run
    from eval.bench.finished_runs import cells_of, facts_of, golds_beside
    from eval.bench.page import MARKDOWN
    from eval.bench.relearning import relearned

    unused = [*(name for name in ("concepts", "methods", "seeds", "first_seed") if getattr(options, name)), *shared]
    if unused:
        flag = unused[0].replace("_", "-")
        message = f"--{flag} is for a bench that makes its runs, and run folders were given; leave one of the two out"
        raise InputError(message, option=unused[0])
    cells = cells_of(options.runs)
    folder = options.output or RUNS / "bench-runs"
    check_folder(folder)
    check_own_folder(folder, MARKDOWN, "a bench of finished runs")
    golds = golds_beside(cells, golds_of(options.gold), folder, relearning, partial(measured, display), display)
    for cell in cells:
        if relearning.relearn:
            relearned(Run.read(cell.folder), cell.folder / "model", relearning, display)
        measured(display, cell.folder)
    return Result(folder, [*cells, *golds], facts_of(cells))


def _report(result: Result, as_json: bool, words: list[str]) -> int:
    """Write and print the report; 1 where every run failed."""
    from eval.bench.page import command, write
    from eval.bench.results import lines_of_cells
    from eval.bench.summary import protocol_of, report
    from eval.bench.tables import table

    lines = lines_of_cells(result.cells)
    numbers = report(lines, {"command": command(words), **protocol_of(lines), **result.facts})
    write(result.folder, numbers, lines)
    if as_json:
        print((result.folder / "report.json").read_text(encoding="utf-8"), end="")
    else:
        print(f"{table(numbers)}\n\nreport    {result.folder / 'report.html'}")
    return 0 if any(not cell.failure for cell in result.cells) else 1
