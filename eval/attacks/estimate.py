"""Estimates of the time of attacks: the first turn of each, from its number of UNet passes and the measured time of a pass."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from erase.concepts.english import spoken_duration
from erase.errors import InputError
from eval.attacks import ERASED
from eval.attacks.attack import Attack
from eval.attacks.setting import Setting
from eval.attacks.turn import passes_per_image
from eval.attacks.victim import PromptEmbeddings, Victim


def first_turns(
    setting: Setting, attacks: Mapping[str, Attack], attempts: Mapping[str, int], subjects: Mapping[str, int]
) -> dict[str, float]:
    """Upper bound of the seconds of a turn by attack, for a number of attempts and of subjects each."""
    victim = setting.victim(ERASED)
    n, each = max(attempts.values()), passes_per_image(victim)
    empty, noise = victim.embed([""] * n), torch.randn(n, *victim.shape).to(victim.device)
    second = min(_timed(victim, empty, noise) for _ in range(3)) / n
    return {name: attack.passes(attempts[name], each) * second * subjects[name] for name, attack in attacks.items()}


@torch.no_grad()
def _timed(victim: Victim, embeddings: PromptEmbeddings, noise: torch.Tensor) -> float:
    start = time.perf_counter()
    victim.predict(noise, torch.full((len(noise),), 500), embeddings).sum().item()
    return time.perf_counter() - start


def check_budget(estimates: Mapping[str, float], budget: float) -> None:
    """InputError where the budget is too small for one turn of any attack."""
    quickest = min(estimates, key=estimates.__getitem__)
    if estimates[quickest] > budget:
        raise InputError(
            f"--budget of {spoken_duration(budget)} is too small for one turn of any attack: the quickest, {quickest}, takes about "
            f"{spoken_duration(estimates[quickest])}; give more, or fewer --at-once"
        )


def foreseen(
    estimates: Mapping[str, float], turns: Mapping[str, int], left: Mapping[str, int], reasons: Mapping[str, str]
) -> dict[str, Any]:
    """The estimate as a record: seconds of a turn and of all turns left, by attack; the smallest budget; attacks that cannot run."""
    rows = {name: {"turn_seconds": round(s, 3), "turns": turns[name], "turns_left": left[name]} for name, s in estimates.items()}
    whole = sum(seconds * left[name] for name, seconds in estimates.items())
    return {
        "smallest_seconds": round(min(estimates.values()), 3), "one_turn_each_seconds": round(sum(estimates.values()), 3),
        "all_that_is_left_seconds": round(whole, 3), "attacks": rows, "not_run": dict(reasons),
    }  # fmt: skip


def in_words(estimate: Mapping[str, Any]) -> str:
    """The estimate for a terminal."""
    whole = {
        "smallest budget": "smallest_seconds",
        "one turn of each": "one_turn_each_seconds",
        "all that is left": "all_that_is_left_seconds",
    }
    lines = [f"{words:20} about {spoken_duration(estimate[name])}" for words, name in whole.items()]
    for name, row in estimate["attacks"].items():
        lines.append(f"{name:20} a turn about {spoken_duration(row['turn_seconds'])}, {row['turns_left']} of {row['turns']} left")
    return "\n".join([*lines, *(f"{name:20} {why}" for name, why in estimate["not_run"].items())])
