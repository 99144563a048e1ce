"""The flags of the main job, and what they say."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.files import check_folder
from erase.options import check_value
from ui.cli.flags import Parser, add_flags, chosen_method


def main_job(program: str, arguments: list[str], description: str, epilog: str) -> tuple[Any, dict[str, Any], bool]:
    """What the flags of the main job say: the job, the options of the method, and whether to print JSON."""
    from erase.pipeline.job import Job

    parser = Parser(
        prog=program, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, description=description, epilog=epilog
    )
    method = chosen_method(arguments)
    group = parser.add_argument_group("the job")
    add_flags(group, Job)
    add_flags(parser.add_argument_group(f"options of {method.__name__} (a preset is a set of values for these)"), method)
    parser.add_argument("--json", action="store_true", help="print JSON")
    values = vars(parser.parse_args(arguments))
    as_json = values.pop("json")
    values["concepts"] = tuple(text.strip() for text in values["concepts"] or ())
    names = {item.name for item in fields(Job)}
    job = Job(**{name: value for name, value in values.items() if name in names and value is not None})
    if not any(job.concepts):
        raise InputError("--concept is missing; give a name (`erase-concept concepts` lists them) or a few words", option="concepts")
    own = {name: value for name, value in values.items() if name not in names and value is not None}
    for item in fields(method):
        if item.name in own:
            check_value(item, own[item.name])  # before torch is imported; the method itself checks how its options fit together
    if job.output is not None:
        check_folder(Path(job.output))
    return job, own, as_json
