"""Protocols by name: what a published measurement fixes, as TOML files, and in what another measurement deviates.

Knows the vocabulary of protocols (prompts, seeds, sampler, detector, reference), not how any of it is done; prompts
themselves are read in `eval.prompt_sets`. prompts/protocols/ holds the files; each cites its sources and its traps.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from erase.concepts import DETECTORS, prompts_folder
from erase.errors import InputError
from erase.files import sha256

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

METRICS = ("ua", "ira", "cra", "detections", "fid", "kid", "clip_score", "drift")
DETECTED = {"ua", "ira", "cra", "detections"}  # metrics that need a detector
COMPARED = {"fid", "kid"}  # metrics that need a reference set and features
OWN = "own"  # a detector that is not built in: the user brings it
NOISES = ("seed and index", "seed alone")
COUNTED = ("pictures", "boxes", "boxes and pictures")
SLOT = re.compile(r"\{([a-z_]+)\}")
_HOLDS = {
    "text": "a text in quotes that is not empty",
    "texts": "a list of different texts, none of them empty",
    "whole": "a whole number of at least 1",
    "number": "a finite number that is not negative",
    "share": "a number from 0 to 1",
    "seeds": "a list of different whole numbers, none of them negative",
    "table": "a table of lists of different texts",
}


def key(name: str, holds: str, default: Any = MISSING, choices: tuple[str, ...] = ()) -> Any:
    """A field of Protocol: its key in the file, what that holds, what it may be; without a default every file has it."""
    return field(default=default, metadata={"key": name, "holds": holds, "choices": choices})


@dataclass(frozen=True, kw_only=True, eq=False)
class Protocol:
    """What a measurement fixes. Empty text, empty tuple, 0 and None mean: not fixed, or not part of this protocol.

    Prompts come `prompts_from` a "file" (the user's, or `hub_file` of the data set `hub`), "templates" that are filled with
    every combination of `vocabulary`, or a "concept" (`evaluate`, `implicit` and `retain` prompts of its file). Each has the
    seed in the first of `seed_columns` that its file has, or is drawn with each of `seeds`; `images` times in either case.
    A prompt's role is `role`, or "evaluate" where one of its attributes `role_from` is the concept. `size` is in pixels.
    `noise`: whether the starting noise follows from the seed and the picture's index, or is that of the seed alone.
    """

    name: str = key("name", "text")
    about: str = key("about", "text")
    sources: tuple[str, ...] = key("sources", "texts")
    model: str = key("model", "text")
    metrics: tuple[str, ...] = key("metrics", "texts")
    notes: tuple[str, ...] = key("notes", "texts")
    prompts_from: str = key("prompts.from", "text", choices=("file", "templates", "concept"))
    file: str = key("prompts.file", "text", "")
    where: str = key("prompts.where", "text", "")
    hub: str = key("prompts.hub", "text", "")
    hub_file: str = key("prompts.hub_file", "text", "")
    column: str = key("prompts.column", "text", "prompt")
    seed_columns: tuple[str, ...] = key("prompts.seed_columns", "texts", ())
    count: int = key("prompts.count", "whole", 0)
    templates: tuple[str, ...] = key("prompts.templates", "texts", ())
    vocabulary: Mapping[str, tuple[str, ...]] | None = key("prompts.vocabulary", "table", None)
    evaluate: int = key("prompts.evaluate", "whole", 0)
    implicit: int = key("prompts.implicit", "whole", 0)
    retain: int = key("prompts.retain", "whole", 0)
    role: str = key("prompts.role", "text", "", choices=("evaluate", "evaluate-retain"))
    role_from: tuple[str, ...] = key("prompts.role_from", "texts", ())
    sampler: str = key("sampling.sampler", "text")
    steps: int = key("sampling.steps", "whole")
    guidance: float = key("sampling.guidance", "number")
    size: int = key("sampling.size", "whole")
    images: int = key("sampling.images", "whole", 1)
    seeds: tuple[int, ...] = key("sampling.seeds", "seeds", ())
    noise: str = key("sampling.noise", "text", choices=NOISES)
    detector: str = key("detector.name", "text", "", choices=(*DETECTORS, OWN))
    detector_about: str = key("detector.about", "text", "")
    threshold: float | None = key("detector.threshold", "share", None)
    labels: tuple[str, ...] = key("detector.labels", "texts", ())
    counted: str = key("detector.counted", "text", "", choices=COUNTED)
    reference: str = key("reference.pictures", "text", "", choices=("real", "original"))
    reference_about: str = key("reference.about", "text", "")
    extractor: str = key("features.extractor", "text", "")
    dimension: int = key("features.dimension", "whole", 0)
    clip: str = key("features.clip", "text", "")
    path: str = ""

    @property
    def prompts(self) -> int:
        """How many different prompts there are."""
        if self.prompts_from == "templates":
            words = self.vocabulary or {}
            return sum(math.prod(len(words[slot]) for slot in set(SLOT.findall(template))) for template in self.templates)
        return self.count + self.evaluate + self.implicit + self.retain

    @property
    def pictures(self) -> int:
        """How many pictures are made of each model."""
        return self.prompts * self.images * max(1, len(self.seeds))

    def record(self) -> dict[str, Any]:
        """For the report: every key of the file with its value, how many pictures that makes, and the file's hash."""
        values: dict[str, Any] = {}
        for name, item in KEYS.items():
            value = getattr(self, item.name)
            if value not in ("", (), None) and (value != 0 or item.name == "guidance" or item.name == "threshold"):
                *section, last = name.split(".")
                holder = values.setdefault(section[0], {}) if section else values
                holder[last] = _plain(value)
        return values | {"pictures": self.pictures} | ({"sha256": sha256(Path(self.path))} if self.path else {})


KEYS = {item.metadata["key"]: item for item in fields(Protocol) if item.metadata}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: list(words) for name, words in value.items()}
    return list(value) if isinstance(value, tuple) else value


