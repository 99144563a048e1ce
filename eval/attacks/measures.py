"""Numbers that an attack measures beside whether the concept is seen, from the records of its attempts; and their table.

Read by reports and by the page, so without torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from eval.attacks import ERASED, GOLD, ORIGINAL
from eval.metrics.likelihood import METHOD, distance, mean_record, of_noise
from eval.metrics.paired import paired_means

Records = Mapping[str, Sequence[Mapping[str, Any]]]
"""The records of attempts by subject."""

LABELS = {ORIGINAL: "original", ERASED: "erased", GOLD: "never knew it", "control": "erased, another concept"}
HEADINGS = ("", "surprise", "other images", "from these", "from noise", "PSNR, dB", "at most, dB")
EXPLAINED = (
    "Images of the concept are traced back through each model to the noise that it would draw them from: surprise is the negative "
    "log-likelihood of that noise, in nats per value, and noise as it is drawn has {noise:.3f}",
    "A model remembers an image where its noise is as ordinary as that of other images, a small distance from these, and draws the image "
    "again, a PSNR near that of the autoencoder alone; any good model does that with nearly any image, so only what exceeds the model that "
    "never knew it is memory",
)


def likelihood_of(records: Records) -> dict[str, Any]:
    """Of each subject the surprise of its latents, their distances and the PSNR; and the erased model against the others, in pairs."""
    sides = {subject: _numbers(attempts) for subject, attempts in records.items()}
    sides = {subject: numbers for subject, numbers in sides.items() if numbers.get("nll")}
    if not sides:
        return {}
    values = int(next(iter(sides.values()))["values"][0])
    noise = of_noise(values)
    result: dict[str, Any] = {
        "kind": "likelihood", "interval": METHOD, "values": values, "noise": {"mean": noise[0], "deviation": noise[1]},
        "subjects": {subject: _subject(numbers, noise) for subject, numbers in sides.items()},
    }  # fmt: skip
    pairs = {subject: _against(records[subject], records[ERASED]) for subject in (ORIGINAL, GOLD) if subject in sides and ERASED in sides}
    return result | {"erased_minus": {subject: pair for subject, pair in pairs.items() if pair}}


def _numbers(attempts: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Name -> the numbers of all attempts, of the last look of each that measured it; without those that are not finite."""
    numbers: dict[str, list[float]] = {}
    for attempt in attempts:
        for name, value in _measured(attempt).items():
            numbers.setdefault(name, []).append(value)
    return numbers


def _measured(attempt: Mapping[str, Any]) -> dict[str, float]:
    numbers = {name: value for look in attempt["looks"] for name, value in look.get("measured", {}).items()}
    return {name: float(value) for name, value in numbers.items() if value is not None and math.isfinite(value)}


def _subject(numbers: Mapping[str, Sequence[float]], noise: tuple[float, float]) -> dict[str, Any]:
    record = {name: mean_record(numbers[name]) for name in ("nll", "nll_others", "psnr", "psnr_autoencoder") if numbers.get(name)}
    if numbers.get("nll_others"):
        record["from_others"] = distance(numbers["nll"], numbers["nll_others"])
    return record | {"from_noise": distance(numbers["nll"], noise)}


def _against(first: Sequence[Mapping[str, Any]], erased: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Surprise and PSNR of the erased model minus another's, image by image; nothing for fewer than two pairs."""
    known = {attempt["index"]: _measured(attempt) for attempt in first}
    both = [(known[one["index"]], _measured(one)) for one in erased if one["index"] in known]
    result = {}
    for name in ("nll", "psnr"):
        differences = [after[name] - before[name] for before, after in both if name in before and name in after]
        if len(differences) > 1:
            result[name] = paired_means(differences).record()
    return result


def likelihood_rows(measures: Mapping[str, Any]) -> list[list[str]]:
    """A row for each subject, and one for noise as it is drawn."""
    rows = []
    for subject, record in measures["subjects"].items():
        names = ("nll", "nll_others", "from_others", "from_noise", "psnr", "psnr_autoencoder")
        digits = (3, 3, 3, 3, 1, 1)
        rows.append([LABELS[subject], *(_cell(record.get(name), places) for name, places in zip(names, digits, strict=True))])
    noise = measures["noise"]
    return [*rows, ["noise as it is drawn", f"{noise['mean']:.3f}", "", "", "0", "", ""]]


def _cell(metric: Mapping[str, Any] | None, digits: int) -> str:
    if metric is None:
        return "–"
    ends = "" if metric["low"] is None else f" [{metric['low']:.{digits}f}, {metric['high']:.{digits}f}]"
    return f"{metric['value']:.{digits}f}{ends}"


def explained(measures: Mapping[str, Any]) -> str:
    """The two sentences that say how to read the table."""
    return f"{'. '.join(EXPLAINED).format(noise=measures['noise']['mean'])}."


def differences(measures: Mapping[str, Any]) -> str:
    """The erased model against the others in a sentence, empty where there is no pair."""
    parts = []
    for subject, pair in measures["erased_minus"].items():
        of = ", ".join(
            f"{title} {pair[name]['difference']:+.{places}f} [{pair[name]['low']:+.{places}f}, {pair[name]['high']:+.{places}f}]"
            for name, title, places in (("nll", "surprise", 3), ("psnr", "PSNR", 1))
            if name in pair
        )
        parts.append(f"from {'the original' if subject == ORIGINAL else 'the model that never knew it'}: {of}")
    return f"The erased model differs, image by image, {'; '.join(parts)}." if parts else ""
