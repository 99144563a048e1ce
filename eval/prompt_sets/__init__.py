"""Prompt sets -> rows, one per image: from a file, a data set on the hub, templates, or a concept file.

A row has the entries of samples/prompts.jsonl: index, text, role, attributes, seed, and guidance where the row has a scale of its own.
Published prompt sets are data of their authors and not part of this package.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, product, repeat
from pathlib import Path
from typing import Any

from erase.concepts import Concept, naming, prompts
from erase.errors import InputError
from erase.files import sha256
from eval.prompt_sets.files import EMPTY, GUIDANCE, PROMPTS, SEEDS, Columns, PromptFile, read_prompt_file, read_prompt_set
from eval.protocols import SLOT, Protocol
from eval.samples import ROLES, Row
from eval.toml_schema import hint

__all__ = [
    "GUIDANCE", "PROMPTS", "SEEDS", "Columns", "PromptFile", "check_measured", "expand", "fetch_prompt_set", "protocol_rows",
    "read_prompt_file", "read_prompt_set", "spread",
]  # fmt: skip

OTHER_NAMES = {"object": ("class",), "style": ("artist",)}  # what published files call the column of a slot
DRAWN = (("evaluate", "evaluate"), ("implicit", "implicit"), ("evaluate-retain", "retain"))  # role, count in a protocol


def protocol_rows(protocol: Protocol, concept: Concept | None = None, file: Path | None = None) -> tuple[list[Row], dict[str, Any]]:
    """The rows of a protocol, one per image, and the facts of its prompts for the report.

    `file` is the user's prompt set and takes precedence over any other source. `concept` decides which prompts are to be forgotten
    where the protocol leaves that to it. Facts: from, roles (role -> rows), sha256; for files also file, the columns of seeds and
    guidance, how many prompts were empty and which were left out.
    """
    filed = file is not None or protocol.prompts_from == "file"
    rows, facts = _filed(protocol, file) if filed else _drawn(protocol, concept)
    if filed and concept is not None and protocol.names:
        _check_named(rows, concept, str(file or protocol.hub_file))
    rows = _with_roles(protocol, rows, concept)
    own = bool(facts.get("seed_column") if filed else protocol.prompt_seeds)
    rows = spread(rows, () if own else protocol.seeds or (0,), protocol.images, apart=filed and own and protocol.prompts_from != "file")
    roles = {role: sum(row["role"] == role for row in rows) for role in ROLES}
    return rows, facts | {"roles": roles}


def fetch_prompt_set(repo: str, file: str) -> Path:
    """A file of a data set on the hub, in the hub's own cache; InputError where it is not available."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repo, file, repo_type="dataset"))
    except Exception as error:  # the hub's client raises a dozen kinds, which all mean that the file is not available
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        raise InputError(
            f"{file} of the data set {repo} could not be downloaded from the hub ({reason}); give it with --prompts FILE"
        ) from error


def expand(templates: Sequence[str], vocabulary: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, dict[str, str]]]:
    """Every template with every combination of its words, and the words that fill it (slot -> word).

    In a fixed order: template by template, and the last slot of the vocabulary changes fastest. Words are not adapted: published
    prompts are "A Architectures image", and with a corrected article it would be another prompt.
    """
    for template in templates:
        used = [slot for slot in vocabulary if slot in SLOT.findall(template)]
        for words in product(*(vocabulary[slot] for slot in used)):
            values = dict(zip(used, words, strict=True))
            yield SLOT.sub(lambda match, values=values: values[match[1]], template), values  # type: ignore[misc]


def spread(rows: Sequence[Row], seeds: Sequence[int], images: int = 1, apart: bool = False) -> list[Row]:
    """Every row with each of the seeds (none: its own), `images` times, with new indexes; the images of a prompt are adjacent.

    `apart`: a prompt that has several rows, each with a seed of its own, has one image of each.
    """
    times = Counter(row["text"] for row in rows) if apart else Counter()
    counts = [1 if times[row["text"]] > 1 else images for row in rows]
    many = (
        {**row, "seed": seed} for row, count in zip(rows, counts, strict=True) for seed in seeds or (row["seed"],) for _ in range(count)
    )
    return [row | {"index": index} for index, row in enumerate(many)]


# --- sources --------------------------------------------------------------------------------------------------------


def _filed(protocol: Protocol, file: Path | None) -> tuple[list[Row], dict[str, Any]]:
    facts: dict[str, Any] = {"from": "file"}
    if file is None and not protocol.hub:
        message = f'the protocol "{protocol.name}" needs the prompt set {protocol.file}, which is not part of this package'
        raise InputError(f"{message}; get it from {protocol.where} and give it with --prompts FILE", option="prompts")
    if file is None:
        facts["hub"] = protocol.hub
        file = fetch_prompt_set(protocol.hub, protocol.hub_file)
    has_roles = not (protocol.role or protocol.role_from)
    prompts = tuple(dict.fromkeys((protocol.column, *PROMPTS)))
    columns = Columns(prompts, protocol.seed_columns, protocol.guidance_columns, role="role" if has_roles else None)
    read = read_prompt_file(file, columns)
    facts |= {"file": file.name, "sha256": sha256(file)}
    facts |= {"column": read.prompt} if read.prompt != protocol.column else {}
    facts |= {"seed_column": read.seed} if protocol.seed_columns else {}
    facts |= {"guidance_column": read.guidance} if protocol.guidance_columns else {}
    facts |= {"empty_prompts": {"rows": read.empty, "drawn_as": EMPTY}} if read.empty else {}
    rows = [row for row in read.rows if row["text"] not in protocol.leave_out]
    if not rows:
        raise InputError(f"{file}: has only prompts that the protocol {protocol.name} leaves out; give another file", option="prompts")
    left_out = sorted({str(row["text"]) for row in read.rows} - {str(row["text"]) for row in rows})
    return _in_slots(protocol, rows), facts | ({"left_out": left_out} if left_out else {})


