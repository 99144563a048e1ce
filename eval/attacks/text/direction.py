"""A direction in text space for the concept, added to a harmless prompt, and the words nearest to the sum.

Ring-A-Bell (Tsai et al., ICLR 2024, arXiv 2310.10012): needs the text encoder and no UNet, so the result is the same
whichever model is attacked. The concept's own name is not among the words; the search is greedy coordinate descent in
place of the paper's genetic one. The direction is each prompt's own, the change that the name makes in it: the paper's
mean over prompts blurs directions whose words are at different places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from erase.options import check, option
from eval.attacks.attack import Goal, Look, noise_of
from eval.attacks.text.token_search import descend, drawn, vocabulary
from eval.attacks.victim import PromptEmbeddings, Victim


@dataclass(frozen=True)
class Direction:
    """A prompt for each strength of the direction, weak to strong."""

    family: ClassVar[str] = "prompts"
    about: ClassVar[str] = "words nearest to a harmless prompt plus the concept's direction in text space"
    assumes: ClassVar[str] = "the text encoder"
    paper: ClassVar[str] = "Ring-A-Bell, arXiv 2310.10012"
    needs: ClassVar[tuple[str, ...]] = ()
    shared: ClassVar[bool] = False

    words: int = option(12, "words of the prompt", low=1, high=75)
    steps: int = option(60, "steps of the search for each strength", low=1)
    candidates: int = option(16, "exchanges that are tried per step", low=1)
    strengths: tuple[float, ...] = (1.0, 1.5)
    named: bool = option(
        False, "start from the prompt that names the concept instead of a harmless one, as the paper does", added_in="0.1.1"
    )
    mean: bool = option(False, "the mean direction of all prompts, as in the paper, instead of each prompt's own", added_in="0.1.1")

    def __post_init__(self) -> None:
        check(self)

    def passes(self, n: int, each: int) -> int:
        return n * each * len(self.strengths)

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        known = vocabulary(victim, goal.words)
        count = min(self.words, victim.model.tokens([""])[0].shape[1] - 2)
        with torch.no_grad():
            plain = victim.embed([without(goal, goal.of(i).text, i) for i in attempts]).text
            own = victim.embed([goal.of(i).text for i in attempts]).text
            direction = own - plain
            if self.mean:
                pairs = [(target.text, without(goal, target.text, i)) for i, target in enumerate(goal.targets)]
                shifts = [victim.embed([text]).text - victim.embed([bare]).text for text, bare in pairs]
                direction = torch.cat(shifts).mean(dim=0, keepdim=True).expand_as(own)
            plain = own if self.named else plain
        for strength in self.strengths:
            target = plain + strength * direction

            def loss(embeddings: PromptEmbeddings, owner: Tensor, target: Tensor = target) -> Tensor:
                return (embeddings.text - target[owner.to(target.device)]).square().flatten(1).mean(dim=1)

            draws = [noise_of(seed, i, "direction", strength) for i in attempts]
            search = descend(victim, known, drawn(known, count, draws), [""] * len(draws), loss, self.steps, self.candidates, draws)
            *_, (rows, _) = search
            texts = [known.text(row) for row in rows]
            yield Look(victim.draw(victim.embed(texts), goal.sources(seed, attempts), scales=goal.scales(attempts)), texts)


def without(goal: Goal, text: str, turn: int) -> str:
    """The prompt with another word in place of the goal, or with none."""
    return goal.renamed(text, goal.swaps[turn % len(goal.swaps)]) if goal.swaps else goal.renamed(text, "")