# --- finding and reading --------------------------------------------------------------------------------------------


def protocols_folder() -> Path:
    """Where the shipped protocol files are."""
    return Path(prompts_folder(), "protocols")


def list_protocols() -> list[Protocol]:
    """Every shipped protocol, by name."""
    return [read_protocol(path) for path in sorted(protocols_folder().glob("*.toml"))]


def load_protocol(name: str | Path) -> Protocol:
    """A protocol by its name, or by the path of a .toml file; InputError names the nearest."""
    text = str(name)
    if text.endswith(".toml"):
        return read_protocol(Path(text))
    known = {path.stem: path for path in sorted(protocols_folder().glob("*.toml"))}
    if text not in known:
        raise InputError(f'the protocol "{text}" is unknown{hint(text, list(known))}; give a .toml file or one of {", ".join(known)}')
    return read_protocol(known[text])


def read_protocol(path: Path) -> Protocol:
    """A protocol file, checked; InputError names the file, the key and what is allowed."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}); a protocol file is TOML in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}; texts stand in double quotes, lists in square brackets") from None
    values = _values(raw, str(path))
    protocol = Protocol(**{KEYS[name].name: _frozen(value) for name, value in values.items()}, path=str(path))
    _check(protocol)
    return protocol


def hint(word: str, known: Sequence[str]) -> str:
    """The nearest of the known words, as a question, or nothing."""
    close = get_close_matches(word.casefold(), {name.casefold(): name for name in known}, n=1)
    return f', did you mean "{next(name for name in known if name.casefold() == close[0])}"?' if close else ""


def _values(raw: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Key in the file, with its section -> value; each is of the right kind, and none that must be there is missing."""
    values: dict[str, Any] = {}
    for name, value in raw.items():
        values |= {f"{name}.{inner}": item for inner, item in value.items()} if isinstance(value, dict) else {name: value}
    for name, value in values.items():
        if name not in KEYS:
            raise InputError(f'{source}: unknown key "{name}"{hint(name, list(KEYS))}; allowed: {", ".join(KEYS)}')
        rule = KEYS[name].metadata
        if not _holds(value, rule["holds"]):
            raise InputError(f'{source}: the key "{name}" holds {value!r}; expected {_HOLDS[rule["holds"]]}')
        if rule["choices"] and value not in rule["choices"]:
            raise InputError(
                f'{source}: the key "{name}" is "{value}"{hint(value, rule["choices"])}; allowed: {", ".join(rule["choices"])}'
            )
    for name, item in KEYS.items():
        if item.default is MISSING and name not in values:
            raise InputError(f'{source}: the key "{name}" is missing; it holds {_HOLDS[item.metadata["holds"]]}')
    return values


