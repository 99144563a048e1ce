"""`erase-concept reproduce`: the tables and figures of the Scissorhands paper."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from erase.errors import InputError
from ui.cli.display import Display, print_rows, shell_line
from ui.cli.flags import PROGRAM, Parser, add_flags

if TYPE_CHECKING:
    from eval.bench.paper.items import Item
    from eval.bench.paper.plan import Reproduction
    from eval.bench.paper.result import Result

EXAMPLES = f"""examples:
  {PROGRAM} reproduce                                            the list
  {PROGRAM} reproduce table1 --data data --device cuda
  {PROGRAM} reproduce table1 --scale 0.01                        a rehearsal, a minute on a CPU
  {PROGRAM} reproduce table1 --estimate
  {PROGRAM} reproduce figure3 --runs SalUn=runs/a Scissorhands=runs/b

The same command resumes where it stopped; what is finished is read. Published values that are not known to us are shown as a dash."""


def reproduce(arguments: list[str]) -> int:
    """Run a table or figure of the Scissorhands paper and print our values beside the paper's. Without a name: list them."""
    from eval.bench.paper.items import TRAINED, load_item
    from eval.bench.paper.plan import Reproduction

    parser = Parser(
        prog=f"{PROGRAM} reproduce", description=reproduce.__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("item", nargs="?", help="table1 to table9, figure1 to figure8; by default all are listed")
    parser.add_argument("--runs", nargs="+", default=[], metavar="LABEL=FOLDER", help="finished runs or evaluations, or FOLDER alone")
    add_flags(parser, Reproduction)
    parser.add_argument("--estimate", action="store_true", help="print what it takes, and do not run it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    values = vars(parser.parse_args(arguments))
    name, runs, estimate, as_json = (values.pop(key) for key in ("item", "runs", "estimate", "json"))
    options = Reproduction(**{key: value for key, value in values.items() if value is not None})
    if name is None:
        return _list(as_json)
    item = load_item(name)
    if estimate:
        return _estimate(item, options, as_json)
    if bool(runs) == (item.kind in TRAINED):
        wrong = "is not made from --runs, but from data" if runs else "is made from finished runs; --runs is missing"
        raise InputError(f"{item.name} {wrong}: it needs {item.needs}", option="runs")
    result, folder = _made(item, options, runs, shell_line(PROGRAM, "reproduce", *arguments))
    if as_json:
        print(json.dumps(result.report(), indent=1, ensure_ascii=False))
        return 0
    from eval.bench.paper.result import text

    print(f"{text(result)}\n\nreport    {folder / 'report.html'}")
    return 0


def _list(as_json: bool) -> int:
    from eval.bench.paper.items import list_items

    items = list_items()
    if as_json:
        print_rows([{"name": one.name, "shows": one.about, "needs": one.needs, "takes": one.takes} for one in items], True)
        return 0
    print_rows([{"name": one.name, "shows": one.about} for one in items], False)
    print("\nEach needs and takes:")
    for needs in dict.fromkeys(one.needs for one in items):
        print(f"  {needs}")
        for one in items:
            if one.needs == needs:
                print(f"    {one.name:8} {one.takes}")
    return 0


def _estimate(item: Item, options: Reproduction, as_json: bool) -> int:
    from erase.diffusion import pick_device
    from eval.bench.paper.estimate import estimate
    from eval.bench.paper.plan import planned
    from eval.bench.paper.table import deviations

    cells = planned(item, options)
    rows = estimate(item, cells)
    if as_json or not rows:
        print(json.dumps(rows, indent=1, ensure_ascii=False) if as_json else f"{item.name} takes {item.takes}")
        return 0
    print_rows(rows, False)
    if cells:
        hours, device = sum(row["hours"] for row in rows), pick_device(options.device)
        number = f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"
        print(f"\nabout {number} hours on {device}, from a few steps timed here; the same command without --estimate runs it")
    print("\n".join(f"- {line}" for line in deviations(item, options, cells)) if cells else "")
    return 0


def _made(item: Item, options: Reproduction, runs: list[str], command: str) -> tuple[Result, Path]:
    from dataclasses import replace

    from eval.bench.paper.plan import folder_of, planned
    from eval.bench.paper.result import write

    cells = planned(item, options)
    with Display(libraries=False) as display:
        from eval.bench.paper.make import make

        result = replace(make(item, options, cells, runs, display), command=command)
    folder = folder_of(item, options)
    write(folder, result)
    return result, folder
