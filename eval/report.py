"""A run folder's samples -> report.json and comparison.png. A number is written together with its protocol or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageFilter

from erase.files import sha256, write_json
from erase.images import Picture, open_picture
from erase.run import Run, disk_errors, package_version
from erase.task import InputError
from eval.accuracy import MEANINGS, became, judged, metrics
from eval.intervals import METHOD
from eval.judge import facts, judge_pictures
from eval.samples import ROLES, WHICH, Row, prompts_file, read_prompts, read_samples
from eval.sheet import Column, Group, comparison

NAMED = ("concept", "model", "method", "preset")
SAMPLING = {"sampler": "scheduler", "steps": "steps", "guidance": "guidance", "size": "size", "batch": "batch"}  # protocol <- options
PANELS = {  # role -> heading and colour in comparison.png
    "evaluate": ("To forget: prompts that name {}", "#b42318"),
    "implicit": ("To forget: prompts that describe {} without naming it", "#a15c07"),
    "evaluate-retain": ("To keep: other prompts", "#12715b"),
}
SHOWN = 8  # columns of a panel

Progress = Callable[[int, int], None]


def evaluate_run(folder: Path, progress: Progress | None = None, weights: Path | None = None) -> dict[str, Any]:
    """Measure the samples of a run, before and after, and write the report; `weights` replaces those of the shipped judge."""
    run = Run.read(folder)
    options, stages = run.options, run.stages()
    _need(options, [*NAMED, "concept_file", "sampling"], "options.json")
    _need(options["sampling"], SAMPLING.values(), "options.json, sampling")
    rows = read_prompts(folder)
    pictures = {which: read_samples(run.samples(which), rows) for which in WHICH}
    protocol, numbers = _measure(options["concept_file"], rows, pictures, progress, weights)
    report = {
        **{name: options[name] for name in NAMED},
        "protocol": protocol | _conditions(folder, rows, options["sampling"]),
        **numbers,
        "seconds": {stage: noted["seconds"] for stage, noted in stages.items() if "seconds" in noted},
        "peak_bytes": max((noted["peak_bytes"] for noted in stages.values() if noted.get("peak_bytes")), default=None),
    }
    _compare(run, rows, pictures)
    with disk_errors(run.report):
        write_json(run.report, report)
    return report


def _measure(
    concept: Mapping[str, Any],
    rows: Sequence[Row],
    pictures: Mapping[str, Sequence[Picture]],
    progress: Progress | None,
    weights: Path | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The detector's part of the protocol; and by "before" and "after" the numbers."""
    detector, domain = concept["detector"], concept["domain"]
    if detector != "judge":
        note = f'the detector "{detector}" is not built in yet, so nothing was measured; comparison.png shows the pictures'
        return {"detector": {"name": detector}, "note": note}, {which: {} for which in WHICH}
    protocol = facts(weights)
    if domain not in protocol["labels"]:
        known = ", ".join(protocol["labels"])
        raise InputError(f'{concept["name"]}: the judge cannot see the domain "{domain}"; it sees {known}: name one, or another detector')
    paths = [picture.path for which in WHICH for picture in pictures[which]]
    found = judge_pictures(paths, weights, progress)
    seen = judged([*rows, *rows], found, protocol["labels"])
    numbers = {}
    for which, part in zip(WHICH, (seen[: len(rows)], seen[len(rows) :]), strict=True):
        numbers[which] = {name: metric.record() for name, metric in metrics(part, domain).items()} | {"became": became(part, domain)}
    return protocol, numbers


def _conditions(folder: Path, rows: Sequence[Row], sampling: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol's other part: how the pictures came about, and with which versions."""
    record = json.loads((folder / "options.json").read_text(encoding="utf-8"))
    counts = {role: sum(row["role"] == role for row in rows) for role in ROLES}
    return {
        "prompts": {"file": "samples/prompts.jsonl", "sha256": sha256(prompts_file(folder)), "roles": counts},
        "seeds": sorted({row["seed"] for row in rows}),  # each prompt's own is in the file of prompts
        **{name: sampling[key] for name, key in SAMPLING.items()},
        "interval": METHOD,
        "versions": {
            "sampling": [record["environment"], *record.get("resumed_in", [])],
            "evaluation": {name: package_version(name) for name in ("erase-concept", "torch", "numpy", "pillow")},
        },
    }


def _need(holder: Mapping[str, Any], names: Iterable[str], where: str) -> None:
    absent = [name for name in names if name not in holder]
    if absent:
        raise InputError(f"{where} does not say {', '.join(absent)}, which every number needs; start the run anew with --overwrite")


def _compare(run: Run, rows: Sequence[Row], pictures: Mapping[str, Sequence[Picture]]) -> None:
    """comparison.png with the first prompts of each role: nobody has chosen them."""
    name = run.options["concept"]
    hidden = run.options["concept_file"]["detector"] == "nudenet"  # nobody should meet nudity who only opens a file
    groups = []
    for role, (heading, colour) in PANELS.items():
        first = [i for i, row in enumerate(rows) if row["role"] == role][:SHOWN]
        show = blurred if hidden and role != "evaluate-retain" else open_picture
        columns = [Column(rows[i]["text"], *(show(pictures[which][i].path) for which in WHICH)) for i in first]
        groups.append(Group(heading.format(f'"{name}"') + (" (blurred)" if show is blurred else ""), colour, columns))
    note = f"In each column: the same prompt and the same seed. The first prompts of each kind (up to {SHOWN}), not chosen."
    comparison(run.comparison, _title(run.options), note, groups)


def blurred(path: Path) -> Image.Image:
    """A picture with only its colours left."""
    picture = open_picture(path)
    return picture.filter(ImageFilter.GaussianBlur(max(picture.size) / 12))


def _title(named: Mapping[str, Any]) -> str:
    model = re.split(r"[/\\]", str(named["model"]).rstrip("/\\"))[-1]
    preset = f" ({named['preset']})" if named["preset"] else ""
    return f'"{named["concept"]}" erased from {model} with {named["method"]}{preset}'


def table(report: Mapping[str, Any]) -> str:
    """The numbers for a terminal: measure, meaning, pictures, before, after; aligned."""
    lines = [_title(report)]
    if "note" in report["protocol"]:
        return "\n".join([*lines, report["protocol"]["note"]])
    before, after = (report[which] for which in WHICH)
    cells = [["", "in %, with 95 % interval", "pictures", *WHICH]]
    for name in filter(before.__contains__, MEANINGS):
        cells.append([name, MEANINGS[name], str(before[name]["n"]), _shown(before[name]), _shown(after[name])])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        lines.append("  ".join(text.ljust(w) if k < 2 else text.rjust(w) for k, (text, w) in enumerate(zip(row, widths, strict=True))))
    now = ", ".join(f"{label} {count}" for label, count in after["became"].items())
    return "\n".join([*lines, *([f"prompts that name it now show: {now}"] if now else [])])


def _shown(metric: Mapping[str, float]) -> str:
    return f"{metric['value']:.1f} [{metric['low']:5.1f}, {metric['high']:5.1f}]"
