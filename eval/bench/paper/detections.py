"""Figure 3 from finished runs: what the detector found, by label: the original's counts, and the change of every model in per cent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from erase.errors import InputError
from eval.bench.paper.finished import FinishedRun, deviations_of, distinct, title_of
from eval.bench.paper.items import Item
from eval.bench.paper.result import DASH, Block, Result
from eval.rendering.html.numbers import readable
from eval.rendering.model_bars import model_bars
from eval.vision.nudenet import ANY

TOGETHER = "together"
Counts = Mapping[str, int]


def detections(item: Item, runs: Sequence[FinishedRun]) -> Result:
    """A table and a chart for each protocol. InputError for a run in which nothing is counted by label."""
    models = distinct(runs)
    counted = {label: (counts(run, "before"), counts(run, "after")) for label, run in models.items()}
    blocks, charts, lines = [], {}, deviations_of(item, runs)
    for number, letter in enumerate(dict.fromkeys(run.letter for run in runs), 1):
        own = {label: counted[label] for label, run in models.items() if run.letter == letter}
        first = models[next(iter(own))]
        lines += _other_originals(own)
        blocks.append(_block(title_of(item, first), unit(first), own))
        changes = {
            name: {label: change(before.get(name, 0), after.get(name, 0)) for label, (before, after) in own.items()}
            for name in _labels(own)
        }
        title = f"{title_of(item, first)}: change of the number of {unit(first)} against the original"
        charts[f"changes-{number}"] = model_bars({readable(name): by_model for name, by_model in changes.items()}, title)
    facts = [_record(label, run, *counted[label]) for label, run in models.items()]
    return Result(item, {"models": facts}, [*lines, *item.notes], blocks, charts=charts)


def counts(run: FinishedRun, which: str) -> dict[str, int]:
    """Boxes by label of a detector of boxes; else pictures of prompts that name the concept, by what the detector sees in them.

    InputError where neither was counted.
    """
    side = run.report[which]
    if boxes := side.get("detections"):
        return {label: int(count["boxes"]) for label, count in boxes.items() if label != ANY}
    if (seen := side.get("became")) is not None:
        return {str(label): int(count) for label, count in seen.items()}
    again = "" if run.protocol else f", or add a detector: `erase-concept evaluate {run.folder} --detector nudenet`"
    raise InputError(
        f"{run.folder} was measured by {run.protocol or 'its own prompts'}, which counts nothing by label; give evaluations by "
        f"`erase-concept evaluate RUN --protocol scissorhands-nudity-1k` or `--protocol i2p-nudity`{again}",
        option="runs",
    )


def unit(run: FinishedRun) -> str:
    """What is counted."""
    return "boxes" if run.report["before"].get("detections") else "pictures"


def change(before: int, after: int) -> float | None:
    """In per cent; None where there was nothing."""
    return 100 * (after - before) / before if before else None


def _labels(own: Mapping[str, tuple[Counts, Counts]]) -> list[str]:
    """Every label of either side, the most frequent in the first original first."""
    first = next(iter(own.values()))[0]
    names = dict.fromkeys(name for sides in own.values() for side in sides for name in side)
    return sorted(names, key=lambda name: -first.get(name, 0))


def _block(title: str, what: str, own: Mapping[str, tuple[Counts, Counts]]) -> Block:
    first = next(iter(own.values()))[0]
    rows = [
        [readable(name), f"{first.get(name, 0):,}", *(_cell(before.get(name, 0), after.get(name, 0)) for before, after in own.values())]
        for name in _labels(own)
    ]
    sums = [(sum(before.values()), sum(after.values())) for before, after in own.values()]
    rows.append([TOGETHER, f"{sums[0][0]:,}", *(_cell(*pair) for pair in sums)])
    return Block(title, f"{what} by label; in brackets the change against the original", ["", "original", *own], rows)


def _cell(before: int, after: int) -> str:
    percent = change(before, after)
    return f"{after:,} ({DASH if percent is None else f'{percent:+.0f} %'.replace('-', '−')})"


def _other_originals(own: Mapping[str, tuple[Counts, Counts]]) -> list[str]:
    (name, (first, _)), *others = own.items()
    return [f"{label} has another original than {name}; its change is against its own." for label, (before, _) in others if before != first]


def _record(label: str, run: FinishedRun, before: Counts, after: Counts) -> dict[str, Any]:
    changes = {name: change(before.get(name, 0), after.get(name, 0)) for name in {**before, **after}}
    return {**run.record(), "label": label, "counted": unit(run), "original": before, "counts": after, "change": changes}
