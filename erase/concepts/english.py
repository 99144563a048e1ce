"""English: slots of templates with the right article, plurals, whether a text names a concept, corrections of misspelt words, durations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache

SLOT = re.compile(r"(?:\b([Aa])n? )?\{([a-z_]+)\}")  # with the article before it, which depends on what is filled in
_VOWEL = re.compile(r"(?!uni[^ndm]|us[aeiu]|ut[ei]|eu|one\b|once)[aeiou]|h(?:our|onest|eir|onou?r)", re.IGNORECASE)
_NONE: Mapping[str, str] = {}
_UNCOUNTED = re.compile(r"blood|fire|fog|food|gore|grass|hair|ice|money|nudity|rain|sand|smoke|snow|violence|water", re.IGNORECASE)


def slug(text: str) -> str:
    """What a text is called where only letters, digits and "-" may stand, as in the name of a folder."""
    return re.sub(r"[\W_]+", "-", text.lower())[:60].strip("-")


def slots_of(template: str) -> set[str]:
    return {match[2] for match in SLOT.finditer(template)}


def fill(template: str, values: Mapping[str, str], phrases: Mapping[str, str] = _NONE) -> str:
    """The template with its slots filled. `phrases`: words that do not take "a" -> how they are said instead ("sun": "the sun")."""
    return SLOT.sub(lambda match: _with_article(match[1], values[match[2]], phrases), template)


def swap(text: str, names: re.Pattern[str], word: str, phrases: Mapping[str, str] = _NONE) -> str:
    """The text with `word` for everything that `names` finds; "a" before it is adapted, as `fill` does."""
    return re.sub(rf"(?:\b([Aa])n? )?(?:{names.pattern})", lambda match: _with_article(match[1], word, phrases), text, flags=names.flags)


def _with_article(article: str | None, word: str, phrases: Mapping[str, str]) -> str:
    if not article:
        return word
    if word in phrases:
        return phrases[word]
    return f"{article}n {word}" if _VOWEL.match(word) else f"{article} {word}"


def naming(words: Sequence[str], besides: Iterable[str] = ()) -> re.Pattern[str]:
    """Finds any of the words in a text, in the singular or the plural, but not as a part of one of the names `besides`.

    With the name "shooting star" beside it, "star" is not found in "a shooting star" but in "a star".
    """
    return _naming(tuple(words), tuple(besides))


@lru_cache(1024)
def _naming(words: tuple[str, ...], besides: tuple[str, ...]) -> re.Pattern[str]:
    plain = "|".join(map(re.escape, words))
    own = re.compile(rf"(?<!\w)(?:{plain})(?:e?s|'s)?(?!\w)", re.IGNORECASE)
    known = {word.lower() for word in words}
    guards = [
        rf"(?!(?<=(?<!\w){re.escape(name[: match.start()])}){re.escape(name[match.start() :])}(?:e?s|'s)?(?!\w))"
        for name in besides
        if name.lower() not in known
        for match in own.finditer(name)
    ]
    return re.compile(rf"(?<!\w){''.join(guards)}(?:{plain})(?:e?s|'s)?(?!\w)", re.IGNORECASE) if guards else own


def plural(word: str) -> bool:
    return re.search(r"[^sui]s$", word) is not None


def bare(word: str) -> bool:
    """Words that take no "a": names, plurals, what has an article of its own, what cannot be counted."""
    last = word.split()[-1]
    return word[:1].isupper() or plural(last) or word.lower().startswith("the ") or _UNCOUNTED.fullmatch(last) is not None


def hint(word: str, known: Sequence[str], likeness: float = 0.6, most: int = 1) -> str:
    """A question whether the nearest of the known names were meant, at most so many, whatever their case; empty if none is near."""
    names = {name.casefold(): name for name in reversed(known)}
    close = [f'"{names[name]}"' for name in get_close_matches(word.casefold(), names, most, likeness)]
    return f", did you mean {' or '.join(close)}?" if close else ""


def one_edit_apart(a: str, b: str) -> bool:
    """Whether one letter more, less or another one, or two neighbours that changed places, make one word of the other."""
    if len(a) > len(b):
        a, b = b, a
    start = next((i for i in range(len(a)) if a[i] != b[i]), len(a))
    if len(a) == len(b):
        return a[start + 1 :] == b[start + 1 :] or (a[start : start + 2] == b[start : start + 2][::-1] and a[start + 2 :] == b[start + 2 :])
    return len(b) == len(a) + 1 and a[start:] == b[start + 1 :]


def spoken_duration(seconds: float) -> str:
    """Seconds in words: "45 s", "12 min", "2 h 05 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
