"""Options as frozen dataclass fields (default, help, bounds and choices in one place), and the comparison of two records of them.

The flags of the command line, the forms of the web page and the record of a run are all made from these fields.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import Field, field, fields
from functools import cache
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from erase.errors import InputError

MANY = 1_000_000  # of anything that is counted: images, steps, batches
LARGE = 1e6  # of any other number
RATE = 1e4  # of learning rates: plain SGD on a diffusion network, whose gradients are about 1e-6, needs some hundreds
SEED = 2**63 - 1
SIDE = 16_384  # pixels of an image
SAMPLING_STEPS = 10_000
LONG = 10_000  # characters of a text
_DEVICE = re.compile(r"auto|cpu(:0)?|mps(:0)?|cuda(:\d{1,3})?")
MODELS = ("model", "erased")  # paths or names of what the hashes of weights in the same record identify
PLACES = ("forget_images", "retain_images", "forget_image_captions", "retain_image_captions")
_CONCEPT_MODEL = re.compile(r"(concept_file|concepts\[\d+\])\.model$")  # that of the run, for a concept without a file
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

    Without `high`, a number has the upper bound of `bounds_of`: what is larger is a slip, and would fail late or fill the memory.

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
        check_value(item, getattr(options, item.name))


def check_value(item: Field[Any], value: Any) -> None:
    """InputError for a value that the `option` of a field does not allow."""
    if value is None or not item.metadata:
        return
    name, rule = f"--{item.name.replace('_', '-')}", item.metadata
    if rule["choices"] and value not in rule["choices"]:
        raise InputError(f"{name} is {value!r}; expected one of {', '.join(rule['choices'])}", option=item.name)
    for text in value if isinstance(value, tuple) else (value,):
        if isinstance(text, str):
            _check_text(item, name, text)
    if isinstance(value, str) and not value.strip() and item.default != value:
        raise InputError(f"{name} is empty; give a value, or leave the option out", option=item.name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if not math.isfinite(value):
        raise InputError(f"{name} is {value}; expected a finite number", option=item.name)
    low, above, high = bounds_of(item, isinstance(value, float))
    if low is not None and value < low:
        raise InputError(f"{name} is {_figure(value)}; expected at least {low}", option=item.name)
    if above is not None and value <= above:
        raise InputError(f"{name} is {_figure(value)}; expected more than {above}", option=item.name)
    if value > high:
        raise InputError(f"{name} is {_figure(value)}; expected at most {high}", option=item.name)


def bounds_of(item: Field[Any], fraction: bool) -> tuple[float | None, float | None, float]:
    """low <= value, above < value, value <= high of a field that holds numbers (`fraction`: float). Every option has a `high`."""
    rule = item.metadata
    usual = (RATE if item.name.endswith("rate") else LARGE) if fraction else SEED if item.name.endswith("seed") else MANY
    return rule["low"], rule["above"], usual if rule["high"] is None else rule["high"]


def check_device(device: str, option: str = "device") -> None:
    """InputError for what is not the name of a device. Whether it is there is known once torch is imported."""
    if not _DEVICE.fullmatch(device):
        raise InputError(f"--device {device!r} is unknown; expected auto, cpu, cuda, cuda:N or mps", option=option)


def _check_text(item: Field[Any], name: str, text: str) -> None:
    if len(text) > LONG:
        raise InputError(f"{name} has {len(text)} characters; expected at most {LONG}", option=item.name)
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"{name} is {text[:80]!r}, which has characters that are not text; give another value", option=item.name)
    if item.name == "device":
        check_device(text)


def _figure(value: float) -> str:
    text = str(value)
    return text if len(text) <= 30 else f"{text[:12]}... ({len(text)} digits)"


# sha256 of embedded weight files that were written again, with the same tensors under other names -> that of the file now. A run
# that recorded the first resumes with the second.
REWRITTEN = {
    "6025b3fb05029543b6fc19da67a2347055c99a7457190dbe09733fd87f0602d8": "4896491602e18ef8a2b5af192c80b48a5a06d5d141e532b591649b81096877b0",
    "901d87c0bb43d4a961653d694b700def3a673537aec8690b5529f9a4894ec1d8": "893758aee55b0227beccf1b99983033b271e31b123bb25384437b540fee21fb7",
    "85c380df1b1d535918ed3b298a2580b6bcb0cbfc7646d8daa51c856760ed27af": "fdc347bde6d83186861d6c3584357d0f9c9e8051fadd65d4f95a2d7377e3b86d",
}  # fmt: skip


def differences(recorded: Mapping[str, Any], requested: Mapping[str, Any], added: Mapping[str, Any] | None = None) -> list[str]:
    """One phrase for each option that differs: `learning_rate: 0.0001 there, 0.0002 now`. The path of a concept file does not count.

    Nor does where a model lies while its weights are the same, nor how the path of a folder of images is spelled.

    `added`: options (as `flat` names them) that are younger than some runs, with their defaults. A record without such an option
    counts as having its default, so that an earlier run can be resumed.
    """
    new = flat(requested)
    old = {name: value for name, value in (added or {}).items() if name in new} | flat(recorded)
    old = {name: REWRITTEN.get(value, value) if isinstance(value, str) else value for name, value in old.items()}
    names = [name for name in {**old, **new} if (name in old, old.get(name)) != (name in new, new.get(name)) and not _SOURCE.match(name)]
    if _same_weights(old, new):
        models = (old.get("model"), new.get("model"))
        follows = {name for name in names if _CONCEPT_MODEL.match(name) and (old.get(name), new.get(name)) == models}
        names = [name for name in names if name not in {*MODELS, *follows} and not name.startswith("weights.")]
    names = [name for name in names if not (name in PLACES and _same_place(old.get(name), new.get(name)))]
    return [f"{name}: {_short(old, name)} there, {_short(new, name)} now" for name in names]


def _same_weights(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether two records are of the same models, wherever these lie: by the hashes of their weights, or of their single file."""
    one, other = ({name: value for name, value in side.items() if name.startswith("weights.")} for side in (old, new))
    file = old.get("single_file_sha256")
    return (bool(one) and one == other) or (file is not None and file == new.get("single_file_sha256"))


def _same_place(old: Any, new: Any) -> bool:
    """Whether two paths are of the same file or folder, differently spelled."""
    try:
        return isinstance(old, str) and isinstance(new, str) and os.path.samefile(old, new)
    except OSError:
        return False


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
