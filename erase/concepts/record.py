"""A concept as it is recorded in options.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from erase.concepts import Concept
from erase.errors import InputError
from erase.files.schema import check_schema

CONCEPT: dict[str, Any] = {
    item.name: str if item.type == "str" else dict if "Mapping" in str(item.type) else [str] for item in fields(Concept)
}
CONCEPT["vocabulary"] = {...: [str]}
NEEDED = [item.name for item in fields(Concept) if item.default is MISSING and item.default_factory is MISSING]


def names_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the concepts that a run erased, from its options.json; without those of an earlier run."""
    earlier = options.get("earlier") or ()
    names = tuple(str(concept["name"]) for concept in options.get("concepts") or [] if concept["name"] not in earlier)
    return names or (str(options["concept"]),)


def concept_of(record: Mapping[str, Any]) -> Concept:
    """A concept from options.json, where tuples became lists. InputError for a record that is not one."""
    check_schema(record, CONCEPT, getattr(record, "where", "a concept's record"), "concept_file")
    if strange := next((name for name in record if name not in CONCEPT), None):
        raise InputError(f"{getattr(record, 'where', 'a record')}: the concept has {strange[:40]!r}, which no concept has")
    for name in NEEDED:
        _ = record[name]
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    values["vocabulary"] = {slot: tuple(words) for slot, words in (record.get("vocabulary") or {}).items()}
    return Concept(**values)
