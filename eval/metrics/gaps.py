"""How far an unlearned network is from one that was trained without the forget set: pure functions on percentages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from eval.metrics.intervals import mean_and_deviation

COMPARED = ("forget_accuracy", "retain_accuracy", "test_accuracy", "mia")

Numbers = Mapping[str, float]


def average_gap(found: Numbers, retrain: Numbers) -> float:
    """Mean over COMPARED of the distance to retrain, in points: of one seed, both with the same forget set."""
    return math.fsum(abs(found[name] - retrain[name]) for name in COMPARED) / len(COMPARED)


def gap_of_means(found: Sequence[Numbers], retrain: Sequence[Numbers]) -> float:
    """The paper's average gap: the same of the means over seeds. Never more than the mean of the gaps: what is too high on one
    seed makes up for what is too low on another."""
    means = [{name: math.fsum(one[name] for one in side) / len(side) for name in COMPARED} for side in (found, retrain)]
    return average_gap(*means)


def tow(found: Numbers, retrain: Numbers, forget: str = "forget_accuracy") -> float:
    """Tug of war (Zhao et al. 2024), in [0, 1], 1 being retrain: product over forget, retain and test of 1 - |gap|.

    With forget="mia" their ToW-MIA.
    """
    names = (forget, "retain_accuracy", "test_accuracy")
    return math.prod(1 - abs(found[name] - retrain[name]) / 100 for name in names)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation over seeds, as contracts have them."""
    mean, deviation = mean_and_deviation(values)
    return {"mean": round(mean, 4), "std": round(deviation, 4)}
