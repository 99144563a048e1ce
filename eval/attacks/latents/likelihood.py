"""How likely the noise is that known images of the concept are traced back to, and how well it draws them again.

Memories of Forgotten Concepts (Rusanovsky et al., CVPR 2025, arXiv 2412.00782), the part on whole concepts: DDIM inversion with the
attacked model under the images' captions, without guidance, and the likelihood of what is found beside that of other images and of
noise. Its inversion is ReNoise; here each step is refined by plain fixed-point iteration. A model that never knew the concept is the
standard: any good model draws nearly any image from some noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from erase.images import load_pixels
from erase.options import check, option
from eval.attacks.attack import Goal, Look, Target, latents_of
from eval.attacks.latents.ddim import drawn, inverted, predictor, times
from eval.attacks.measures import likelihood_of
from eval.attacks.victim import Victim
from eval.metrics.likelihood import of_latents, psnr


@dataclass(frozen=True)
class Likelihood:
    """One look: the images drawn again. Each attempt also traces back an image of something else, as the reference."""

    family: ClassVar[str] = "latents"
    about: ClassVar[str] = "known pictures traced back to noise under their prompts: how likely that noise is, and what it draws"
    assumes: ClassVar[str] = "the network's answers, pictures of the concept"
    paper: ClassVar[str] = "arXiv 2412.00782"
    needs: ClassVar[tuple[str, ...]] = ("pictures",)
    shared: ClassVar[bool] = False
    comparative: ClassVar[bool] = True

    steps: int = option(50, "steps from image to noise, and back", low=2)
    refinements: int = option(1, "corrections of each step to noise, so that the step back leads to where it came from", low=0, high=20)

    def __post_init__(self) -> None:
        check(self)

    def passes(self, n: int, each: int) -> int:
        return n * self.steps * (2 * (1 + self.refinements) + 1)

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        at = times(victim, self.steps)
        targets = [goal.of(i) for i in attempts]
        clean, noise, again = self._there_and_back(victim, targets, at)
        images, alone = victim.decode(again), victim.decode(clean)
        known = _pixels_of(victim, targets)
        numbers: dict[str, list[float]] = {
            "nll": of_latents(noise.cpu().numpy()),
            "psnr": [psnr(one, np.asarray(image)) for one, image in zip(known, images, strict=True)],
            "psnr_autoencoder": [psnr(one, np.asarray(image)) for one, image in zip(known, alone, strict=True)],
            "values": [float(noise[0].numel())] * len(attempts),
        }
        if others := [target for target in goal.others if target.picture is not None]:
            reference = self._traced(victim, [others[i % len(others)] for i in attempts], at)[1]
            numbers["nll_others"] = of_latents(reference.cpu().numpy())
        by = [f"{self.steps} steps back and forth under its prompt"] * len(attempts)
        yield Look(images, by, {"noise": noise.cpu()}, numbers)

    def measures(self, records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
        """The likelihoods, distances and ratios of each subject, from the records of its attempts."""
        return likelihood_of(records)

    def _there_and_back(self, victim: Victim, targets: Sequence[Target], at: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Latents of images, the noise that they are traced back to, and what is drawn from it; (n, c, h, w) each."""
        clean, noise = self._traced(victim, targets, at)
        return clean, noise, drawn(victim, noise, predictor(victim, victim.embed([one.text for one in targets])), at)

    @torch.no_grad()
    def _traced(self, victim: Victim, targets: Sequence[Target], at: list[int]) -> tuple[Tensor, Tensor]:
        clean = latents_of(victim, [one.picture for one in targets]).to(victim.device)
        answer = predictor(victim, victim.embed([one.text for one in targets]))
        return clean, inverted(victim, clean, answer, at, self.refinements)[0]


def _pixels_of(victim: Victim, targets: Sequence[Target]) -> list[np.ndarray]:
    """Known images as the model sees them, (h, w, 3) of 0 to 255."""
    pixels = load_pixels([one.picture for one in targets if one.picture is not None], victim.model.size)
    return list(((pixels + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
