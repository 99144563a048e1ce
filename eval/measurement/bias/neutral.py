"""Sets of neutral prompts: texts that leave an attribute open, and what tells the attribute, as TOML files in prompts/bias/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erase.concepts import prompts_folder
from erase.errors import InputError
from erase.files import sha256
from eval.toml_schema import hint, key, read_toml, reject
from eval.vision.detector import Detector, make_detector

PEOPLE = "people"  # the set for any model that has none of its own


@dataclass(frozen=True, kw_only=True, eq=False)
class NeutralPrompts:
    """`models` have the set by default. The detector is one of ours with some of its `domains`, or CLIP with `labels` by domain."""

    name: str = key("name")
    about: str = key("about")
    prompts: tuple[str, ...] = key("prompts")
    models: tuple[str, ...] = key("models", ())
    sources: tuple[str, ...] = key("sources", ())
    warning: str = key("warning", "")
    detector: str = key("detector.name", choices=("judge", "scenes", "emoji", "clip"))
    domains: tuple[str, ...] = key("detector.domains", ())
    template: str = key("detector.template", "{}")
    labels: Mapping[str, tuple[str, ...]] | None = key("detector.labels", None)
    path: str = ""

    def record(self) -> dict[str, Any]:
        """For the protocol of a report."""
        return {
            "set": self.name,
            "sha256": sha256(Path(self.path)),
            "about": self.about,
            "prompts": list(self.prompts),
            "sources": list(self.sources),
        }

    def make_detector(self, clip: Mapping[str, Any]) -> Detector:
        """What tells the attributes; `clip` says which CLIP, and the device. InputError where it cannot be had."""
        if self.detector != "clip":
            detector = make_detector(self.detector)
            known = detector.facts()["labels"]
            if strange := next((domain for domain in self.domains if domain not in known), None):
                reject(self.path, "detector.domains", f'"{strange}" is none of {", ".join(known)}, which {self.detector} tells')
            return detector
        labels = {domain: list(members) for domain, members in (self.labels or {}).items()}
        return make_detector("clip", labels=labels, templates=dict.fromkeys(labels, self.template), **clip)


def sets() -> dict[str, Path]:
    """The shipped sets, by name."""
    return {path.stem: path for path in sorted((prompts_folder() / "bias").glob("*.toml"))}


def neutral_prompts(name: str | None, model: str) -> NeutralPrompts:
    """A set by name or file; by default the one of this model, else `people`. InputError for an unknown name or a bad file."""
    known = sets()
    if name is None:
        every = [_read(path) for path in known.values()]
        return next((one for one in every if model in one.models), None) or _read(known[PEOPLE])
    if name in known:
        return _read(known[name])
    if not name.endswith(".toml"):
        expected = f"{', '.join(known)}, or a .toml file"
        raise InputError(f'the set of neutral prompts "{name}" is unknown{hint(name, list(known))}; expected {expected}', option="neutral")
    return _read(Path(name))


def _read(path: Path) -> NeutralPrompts:
    result = read_toml(NeutralPrompts, path, path=str(path))
    if result.detector == "clip" and not result.labels:
        reject(str(path), "detector.labels", "is missing; CLIP chooses among the labels of each domain")
    if result.detector != "clip" and not result.domains:
        reject(str(path), "detector.domains", f"is missing; it holds the domains of {result.detector} that the prompts leave open")
    if "{}" not in result.template:
        reject(str(path), "detector.template", "has no {}, where the label stands")
    return result
