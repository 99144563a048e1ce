"""A concept from words instead of a file: a member of the embedded world, or plain English."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from erase.concepts.concept import Concept
from erase.concepts.english import bare, naming, slots_of, slug
from erase.concepts.files import parse, prompts_folder, read_concept, read_raw
from erase.demo.worlds import KnownModel
from erase.errors import InputError

_STYLE = re.compile(r"(?:in )?(?:the )?style of (?P<of>.+)|(?P<before>.+?)(?:'s)? style", re.IGNORECASE)


def _each(value: Any, change: Callable[[str], str]) -> Any:
    """The same nested lists and tables with every text changed."""
    if isinstance(value, dict):
        return {key: _each(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_each(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def embedded_concept(word: str, world: KnownModel) -> Concept:
    """A concept of an embedded world that has no file: as its language has it, or its domain's example, the two having changed places.

    Which neighbours are near is a fact about a word: anchors are those of the demo's file of it, where there is one.
    """
    if world.language:
        file = prompts_folder() / world.prompts / f"{world.slug(word)}.toml"
        return read_concept(file) if file.is_file() else parse(world.language.content(word), f'the word "{word}" of the embedded world')
    domain = next(domain for domain, members in world.domains.items() if word in members)
    example, implicit = world.examples[domain], world.world.IMPLICIT
    swap = {example: word, word: example}
    swap |= {old.removeprefix("a "): new.removeprefix("a ") for old, new in zip(implicit[example], implicit[word], strict=True)}
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, swap))})(?=s?\b)")
    raw = _each(
        read_raw(prompts_folder() / world.prompts / f"{example}.toml"), lambda text: pattern.sub(lambda match: swap[match[0]], text)
    )
    del raw["anchor"]
    own = prompts_folder() / f"{word}.toml"
    near = [other for other in read_raw(own)["anchor"]["concepts"] if other in world.domains[domain]] if own.is_file() else []
    if near:
        raw["anchor"] = {"concepts": near}
    raw |= {"model": world.name, "about": f"the {domain} {word} of the embedded world"}
    return parse(raw, f'the word "{word}" of the embedded world')


def free_concept(text: str, model: str | None) -> Concept:
    """Any words: "... style" fills the templates of prompts/free/style.toml, the rest those of prompts/free/object.toml."""
    if not slug(text) or re.search(r"[{}]", text):
        raise InputError(f'the concept "{text}" is not words; give a name, a .toml file or plain words such as "Van Gogh style"')
    style = _STYLE.fullmatch(text)
    word = (style["of"] or style["before"]) if style else re.sub(r"^an? ", "", text, flags=re.IGNORECASE)
    raw = read_raw(prompts_folder() / "free" / f"{'style' if style else 'object'}.toml")
    _leave_out(raw, word)
    if not style and bare(word):
        raw = _each(raw, lambda template: template.replace("a {concept}", "{concept}"))
    raw |= {"name": slug(text if style else word), "words": [word], "about": "your own words"} | ({"model": model} if model else {})
    return parse(raw, f'the concept "{text}"')


def _leave_out(raw: dict[str, Any], word: str) -> None:
    """Take what names the concept out of the prompts to keep and of the vocabulary, then the vocabulary that no prompt uses."""
    names = naming([word])
    for section, key in (("retain", "prompts"), ("evaluate", "retain")):
        raw[section][key] = [template for template in raw[section][key] if not names.search(template)]
        if not raw[section][key]:
            raise InputError(f'the concept "{word}" is a word of every prompt; say more precisely what should go, or write a concept file')
    used = slots_of(" ".join(t for section in ("forget", "retain", "evaluate") for templates in raw[section].values() for t in templates))
    vocabulary = {slot: [w for w in words if not names.search(w)] for slot, words in raw["vocabulary"].items()}
    raw["vocabulary"] = {slot: words for slot, words in vocabulary.items() if slot in used}
