"""What an attack wants, what it gives, and what every attack is: a callable with its options inside.

A goal is a concept with prompts and pictures of it. The same attack on another goal, something that is to be kept, is the
control that shows what the detector takes for the concept by mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
    "pictures": "pictures of the concept",
    "original": "the model before the erasure",
    "others": "pictures of something else",
    "anchors": "words for what is drawn instead of the concept",
}


@dataclass(frozen=True)
class Target:
    """A prompt that asks for the goal, and the original's picture of it where there is one."""

    text: str
    picture: Path | None = None


@dataclass(frozen=True)
class Goal:
    """What is to be drawn. `words` name it in the targets' prompts; `others` are prompts and pictures of something else.

    `wordings` mean it too, in other words. `swaps` are words that take its place where something else is meant.
    """

    name: str
    words: tuple[str, ...]
    targets: tuple[Target, ...]
    others: tuple[Target, ...] = ()
    wordings: tuple[str, ...] = ()
    swaps: tuple[str, ...] = ()
    about: str = ""

    def of(self, attempt: int) -> Target:
        """The target of an attempt: they come round again, with other noise."""
        return self.targets[attempt % len(self.targets)]

    def renamed(self, text: str, word: str) -> str:
        """The prompt with another word wherever it names the goal; before it where it does not."""
        if not self.words:
            return f"{word}, {text}" if word else text
        renamed, times = naming(self.words).subn(lambda match: word, text)
        return " ".join(renamed.split()) if times or not word else f"{word}, {text}"

    @property
    def pictures(self) -> list[Target]:
        """The targets that there are pictures of."""
        return [target for target in self.targets if target.picture is not None]


@dataclass(frozen=True)
class Look:
    """Pictures, one an attempt, and by what each was had: a prompt, a number of steps, a share of noise.

    `found` are the vectors or latents behind them, by name; with the attempts as first dimension unless all share them.
    """

    images: Sequence[Image.Image]
    by: Sequence[str]
    found: Mapping[str, Tensor] = field(default_factory=dict)


class Attack(Protocol):
    """A frozen dataclass of options. Calling it attacks a few attempts at once and yields looks, each at more expense than the
    last; whoever judges the pictures may stop it after any. The same seed and attempts give the same looks.

    `shared`: the attempts share one search, and each is a picture of what it found. `passes` is what all looks of n attempts
    take at most, in passes through a UNet, where a picture takes `each`.
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
    """The source of an attempt's noise: the same for every model and attack, so that they are compared on the same."""
    return generator(seed, "attack", attempt, *more)


def sources(seed: int, attempts: Sequence[int], *more: object) -> list[torch.Generator]:
    """Of each attempt."""
    return [noise_of(seed, attempt, *more) for attempt in attempts]


def latents_of(victim: Victim, paths: Sequence[Path | None]) -> Tensor:
    """Scaled latents of pictures, float32 on the CPU."""
    known = [path for path in paths if path is not None]
    parts = [victim.model.encode(load_pixels(known[i : i + 16], victim.model.size), i) for i in range(0, len(known), 16)]
    victim.ready()
    return torch.cat(parts)


def randn(victim: Victim, draws: Sequence[torch.Generator]) -> Tensor:
    """Noise of a picture's latents from each source, on the CPU."""
    return torch.stack([torch.randn(victim.shape, generator=draw) for draw in draws])


def facts(attack: Any) -> dict[str, Any]:
    """An attack for the record."""
    from dataclasses import asdict

    said = {name: getattr(attack, name) for name in ("family", "about", "assumes", "paper")}
    return {**said, "needs": list(attack.needs), "shared": attack.shared, "options": asdict(attack)}
