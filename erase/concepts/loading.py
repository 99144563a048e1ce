"""A concept by whatever a user types: the name of a file, its path, or a few words."""

from __future__ import annotations

from pathlib import Path

from erase.concepts.concept import DEMO, Concept
from erase.concepts.files import prompts_folder, read_concept
from erase.concepts.free import demo_concept, free_concept, slug, speaks_demo
from erase.concepts.wording import hint
from erase.task import InputError


def load_concept(text: str | Path, model: str | None = None) -> Concept:
    """A concept by the name of its file, by the path of a .toml file, or from any other text.

    `model` is where it is to be removed (None: not said). Concepts of the embedded world answer only to the embedded model,
    by its name or as a folder with its vocabulary, since their captions mean little to another; there the word is free text.
    """
    text = " ".join(str(text).split())
    if not text:
        raise InputError('the concept is empty; give a name (star), a .toml file or a few words ("Van Gogh style")')
    if text.endswith(".toml"):
        return read_concept(Path(text))
    demo = model is not None and speaks_demo(model)
    path = prompts_folder() / f"{slug(text)}.toml"
    if path.exists():
        concept = read_concept(path)
        if model is None or demo == (concept.model == DEMO):
            return concept
    from erase.demo.world import DOMAINS

    known = [member for members in DOMAINS.values() for member in members]
    if (model is None or demo) and text.lower() in known:
        return demo_concept(text.lower())
    if demo:
        raise InputError(f'the embedded model does not know "{text}"{hint(text, known)}; it knows {", ".join(known)}')
    names = [*(file.stem for file in prompts_folder().glob("*.toml")), *known]
    if model is None and " " not in text and (near := hint(text, names, 0.85)):
        raise InputError(f"--concept {text!r} is not the name of a concept{near}; to take it as a word of your own, name a --model too")
    return free_concept(text, model)
