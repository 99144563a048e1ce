"""The named protocols of a measurement, and how far one is. Plain functions, without gradio."""

from __future__ import annotations

from html import escape
from pathlib import Path

from erase.errors import InputError
from eval.protocols import list_protocols, load_protocol
from eval.samples import WHICH


def protocol_choices() -> list[tuple[str, str]]:
    """(name: what it is, name) of the named protocols."""
    return [(f"{p.name}: {p.pictures} pictures, {p.model}", p.name) for p in list_protocols()]


def protocol_words(name: str | None) -> tuple[str, bool]:
    """What a protocol fixes, in a few lines of HTML; and whether its prompts are a file that the visitor must have."""
    if not name:
        return "", False
    p = load_protocol(listed_protocol(name))
    needs_file = p.prompts_from == "file"
    data = f" Its prompts are third-party data: {p.file or 'a file'}. {p.where}" if needs_file else ""
    how = f"{p.sampler}, {p.steps} steps, guidance {p.guidance:g}, {p.size} pixels; measures: {', '.join(p.metrics)}."
    about = f"{p.about[:1].upper()}{p.about[1:].rstrip('.')}. {how}{data}"
    return f"<p>{escape(about)}</p><p class='muted'>{escape('; '.join(p.sources))}</p>", needs_file


def listed_protocol(protocol: str) -> str:
    """A protocol of the list: a path would read any file."""
    if protocol not in [value for _, value in protocol_choices()]:
        raise InputError(f"{protocol[:80]!r} is not a named protocol; choose one from the list")
    return protocol


def images_done(folder: Path) -> tuple[int, int]:
    """Of an evaluation: images drawn by both models, and how many there will be."""

    def lines(path: Path) -> int:
        return path.read_bytes().count(b"\n") if path.is_file() else 0

    samples = folder / "samples"
    return sum(lines(samples / which / "manifest.jsonl") for which in WHICH), 2 * lines(samples / "prompts.jsonl")
