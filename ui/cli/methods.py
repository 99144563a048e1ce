"""`erase-concept methods`: methods, presets and options."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from ui.cli.flags import PROGRAM, Parser, shown


def methods(arguments: list[str]) -> int:
    """List the methods, their presets and their options."""
    from erase.methods import CLASSIFIER_METHODS, METHODS, make_method

    parser = Parser(prog=f"{PROGRAM} methods", description=methods.__doc__, epilog=f"example: {PROGRAM} methods --json")
    parser.add_argument(
        "--classifiers",
        action="store_true",
        help="methods for classifiers (`erase-concept classify`) instead of those for text-to-image models",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    known = CLASSIFIER_METHODS if options.classifiers else METHODS
    table = {
        name: {preset: vars(make_method(name, preset, known)) for preset in method.presets}
        | {
            f"{preset} ({kind})": vars(make_method(name, preset, known, **values))
            for preset, kinds in getattr(method, "kinds", {}).items()
            for kind, values in kinds.items()
        }
        for name, method in known.items()
    }
    for problem in METHODS.problems() if known is METHODS else ():
        print(f"{PROGRAM}: {problem}", file=sys.stderr)
    if options.json:
        print(json.dumps(table, indent=1))
        return 0
    for number, (name, presets) in enumerate(table.items()):
        about = next(iter((sys.modules[known[name].__module__].__doc__ or known[name].__doc__ or "").strip().splitlines()), "")
        print(f"{chr(10) * (number > 0)}{name}: {about}\n")
        columns = _columns(presets)
        print(f"  {'option':22}" + "".join(f"{names:{width}}" for names, width, _ in columns))
        for key in next(iter(presets.values())):
            print(f"  {key:22}" + "".join(f"{shown(values[key]):{width}}" for _, width, values in columns))
    return 0


def _columns(presets: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, int, Mapping[str, Any]]]:
    """Names, width and values of each column: presets with equal values share one."""
    names: list[list[str]] = []
    for name, values in presets.items():
        same = next((group for group in names if presets[group[0]] == values), None)
        if same is None:
            names.append([name])
        else:
            same.append(name)
    heads = {", ".join(group): presets[group[0]] for group in names}
    return [(head, max(26, *(len(text) + 2 for text in (head, *map(shown, values.values())))), values) for head, values in heads.items()]
