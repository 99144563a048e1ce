"""Prompt sets -> rows, one per image: from a CSV, TSV or JSONL file, a data set on the hub, templates, or a concept file.

A row has the entries of samples/prompts.jsonl: index, text, role, attributes, seed. Published prompt sets are data of their authors
and not part of this package.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from erase.concepts import Concept, prompts
from erase.errors import InputError
from erase.files import sha256
from erase.files.reading import read_objects
from erase.files.tables import read_table
from eval.protocols import SLOT, Protocol
from eval.samples import ROLES, Row
from eval.toml_schema import hint

KINDS = (".csv", ".tsv", ".txt", ".jsonl")  # of which .txt is a table too, as spreadsheets call one in Unicode
DRAWN = (("evaluate", "evaluate"), ("implicit", "implicit"), ("evaluate-retain", "retain"))  # role, count in a protocol


def protocol_rows(protocol: Protocol, concept: Concept | None = None, file: Path | None = None) -> tuple[list[Row], dict[str, Any]]:
    """The rows of a protocol, one per image, and the facts of its prompts for the report.

    `file` is the user's prompt set and takes precedence over any other source. `concept` decides which prompts are to be forgotten
    where the protocol leaves that to it. Facts: from, roles (role -> rows), sha256, and for files file and seed_column.
    """
    rows, facts = _drawn(protocol, concept) if file is None and protocol.prompts_from != "file" else _filed(protocol, file)
    rows = _with_roles(protocol, rows, concept)
    rows = spread(rows, () if facts.get("seed_column") else protocol.seeds or (0,), protocol.images)
    roles = {role: sum(row["role"] == role for row in rows) for role in ROLES}
    return rows, facts | {"roles": roles}


def read_prompt_set(
    path: Path,
    prompt_column: str = "prompt",
    seed_columns: Sequence[str] = (),
    role: str = "evaluate",
    role_column: str | None = None,
) -> list[Row]:
    """The rows of a .csv, .tsv or .jsonl file in UTF-8; values of other columns, unless empty, are attributes.

    The seed is in the first of `seed_columns` that the file has, and 0 without `seed_columns`. InputError with file and line for a
    missing column, an empty prompt, a seed that is not a whole number and a row with another number of cells.
    """
    rows: list[Row] = []
    seed_column: str | None = None
    for where, record in _records(path, [prompt_column]):
        if not rows:
            for column in (prompt_column, *([role_column] if role_column else [])):
                _column(path, [column], list(record))
            seed_column = _column(path, seed_columns, list(record)) if seed_columns else None
        rows.append(_row(where, record, len(rows), prompt_column, seed_column, role, role_column))
    if not rows:
        raise InputError(f"{path}: has no prompts; expected one line per prompt, below the line with the columns")
    return rows


def seed_column(path: Path, columns: Sequence[str]) -> str | None:
    """The column of a prompt set's seeds: the first of `columns` that it has."""
    _, first = next(_records(path, columns), ("", {}))
    return next((column for column in columns if column in first), None)


def columns_of(path: Path, expected: Sequence[str] = ()) -> list[str]:
    """The columns of a prompt set, of which one is `expected`; InputError where it is empty."""
    first = next(_records(path, expected), None)
    if first is None:
        raise InputError(f"{path}: has no prompts; expected one line per prompt, below the line with the columns")
    return list(first[1])


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


def spread(rows: Sequence[Row], seeds: Sequence[int], images: int = 1) -> list[Row]:
    """Every row with each of the seeds (none: its own), `images` times, with new indexes; the images of a prompt are adjacent."""
    many = (row | {"seed": seed} for row in map(dict, rows) for seed in seeds or (row["seed"],) for _ in range(images))
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
    rows = read_prompt_set(file, protocol.column, protocol.seed_columns, role_column="role" if has_roles else None)
    facts |= {"file": file.name, "sha256": sha256(file)}
    return rows, facts | ({"seed_column": seed_column(file, protocol.seed_columns)} if protocol.seed_columns else {})


