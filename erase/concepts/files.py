"""Concept files: where they are, and a TOML file into a Concept. docs/concepts.md describes the format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from erase.concepts.concept import Concept
from erase.concepts.english import hint
from erase.concepts.validation import check
from erase.demo.worlds import KNOWN_MODELS
from erase.errors import InputError
from erase.files import read_toml

# key of a concept file -> what it holds, and whether the file must have it
KEYS: dict[str, tuple[str, bool]] = {
    "name": ("text", True),
    "domain": ("text", True),
    "model": ("text", True),
    "detector": ("text", True),
    "about": ("text", False),
    "words": ("list", False),
    "forget.prompts": ("list", True),
    "anchor.concepts": ("list", False),
    "anchor.prompts": ("list", False),
    "retain.prompts": ("list", True),
    "evaluate.prompts": ("list", True),
    "evaluate.implicit": ("list", False),
    "evaluate.retain": ("list", True),
    "vocabulary": ("table", False),
    "settings": ("table", False),
}
_HOLDS = {"text": "a text in quotes that is not empty", "list": "a list of texts, none of them empty", "table": "a table"}


def prompts_folder() -> Path:
    """Where the concept files are: inside the package when installed from a wheel, beside it in the repository."""
    package = Path(__file__).parents[1]
    return package / "prompts" if (package / "prompts").is_dir() else package.parent / "prompts"


def list_concepts(model: str | None = None) -> list[Concept]:
    """Every shipped concept, by name; those of an embedded model that has files of its own, or shares another's, on request."""
    known = KNOWN_MODELS.get(model or "")
    folder = prompts_folder() / (known.prompts if known else "")
    concepts = [read_concept(path) for path in sorted(folder.glob("*.toml"))]
    return [replace(one, model=known.name) if known and one.model == known.shares else one for one in concepts]


def own_words(model: str) -> list[str]:
    """The concepts of an embedded model other than the demo: those with a file, then every other word that it knows; empty for others."""
    known = KNOWN_MODELS.get(model)
    if known is None or not (known.prompts or known.shares):
        return []
    filed = [concept.name for concept in list_concepts(model) if concept.model == model]
    names = [name for members in known.language.names().values() for name in members] if known.language else known.concepts
    slug = known.language.slug if known.language else str
    return [*filed, *(name for name in names if slug(name) not in filed)]


def read_concept(path: Path) -> Concept:
    """A concept file, checked; InputError names the file, the key and what is allowed."""
    return parse(read_raw(path), str(path))


def read_raw(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except (FileNotFoundError, NotADirectoryError):
        known = ", ".join(sorted(p.stem for p in prompts_folder().glob("*.toml")))
        raise InputError(f"{path}: no such concept file; give the path of one, or a name: {known}") from None


def parse(raw: Mapping[str, Any], source: str) -> Concept:
    values: dict[str, Any] = {}
    for key, value in raw.items():
        inner = isinstance(value, dict) and KEYS.get(key, ("", False))[0] != "table"
        values |= {f"{key}.{k}": v for k, v in value.items()} if inner else {key: value}
    _check_keys(values, source)

    def listed(key: str) -> tuple[str, ...]:
        return tuple(values.get(key, ()))

    concept = Concept(
        name=values["name"],
        domain=values["domain"],
        model=values["model"],
        detector=values["detector"],
        words=listed("words") or (values["name"].replace("-", " "),),
        forget=listed("forget.prompts"),
        retain=listed("retain.prompts"),
        evaluate=listed("evaluate.prompts"),
        evaluate_retain=listed("evaluate.retain"),
        implicit=listed("evaluate.implicit"),
        anchors=listed("anchor.concepts"),
        anchor_prompts=listed("anchor.prompts"),
        vocabulary={slot: tuple(words) for slot, words in values.get("vocabulary", {}).items()},
        settings=dict(values.get("settings", {})),
        about=values.get("about", ""),
        source=source,
    )
    check(concept)
    return concept


def _check_keys(values: Mapping[str, Any], source: str) -> None:
    allowed = ", ".join(KEYS)
    for key in values:
        if key not in KEYS:
            raise InputError(f'{source}: unknown key "{key}"{hint(key, list(KEYS))}; allowed: {allowed}')
    for key, (kind, required) in KEYS.items():
        if key in values:
            _check_value(values[key], kind, key, source)
        elif required:
            raise InputError(f'{source}: the key "{key}" is missing; it holds {_HOLDS[kind]}')
    for slot, words in values.get("vocabulary", {}).items():
        _check_value(words, "list", f"vocabulary.{slot}", source)


def _check_value(value: Any, kind: str, key: str, source: str) -> None:
    def is_text(item: Any) -> bool:
        return isinstance(item, str) and bool(item.strip())

    good = {
        "text": is_text(value),
        "list": isinstance(value, list) and bool(value) and all(map(is_text, value)),
        "table": isinstance(value, dict),
    }
    if not good[kind]:
        raise InputError(f'{source}: the key "{key}" holds {value!r}; expected {_HOLDS[kind]}')
