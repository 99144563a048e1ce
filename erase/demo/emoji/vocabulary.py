"""Names, groups and keywords of the objects: `python -m erase.demo.emoji.vocabulary` writes cldr.json and shared-keywords.json
beside this file.

Emoji, group and subgroup are those of CLDR; a keyword is taken where it calls up one object of this world and no other. Those that
several objects have are in shared-keywords.json: no caption has them, but a user may type one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from erase.demo.emoji import packages, world
from erase.demo.emoji.data import cache_folder
from erase.files import write_json

SOURCES = (
    (packages.NAMES, "data-by-emoji.json"),
    (packages.SUBGROUPS, "emoji.json"),
    (packages.KEYWORDS, "dist/emoji-en-US.json"),
)


def unfit_keywords() -> frozenset[str]:
    lines = (world.HERE / "unfit-keywords.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def vocabulary(names: Mapping[str, Any], subgroups: Iterable[Mapping[str, str]], keywords: Mapping[str, list[str]]) -> dict[str, Any]:
    """slug -> emoji, group, subgroup and the keywords that call up this object alone."""
    by_slug = {entry["slug"].replace("_", "-"): (emoji, entry["group"]) for emoji, entry in names.items()}
    subgroup = {entry["char"].rstrip("\ufe0f"): entry["subgroup"] for entry in subgroups}
    plain = {slug: _plain(keywords.get(by_slug[slug][0], [])) for slug in world.OBJECTS}
    count = Counter(word for words in plain.values() for word in words)
    taken = {word for item in world.OBJECTS.values() for word in (*item.name.lower().split(), *item.description.split())}
    return {
        slug: {
            "emoji": by_slug[slug][0],
            "group": by_slug[slug][1],
            "subgroup": subgroup.get(by_slug[slug][0].rstrip("\ufe0f"), ""),
            "keywords": [word for word in words if count[word] == 1 and word not in taken][:4],
        }
        for slug, words in plain.items()
    }


def shared_keywords(names: Mapping[str, Any], keywords: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Keyword -> the objects that have it, where they are two or more: too many to call up one, so that a user is asked which."""
    emoji = {entry["slug"].replace("_", "-"): emoji for emoji, entry in names.items()}
    owners: dict[str, list[str]] = {}
    for slug in world.OBJECTS:
        for word in _plain(keywords.get(emoji[slug], [])):
            owners.setdefault(word, []).append(slug)
    return {word: slugs for word, slugs in sorted(owners.items()) if len(slugs) > 1}


def _plain(keywords: Iterable[str]) -> list[str]:
    """Keywords of letters, with spaces, without repetition."""
    texts = (word.replace("_", " ").replace("-", " ").lower() for word in keywords)
    unfit = unfit_keywords()
    fit = (text for text in texts if text.replace(" ", "").isalpha() and text.isascii() and len(text) > 2)
    return [text for text in dict.fromkeys(fit) if text not in unfit]


def main() -> None:
    names, subgroups, keywords = (packages.read(package, file, cache_folder()) for package, file in SOURCES)
    write_json(world.HERE / "cldr.json", vocabulary(names, subgroups, keywords))
    write_json(world.HERE / "shared-keywords.json", shared_keywords(names, keywords))


if __name__ == "__main__":
    main()