def _check_named(rows: Sequence[Row], concept: Concept, file: str) -> None:
    """InputError unless at least half of the prompts name the concept: the file is of another one (tench for church)."""
    name = naming(concept.words)
    count = sum(name.search(str(row["text"])) is not None for row in rows)
    if 2 * count < len(rows):
        what = f'{file}: {count} of {len(rows)} prompts name "{concept.words[0]}", the first is "{rows[0]["text"]}"'
        raise InputError(f"{what}; give the prompt set of {concept.title}, or --concept with what the prompts name", option="prompts")


def check_measured(protocol: Protocol, concept: Concept) -> None:
    """InputError for a concept that the prompts of the protocol are not about: none of its words is one of the protocol's.

    A concept of the protocol's own detector may have any words.
    """
    words = " ".join((concept.name, *concept.words)).replace("_", " ")
    if not protocol.concepts or concept.detector == protocol.detector or naming(protocol.concepts).search(words):
        return
    measured = protocol.concepts[0]
    raise InputError(
        f'the protocol "{protocol.name}" measures {measured}, and the concept is "{concept.title}"; give --concept "{measured}" if that is '
        "what the model should not draw. What the model keeps is measured by coco-10k and coco-30k, whatever the concept",
        option="concept",
    )


def _in_slots(protocol: Protocol, rows: Sequence[Row]) -> list[Row]:
    """The rows of a file with their attributes under the protocol's names: `class` is its object, "english springer" its spelling."""
    vocabulary = protocol.vocabulary or {}
    attributes = [dict(row["attributes"]) for row in rows]
    for slot in protocol.role_from:
        spelling = {_plain(word): word for word in vocabulary.get(slot, ())}
        known = {name for each in attributes for name in each}
        column = next((name for name in (slot, *OTHER_NAMES.get(slot, ())) if name in known), None)
        for each in attributes if column else ():
            value = each.pop(column, None)
            if value is not None:
                each[slot] = spelling.get(_plain(value), value)
    return [{**row, "attributes": each} for row, each in zip(rows, attributes, strict=True)]


def _plain(word: str) -> str:
    """A word as names are compared: without case, and with spaces where file names have underscores."""
    return " ".join(word.replace("_", " ").casefold().split())


def _drawn(protocol: Protocol, concept: Concept | None) -> tuple[list[Row], dict[str, Any]]:
    if protocol.prompts_from == "templates":
        texts = expand(protocol.templates, protocol.vocabulary or {})
        seeds = chain(protocol.prompt_seeds, repeat(0))  # as many as prompts, or none
        rows: list[Row] = [_row_of(text, "evaluate", attributes, seed) for (text, attributes), seed in zip(texts, seeds, strict=False)]
    elif concept is None:
        raise InputError(f'the protocol "{protocol.name}" takes its prompts from a concept; name it with --concept', option="concept")
    else:
        drawn = [prompt for role, count in DRAWN for prompt in prompts(concept, role, getattr(protocol, count))]
        rows = [_row_of(prompt.text, prompt.role, prompt.attributes) for prompt in drawn]
    lines = "\n".join(json.dumps([row["text"], row["role"]], ensure_ascii=False) for row in rows)
    return rows, {"from": protocol.prompts_from, "sha256": hashlib.sha256(lines.encode()).hexdigest()}


def _row_of(text: str, role: str, attributes: Mapping[str, str], seed: int = 0) -> dict[str, Any]:
    return {"index": 0, "text": text, "role": role, "attributes": dict(attributes), "seed": seed}


def _with_roles(protocol: Protocol, rows: Sequence[Row], concept: Concept | None) -> list[Row]:
    """Roles by the protocol's rule; a prompt that means the concept gets the concept as the attribute of its domain.

    Its word takes the place of what a file says, which detectors may have no label for ("Vincent van Gogh" in a column `artist`); but
    the words by which a protocol tells its concepts apart stay.
    """
    if protocol.role_from:
        rows = _by_concept(protocol, rows, concept)
    elif protocol.role:
        rows = [dict(row) | {"role": protocol.role} for row in rows]
    if concept is None:
        return list(rows)
    meant = {concept.domain: concept.words[0]}
    kept = {slot for slot in protocol.role_from if slot == concept.domain}
    return [_meaning(row, meant, kept) if row["role"] != "evaluate-retain" else row for row in rows]


def _meaning(row: Row, meant: Mapping[str, str], kept: Collection[str]) -> Row:
    own = row["attributes"]
    return {**row, "attributes": {**meant, **own, **{name: word for name, word in meant.items() if name not in kept}}}


def _by_concept(protocol: Protocol, rows: Sequence[Row], concept: Concept | None) -> list[Row]:
    """Role "evaluate" where one of the attributes `role_from` is the concept, "evaluate-retain" elsewhere."""
    members = {row["attributes"].get(slot, "") for row in rows for slot in protocol.role_from} - {""}
    words = {word.casefold() for word in (concept.name, *concept.words)} if concept else set()
    if not any(member.casefold() in words for member in members):
        reason = f'"{concept.title}" is not one of them{hint(concept.name, sorted(members))}' if concept else "no concept is given"
        message = f'the protocol "{protocol.name}" measures {", ".join(sorted(members))}; {reason}; give one with --concept'
        raise InputError(message, option="concept")
    meant = [any(row["attributes"].get(slot, "").casefold() in words for slot in protocol.role_from) for row in rows]
    return [dict(row) | {"role": "evaluate" if yes else "evaluate-retain"} for row, yes in zip(rows, meant, strict=True)]
