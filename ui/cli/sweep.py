"""`erase-concept sweep`: settings of one method, tried on a few concepts."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erase.errors import InputError
from erase.files import read_object
from erase.options import MANY, SEED
from ui.cli.display import Display, measured, shell_line
from ui.cli.flags import PROGRAM, Parser, add_flags, at_most

if TYPE_CHECKING:
    from eval.bench.sweep import Sweep


def sweep(arguments: list[str]) -> int:
    """Try settings of a method on a few concepts, and report which forgets and keeps best. The same command resumes where it stopped."""
    from erase.pipeline.job import Job
    from erase.run import RUNS
    from eval.bench.plan import OWN
    from eval.bench.sweep import TRIALS, Sweep, space_of

    examples = f"""examples:
  {PROGRAM} sweep --concepts star red --over fraction=0.001,0.005 forget_weight=0.5,1
  {PROGRAM} sweep --concepts star red striped --space space.toml --trials 20 --output runs/sweep

A TOML file has lines such as fraction = [0.001, 0.005]. With --trials N, N settings are drawn from the grid, always the same ones; more
may be added. The score of a run is the smaller of forgetting and keeping. Judge the best setting on other concepts."""
    parser = Parser(
        prog=f"{PROGRAM} sweep", description=sweep.__doc__, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--concepts", nargs="+", default=[], help="what settings are tried on, each in runs of its own")
    parser.add_argument("--over", nargs="+", default=[], metavar="NAME=V1,V2", help="options of the method, and their values")
    parser.add_argument("--space", type=Path, metavar="FILE.toml", help="the same in a file: NAME = [V1, V2]")
    parser.add_argument("--trials", type=at_most(int, TRIALS), help="number of settings, drawn from the grid (default: all of them)")
    parser.add_argument("--draw", type=at_most(int, SEED), default=0, help="seed of the draw of settings (default: 0)")
    parser.add_argument("--seeds", type=at_most(int, MANY), default=1, help="how often every setting is tried (default: 1)")
    parser.add_argument("--method", default="scissorhands", help="the method whose settings these are (default: scissorhands)")
    parser.add_argument("--preset", default="balanced", help="what the rest of its options are (default: balanced)")
    parser.add_argument("--output", type=Path, default=RUNS / "sweep", help=f"folder of the sweep (default: {RUNS / 'sweep'})")
    parser.add_argument("--overwrite", action="store_true", help="start again in a folder that holds another sweep")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_flags(parser.add_argument_group("of every run, as in the main job"), Job, skip=(*OWN, "method", "preset"))
    options = parser.parse_args(arguments)
    if not options.concepts:
        raise InputError(
            "--concepts is missing; give the names of some (`erase-concept concepts` lists them), and keep others to judge by",
            option="concepts",
        )
    if options.seeds < 1:
        raise InputError(f"--seeds is {options.seeds}; expected at least 1", option="seeds")
    space = space_of(options.over, options.space)
    shared = {item.name: value for item in fields(Job) if item.name not in OWN and (value := getattr(options, item.name, None)) is not None}
    job = Job(**{**shared, "method": options.method, "preset": options.preset})
    plan = Sweep(job, tuple(options.concepts), space, tuple(range(options.seeds)), options.trials, options.draw)
    return _run(plan, options)


def _run(plan: Sweep, options: argparse.Namespace) -> int:
    from erase.files import write_json, written
    from eval.bench.sweep import flags
    from eval.bench.sweep import sweep as try_all
    from eval.bench.sweep_results import SCORE, scatter_svg, table, trials

    with Display() as display:
        cells = try_all(plan, options.output, partial(measured, display), display, options.overwrite)
    reports = {c: read_object(c.folder / "report.json") for c in cells if not c.failure}
    results = trials([(c.label, {"concept": c.concept, "seed": c.seed, "folder": str(c.folder)}, reports.get(c), c.failure) for c in cells])
    best = next((trial["label"] for trial in results if trial["score"] is not None), None)
    protocol: dict[str, Any] = next((report["protocol"] for report in reports.values()), {})
    record: dict[str, Any] = {
        "kind": "sweep", "score": SCORE, "concepts": list(dict.fromkeys(c.concept for c in cells)), "seeds": list(plan.seeds),
        "space": {name: list(values) for name, values in plan.space.items()}, "settings": plan.grid, "tried": len(results),
        "best": best, "flags": flags(best) if best else None, "trials": results, "protocol": protocol,
    }  # fmt: skip
    write_json(options.output / "sweep.json", record)
    if best:
        with written(options.output / "sweep.svg") as part:
            part.write_text(scatter_svg(results), encoding="utf-8")
    if options.json:
        print(json.dumps(record, indent=1, ensure_ascii=False))
        return 0 if best else 1
    print(f"{table(results)}\n\nscore: {SCORE}\nsettings tried: {len(results)} of {plan.grid}, on {', '.join(record['concepts'])}")
    print(f"best:  {record['flags']}\nscatter   {options.output / 'sweep.svg'}" if best else "every setting failed")
    if best:
        print(f"\nnext, on concepts that the sweep has not used: {PROGRAM} bench --concepts NAME ... --methods {shell_line(best)}")
    return 0 if best else 1
