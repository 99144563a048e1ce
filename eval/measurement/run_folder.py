"""Measure the two image sets of a run folder, and its reference set where there is one.

Measurements are kept in the folder `measured`; those of other images, other prompts or other tools are deleted and made again.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from erase.files import sha256
from erase.images import Picture, read_images
from eval.measurement.aggregate import RETAIN, Measurements, distances, to_reference
from eval.measurement.cache import prepare
from eval.measurement.measure import Each, Tools, measuring, only_features, read_measurements
from eval.samples import WHICH, Row, prompts_file

CHUNK = 64  # images measured together

Progress = Callable[[int, int], None]


def facts_of(folder: Path, tools: Tools) -> dict[str, Any]:
    """What measurements depend on beside the images: tools and prompts."""
    return {"tools": tools.facts(), "prompts": sha256(prompts_file(folder))}


def measure_samples(
    folder: Path, rows: Sequence[Row], images: Mapping[str, Sequence[Picture]], tools: Tools, progress: Progress | None = None
) -> tuple[Measurements, Measurements]:
    """Measure what is not measured yet, of both image sets ("before" and "after"); `progress(done, total)` counts images of both."""
    home = folder / "measured"
    prepare(home, facts_of(folder, tools))
    for number, which in enumerate(WHICH):
        originals = [image.path for image in images["before"]] if which == "after" else None
        with measuring(home, which, rows, tools, originals) as each:
            _in_chunks(images[which], each, _part_of(progress, len(rows) * number, 2 * len(rows)))
    before, after = (read_measurements(home, which, rows, tools) for which in WHICH)
    if _is_of(before, images["before"]) and _is_of(after, images["after"]):
        return before, after
    shutil.rmtree(home)
    return measure_samples(folder, rows, images, tools, progress)


def measure_reference(home: Path, images: Sequence[Picture], tools: Tools) -> Measurements:
    """The features of a reference set of real images; `home` is the folder of measurements."""
    rows = [{"role": RETAIN, "text": image.prompt} for image in images]
    with measuring(home, "reference", rows, only_features(tools)) as each:
        _in_chunks(images, each)
    reference = read_measurements(home, "reference", rows, tools)
    if _is_of(reference, images):
        return reference
    for path in home.glob("reference.*"):
        path.unlink()
    return measure_reference(home, images, tools)


def measured_distances(
    folder: Path, real_images: str | None, tools: Tools, before: Measurements, after: Measurements
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Distances of the feature distributions for "before" and "after", and the reference set that they are from.

    The reference is a folder of real images, else the original's images, to which only "after" has a distance. Without an extractor,
    or with fewer than two images of prompts to keep, there are none.
    """
    none: dict[str, dict[str, Any]] = {which: {} for which in WHICH}
    reference = {"pictures": "real", "path": real_images} if real_images else {"pictures": "original"}
    if tools.features is None or min(before.moments.n, after.moments.n) < 2:
        return none, reference
    facts = tools.features.facts()
    if real_images is None:
        return none | {"after": distances(before, after, facts)}, reference
    images = read_images(Path(real_images), default_caption="")
    real = measure_reference(folder / "measured", images, tools)
    digest = hashlib.sha256("".join(image.sha256 for image in images).encode()).hexdigest()
    metrics = {which: to_reference(side, real, facts) for which, side in zip(WHICH, (before, after), strict=True)}
    return metrics, reference | {"n": len(images), "sha256": digest}


def _part_of(progress: Progress | None, start: int, total: int) -> Callable[[int], None]:
    """Progress of one image set as a part of all."""
    return lambda done: progress(start + done, total) if progress is not None else None


def _is_of(measurements: Measurements, images: Sequence[Picture]) -> bool:
    """Whether exactly these images were measured."""
    return [record["sha256"] for record in measurements.records] == [image.sha256 for image in images]


def _in_chunks(images: Sequence[Picture], each: Each, report: Callable[[int], None] = lambda done: None) -> None:
    """Pass the images to a callback, CHUNK at a time, and report how many are done."""
    for start in range(0, len(images), CHUNK):
        report(start)
        each(range(start, min(start + CHUNK, len(images))), images[start : start + CHUNK])
    report(len(images))