def _drawn(protocol: Protocol, concept: Concept | None) -> tuple[list[Row], dict[str, Any]]:
    if protocol.prompts_from == "templates":
        texts = expand(protocol.templates, protocol.vocabulary or {})
        rows: list[Row] = [_row_of(text, "evaluate", attributes) for text, attributes in texts]
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
    """Roles by the protocol's rule; a prompt that means the concept gets the concept as the attribute of its domain."""
    if protocol.role_from:
        rows = _by_concept(protocol, rows, concept)
    elif protocol.role:
        rows = [dict(row) | {"role": protocol.role} for row in rows]
    if concept is None:
        return list(rows)
    meant = {concept.domain: concept.words[0]}
    return [dict(row) | {"attributes": meant | row["attributes"]} if row["role"] != "evaluate-retain" else row for row in rows]


def _by_concept(protocol: Protocol, rows: Sequence[Row], concept: Concept | None) -> list[Row]:
    """Role "evaluate" where one of the attributes `role_from` is the concept, "evaluate-retain" elsewhere."""
    members = {row["attributes"].get(slot, "") for row in rows for slot in protocol.role_from} - {""}
    words = {word.casefold() for word in (concept.name, *concept.words)} if concept else set()
    if not any(member.casefold() in words for member in members):
        reason = f'"{concept.name}" is not one of them{hint(concept.name, sorted(members))}' if concept else "no concept is given"
        message = f'the protocol "{protocol.name}" measures {", ".join(sorted(members))}; {reason}; give one with --concept'
        raise InputError(message, option="concept")
    meant = [any(row["attributes"].get(slot, "").casefold() in words for slot in protocol.role_from) for row in rows]
    return [dict(row) | {"role": "evaluate" if yes else "evaluate-retain"} for row, yes in zip(rows, meant, strict=True)]


# --- files ----------------------------------------------------------------------------------------------------------


def _records(path: Path, expected: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The place of each record ("file, line 7"), and its columns with their values; one of the columns is `expected`."""
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise InputError(f"{path}: is of an unknown kind; expected a prompt set that ends in {', '.join(KINDS)}")
    try:
        if kind != ".jsonl":
            yield from _table(path, expected)
        else:
            yield from ((f"{path}, line {number}", record) for number, record in read_objects(path))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such prompt set; give the path of a file that ends in {', '.join(KINDS)}") from None


def _table(path: Path, expected: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    columns, rows = read_table(path, [{column} for column in expected], strict=True)
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise InputError(f'{path}: names the column "{twice[0]}" twice; rename one of the two')
    for line, cells in rows:
        if len(cells) != len(columns):
            what = f"{path}, line {line}: has {len(cells)} cells for {len(columns)} columns"
            raise InputError(f"{what}; a prompt with a separator or a line break must be in double quotes")
        yield f"{path}, line {line}", dict(zip(columns, cells, strict=True))


def _column(path: Path, accepted: Sequence[str], columns: Sequence[str]) -> str:
    """The first of the accepted columns that the file has."""
    name = next((column for column in accepted if column in columns), None)
    if name is None:
        expected = " or ".join(f'"{column}"' for column in accepted)
        close = next(filter(None, (hint(column, columns) for column in accepted)), "")
        raise InputError(
            f"{path}: has no column {expected}{close}; it has {', '.join(columns) or 'none'}: rename one, or give another file"
        )
    return name


def _row(
    where: str, record: Mapping[str, Any], index: int, prompt_column: str, seed_column: str | None, role: str, role_column: str | None
) -> dict[str, Any]:
    text, seed = record.get(prompt_column), record.get(seed_column, "") if seed_column else 0
    role = str(record.get(role_column, "")).strip() if role_column else role
    if not isinstance(text, str) or not text.strip():
        raise InputError(f'{where}: the prompt (column "{prompt_column}") is empty or not a text; every row needs one')
    if isinstance(seed, bool) or not re.fullmatch(r"[0-9]{1,18}", str(seed).strip()):
        raise InputError(f'{where}: the seed (column "{seed_column}") is "{seed}"; expected a whole number from 0, of at most 18 digits')
    if role not in ROLES:
        raise InputError(f'{where}: the role (column "{role_column}") is "{role}"{hint(role, ROLES)}; allowed: {", ".join(ROLES)}')
    nested = record.get("attributes")
    named = {name for name in (prompt_column, seed_column, role_column, "attributes", "index", "") if name is not None}
    others = {name: value for name, value in record.items() if name not in named} | (nested if isinstance(nested, dict) else {})
    attributes = {name: str(value).strip() for name, value in others.items() if value is not None and str(value).strip()}
    return {"index": index, "text": text.strip(), "role": role, "attributes": attributes, "seed": int(seed)}
