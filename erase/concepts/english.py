"""English: slots of templates with the right article, plurals, whether a text names a concept, corrections of misspelt words, durations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

SLOT = re.compile(r"(?:\b([Aa])n? )?\{([a-z_]+)\}")  # with the article before it, which depends on what is filled in
_VOWEL = re.compile(r"(?!uni[^ndm]|us[aeiu]|ut[ei]|eu|one\b|once)[aeiou]|h(?:our|onest|eir|onou?r)", re.IGNORECASE)
_UNCOUNTED = re.compile(r"blood|fire|fog|food|gore|grass|hair|ice|money|nudity|rain|sand|smoke|snow|violence|water", re.IGNORECASE)


def slots_of(template: str) -> set[str]:
    return {match[2] for match in SLOT.finditer(template)}


def fill(template: str, values: Mapping[str, str]) -> str:
    def replacement(match: re.Match[str]) -> str:
        word = values[match[2]]
        return f"{match[1]}n {word}" if match[1] and _VOWEL.match(word) else f"{match[1]} {word}" if match[1] else word

    return SLOT.sub(replacement, template)


def naming(words: Sequence[str]) -> re.Pattern[str]:
    """Finds any of the words in a text, in the singular or the plural."""
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?:e?s|'s)?(?!\w)", re.IGNORECASE)


def plural(word: str) -> bool:
    return re.search(r"[^sui]s$", word) is not None


def bare(word: str) -> bool:
    """Words that take no "a": names, plurals, what has an article of its own, what cannot be counted."""
    last = word.split()[-1]
    return word[:1].isupper() or plural(last) or word.lower().startswith("the ") or _UNCOUNTED.fullmatch(last) is not None


def hint(word: str, known: Sequence[str], likeness: float = 0.6) -> str:
    close = get_close_matches(word, known, 1, likeness)
    return f', did you mean "{close[0]}"?' if close else ""


def spoken_duration(seconds: float) -> str:
    """Seconds in words: "45 s", "12 min", "2 h 05 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
