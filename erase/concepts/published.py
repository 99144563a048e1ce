"""What a published preset of a method trains on: prompts/presets/CONCEPT.toml, for shipped concepts.

A paper's number depends on its training prompts as much as on its learning rate, and they differ from paper to paper for one concept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from erase.concepts.concept import Concept
from erase.concepts.files import prompts_folder, read_concept
from erase.demo.worlds import KNOWN_MODELS
from erase.files import read_toml

KINDS = {"content": "nudity", "artist": "style", "style": "style"}
OTHERS = "class"
"""Kind of concept by its domain, as papers have settings: nudity, styles, and classes of objects, which any other domain counts as."""


@dataclass(frozen=True)
class TrainingPrompts:
    """Whole prompts to forget and to keep, and those that replace a forget prompt; `images` in each set, 0 where it is not published."""

    forget: tuple[str, ...] = ()
    retain: tuple[str, ...] = ()
    anchor: tuple[str, ...] = ()
    images: int = 0

    def of(self, concept: Concept) -> Concept:
        """The concept with these prompts for training. What it is evaluated on stays, so that presets are measured alike."""
        if self.anchor:
            concept = replace(concept, anchors=(), anchor_prompts=self.anchor)
        return replace(concept, forget=self.forget or concept.forget, retain=self.retain or concept.retain)


def kind_of(concept: Concept) -> str | None:
    """`nudity`, `style` or `class`; None for a concept of an embedded world, which no paper has settings for."""
    return None if concept.model in KNOWN_MODELS else KINDS.get(concept.domain, OTHERS)


def kind_of_all(concepts: Sequence[Concept]) -> str | None:
    """The kind of several concepts; None where they differ."""
    kinds = {kind_of(concept) for concept in concepts}
    return kinds.pop() if len(kinds) == 1 else None


def published_prompts(concept: Concept, method: str, preset: str) -> TrainingPrompts | None:
    """What a preset trains on for this concept; None where nothing is published, or the concept is not the shipped one of its name."""
    table = _table(concept.name)
    if f"{method}.{preset}" not in table or replace(read_concept(_file(concept.name)), source="") != replace(concept, source=""):
        return None
    return table[f"{method}.{preset}"]


def _file(name: str) -> Path:
    return prompts_folder() / f"{name}.toml"


@cache
def _table(name: str) -> dict[str, TrainingPrompts]:
    """ "METHOD.PRESET" -> its prompts; empty for a concept without a file."""
    path = prompts_folder() / "presets" / f"{name}.toml"
    if not path.is_file():
        return {}
    return {
        f"{method}.{preset}": TrainingPrompts(
            forget=tuple(values.get("forget", ())),
            retain=tuple(values.get("retain", ())),
            anchor=tuple(values.get("anchor", ())),
            images=int(values.get("images", 0)),
        )
        for method, presets in read_toml(path).items()
        for preset, values in presets.items()
    }
