"""Measurement protocols: what a published measurement fixes (prompts, seeds, sampler, detector, reference), as TOML files.

The shipped files are in prompts/protocols/; each cites its sources and its traps. `eval.prompt_sets` reads the prompts of a protocol,
`eval.deviations` compares a measurement with one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from erase.concepts import DETECTORS, prompts_folder
from erase.errors import InputError
from erase.files import sha256
from eval.toml_schema import hint, key, keys_of, read_toml, reject

METRICS = ("ua", "ira", "cra", "detections", "fid", "kid", "clip_score", "drift")
DETECTED = {"ua", "ira", "cra", "detections"}  # metrics that need a detector
COMPARED = {"fid", "kid"}  # metrics that need a reference set and features
OWN = "own"  # a detector that is not built in: the user's
NOISES = ("seed and index", "seed alone")
COUNTED = ("pictures", "boxes", "boxes and pictures")
SLOT = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Protocol:
    """What a measurement fixes. Empty text, empty tuple, 0 and None mean: not fixed, or not part of this protocol.

    Prompts come `prompts_from` a "file" (the user's, or `hub_file` of the data set `hub`), from "templates" filled with every
    combination of `vocabulary`, or from a "concept" (`evaluate`, `implicit` and `retain` prompts of its file). A prompt has the
    seed in the first of `seed_columns` that its file has, else its own of `prompt_seeds`, else each of `seeds`; with each seed there
    are `images` images of it. It has the guidance scale in the first of `guidance_columns` that its file has, else `guidance`. Prompts
    of a file that are among `leave_out` are not drawn; where prompts `names` the concept, a file of another concept is refused. A
    prompt's role is `role`, or "evaluate" where one of its attributes `role_from` is the concept. `size` is in pixels.
    `concepts` are words for the one concept that its prompts are about, the first its name: another one cannot be measured by it.
    `differs` are values of the publication that cannot be had here, each beside ours; a report lists them among its deviations.
    `noise`: whether the starting noise depends on the seed and the image's index, or on the seed alone.
    """

    name: str = key("name")
    about: str = key("about")
    sources: tuple[str, ...] = key("sources")
    model: str = key("model")
    metrics: tuple[str, ...] = key("metrics")
    notes: tuple[str, ...] = key("notes")
    concepts: tuple[str, ...] = key("concepts", ())
    differs: tuple[str, ...] = key("differs", ())
    prompts_from: str = key("prompts.from", choices=("file", "templates", "concept"))
    file: str = key("prompts.file", "")
    where: str = key("prompts.where", "")
    hub: str = key("prompts.hub", "")
    hub_file: str = key("prompts.hub_file", "")
    column: str = key("prompts.column", "prompt")
    seed_columns: tuple[str, ...] = key("prompts.seed_columns", ())
    guidance_columns: tuple[str, ...] = key("prompts.guidance_columns", ())
    leave_out: tuple[str, ...] = key("prompts.leave_out", ())
    names: str = key("prompts.names", "", choices=("the concept",))
    prompt_seeds: tuple[int, ...] = key("prompts.seeds", ())
    count: int = key("prompts.count", 0, low=1)
    templates: tuple[str, ...] = key("prompts.templates", ())
    vocabulary: Mapping[str, tuple[str, ...]] | None = key("prompts.vocabulary", None)
    evaluate: int = key("prompts.evaluate", 0, low=1)
    implicit: int = key("prompts.implicit", 0, low=1)
    retain: int = key("prompts.retain", 0, low=1)
    role: str = key("prompts.role", "", choices=("evaluate", "evaluate-retain"))
    role_from: tuple[str, ...] = key("prompts.role_from", ())
    sampler: str = key("sampling.sampler")
    steps: int = key("sampling.steps", low=1)
    guidance: float = key("sampling.guidance")
    size: int = key("sampling.size", low=8, step=8)
    images: int = key("sampling.images", 1, low=1)
    seeds: tuple[int, ...] = key("sampling.seeds", ())
    noise: str = key("sampling.noise", choices=NOISES)
    detector: str = key("detector.name", "", choices=(*DETECTORS, OWN))
    detector_about: str = key("detector.about", "")
    threshold: float | None = key("detector.threshold", None, high=1)
    labels: tuple[str, ...] = key("detector.labels", ())
    counted: str = key("detector.counted", "", choices=COUNTED)
    reference: str = key("reference.pictures", "", choices=("real", "original"))
    reference_about: str = key("reference.about", "")
    extractor: str = key("features.extractor", "")
    dimension: int = key("features.dimension", 0, low=1)
    clip: str = key("features.clip", "")
    path: str = ""

    @property
    def prompts(self) -> int:
        """Number of different prompts."""
        if self.prompts_from == "templates":
            words = self.vocabulary or {}
            return sum(math.prod(len(words[slot]) for slot in set(SLOT.findall(template))) for template in self.templates)
        return self.count + self.evaluate + self.implicit + self.retain

    @property
    def pictures(self) -> int:
        """Number of images of each model."""
        return self.prompts * self.images * max(1, len(self.seeds))

    def record(self) -> dict[str, Any]:
        """For the report: every key of the file with its value, the number of images, and the file's hash."""
        values: dict[str, Any] = {}
        for name, item in KEYS.items():
            value = getattr(self, item.field)
            if value not in ("", (), None) and (value != 0 or item.field in ("guidance", "threshold")):
                *section, last = name.split(".")
                holder = values.setdefault(section[0], {}) if section else values
                holder[last] = _plain(value)
        return values | {"pictures": self.pictures} | ({"sha256": sha256(Path(self.path))} if self.path else {})


KEYS = keys_of(Protocol)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: list(words) for name, words in value.items()}
    return list(value) if isinstance(value, tuple) else value


