"""The embedded worlds by name: what a model of each knows, and where its files are.

`demo` draws one thing with a pattern, `scenes` several things. Whoever asks for a world by name need not know which it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from erase.demo.scenes import world as scenes
from erase.demo.shapes import world


@dataclass(frozen=True)
class World:
    """`drawing` is the module that renders, captions and lists DOMAINS, IMPLICIT and words; `sign` a token that no other world has.

    `prompts` is the folder of its concept files inside prompts/, `examples` the concept of each domain that the others are
    spelled from, `detector` what sees its concepts.
    """

    name: str
    drawing: ModuleType
    sign: str
    prompts: str
    examples: Mapping[str, str]
    detector: str

    @property
    def domains(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = self.drawing.DOMAINS
        return found

    @property
    def concepts(self) -> list[str]:
        """Everything that it can draw and that could be erased."""
        return [member for members in self.domains.values() for member in members]

    def words(self) -> list[str]:
        """Every word of its captions."""
        found: list[str] = self.drawing.words()
        return found


WORLDS = {
    made.name: made
    for made in (
        World("demo", world, "checkered", "", {"shape": "star", "colour": "red", "style": "striped"}, "judge"),
        World("scenes", scenes, "cluttered", "scenes", {"shape": "star", "colour": "red"}, "scenes"),
    )
}


def spoken(model: str | Path) -> World | None:
    """The embedded world of a model: by its name, or as a folder that holds such a model or what was made of it.

    Its own small vocabulary says which; that of `scenes` has every word of the demo's.
    """
    if str(model) in WORLDS:
        return WORLDS[str(model)]
    files = [Path(model) / "tokenizer" / name for name in ("vocab.json", "tokenizer.json")]  # transformers 4 and 5 save different ones
    small = [file for file in files if file.is_file() and file.stat().st_size < 200_000]  # that of CLIP is four times as large
    texts = [file.read_text(encoding="utf-8") for file in small]
    fit = (made for made in reversed(WORLDS.values()) if any(f'"{made.sign}</w>"' in text for text in texts))
    return next(fit, None)