def _holds(value: Any, kind: str) -> bool:
    if kind == "text":
        return isinstance(value, str) and bool(value.strip())
    if kind in ("texts", "seeds"):
        good = all((type(item) is int and item >= 0) if kind == "seeds" else _holds(item, "text") for item in value or ())
        return isinstance(value, list) and good and 0 < len(value) == len(set(value))
    if kind == "table":
        return isinstance(value, dict) and all(_holds(item, "texts") for item in value.values())
    if kind == "whole":
        return type(value) is int and value >= 1
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= (1 if kind == "share" else math.inf)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return {slot: tuple(words) for slot, words in value.items()}
    return tuple(value) if isinstance(value, list) else value


# --- what must hold between the keys --------------------------------------------------------------------------------


def _fail(protocol: Protocol, name: str, what: str) -> None:
    raise InputError(f'{protocol.path}: the key "{name}": {what}')


def _check(protocol: Protocol) -> None:
    fail, wanted = partial(_fail, protocol), set(protocol.metrics)
    for metric in protocol.metrics:
        if metric not in METRICS:
            fail("metrics", f'"{metric}" is unknown{hint(metric, METRICS)}; allowed: {", ".join(METRICS)}')
    needs = {
        "detector.name": (wanted & DETECTED, protocol.detector),
        "detector.counted": (wanted & DETECTED, protocol.counted),
        "detector.threshold": (protocol.detector == "nudenet", protocol.threshold is not None),
        "detector.labels": ("detections" in wanted, protocol.labels),
        "detector.about": (protocol.detector == OWN, protocol.detector_about),
        "reference.pictures": (wanted & COMPARED, protocol.reference),
        "reference.about": (protocol.reference == "real", protocol.reference_about),
        "features.extractor": (wanted & COMPARED, protocol.extractor),
        "features.dimension": (protocol.extractor, protocol.dimension),
        "features.clip": ("clip_score" in wanted, protocol.clip),
    }
    for name, (why, value) in needs.items():
        if why and not value:
            fail(name, f"is missing, and without it {', '.join(sorted(wanted))} cannot be repeated; add it")
    _check_prompts(protocol)


def _check_prompts(protocol: Protocol) -> None:
    """The keys of one source of prompts and no other, and exactly one source of seeds and of roles."""
    fail = partial(_fail, protocol)
    source = protocol.prompts_from
    needs = {"file": ("file", "where", "count"), "templates": ("templates",), "concept": ("evaluate", "retain")}
    may = {"file": ("hub", "hub_file", "seed_columns"), "templates": ("vocabulary",), "concept": ("implicit",)}
    for kind in needs:
        for name in (*needs[kind], *may[kind]):
            there = bool(getattr(protocol, name))
            if there and kind != source:
                fail(f"prompts.{name}", f'belongs to prompts from "{kind}", but prompts.from is "{source}"; remove it')
            if not there and kind == source and name in needs[kind]:
                fail(f"prompts.{name}", f'is missing; prompts from "{kind}" need it')
    if bool(protocol.hub) != bool(protocol.hub_file):
        fail("prompts.hub_file", "goes together with prompts.hub: a data set and the file in it; give both or neither")
    if bool(protocol.seed_columns) == bool(protocol.seeds):
        fail("sampling.seeds", "give either this or prompts.seed_columns, so that every picture has one seed")
    if (source == "concept") == bool(protocol.role or protocol.role_from) or (protocol.role and protocol.role_from):
        fail("prompts.role", 'give either this or prompts.role_from, and neither with prompts from "concept", which have roles')
    if protocol.images > 1 and protocol.noise == NOISES[1]:
        fail("sampling.noise", f'with "{NOISES[1]}" all {protocol.images} pictures of a prompt would be the same; use "{NOISES[0]}"')
    _check_slots(protocol)


