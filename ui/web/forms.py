"""Forms from dataclasses: the control of each `option`, the values of a preset, and what was typed as values and as flags.

Nothing here is specific to a method: a new field, or a new method, has its form.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from erase.errors import InputError
from erase.methods import METHODS, DiffusionMethod, make_method
from erase.options import choices_of, kind_of

UNSET = "(default)"
EMPTY = "default"
SWITCH = ("on", "off")

Value = bool | int | float | str | None
"""The value of an option."""


@dataclass(frozen=True)
class Field:
    """One control: `kind` is bool, int, float or str; `optional` may be left empty; choices and bounds are the option's."""

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
        """Help and bounds in one line, with labels for flags."""
        help = re.sub(r"--([a-z-]+)", lambda flag: f"“{label_of(flag[1])}”", self.help)
        bounds = {"at least": self.low, "more than": self.above, "at most": self.high}
        limits = ", ".join(f"{words} {value:g}" for words, value in bounds.items() if value is not None)
        return f"{help[:1].upper()}{help[1:]}" + (f" ({limits})." if limits and not self.choices else ".")

    def check(self, value: Value) -> None:
        """InputError, by the label, for a value that is not one of the choices or outside the bounds."""
        expected = None
        if self.choices and self.kind != "bool" and value not in self.choices:
            expected = f"one of {', '.join(self.choices)}"
        elif isinstance(value, int | float) and not isinstance(value, bool):
            expected = next((words for words, violated in self._bounds(value) if violated), None)
        if value is not None and expected:
            raise InputError(f"{self.label} is {value!r}; expected {expected}")

    def _bounds(self, value: float) -> Iterable[tuple[str, bool]]:
        yield "a finite number", not math.isfinite(value)
        yield f"at least {self.low}", self.low is not None and value < self.low
        yield f"at most {self.high}", self.high is not None and value > self.high
        yield f"more than {self.above}", self.above is not None and value <= self.above


def form(options: type, only: Sequence[str] | None = None) -> list[Field]:
    """The controls of a dataclass, in the order of its fields; `only` picks some."""
    controls = []
    for item in fields(options):
        if "help" in item.metadata and (only is None or item.name in only):
            kind = kind_of(options, item.name)
            if kind.repeated:  # no control holds a list
                continue
            bounds = {name: item.metadata[name] for name in ("low", "high", "above")}
            choices = SWITCH if kind.type is bool and kind.optional else choices_of(options, item.name)
            label, help = label_of(item.name), item.metadata["help"]
            controls.append(Field(item.name, label, help, kind.name, item.default, kind.optional, choices, **bounds))
    return controls


def label_of(name: str) -> str:
    """The name of a field in words."""
    words = name.replace("_", " ").replace("-", " ")
    return words[:1].upper() + words[1:]


def labels_of(fields: Iterable[Field]) -> dict[str, str]:
    """Option -> label, as `labelled` takes them."""
    return {field.name: field.label for field in fields}


def presets(method: str) -> list[str]:
    """The names of a method's presets."""
    return list(_method_class(method).presets)


def preset_values(method: str, preset: str, recommended: Mapping[str, Any] | None = None, kind: str | None = None) -> dict[str, Any]:
    """The values of a preset, as the command has them: `balanced` follows the concept's recommendation, others its kind."""
    settings = (
        dict(recommended or {}) if preset == "balanced" else dict(getattr(_method_class(method), "kinds", {}).get(preset, {}).get(kind, {}))
    )
    names = [field.name for field in form(_method_class(method))]
    return dict(vars(make_method(method, preset, **{name: value for name, value in settings.items() if name in names})))


def typed(field: Field, entered: Any) -> Value:
    """What a control holds as a value of the option; InputError, by its label, where it is not one."""
    if entered is None or (isinstance(entered, str) and not entered.strip()) or entered == UNSET:
        if field.optional or field.default == "":
            return None if field.optional else ""
        raise InputError(f"{field.label} is empty; expected {_expected(field)}")
    if field.kind == "bool":
        return entered == SWITCH[0] if isinstance(entered, str) else bool(entered)
    value = _number(field, entered) if field.kind in ("int", "float") else str(entered).strip()
    field.check(value)
    return value


def changed(fields: Sequence[Field], entered: Mapping[str, Any], preset: Mapping[str, Any]) -> dict[str, Value]:
    """The values of a form that differ from those it was filled with. A flag cannot say "none": a value of the preset cannot be emptied."""
    values = {field.name: typed(field, entered[field.name]) for field in fields}
    for field in fields:
        if values[field.name] is None and preset.get(field.name) is not None:
            raise InputError(
                f"{field.label} is empty, but the preset has {preset[field.name]!r}; keep that, enter another, or choose another preset"
            )
    return {name: value for name, value in values.items() if value != preset.get(name)}


def flags(values: Mapping[str, Any]) -> list[str]:
    """Values as flags of the command. Text is joined to its flag, so that none is taken for another flag."""
    arguments = []
    for name, value in values.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{'' if value else 'no-'}{flag}")
        elif value is not None:
            arguments.append(f"--{flag}={value!r}" if isinstance(value, float) else f"--{flag}={value}")
    return arguments


def displayed(field: Field, value: Value) -> Any:
    """A value as its control holds it: an optional number is text, since gradio shows an empty number as 0."""
    if field.choices:
        return UNSET if value is None else SWITCH[not value] if field.kind == "bool" else value
    if field.kind == "bool":
        return bool(value)
    if field.kind in ("int", "float") and not field.optional:
        return value
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _method_class(method: str) -> type[DiffusionMethod]:
    if method not in METHODS:
        raise InputError(f"the method {method!r} is unknown; expected one of {', '.join(METHODS)}", option="method")
    return METHODS[method]


def _number(field: Field, entered: Any) -> int | float:
    try:
        number = float(entered)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or (field.kind == "int" and number != int(number)):
        raise InputError(f"{field.label} is {str(entered)[:40]!r}; expected {_expected(field)}")
    return int(number) if field.kind == "int" else number


def _expected(field: Field) -> str:
    return {"int": "a whole number", "float": "a number", "bool": "on or off"}.get(field.kind, "some text")
