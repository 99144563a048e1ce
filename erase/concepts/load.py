"""A concept from what a user types: the name of a file, its path, or a few words."""

from __future__ import annotations

from pathlib import Path

from erase.concepts.concept import Concept
from erase.concepts.english import hint
from erase.concepts.files import prompts_folder, read_concept
from erase.concepts.free_text import embedded_concept, free_concept, slug
from erase.demo import DEMO
from erase.demo.worlds import KNOWN_MODELS, known_model
from erase.errors import InputError


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
        if model is None or (world.name if world else None) == (concept.model if concept.model in KNOWN_MODELS else None):
            return concept
    known = (world or KNOWN_MODELS[DEMO]).concepts
    if (model is None or world) and text.lower() in known:
        return embedded_concept(text.lower(), world or KNOWN_MODELS[DEMO])
    if world:
        raise InputError(f'the embedded model does not know "{text}"{hint(text, known)}; it knows {", ".join(known)}')
    names = [*(file.stem for file in prompts_folder().glob("*.toml")), *known]
    if model is None and " " not in text and (near := hint(text, names, 0.85)):
        raise InputError(f"--concept {text!r} is not the name of a concept{near}; to take it as a word of your own, name a --model too")
    return free_concept(text, model)
