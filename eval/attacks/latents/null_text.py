"""Null-text inversion: DDIM inversion, and at every step an empty prompt's embedding, optimised until sampling follows the inverted path.

TINA (CVPR 2026) attacks erased models so, after null-text inversion (Mokady et al., CVPR 2023, arXiv 2211.09794): no prompt
is used, and every step has its own embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from erase.options import check, option
from eval.attacks.attack import Goal, Look
from eval.attacks.latents import known_latents
from eval.attacks.latents.ddim import ddim_step, inverted, predictor, times
from eval.attacks.victim import BACKWARD, PromptEmbeddings, Victim

RATES = {True: 1e-2, False: 1e-3}  # of the embedded model, and of Stable Diffusion (TINA)


@dataclass(frozen=True)
class NullText:
    """Looks after each number of optimisation steps at every step of the sampler."""

    family: ClassVar[str] = "latents"
    about: ClassVar[str] = "the same with an embedding, empty at first, that is optimised at every step (null-text)"
    assumes: ClassVar[str] = "gradients, pictures of the concept"
    paper: ClassVar[str] = "TINA, after arXiv 2211.09794"
    needs: ClassVar[tuple[str, ...]] = ("pictures",)
    shared: ClassVar[bool] = False

    steps: int = option(25, "steps of the sampler", low=2)
    inner: tuple[int, ...] = (2, 6)

    def __post_init__(self) -> None:
        check(self)

    def passes(self, n: int, each: int) -> int:
        return n * self.steps * (1 + sum(2 + inner * (1 + BACKWARD) for inner in self.inner))

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        clean, nothing = known_latents(victim, goal, attempts)
        at = times(victim, self.steps)
        path = inverted(victim, clean, predictor(victim, nothing), at)
        for inner in self.inner:
            results = followed(victim, path, nothing, at, inner)
            images = victim.decode(results)
            yield Look(images, [f"{self.steps} steps, {inner} of the embedding at each"] * len(attempts), {"noise": path[0].cpu()})


def followed(victim: Victim, path: Sequence[Tensor], nothing: PromptEmbeddings, at: Sequence[int], inner: int) -> Tensor:
    """Latents sampled from path[0], with an embedding optimised at each step to minimise the distance to the path's next latents."""
    latents, text = path[0], nothing.text.clone()
    for start, end, target in zip(at, at[1:], path[1:], strict=False):
        text = text.detach().requires_grad_(True)
        update = torch.optim.AdamW([text], lr=RATES[victim.small], weight_decay=0.0)
        for _ in range(inner):
            update.zero_grad()
            with torch.enable_grad():
                reached = _step(victim, latents, PromptEmbeddings(text, nothing.pooled), start, end)
                (reached - target).square().mean(dim=(1, 2, 3)).sum().backward()  # type: ignore[no-untyped-call]
            update.step()
        with torch.no_grad():
            latents = _step(victim, latents, PromptEmbeddings(text.detach(), nothing.pooled), start, end)
    return latents.detach()


def _step(victim: Victim, latents: Tensor, embeddings: PromptEmbeddings, start: int, end: int) -> Tensor:
    answer = victim.predict(latents, torch.full((len(latents),), start), embeddings)
    return ddim_step(victim, latents, answer, start, end)
