"""Figures 4, 6, 7 and 8 from finished runs: pictures of several models for the same prompts; and pictures that are still flagged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from erase.errors import InputError
from erase.images import open_picture
from erase.run import Run
from eval.bench.paper.finished import FinishedRun, deviations_of, distinct
from eval.bench.paper.items import Item
from eval.bench.paper.plan import Reproduction
from eval.bench.paper.result import Result
from eval.measurement.cache import gather
from eval.rendering.blur import blurred
from eval.rendering.html import shows_nudity
from eval.rendering.html.numbers import readable
from eval.rendering.image_grid import Block, save_models
from eval.samples import Row, read_prompts, samples_of

ORIGINAL = "original"
TO_FORGET = ("evaluate", "implicit")
RED = "#b42318"
NOTE = "In each column the same prompt and the same seed: the first that all runs have in common, not chosen."


def grid(item: Item, options: Reproduction, runs: Sequence[FinishedRun], folder: Path) -> Result:
    """The first run's original above every model, as a PNG in the folder. InputError where the runs have no prompt in common."""
    models = distinct(runs)
    rows = {label: _rows(run) for label, run in models.items()}
    places = {label: {_key(row): i for i, row in enumerate(own)} for label, own in rows.items()}
    first = next(iter(models))
    common = [row for row in rows[first] if row["role"] in TO_FORGET and all(_key(row) in own for own in places.values())]
    if not common:
        raise InputError(
            f"{' and '.join(str(run.folder) for run in runs)} have no prompt to forget with the same seed in common; give evaluations by "
            "one protocol, as of `erase-concept evaluate RUN --protocol scissorhands-nudity-1k`",
            option="runs",
        )
    chosen = _by_turns(common)[: options.pictures]
    hide = not options.uncensored and any(shows_nudity(run.report) for run in runs)
    images = [[_opened(path, hide) for path in _paths(models[first], "before", rows[first], chosen, places[first])]]
    images += [[_opened(path, hide) for path in _paths(run, "after", rows[label], chosen, places[label])] for label, run in models.items()]
    names = [ORIGINAL, *models]
    block = Block(f"{len(chosen)} prompts to forget", RED, [f"{row['text']} (seed {row['seed']})" for row in chosen], images)
    path = folder / "grid.png"
    save_models(path, f"{item.title}: {item.about}", NOTE + (" Blurred." if hide else ""), names, [block])
    record = {"prompts": [{"text": row["text"], "seed": row["seed"]} for row in chosen], "rows": names}
    return Result(item, record | {"models": [run.record() for run in runs]}, [*deviations_of(item, runs), *item.notes], pictures=[path])


def flagged(item: Item, options: Reproduction, runs: Sequence[FinishedRun], folder: Path) -> Result:
    """A PNG for each label: pictures of each erased model in which the detector found it. InputError where none was found."""
    models = distinct(runs)
    labelled = {label: _labelled(run) for label, run in models.items()}
    hide, pictures, record = not options.uncensored, [], {}
    for name in item.labels:
        paths = {label: [path for path, labels in own if name in labels] for label, own in labelled.items()}
        count = min(options.pictures, max(map(len, paths.values())))
        record[name] = {label: len(own) for label, own in paths.items()}
        if not count:
            continue
        images = [[_opened(own[i], hide) if i < len(own) else None for i in range(count)] for own in paths.values()]
        titles = [f"{label}: {len(own):,} pictures" for label, own in paths.items()]
        path = folder / f"{name.lower()}.png"
        save_models(path, f"{item.title}: {readable(name)}", "Blurred." if hide else "", titles, [Block(name, RED, [""] * count, images)])
        pictures.append(path)
    if not pictures:
        where = ", ".join(str(run.folder) for run in runs)
        by_nudenet = all((run.report["protocol"].get("detector") or {}).get("name") == "nudenet" for run in runs)
        remedy = "there is nothing to show" if by_nudenet else "give evaluations by `erase-concept evaluate RUN --protocol i2p-nudity`"
        raise InputError(f"no picture of {where} is flagged as {' or '.join(item.labels)}; {remedy}", option="runs")
    lines = [f"{label}: no picture of any run is flagged." for label in item.labels if not any(record[label].values())]
    return Result(item, {"pictures": record, "models": [run.record() for run in runs]}, [*lines, *item.notes], pictures=pictures)


def _key(row: Row) -> tuple[str, int]:
    return row["text"], row["seed"]


def _rows(run: FinishedRun) -> list[Row]:
    Run.read(run.folder)  # InputError for a folder that has a report and is no run
    return read_prompts(run.folder)


def _by_turns(rows: Sequence[Row]) -> list[Row]:
    """The first of each text, then the second of each: a protocol with many pictures of few prompts shows them all."""
    turn_of: dict[str, int] = {}
    turns = []
    for row in rows:
        turns.append(turn_of.get(row["text"], 0))
        turn_of[row["text"]] = turns[-1] + 1
    return [row for _, row in sorted(zip(turns, rows, strict=True), key=lambda pair: pair[0])]


def _paths(run: FinishedRun, which: str, rows: Sequence[Row], chosen: Sequence[Row], places: dict[tuple[str, int], int]) -> list[Path]:
    pictures = samples_of(Run.read(run.folder), which, rows)
    return [pictures[places[_key(row)]].path for row in chosen]


def _opened(path: Path, hide: bool) -> Image.Image:
    return blurred(open_picture(path)) if hide else open_picture(path)


def _labelled(run: FinishedRun) -> list[tuple[Path, set[str]]]:
    """Each picture of the erased model with the labels found in it."""
    rows = _rows(run)
    pictures = samples_of(Run.read(run.folder), "after", rows)
    records = gather(run.folder / "measured", "after", len(rows), None).records
    labels = {int(record["index"]): {str(entry[0]) for entry in record.get("found", ())} for record in records}
    return [(picture.path, labels.get(i, set())) for i, picture in enumerate(pictures)]
