"""The flags of the main job, and what they say."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from erase.errors import InputError
from ui.cli.flags import Parser, add_flags, chosen_method


def main_job(program: str, given: list[str], description: str, epilog: str) -> tuple[Any, dict[str, Any], bool]:
    """What the flags of the main job say: the job, the options of the method, and whether to print JSON."""
    from erase.concepts.several import JOINT
    from erase.pipeline.job import Job

    parser = Parser(
        prog=program, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, description=description, epilog=epilog
    )
    method = chosen_method(given)
    group = parser.add_argument_group("the job")
    about = next(item.metadata["help"] for item in fields(Job) if item.name == "concept")
    group.add_argument("--concept", action="append", metavar="STR", help=about)
    add_flags(group, Job, skip=("concept",))
    add_flags(parser.add_argument_group(f"options of {method.__name__} (a preset is a set of values for these)"), method)
    parser.add_argument("--json", action="store_true", help="print JSON")
    values = vars(parser.parse_args(given))
    as_json = values.pop("json")
    values["concept"] = JOINT.join(text.strip() for text in values["concept"] or [])
    names = {item.name for item in fields(Job)}
    job = Job(**{name: value for name, value in values.items() if name in names and value is not None})
    if not job.concept.strip():
        raise InputError("--concept is missing; give a name (`erase-concept concepts` lists them) or a few words")
    return job, {name: value for name, value in values.items() if name not in names and value is not None}, as_json
