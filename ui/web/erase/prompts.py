"""A concept as editable text, and back: edited prompts become a concept file.

docs/concepts.md describes the file; `erase.concepts` checks it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from erase.concepts import Concept, prompts
from erase.concepts.files import parse, read_raw
from erase.errors import InputError
from erase.files import written
from erase.files.disk import disk_errors

LONGEST = 400  # letters of a prompt
MOST = 400  # prompts of a kind
EXAMPLES = 4  # of a kind
TEXTS = {  # field of a concept -> label and help
    "words": ("Words for it", "what it is called, one per line; prompts to keep must not contain them"),
    "forget": ("Prompts to forget", "name it: {concept} stands for one of its words, other {slots} for words of the vocabulary"),
    "anchors": (
        "What replaces it",
        "words for {concept}, or whole prompts; empty: candidates are suggested and tested when the job starts",
    ),
    "retain": ("Prompts to keep", "neighbours and everything else; must not name it"),
    "evaluate": ("Unseen wording: name it", "not used for training; they show whether it is gone"),
    "implicit": ("Unseen wording: describe it without naming it", "may be empty"),
    "evaluate_retain": ("Unseen wording: to keep", "not used for training; they show whether the rest is kept"),
}
KEYS = {  # field of a concept -> its place in a concept file
    "forget": ("forget", "prompts"),
    "retain": ("retain", "prompts"),
    "evaluate": ("evaluate", "prompts"),
    "implicit": ("evaluate", "implicit"),
    "evaluate_retain": ("evaluate", "retain"),
}


def texts(concept: Concept) -> dict[str, str]:
    """The prompts for editing, one per line."""
    anchors = concept.anchors or concept.anchor_prompts
    return {name: "\n".join(anchors if name == "anchors" else getattr(concept, name)) for name in TEXTS}


def examples(concept: Concept, count: int = EXAMPLES) -> dict[str, list[str]]:
    """Label -> some of the prompts that the templates expand to."""
    roles = {"forget": "forget", "retain": "retain", "evaluate": "evaluate", "implicit": "implicit", "evaluate_retain": "evaluate-retain"}
    return {TEXTS[name][0]: [p.text for p in prompts(concept, role, count)] for name, role in roles.items()}


def edited(concept: Concept, entered: Mapping[str, str], home: Path) -> Path | None:
    """The concept file of edited prompts, in `home`; None where nothing was edited. InputError for what is not a concept."""
    before, now = ({name: _lines(text) for name, text in side.items()} for side in (texts(concept), entered))
    if before == now:
        return None
    _check_size(now)
    text = concept_toml(concept, now)
    path = home / f"{concept.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.toml"
    with disk_errors(home, resumes=False), written(path) as part:
        part.write_text(text, encoding="utf-8")
        parse(read_raw(part), "the prompts")
    return path


def concept_toml(concept: Concept, prompts: Mapping[str, list[str]]) -> str:
    """The concept with these texts, as a file."""
    head = {name: getattr(concept, name) for name in ("name", "domain", "model", "detector", "about") if getattr(concept, name)}
    tables: dict[str, dict[str, Any]] = {}
    for name, (table, key) in KEYS.items():
        if prompts[name]:
            tables.setdefault(table, {})[key] = prompts[name]
    if prompts["anchors"]:
        fits = all("{concept}" in line for line in prompts["forget"])
        tables["anchor"] = {"concepts" if fits and not concept.anchor_prompts else "prompts": prompts["anchors"]}
    used = set(re.findall(r"\{([a-z_]+)\}", json.dumps(prompts)))
    tables["vocabulary"] = {slot: list(words) for slot, words in concept.vocabulary.items() if slot in used}
    tables["settings"] = dict(concept.settings)
    lines = [f"{name} = {_toml(value)}" for name, value in {**head, "words": prompts["words"]}.items() if value]
    for table, values in tables.items():
        if values:
            lines += ["", f"[{table}]", *(f"{name} = {_toml(value)}" for name, value in values.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return "[\n" + "".join(f"  {_toml(item)},\n" for item in value) + "]"
    if isinstance(value, str):  # JSON's escapes are TOML's too, but for DEL, which JSON leaves as it is
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def _lines(text: str) -> list[str]:
    """One prompt per line, without empty lines."""
    return [line for line in (" ".join(line.split()) for line in text.splitlines()) if line]


def _check_size(prompts: Mapping[str, list[str]]) -> None:
    for name, lines in prompts.items():
        if len(lines) > MOST or any(len(line) > LONGEST for line in lines):
            raise InputError(f"{TEXTS[name][0]}: at most {MOST} lines of {LONGEST} letters; shorten it, or give a concept file")
