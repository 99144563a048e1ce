"""A concept as it is recorded in options.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from erase.concepts import Concept


def names_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the concepts that a run erased, from its options.json; without those of an earlier run."""
    names = tuple(str(concept["name"]) for concept in options.get("concepts", []) if concept["name"] not in options.get("earlier", ()))
    return names or (str(options["concept"]),)


def concept_of(record: Mapping[str, Any]) -> Concept:
    """A concept from options.json, where tuples became lists."""
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    values["vocabulary"] = {slot: tuple(words) for slot, words in record.get("vocabulary", {}).items()}
    return Concept(**values)