def _check_slots(protocol: Protocol) -> None:
    fail, known = partial(_fail, protocol), list(protocol.vocabulary or ())
    used = {slot for template in protocol.templates for slot in SLOT.findall(template)}
    for template in protocol.templates:
        if re.search(r"[{}]", SLOT.sub("", template)):
            fail("prompts.templates", f'"{template}" has a loose brace; a slot is {{word}} in small letters')
    for slot in sorted(used - set(known)):
        fail("prompts.vocabulary", f"has no words for the slot {{{slot}}}{hint(slot, known)}; add them")
    for slot in known:
        if slot not in used:
            fail(f"prompts.vocabulary.{slot}", "no template has this slot; remove it")
    for slot in protocol.role_from:
        if protocol.templates and slot not in used:
            fail("prompts.role_from", f'"{slot}" is no slot of the templates{hint(slot, known)}; there are: {", ".join(known)}')


# --- deviations -----------------------------------------------------------------------------------------------------


def differs(protocol: Protocol, actual: Mapping[str, Any]) -> list[str]:
    """In what a measurement deviates, a sentence each; empty if in nothing. `actual` is the protocol part of its report.

    Compared are model, sampler, steps, guidance, size, noise, metrics, prompts (roles, from, seed_column), seeds; and, where
    a metric of the protocol needs them, detector, threshold, labels, counted, reference, extractor and clip. What `actual`
    does not say deviates too: a number whose conditions are not recorded is not this protocol's.
    """
    found = [*_making(protocol, actual), *_measuring(protocol, actual)]
    return [f"{what}: {_said(wanted)} in the protocol, {_said(here)} here" for what, wanted, here, same in found if not same]


Compared = tuple[str, Any, Any, bool]  # what, in the protocol, here, whether that is the same


def _making(protocol: Protocol, actual: Mapping[str, Any]) -> Iterator[Compared]:
    """How the pictures came about."""
    prompts = actual.get("prompts") or {}
    facts = {**actual, "pictures": sum(prompts.get("roles", {}).values()) or None, "prompts_from": prompts.get("from")}
    for name in ("model", "prompts_from", "pictures", "sampler", "steps", "guidance", "size", "noise"):
        yield name.replace("_", " "), getattr(protocol, name), facts.get(name), getattr(protocol, name) == facts.get(name)
    if protocol.seed_columns:
        column = prompts.get("seed_column") or "none"
        yield "column of the seed", protocol.seed_columns[0], column, column in protocol.seed_columns
    else:
        yield "seeds", protocol.seeds, actual.get("seeds"), set(protocol.seeds) == set(actual.get("seeds") or ())


def _measuring(protocol: Protocol, actual: Mapping[str, Any]) -> Iterator[Compared]:
    """What was found in the pictures, and with what."""
    wanted, metrics = set(protocol.metrics), actual.get("metrics")
    yield "metrics", wanted, metrics, wanted <= set(metrics or ())
    if wanted & DETECTED:
        yield from _detecting(protocol, actual)
    if wanted & COMPARED:
        dimension = (actual.get("extractor") or {}).get("dimension")
        for name in ("reference", "extractor"):
            yield name, getattr(protocol, name), _name(actual.get(name)), getattr(protocol, name) == _name(actual.get(name))
        yield "dimension of the features", protocol.dimension, dimension, protocol.dimension == dimension
    if "clip_score" in wanted:
        yield "clip", protocol.clip, _name(actual.get("clip")), protocol.clip == _name(actual.get("clip"))


def _detecting(protocol: Protocol, actual: Mapping[str, Any]) -> Iterator[Compared]:
    here, counted, labels = _name(actual.get("detector")), actual.get("counted"), actual.get("labels") or ()
    if protocol.detector == OWN:
        yield "detector", protocol.detector_about, here, bool(here) and here not in DETECTORS
    else:
        yield "detector", protocol.detector, here, protocol.detector == here
    if protocol.threshold is not None:
        yield "threshold", protocol.threshold, actual.get("threshold"), protocol.threshold == actual.get("threshold")
    if protocol.labels:
        seen = [label for part in labels.values() for label in part] if isinstance(labels, Mapping) else list(labels)
        yield "labels", protocol.labels, seen or None, set(protocol.labels) == set(seen)
    yield "counted", protocol.counted, counted, protocol.counted in (counted, *str(counted).split(" and "))


def _name(facts: Any) -> Any:
    """The name in {"name": ...}, or the name itself."""
    return facts.get("name") if isinstance(facts, Mapping) else facts


def _said(value: Any) -> str:
    if isinstance(value, list | tuple | set):
        return ", ".join(map(str, sorted(value))) or "none"
    return "not recorded" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
