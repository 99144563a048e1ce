"""The registry of known models: for each embedded model its world, its files, its concepts and what measures it.

`demo` draws one patterned shape, `scenes` several things, `emoji` everyday things in the styles of six icon sets; `flow` draws what
`demo` draws, by flow matching. Everything that depends on which model it is asks here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from erase.demo import DEMO, EMOJI, FLOW, SCENES, gold_path, judge_path, pipeline_path
from erase.demo.emoji import concepts as emoji_concepts
from erase.demo.emoji import names as emoji
from erase.demo.emoji import nearness
from erase.demo.flow import world as flow
from erase.demo.scenes import world as scenes
from erase.demo.shapes import world as shapes


@dataclass(frozen=True)
class Language:
    """How a world speaks of more than the members of its domains.

    `meanings` are the concepts that a user's word may mean: none, one or, where it is ambiguous, several. `spellings` is every word
    that it understands. `content` is a concept's file as TOML would be read, `slug` what that file is called. `phrases`: names that do
    not take "a" -> how they are said instead. `names`: domain -> the concepts in it.
    """

    names: Callable[[], Mapping[str, Sequence[str]]]
    meanings: Callable[[str], list[str]]
    spellings: Callable[[], list[str]]
    content: Callable[[str], dict[str, Any]]
    slug: Callable[[str], str]
    phrases: Callable[[], Mapping[str, str]]


@dataclass(frozen=True)
class KnownModel:
    """An embedded model. `world` is the module that lists DOMAINS as prompts name them, the words of captions and, without a
    `language`, IMPLICIT.

    `token` is in its tokenizer's vocabulary and in no other's. `prompts` is the folder of its concept files inside prompts/,
    `examples` the concept of each domain from which the others are made, `detector` the one that recognises its concepts.
    `base` is the model that training starts from, `shares` the one whose concept files it has, of which `prompts` is the folder.
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
    shares: str | None = None
    derived: Mapping[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict, hash=False)
    rings: Callable[[str, str], Mapping[str, str]] | None = None
    ring_names: tuple[str, ...] = ()
    language: Language | None = None

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
    def files_of(self) -> str:
        """The model that its concept files name."""
        return self.shares or self.name

    def meanings(self, text: str) -> list[str]:
        """The concepts that a user's word may mean: none, one or, where it is ambiguous, several."""
        if self.language:
            return self.language.meanings(text)
        return [text.lower()] if text.lower() in self.concepts else []

    def spellings(self) -> Sequence[str]:
        """Every word that `meanings` understands."""
        return self.language.spellings() if self.language else self.concepts

    def slug(self, concept: str) -> str:
        """What the file and the folders of a concept are called."""
        return self.language.slug(concept) if self.language else concept

    @property
    def phrases(self) -> Mapping[str, str]:
        """Names that do not take "a" -> how they are said instead."""
        return self.language.phrases() if self.language else {}

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
        if self.name in (EMOJI, FLOW):
            return f"python -m erase.demo.{self.name}.train --without {concept} --output DIR"
        if self.base is None:
            return f"python -m erase.demo.shapes.train --without {concept} --base {self.pipeline.parent} --output DIR"
        base = KNOWN_MODELS[self.base].gold(concept)
        return f"python -m erase.demo.shapes.train --world {self.name} --without {concept} --base {base} --output DIR"


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
            derived={"kind": ("object", emoji.KIND_OF)},
            rings=nearness.rings,
            ring_names=nearness.RINGS,
            language=Language(emoji.names, emoji.meanings, emoji.spellings, emoji_concepts.content, emoji.slug, emoji.phrases),
        ),
        KnownModel(FLOW, flow, flow.TOKEN, "", {"shape": "star", "colour": "red", "style": "striped"}, "judge", shares=DEMO),
    )
}


def known_model(model: str | Path) -> KnownModel | None:
    """The known model of a name, or of a folder that holds such a model or one erased from it; None for any other.

    Its own small vocabulary tells; those of `scenes` and `flow` have every word of the demo's.
    """
    if str(model) in KNOWN_MODELS:
        return KNOWN_MODELS[str(model)]
    files = [Path(model) / "tokenizer" / name for name in ("vocab.json", "tokenizer.json")]  # transformers 4 and 5 save different ones
    small = [file for file in files if file.is_file() and file.stat().st_size < 400_000]  # that of CLIP is twice as large
    texts = [file.read_text(encoding="utf-8") for file in small]
    return next((known for known in reversed(KNOWN_MODELS.values()) if any(f'"{known.token}</w>"' in text for text in texts)), None)
