"""A concept from what a user types: the name of a file, its path, or a few words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from erase.concepts.concept import Concept
from erase.concepts.english import hint, one_edit_apart, slug
from erase.concepts.files import prompts_folder, read_concept
from erase.concepts.free_text import embedded_concept, free_concept
from erase.demo import DEMO
from erase.demo.worlds import KNOWN_MODELS, KnownModel, known_model
from erase.errors import InputError

FEW = 40  # names that a message lists


def load_concept(text: str | Path, model: str | None = None) -> Concept:
    """A concept by the name of its file, by the path of a .toml file, or from any other text.

    `model` is where it is to be removed (None: not specified). Concepts of an embedded world answer only to its model, by name or as
    a folder with its vocabulary, since their captions mean little to another; there the word is free text. Without a model, it is the demo.
    """
    text = " ".join(str(text).split())
    if not text:
        raise InputError('the concept is empty; give a name (star), a .toml file or a few words ("Van Gogh style")')
    if text.endswith(".toml"):
        return read_concept(Path(text))
    world = known_model(model) if model is not None else None
    path = prompts_folder() / (world.prompts if world else "") / f"{slug(text)}.toml"
    if path.exists():
        concept = read_concept(path)
        if model is None or (world.files_of if world else None) == (concept.model if concept.model in KNOWN_MODELS else None):
            return replace(concept, model=world.name) if world else concept
    if model is None or world:
        known = world or KNOWN_MODELS[DEMO]
        meanings = known.meanings(text)
        if len(meanings) == 1:
            return embedded_concept(meanings[0], known)
        if meanings:
            raise InputError(f'--concept "{text}" may mean {_listed(meanings)}; give one of these')
        if world:
            raise InputError(_unknown(text, world))
    if model is None and (near := _slip(text)):
        raise InputError(f"--concept {text!r} is not the name of a concept{near}; to take it as a word of your own, name a --model too")
    return free_concept(text, model)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")


def _unknown(text: str, world: KnownModel) -> str:
    """What is said of a word that a world does not know: the nearest that it does, and where all of them are listed."""
    several = len(world.concepts) > FEW
    remedy = f"`erase-concept concepts --model {world.name}` lists what it knows" if several else f"it knows {', '.join(world.concepts)}"
    near = next(filter(None, (hint(word, world.spellings(), 0.7, 3) for word in (text, re.sub(" style$", "", text)))), "")
    return f'the embedded model {world.name} does not know "{text}"{near}; {remedy}'


def _slip(text: str) -> str:
    """The hint for a word that is most likely a misspelt name; empty for any that may well be meant as it is.

    Nearness alone does not tell: "spring" is nearer to a name than "strr". So a word one edit away is a slip unless it is an English
    word. One with capitals ("Starr") is somebody's or something's own name.
    """
    if " " in text or text != text.lower():
        return ""
    names = sorted({file.stem for file in prompts_folder().glob("*.toml")} | {*KNOWN_MODELS[DEMO].concepts})
    if near := hint(text, names, 0.85):
        return near
    words = (prompts_folder() / "free" / "near-names.txt").read_text(encoding="utf-8").splitlines()
    ordinary = {word for line in words if not line.startswith("#") for word in line.split()}
    close = [name for name in names if len(name) > 3 and one_edit_apart(text, name)]
    return hint(text, close, 0) if close and text not in ordinary else ""
