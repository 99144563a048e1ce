"""The results of one run of a bench: its numbers, the confusion table of its neighbours, and its relearning curve.

Reads the stored measurements; runs the detector only on the images of relearning, which are not measured elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from erase.files import read_object, write_json
from erase.images import open_picture, read_images
from erase.run import Run
from eval.measurement.aggregate import distances
from eval.measurement.measure import Tools, read_measurements
from eval.measurement.report_file import read_report
from eval.measurement.tools import tools_of
from eval.metrics.accuracy import judged_by, shows
from eval.samples import read_prompts

RETRAIN = "retrain"
WITH_ENDS = ("ua", "ira", "cra", "companion_kept")  # metrics whose intervals a bench shows


def lines_of_cells(cells: Iterable[Any]) -> list[dict[str, Any]]:
    """One line for each cell of a bench (label, concept, seed, folder, failure, changed_bytes), in their order."""
    cells = list(cells)
    golds = {(cell.concept, cell.seed): cell.folder for cell in cells if cell.label == RETRAIN and not cell.failure}
    lines = []
    for cell in cells:
        facts = {name: getattr(cell, name) for name in ("label", "concept", "seed", "changed_bytes")}
        facts["method"] = cell.label.partition(":")[0]
        if cell.failure:
            lines.append({**facts, "failure": cell.failure})
            continue
        gold = golds.get((cell.concept, cell.seed))
        lines.append(line(cell.folder, **facts) | ({"frechet_gold": from_gold(cell.folder, gold)} if gold else {}))
    return _taught_alike(lines)


def _taught_alike(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Relearning curves with other settings than the first are left out: they are not comparable."""
    first = next((one["relearning"] for one in lines if one.get("relearning")), None)
    return [one if one.get("relearning") == first else {**one, "relearn": None, "relearning": None} for one in lines]


def line(folder: Path, **facts: Any) -> dict[str, Any]:
    """The line of a measured run, before and after; `facts` (label, concept, seed, ...) are added."""
    run = Run.read(folder)
    report = read_report(run.report)
    sides = {which: {name: m["value"] for name, m in report[which].items() if _is_metric(m)} for which in ("before", "after")}
    erasing = run.stages().get("erase", {})
    ends = {name: [m["low"], m["high"]] for name, m in report["after"].items() if name in WITH_ENDS and _is_metric(m)}
    results = {"folder": str(folder), **facts, **sides, "ends": ends, "model": report["model"], "protocol": report["protocol"]}
    results |= {name: erasing.get(name) for name in ("seconds", "peak_bytes")}
    tools = tools_of(run.options)
    return results | {"confusion": confusion(folder, tools), "relearn": relearned(folder, tools), "relearning": _taught(folder)}


def _taught(folder: Path) -> dict[str, Any] | None:
    """The record of a model's relearning, None where it is not finished."""
    path = folder / "relearn" / "relearn.json"
    facts = read_object(path) if path.is_file() else {}
    return {name: value for name, value in facts.items() if name != "done"} if facts.get("done") else None


def _is_metric(value: Any) -> bool:
    return isinstance(value, Mapping) and "value" in value


def confusion(folder: Path, tools: Tools) -> dict[str, dict[str, dict[str, int]]]:
    """ "before" and "after": requested label of the concept's domain -> detected label -> number of images."""
    options, rows = Run.read(folder).options, read_prompts(folder)
    labels = tools.detector.facts()["labels"] if tools.detector else {}
    domain = options["concept_file"]["domain"]
    if domain not in labels:
        return {}
    tables = {}
    for which in ("before", "after"):
        pairs = judged_by(rows, read_measurements(folder / "measured", which, rows, tools).detections(), labels)
        table: dict[str, Counter[str]] = {}
        for pair in pairs:
            if pair.role != "implicit" and domain in pair.requested:
                table.setdefault(pair.requested[domain], Counter())[pair.detected[domain]] += 1
        order = [label for label in labels[domain] if label in table]
        tables[which] = {row: {label: table[row][label] for label in labels[domain] if table[row][label]} for row in order}
    return tables


def relearned(folder: Path, tools: Tools) -> dict[str, list[float]] | None:
    """{"steps", "drawn"}: numbers of relearning steps, and the percentage of images that show the concept after each."""
    home, facts = folder / "relearn", _taught(folder)
    if tools.detector is None or facts is None:
        return None
    cache = home / "curve.json"
    if cache.is_file() and cache.stat().st_mtime >= (home / "relearn.json").stat().st_mtime:
        return read_object(cache)
    drawn = [_share_with_concept(home / f"{step:05d}", folder, tools) for step in facts["checkpoints"]]
    write_json(cache, {"steps": facts["checkpoints"], "drawn": drawn})
    return {"steps": facts["checkpoints"], "drawn": drawn}


def _share_with_concept(image_folder: Path, folder: Path, tools: Tools) -> float:
    """The percentage of these images, all for prompts that name the concept, in which it is detected."""
    concept, images = Run.read(folder).options["concept_file"], read_images(image_folder)
    assert tools.detector is not None
    detections = tools.detector([open_picture(image.path) for image in images])
    labels = tools.detector.facts()["labels"]
    if concept["domain"] not in labels:
        return 100 * sum(bool(boxes) for boxes in detections) / len(images)
    rows = [row for row in read_prompts(folder) if row["role"] == "evaluate"][: len(images)]
    domain = concept["domain"]
    pairs = judged_by(rows, detections, labels)
    return 100 * sum(shows(pair, domain) for pair in pairs) / len(images)


def from_gold(folder: Path, gold: Path) -> float | None:
    """Fréchet distance of a run's images of prompts to keep from the retrained model's; None without a network of features."""
    tools = tools_of(Run.read(folder).options)
    rows = read_prompts(folder)
    if tools.features is None:
        return None
    sides = [read_measurements(home / "measured", "after", rows, tools) for home in (gold, folder)]
    if min(side.moments.n for side in sides) < 2:
        return None
    metrics = distances(sides[0], sides[1], tools.features.facts())
    return float(next(metric["value"] for name, metric in metrics.items() if name.startswith(("fid", "frechet"))))
