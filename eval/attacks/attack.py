"""The goal of an attack, its results, and the protocol of every attack: a callable dataclass of options.

A goal is a concept with prompts and images of it. The same attack with another goal, something that is to be kept, is the
control: it shows how often the detector takes something else for the concept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from PIL import Image
from torch import Tensor

from erase.concepts import naming
from erase.images import load_pixels
from erase.task import generator
from eval.attacks.victim import Victim

NEEDS = {
    "pictures": "images of the concept",
    "original": "the model before the erasure",
    "network": "a UNet or transformer that the erasure changed",
    "others": "images of something else",
    "anchors": "words for what is drawn instead of the concept",
}


@dataclass(frozen=True)
class Target:
    """A prompt for the goal; the path of the original model's image of it; the prompt's own guidance scale and seed, if any."""

    text: str
    picture: Path | None = None
    guidance: float | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Goal:
    """The concept to generate. `words` name it in the targets' prompts; `others` are prompts and images of something else.

    `wordings` describe it without these words. `swaps` are words for something else, which replace them. `every` are all prompts that
    name it, where some are not among the targets because the detector sees the concept in no image of theirs.
    """

    name: str
    words: tuple[str, ...]
    targets: tuple[Target, ...]
    others: tuple[Target, ...] = ()
    wordings: tuple[str, ...] = ()
    swaps: tuple[str, ...] = ()
    about: str = ""
    every: tuple[Target, ...] = ()

    @property
    def whole(self) -> Goal:
        """The goal with all of its prompts as targets, whatever the detector sees."""
        return replace(self, targets=self.every) if self.every else self

    def of(self, attempt: int) -> Target:
        """The target of an attempt; beyond the last they repeat, with other noise."""
        return self.targets[attempt % len(self.targets)]

    def scales(self, attempts: Sequence[int]) -> list[float | None]:
        """The guidance scale of each attempt; None for that of the run."""
        return [self.of(i).guidance for i in attempts]

    def sources(self, seed: int, attempts: Sequence[int]) -> list[torch.Generator]:
        """The generator of each attempt's image: of its prompt's own seed, where that has one and was not attempted before."""
        own = [self.of(i).seed if i < len(self.targets) else None for i in attempts]
        return [noise_of(seed, i) if one is None else torch.Generator().manual_seed(one) for i, one in zip(attempts, own, strict=True)]

    def renamed(self, text: str, word: str) -> str:
        """The prompt with another word wherever it names the goal; before it where it does not."""
        if not self.words:
            return f"{word}, {text}" if word else text
        renamed, times = naming(self.words).subn(lambda match: word, text)
        return " ".join(renamed.split()) if times or not word else f"{word}, {text}"

    @property
    def pictures(self) -> list[Target]:
        """The targets that have an image."""
        return [target for target in self.targets if target.picture is not None]


@dataclass(frozen=True)
class Look:
    """Images, one per attempt, and what produced each: a prompt, a number of steps, a share of noise.

    `tensors`: the vectors or latents behind them, by name; with the attempts as first dimension unless all share them. `numbers`: what
    else was measured of each attempt, by name.
    """

    images: Sequence[Image.Image]
    by: Sequence[str]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    numbers: Mapping[str, Sequence[float]] = field(default_factory=dict)


class Attack(Protocol):
    """A frozen dataclass of options. Calling it runs a few attempts at once and yields looks, each after more effort than the
    last; the caller, which judges the images, may stop after any. The same seed and attempts give the same looks.

    `shared`: the attempts share one search, and each is an image of its result; `deterministic`, by default False, where that search
    has no random part and is the same in every turn, so that its attempts are independent all the same. `comparative`, by default False,
    where success on a model that never knew the concept is likely too, so that success alone says nothing. `passes`: maximum number of
    UNet passes of all looks of n attempts, where an image takes `each`. `measures`, where there is one: what the report has beside
    success, from the records of the attempts by subject (`eval.attacks.measures`).
    """

    family: ClassVar[str]
    about: ClassVar[str]
    assumes: ClassVar[str]
    paper: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    shared: ClassVar[bool]

    def passes(self, n: int, each: int) -> int: ...

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]: ...


def noise_of(seed: int, attempt: int, *more: object) -> torch.Generator:
    """The generator of an attempt's noise: the same for every model and attack, so that they are compared in pairs."""
    return generator(seed, "attack", attempt, *more)


def sources(seed: int, attempts: Sequence[int], *more: object) -> list[torch.Generator]:
    """The generator of each attempt."""
    return [noise_of(seed, attempt, *more) for attempt in attempts]


def latents_of(victim: Victim, paths: Sequence[Path | None]) -> Tensor:
    """Scaled latents of image files, float32 on the CPU."""
    known = [path for path in paths if path is not None]
    parts = [victim.model.encode(load_pixels(known[i : i + 16], victim.model.size), i) for i in range(0, len(known), 16)]
    victim.ready()
    return torch.cat(parts)


def randn(victim: Victim, draws: Sequence[torch.Generator]) -> Tensor:
    """Noise in the shape of an image's latents from each generator, (n, c, h, w) on the CPU."""
    return torch.stack([torch.randn(victim.shape, generator=draw) for draw in draws])


def facts(attack: Any) -> dict[str, Any]:
    """An attack as a record; turns on disk are identified by it, so its texts and option names stay, and new options count if changed."""
    texts = {name: getattr(attack, name) for name in ("family", "about", "assumes", "paper")}
    added = {item.name: item.default for item in fields(attack) if item.metadata.get("added_in")}
    options = {name: value for name, value in asdict(attack).items() if added.get(name, MISSING) != value}
    return {**texts, "needs": list(attack.needs), "shared": attack.shared, "options": options}
