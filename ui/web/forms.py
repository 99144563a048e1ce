"""Forms from dataclasses: what a control shows for each `option`, what a preset fills in, what was typed -> values and flags.

Nothing here is written for one method: a new field, or a new method, has its form. Only `control` knows gradio.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from erase.errors import InputError
from erase.methods import METHODS, make_method
from erase.options import choices_of, kind_of

UNSET = "(by default)"
EMPTY = "by default"
SWITCH = ("on", "off")


@dataclass(frozen=True)
class Field:
    """One control: `kind` is bool, int, float or str; `optional` may be left empty; choices and bounds as the option has them."""

    name: str
    label: str
    help: str
    kind: str
    default: Any
    optional: bool
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    above: float | None = None

    @property
    def info(self) -> str:
        """Help and bounds in a line, with labels for flags."""
        help = re.sub(r"--([a-z-]+)", lambda flag: f"“{labelled(flag[1])}”", self.help)
        bounds = {"at least": self.low, "more than": self.above, "at most": self.high}
        said = ", ".join(f"{words} {value:g}" for words, value in bounds.items() if value is not None)
        return f"{help[:1].upper()}{help[1:]}" + (f" ({said})." if said and not self.choices else ".")


def form(options: type, only: Sequence[str] | None = None) -> list[Field]:
    """The controls of a dataclass, in the order of its fields; `only` picks some."""
    found = []
    for item in fields(options):
        if "help" in item.metadata and (only is None or item.name in only):
            kind = kind_of(options, item.name)
            bounds = {name: item.metadata[name] for name in ("low", "high", "above")}
            choices = SWITCH if kind.type is bool and kind.optional else choices_of(options, item.name)
            text = item.metadata["help"]
            found.append(Field(item.name, labelled(item.name), text, kind.name, item.default, kind.optional, choices, **bounds))
    return found


def labelled(name: str) -> str:
    """The name of a field as people write it."""
    words = name.replace("_", " ").replace("-", " ")
    return words[:1].upper() + words[1:]


def presets(method: str) -> list[str]:
    """The names of a method's presets."""
    return list(METHODS[_known(method)].presets)


def preset_values(method: str, preset: str, recommended: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the form shows for a preset; `balanced` follows what the concept recommends, as the command does."""
    settings = dict(recommended or {}) if preset == "balanced" else {}
    known = [field.name for field in form(METHODS[_known(method)])]
    chosen = make_method(method, preset, **{name: value for name, value in settings.items() if name in known})
    return dict(vars(chosen))


def typed(field: Field, given: Any) -> Any:
    """What a control holds as a value of the option; InputError in a line where it is none."""
    if given is None or (isinstance(given, str) and not given.strip()) or given == UNSET:
        if field.optional or field.default == "":
            return None if field.optional else ""
        raise InputError(f"{field.label} is empty; expected {_expected(field)}")
    if field.kind == "bool":
        return given == SWITCH[0] if isinstance(given, str) else bool(given)
    if field.kind in ("int", "float"):
        return _number(field, given)
    return str(given).strip()


def changed(form: Sequence[Field], given: Sequence[Any], filled: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a form that differ from what was filled in. A flag cannot say "none", so what a preset sets stays set."""
    values = {field.name: typed(field, value) for field, value in zip(form, given, strict=True)}
    for field in form:
        if values[field.name] is None and filled.get(field.name) is not None:
            raise InputError(
                f"{field.label} is empty, but the preset has {filled[field.name]!r}; keep that, give another, or choose another preset"
            )
    return {name: value for name, value in values.items() if value != filled.get(name)}


def flags(values: Mapping[str, Any]) -> list[str]:
    """Values as flags of the command. Text in one piece with its flag, so that none is taken for another flag."""
    found = []
    for name, value in values.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{'' if value else 'no-'}{flag}")
        elif value is not None:
            found.append(f"--{flag}={value!r}" if isinstance(value, float) else f"--{flag}={value}")
    return found


def as_shown(field: Field, value: Any) -> Any:
    """A value as its control holds it: what may be empty is text, since gradio shows an empty number as 0."""
    if field.choices:
        return UNSET if value is None else SWITCH[not value] if field.kind == "bool" else value
    if field.kind == "bool":
        return bool(value)
    if field.kind in ("int", "float") and not field.optional:
        return value
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def control(field: Field, value: Any) -> Any:
    """The gradio component of a field."""
    import gradio as gr

    shown = as_shown(field, value)
    named: dict[str, Any] = {
        "label": field.label,
        "info": field.info,
        "elem_id": f"option-{field.name.replace('_', '-')}",
        "min_width": 200,
    }
    if field.choices:
        names = [UNSET, *field.choices] if field.optional else list(field.choices)
        return gr.Dropdown(names, value=shown, **named)
    if field.kind == "bool":
        return gr.Checkbox(value=shown, **named)
    if field.kind in ("int", "float") and not field.optional:
        step = 1 if field.kind == "int" else 10.0 ** (math.floor(math.log10(abs(value))) if value else -1)
        return gr.Number(value=shown, precision=0 if field.kind == "int" else None, step=step, **named)
    return gr.Textbox(value=shown, max_lines=1, max_length=1000, placeholder=EMPTY if field.optional else None, **named)


def _known(method: str) -> str:
    if method not in METHODS:
        raise InputError(f"the method {method!r} is unknown; expected one of {', '.join(METHODS)}")
    return method


def _number(field: Field, given: Any) -> int | float:
    try:
        number = float(given)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or (field.kind == "int" and number != int(number)):
        raise InputError(f"{field.label} is {str(given)[:40]!r}; expected {_expected(field)}")
    return int(number) if field.kind == "int" else number


def _expected(field: Field) -> str:
    return {"int": "a whole number", "float": "a number", "bool": "on or off"}.get(field.kind, "some text")
