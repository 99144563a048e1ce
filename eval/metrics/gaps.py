"""How far an unlearned network is from one that was trained without the forget set: pure functions on percentages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from eval.metrics.intervals import mean_and_deviation

COMPARED = ("forget_accuracy", "retain_accuracy", "test_accuracy", "mia")

Numbers = Mapping[str, float]


def average_gap(numbers: Numbers, retrain: Numbers) -> float:
    """Mean over COMPARED of the distance to retrain, in percentage points: for one seed and the same forget set."""
    return math.fsum(abs(numbers[name] - retrain[name]) for name in COMPARED) / len(COMPARED)


def gap_of_means(numbers: Sequence[Numbers], retrain: Sequence[Numbers]) -> float:
    """The paper's average gap: that of the means over seeds.

    At most the mean of the gaps, since a value that is too high on one seed compensates one that is too low on another.
    """
    means = [{name: math.fsum(seed[name] for seed in side) / len(side) for name in COMPARED} for side in (numbers, retrain)]
    return average_gap(*means)


def tow(numbers: Numbers, retrain: Numbers, forget: str = "forget_accuracy") -> float:
    """Tug of war (Zhao et al. 2024), in [0, 1], 1 being retrain: product over forget, retain and test of 1 - |gap|.

    With forget="mia" their ToW-MIA.
    """
    names = (forget, "retain_accuracy", "test_accuracy")
    return math.prod(1 - abs(numbers[name] - retrain[name]) / 100 for name in names)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation over seeds, rounded."""
    mean, deviation = mean_and_deviation(values)
    return {"mean": round(mean, 4), "std": round(deviation, 4)}
