"""What the attacks on latents share: known images of the concept as latents, and the empty prompt."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from eval.attacks.attack import Goal, latents_of
from eval.attacks.victim import PromptEmbeddings, Victim


def known_latents(victim: Victim, goal: Goal, attempts: Sequence[int]) -> tuple[Tensor, PromptEmbeddings]:
    """Latents of the known image of each attempt (n, c, h, w) on the device, and the embeddings of n empty prompts."""
    clean = latents_of(victim, [goal.of(i).picture for i in attempts]).to(victim.device)
    return clean, victim.embed([""] * len(attempts))
