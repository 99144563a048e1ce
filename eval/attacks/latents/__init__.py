"""What the attacks on latents share: pictures of the concept as latents, and a text that says nothing."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from eval.attacks.attack import Goal, latents_of
from eval.attacks.victim import Said, Victim


def opened(victim: Victim, goal: Goal, attempts: Sequence[int]) -> tuple[Tensor, Said]:
    """The known picture of each attempt (n, c, h, w) on the device, and the empty prompt as often."""
    clean = latents_of(victim, [goal.of(i).picture for i in attempts]).to(victim.device)
    return clean, victim.said([""] * len(attempts))
