"""The losses of a training as a chart with a sentence, for the report and for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.rendering.charts import curve

LABELS = {"retain_loss": "Loss on what is kept", "unlearn_loss": "Unlearning loss"}


@dataclass(frozen=True)
class Losses:
    """A sentence of plain text, and the chart as SVG."""

    sentence: str
    chart: str


def losses_of(steps: Sequence[Mapping[str, Any]], projects: bool, total: int | None = None, width: float = 760.0) -> Losses | None:
    """From the records of stats.jsonl; None without any step.

    `projects`: the method projects gradients, so that the sentence says how often. `total`: the steps that are planned, where the
    training may still run. `width` of the chart in pixels.
    """
    if not steps:
        return None
    count = f"{len(steps):,}" if total is None else f"{len(steps):,} of {total:,}"
    sentence = f"{count} training steps."
    if projects:
        projected = sum(step.get("projected") is True for step in steps)
        share = f"{projected:,} of them ({100 * projected / len(steps):.0f} %)"
        sentence = f"{count} repair steps; the projection acted in {share}{', marked below the curves' if projected else ''}."
    labels = {name: label for name, label in LABELS.items() if any(name in step for step in steps)}
    return Losses(sentence, curve(steps, labels, "Losses by repair step", width=width))
