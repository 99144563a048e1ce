"""Flags made from dataclass fields, and a parser whose errors are one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from erase.errors import InputError
from erase.files import user_path
from erase.options import choices_of, kind_of

PROGRAM = "erase-concept"


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; `{self.prog} --help` shows what is expected")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """argparse's own; but a value that is empty, as a variable of a script that is not set leaves it, is refused.

        And one that is "--": some versions of Python make an empty list of --flag=--.
        """
        words = list(sys.argv[1:] if args is None else args)
        for before, word in zip(["", *words], words, strict=False):
            flag, equals, value = word.partition("=")
            if not word.strip() or (flag.startswith("--") and equals and not value.strip()):
                name = flag if equals else before if before.startswith("--") else "a value"
                raise InputError(f"{name} is empty; give one, or leave it out", option=name.removeprefix("--").replace("-", "_"))
            if flag.startswith("--") and value == "--":
                raise InputError(f"{flag} is --, which is no value; give one, or leave it out", option=flag[2:].replace("-", "_"))
        return super().parse_known_args(words, namespace)

    def _print_message(self, message: str, file: Any = None) -> None:
        """argparse's own hides an output that cannot be written."""
        if message:
            (file or sys.stderr).write(message)


def add_flags(parser: argparse.ArgumentParser | argparse._ArgumentGroup, options: type, skip: Sequence[str] = ()) -> None:
    """One flag for each `option` of a dataclass; left out, it stays None, so that presets can fill it."""
    for item in fields(options):
        if item.name in skip or "help" not in item.metadata:
            continue
        kind = kind_of(options, item.name)
        default = "" if item.default in (None, "", ()) else f" (default: {shown(item.default)})"
        names = f"--{item.name.replace('_', '-')}"
        text = item.metadata["help"].replace("%", "%%") + default
        if kind.repeated:  # `concepts`: --concept star --concept red
            parser.add_argument(names.removesuffix("s"), action="append", dest=item.name, metavar="STR", help=text)
        elif kind.type is bool:
            parser.add_argument(names, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            choices = choices_of(options, item.name) or None
            metavar = None if choices else kind.name.upper()
            parser.add_argument(names, type=kind.type, choices=choices, default=None, help=text, metavar=metavar)


def at_most(kind: type[int] | type[float], high: float) -> Callable[[str], Any]:
    """The type of a flag that is no `option`: a number with an upper bound."""

    def read(text: str) -> Any:
        value = kind(text)
        if not value <= high:
            raise argparse.ArgumentTypeError(f"{text[:30]} is too large; expected at most {high}")
        return value

    read.__name__ = kind.__name__  # argparse: "invalid int value"
    return read


def shown(value: Any) -> str:
    return {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def chosen_method(given: Sequence[str]) -> Any:
    """The method whose options become flags: --method decides, before everything else is read."""
    from erase.methods import method_class

    early = Parser(prog=PROGRAM, add_help=False, allow_abbrev=False)
    early.add_argument("--method", default="scissorhands")
    return method_class(early.parse_known_args(list(given))[0].method)


def golds_of(given: Sequence[str], bare: bool = False) -> dict[str, Path]:
    """Models that were trained without a concept, from CONCEPT=FOLDER; where `bare` also from FOLDER, of whichever concept: under "".

    InputError for another form, and for two models of one concept.
    """
    pairs = [("", "=", text) if bare and (user_path(text).is_dir() or "=" not in text) else text.partition("=") for text in given]
    if wrong := next((text for text, (name, _, path) in zip(given, pairs, strict=True) if not path or not (name or bare)), None):
        raise InputError(f"--gold {wrong} is no CONCEPT=FOLDER; expected e.g. heart=./without-heart")
    found = {name: user_path(path) for name, _, path in pairs}
    if len(found) < len(pairs):
        raise InputError(f"--gold {' '.join(given)} gives one concept two models; expected one each, as CONCEPT=FOLDER")
    return found