# --- reading ----------------------------------------------------------------------------------------------------------


def protocols_folder() -> Path:
    """The folder of the shipped protocol files."""
    return Path(prompts_folder(), "protocols")


def list_protocols() -> list[Protocol]:
    """All shipped protocols, sorted by name."""
    return [read_protocol(path) for path in sorted(protocols_folder().glob("*.toml"))]


def load_protocol(name: str | Path) -> Protocol:
    """A protocol by its name, or by the path of a .toml file; InputError with the nearest name."""
    text = str(name)
    if text.endswith(".toml"):
        return read_protocol(Path(text))
    known = {path.stem: path for path in sorted(protocols_folder().glob("*.toml"))}
    if text not in known:
        raise InputError(f'the protocol "{text}" is unknown{hint(text, list(known))}; give a .toml file or one of {", ".join(known)}')
    return read_protocol(known[text])


def read_protocol(path: Path) -> Protocol:
    """A protocol file, checked; InputError with the file, the key and what is allowed."""
    protocol = read_toml(Protocol, path, path=str(path))
    _check(protocol)
    return protocol


# --- rules between keys ---------------------------------------------------------------------------------------------


def _check(protocol: Protocol) -> None:
    fail, metrics = partial(reject, protocol.path), set(protocol.metrics)
    for metric in protocol.metrics:
        if metric not in METRICS:
            fail("metrics", f'"{metric}" is unknown{hint(metric, METRICS)}; allowed: {", ".join(METRICS)}')
    needs = {
        "detector.name": (metrics & DETECTED, protocol.detector),
        "detector.counted": (metrics & DETECTED, protocol.counted),
        "detector.threshold": (protocol.detector == "nudenet", protocol.threshold is not None),
        "detector.labels": ("detections" in metrics, protocol.labels),
        "detector.about": (protocol.detector == OWN, protocol.detector_about),
        "reference.pictures": (metrics & COMPARED, protocol.reference),
        "reference.about": (protocol.reference == "real", protocol.reference_about),
        "features.extractor": (metrics & COMPARED, protocol.extractor),
        "features.dimension": (protocol.extractor, protocol.dimension),
        "features.clip": ("clip_score" in metrics, protocol.clip),
    }
    for name, (needed, value) in needs.items():
        if needed and not value:
            fail(name, f"is missing, and without it {', '.join(sorted(metrics))} cannot be repeated; add it")
    _check_prompts(protocol)


def _check_prompts(protocol: Protocol) -> None:
    """The keys of exactly one source of prompts, and exactly one source of seeds and of roles."""
    fail = partial(reject, protocol.path)
    source = protocol.prompts_from
    needs = {"file": ("file", "where", "count"), "templates": ("templates",), "concept": ("evaluate", "retain")}
    may = {"file": ("hub", "hub_file"), "templates": ("vocabulary", "prompt_seeds"), "concept": ("implicit",)}
    for kind in needs:
        for name in (*needs[kind], *may[kind]):
            has = bool(getattr(protocol, name))
            if has and kind != source:
                fail(
                    "prompts.seeds" if name == "prompt_seeds" else f"prompts.{name}",
                    f'belongs to prompts from "{kind}", but prompts.from is "{source}"; remove it',
                )
            if not has and kind == source and name in needs[kind]:
                fail(f"prompts.{name}", f'is missing; prompts from "{kind}" need it')
    if bool(protocol.hub) != bool(protocol.hub_file):
        fail("prompts.hub_file", "goes together with prompts.hub: a data set and the file in it; give both or neither")
    by_row = protocol.prompt_seeds or (protocol.seed_columns if source == "file" else ())
    if bool(by_row) == bool(protocol.seeds):
        either = "prompts.seed_columns" if source == "file" else "prompts.seeds"
        fail("sampling.seeds", f"give either this or {either}, so that every image has one seed")
    if protocol.prompt_seeds and len(protocol.prompt_seeds) != protocol.prompts:
        fail("prompts.seeds", f"has {len(protocol.prompt_seeds)} seeds for {protocol.prompts} prompts; give one for each")
    if (source == "concept") == bool(protocol.role or protocol.role_from) or (protocol.role and protocol.role_from):
        fail("prompts.role", 'give either this or prompts.role_from, and neither with prompts from "concept", which have roles')
    if protocol.images > 1 and protocol.noise == NOISES[1]:
        fail("sampling.noise", f'with "{NOISES[1]}" all {protocol.images} images of a prompt would be the same; use "{NOISES[0]}"')
    _check_slots(protocol)


def _check_slots(protocol: Protocol) -> None:
    fail, known = partial(reject, protocol.path), list(protocol.vocabulary or ())
    used = {slot for template in protocol.templates for slot in SLOT.findall(template)}
    for template in protocol.templates:
        if re.search(r"[{}]", SLOT.sub("", template)):
            fail("prompts.templates", f'"{template}" has an unmatched brace; a slot is {{word}} in small letters')
    for slot in sorted(used - set(known)):
        fail("prompts.vocabulary", f"has no words for the slot {{{slot}}}{hint(slot, known)}; add them")
    for slot in known:
        if slot not in used:
            fail(f"prompts.vocabulary.{slot}", "no template has this slot; remove it")
    for slot in protocol.role_from:
        if protocol.templates and slot not in used:
            fail("prompts.role_from", f'"{slot}" is not a slot of the templates{hint(slot, known)}; they have: {", ".join(known)}')
