"""The registry of known models: for each embedded model its world, its files, its concepts and what measures it.

`demo` draws one patterned shape, `scenes` several things, `emoji` everyday things in the styles of six icon sets. Everything that
depends on which model it is asks here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from erase.demo import DEMO, EMOJI, SCENES, gold_path, judge_path, pipeline_path
from erase.demo.emoji import captions as emoji_captions
from erase.demo.emoji import nearness
from erase.demo.emoji import world as emoji
from erase.demo.scenes import world as scenes
from erase.demo.shapes import world as shapes


@dataclass(frozen=True)
class KnownModel:
    """An embedded model. `world` is the module that renders, captions and lists DOMAINS, IMPLICIT and words.

    `token` is in its tokenizer's vocabulary and in no other's. `prompts` is the folder of its concept files inside prompts/,
    `examples` the concept of each domain from which the others are made, `detector` the one that recognises its concepts.
    `base` is the model that training starts from.
    `derived` has domains that another one decides: domain -> (the other, its words -> the word of the domain), as the kind of an object.
    `rings` says how near each other thing is to a concept (domain, word), in the words of `ring_names`, the nearest first.
    """

    name: str
    world: ModuleType
    token: str
    prompts: str
    examples: Mapping[str, str]
    detector: str
    base: str | None = None
    derived: Mapping[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict, hash=False)
    rings: Callable[[str, str], Mapping[str, str]] | None = None
    ring_names: tuple[str, ...] = ()

    @property
    def domains(self) -> dict[str, tuple[str, ...]]:
        """Domain -> what belongs to it, e.g. shape -> circle, star, ..."""
        domains: dict[str, tuple[str, ...]] = self.world.DOMAINS
        return domains

    @property
    def concepts(self) -> list[str]:
        """Everything that it can draw and that could be erased."""
        return [member for members in self.domains.values() for member in members]

    def words(self) -> list[str]:
        """Every word of its captions."""
        words: list[str] = self.world.words()
        return words

    @property
    def pipeline(self) -> Path:
        """Its pipeline folder."""
        return pipeline_path(self.name)

    @property
    def judge(self) -> Path:
        """The weights of its judge."""
        return judge_path(self.name)

    def gold(self, concept: str) -> Path:
        """The folder of the model retrained without a concept, which need not exist."""
        return gold_path(concept, self.name)

    def training_command(self, concept: str) -> str:
        """The command that trains the same model without a concept."""
        if self.name == EMOJI:
            return f"python -m erase.demo.emoji.train --without {concept} --output DIR"
        if self.base is None:
            return f"python -m erase.demo.shapes.train --without {concept} --base {self.pipeline.parent} --output DIR"
        base = KNOWN_MODELS[self.base].gold(concept)
        return f"python -m erase.demo.shapes.train --world {self.name} --without {concept} --base {base} --output DIR"


KINDS = {emoji.name_of(slug): emoji_captions.kind_of(slug) for slug in emoji.OBJECTS}
KNOWN_MODELS = {
    known.name: known
    for known in (
        KnownModel(DEMO, shapes, "checkered", "", {"shape": "star", "colour": "red", "style": "striped"}, "judge"),
        KnownModel(SCENES, scenes, "cluttered", "scenes", {"shape": "star", "colour": "red"}, "scenes", base=DEMO),
        KnownModel(
            EMOJI,
            emoji,
            "twemoji",
            "emoji",
            {},
            "emoji",
            derived={"kind": ("object", KINDS)},
            rings=nearness.rings,
            ring_names=nearness.RINGS,
        ),
    )
}


def known_model(model: str | Path) -> KnownModel | None:
    """The known model of a name, or of a folder that holds such a model or one erased from it; None for any other.

    Its own small vocabulary tells; that of `scenes` has every word of the demo's.
    """
    if str(model) in KNOWN_MODELS:
        return KNOWN_MODELS[str(model)]
    files = [Path(model) / "tokenizer" / name for name in ("vocab.json", "tokenizer.json")]  # transformers 4 and 5 save different ones
    small = [file for file in files if file.is_file() and file.stat().st_size < 400_000]  # that of CLIP is twice as large
    texts = [file.read_text(encoding="utf-8") for file in small]
    return next((known for known in reversed(KNOWN_MODELS.values()) if any(f'"{known.token}</w>"' in text for text in texts)), None)
