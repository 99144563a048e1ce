"""Options as frozen dataclass fields (default, help, bounds and choices in one place), and the comparison of two records of them.

The flags of the command line, the forms of the web page and the record of a run are all made from these fields.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import field, fields
from functools import cache
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from erase.errors import InputError

_SOURCE = re.compile(r"(concept_file|concepts\[\d+\])\.source$")  # where a concept file lies; its content is recorded beside it


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    added_in: str | None = None,
) -> Any:
    """A dataclass field with its help and what it may be: low <= value <= high, value > above, or one of choices.

    `added_in`: the version that brought the option, where runs of earlier versions exist. Their record lacks it and is compared
    as if it held the default (`added_options`), so the default must leave the result as it was without the option.
    """
    rules = {"low": low, "high": high, "above": above, "choices": choices}
    return field(default=default, metadata={"help": help, **rules, "added_in": added_in})


def added_options(options: type) -> dict[str, Any]:
    """The defaults of the options that were added after a release: what a record without them stands for."""
    return {item.name: item.default for item in fields(options) if item.metadata.get("added_in")}


class Kind(NamedTuple):
    """What the value of an option is: `type` is bool, int, float or str; `optional` where None is allowed too.

    `repeated`: a tuple of texts, whose flag is given once for each.
    """

    type: type
    optional: bool = False
    choices: tuple[str, ...] = ()
    repeated: bool = False

    @property
    def name(self) -> str:
        return self.type.__name__


@cache
def kind_of(options: type, name: str) -> Kind:
    """The kind of a dataclass's field, from its annotation: a plain type, Literal of texts, and either of them or None.

    TypeError for another annotation: neither a flag nor a control can be made for it.
    """
    annotation = get_type_hints(options)[name]
    if get_origin(annotation) is tuple and get_args(annotation) == (str, ...):
        return Kind(str, repeated=True)
    choices = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    kinds = [choice for choice in choices if choice is not type(None)]
    literal = tuple(word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind))
    kinds = list(dict.fromkeys(str if get_origin(kind) is Literal else kind for kind in kinds))
    if len(kinds) != 1 or kinds[0] not in (bool, int, float, str) or not all(isinstance(word, str) for word in literal):
        raise TypeError(f"{options.__name__}.{name} is {annotation}; expected bool, int, float, str or a Literal, or None")
    return Kind(kinds[0], len(choices) > 1, literal)


def choices_of(options: type, name: str) -> tuple[str, ...]:
    """The values that an option allows, where they are few: those of its `option`, or of its Literal."""
    declared: tuple[str, ...] = next(item.metadata.get("choices") or () for item in fields(options) if item.name == name)
    return declared or kind_of(options, name).choices


def check(options: Any) -> None:
    """InputError for the first field of a dataclass that is not what its `option` allows; call it in __post_init__."""
    for item in fields(options):
        value, rule = getattr(options, item.name), item.metadata
        if value is None or not rule:
            continue
        name = f"--{item.name.replace('_', '-')}"
        if rule["choices"] and value not in rule["choices"]:
            raise InputError(f"{name} is {value!r}; expected one of {', '.join(rule['choices'])}", option=item.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if not math.isfinite(value):
            raise InputError(f"{name} is {value}; expected a finite number", option=item.name)
        if rule["low"] is not None and value < rule["low"]:
            raise InputError(f"{name} is {value}; expected at least {rule['low']}", option=item.name)
        if rule["high"] is not None and value > rule["high"]:
            raise InputError(f"{name} is {value}; expected at most {rule['high']}", option=item.name)
        if rule["above"] is not None and value <= rule["above"]:
            raise InputError(f"{name} is {value}; expected more than {rule['above']}", option=item.name)


# sha256 of embedded weight files that were written again, with the same tensors under other names -> that of the file now. A run
# that recorded the first resumes with the second.
REWRITTEN = {
    "6025b3fb05029543b6fc19da67a2347055c99a7457190dbe09733fd87f0602d8": "4896491602e18ef8a2b5af192c80b48a5a06d5d141e532b591649b81096877b0",
    "901d87c0bb43d4a961653d694b700def3a673537aec8690b5529f9a4894ec1d8": "893758aee55b0227beccf1b99983033b271e31b123bb25384437b540fee21fb7",
    "85c380df1b1d535918ed3b298a2580b6bcb0cbfc7646d8daa51c856760ed27af": "fdc347bde6d83186861d6c3584357d0f9c9e8051fadd65d4f95a2d7377e3b86d",
}  # fmt: skip


def differences(recorded: Mapping[str, Any], requested: Mapping[str, Any], added: Mapping[str, Any] | None = None) -> list[str]:
    """One phrase for each option that differs: `learning_rate: 0.0001 there, 0.0002 now`. The path of a concept file does not count.

    `added`: options (as `flat` names them) that are younger than some runs, with their defaults. A record without such an option
    counts as having its default, so that an earlier run can be resumed.
    """
    new = flat(requested)
    old = {name: value for name, value in (added or {}).items() if name in new} | flat(recorded)
    old = {name: REWRITTEN.get(value, value) if isinstance(value, str) else value for name, value in old.items()}
    names = [name for name in {**old, **new} if (name in old, old.get(name)) != (name in new, new.get(name)) and not _SOURCE.match(name)]
    return [f"{name}: {_short(old, name)} there, {_short(new, name)} now" for name in names]


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested options as {"a.b": ..., "c[0]": ...}."""
    if isinstance(value, Mapping) and value:
        parts = [flat(inner, f"{name}.{key}" if name else str(key)) for key, inner in value.items()]
    elif isinstance(value, list) and value:
        parts = [flat(inner, f"{name}[{i}]") for i, inner in enumerate(value)]
    else:
        return {name: value} if name else {}
    return {key: inner for part in parts for key, inner in part.items()}


def _short(options: Mapping[str, Any], name: str) -> str:
    text = json.dumps(options[name], ensure_ascii=False) if name in options else "absent"
    return text if len(text) <= 60 else f"{text[:57]}..."
