"""A run folder's samples -> report.json and comparison.png. A number is written together with its protocol or not at all."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from erase.concepts.several import JOINT
from erase.errors import InputError
from erase.files import sha256, write_json, written
from erase.images import Picture, open_picture, read_images
from erase.run import Run, disk_errors, lines_of, package_version
from eval.attacks.report_section import attacks_of, section
from eval.measurement.aggregate import MEANINGS as OTHERS
from eval.measurement.aggregate import RETAIN, Seen, by_concept, distances, numbers, to_reference
from eval.measurement.cache import prepare
from eval.measurement.measure import Each, Tools, measuring, only_features, seen
from eval.measurement.tools import tools_of
from eval.metrics.accuracy import MEANINGS as ACCURACY
from eval.metrics.frechet import METHOD as FRECHET
from eval.metrics.frechet import name_of
from eval.metrics.intervals import METHOD as INTERVAL
from eval.metrics.kid import METHOD as KERNEL
from eval.metrics.paired import METHOD as PAIRED
from eval.protocols import differs, load_protocol
from eval.rendering.blur import blurred
from eval.rendering.html import shows_nudity, write_html
from eval.rendering.image_grid import Column, Group, save_comparison
from eval.samples import NO_SEED, REMEDY, ROLES, WHICH, Row, prompts_file, read_prompts, read_samples

NAMED = ("concept", "model", "method", "preset")
SAMPLING = {"sampler": "scheduler", "steps": "steps", "guidance": "guidance", "size": "size", "batch": "batch"}  # protocol <- options
PANELS = {  # role -> heading and colour in comparison.png
    "evaluate": ("To forget: prompts that name {}", "#b42318"),
    "implicit": ("To forget: prompts that describe {} without naming it", "#a15c07"),
    "evaluate-retain": ("To keep: other prompts", "#12715b"),
}
SHOWN = 8  # columns of a panel
CHUNK = 64  # pictures looked at together
MEANINGS = ACCURACY | OTHERS

Progress = Callable[[int, int], None]


def evaluate_run(
    folder: Path,
    progress: Progress | None = None,
    weights: Path | None = None,
    tools: Tools | None = None,
    uncensored: bool = False,
    command: str | None = None,
) -> dict[str, Any]:
    """Measure the samples of a run or an evaluation, before and after, and write report.json, report.html and comparison.png.

    `weights` replaces those of the shipped judge; `uncensored` shows pictures of nudity in report.html; `command` repeats it.
    """
    run = Run.read(folder)
    options, stages = run.options, run.stages()
    _need(options, [*NAMED, "concept_file", "sampling"], "options.json")
    _need(options["sampling"], SAMPLING.values(), "options.json, sampling")
    rows = read_prompts(folder)
    pictures = {which: samples_of(run, which, rows) for which in WHICH}
    concept = options["concept_file"]
    tools = tools or tools_of(options, weights)
    before, after = _look(folder, rows, pictures, tools, progress)
    labels = tools.detector.facts()["labels"] if tools.detector else None
    several, earlier = options.get("concepts", []), options.get("earlier", [])
    *values, fates = numbers(rows, before, after, labels, _domains(several) or [concept["domain"]])
    if earlier:  # what was gone before is not what this run erased
        mine = [i for i, row in enumerate(rows) if "concept" not in row or set(row["concept"].split(JOINT)) - set(earlier)]
        now = _domains([c for c in several if c["name"] not in earlier])
        *values, _ = numbers([rows[i] for i in mine], before.only(mine), after.only(mine), labels, now)
    found = dict(zip((*WHICH, "paired"), values, strict=True))
    reference = _add_distances(folder, options, tools, before, after, found)
    missing = {**tools.missing, **_too_few(tools, after)}
    report = {
        **{name: options[name] for name in NAMED},
        "protocol": _protocol(folder, rows, options, tools, found, reference),
        **found,
        **({"concepts": by_concept(rows, before, after, labels, several)} if several else {}),
        **({"earlier": options["earlier"]} if options.get("earlier") else {}),
        **({"unmeasured": missing} if missing else {}),
        **({"attacks": attacked} if (attacked := attacks_of(folder)) else {}),
        **({"command": said} if (said := command or _said(run)) else {}),
        "seconds": {stage: noted["seconds"] for stage, noted in stages.items() if "seconds" in noted},
        "peak_bytes": max((noted["peak_bytes"] for noted in stages.values() if noted.get("peak_bytes")), default=None),
    }
    _compare(run, rows, pictures)
    hide = shows_nudity(report) and not uncensored
    write_html(folder, report, rows, pictures, uncensored, fates, [section(folder, hide)])
    with disk_errors(run.report):
        with written(folder / "records.jsonl") as part:
            part.write_text(lines_of(fates), encoding="utf-8")
        write_json(run.report, report)
    return report


def _domains(concepts: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(concept["domain"] for concept in concepts))


def _said(run: Run) -> str | None:
    """The command of an evaluation that is only measured again."""
    return json.loads(run.report.read_text(encoding="utf-8")).get("command") if run.report.exists() else None


def measured_with(folder: Path, tools: Tools) -> dict[str, Any]:
    """What measurements depend on beside the pictures: others are thrown away."""
    return {"tools": tools.facts(), "prompts": sha256(prompts_file(folder))}


def _look(
    folder: Path, rows: Sequence[Row], pictures: Mapping[str, Sequence[Picture]], tools: Tools, progress: Progress | None
) -> tuple[Seen, Seen]:
    """Measure what is not measured yet; what was measured of other pictures, or with other tools, counts no more."""
    home = folder / "measured"
    prepare(home, measured_with(folder, tools))
    for which in WHICH:
        first = [picture.path for picture in pictures["before"]] if which == "after" else None
        with measuring(home, which, rows, tools, first) as each:
            in_chunks(pictures[which], each, _told(progress, len(rows) * WHICH.index(which), 2 * len(rows)))
    found = seen(home, "before", rows, tools), seen(home, "after", rows, tools)
    for part, which in zip(found, WHICH, strict=True):
        if not _of_these(part, pictures[which]):
            shutil.rmtree(home)
            return _look(folder, rows, pictures, tools, progress)
    return found


def _told(progress: Progress | None, before: int, total: int) -> Callable[[int], None]:
    """Progress of one set as a part of all."""
    return lambda done: progress(before + done, total) if progress is not None else None


def _of_these(part: Seen, pictures: Sequence[Picture]) -> bool:
    """Whether exactly these pictures were measured."""
    return [record["sha256"] for record in part.records] == [picture.sha256 for picture in pictures]


def in_chunks(pictures: Sequence[Picture], each: Each, told: Callable[[int], None] = lambda done: None) -> None:
    """Hand pictures on, some at a time."""
    for start in range(0, len(pictures), CHUNK):
        told(start)
        each(range(start, min(start + CHUNK, len(pictures))), pictures[start : start + CHUNK])
    told(len(pictures))


def samples_of(run: Run, which: str, rows: Sequence[Row]) -> list[Picture]:
    """The pictures of a run, or those that an evaluation was given."""
    if folders := run.options.get("folders"):
        pictures = read_images(Path(folders[which]), default_caption="", leave_out=folders["left_out"])
        if len(pictures) != len(rows):
            raise InputError(f"{folders[which]} holds {len(pictures)} pictures to measure for {len(rows)} prompts; {REMEDY}")
        return pictures
    return read_samples(run.samples(which), rows)


def _add_distances(
    folder: Path, options: Mapping[str, Any], tools: Tools, before: Seen, after: Seen, found: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """Of the distributions: from somebody's real pictures where there are some, else from the original's; returns which."""
    asked = options.get("asked", {}).get("reference")
    reference = {"pictures": "real", "path": asked} if asked else {"pictures": "original"}
    if tools.features is None or min(before.moments.n, after.moments.n) < 2:
        return reference
    facts = tools.features.facts()
    if asked is None:
        found["after"] |= distances(before, after, facts)
        return reference
    pictures = read_images(Path(asked), default_caption="")
    real = _real(folder / "measured", pictures, tools)
    for which, part in zip(WHICH, (before, after), strict=True):
        found[which] |= to_reference(part, real, facts)
    digest = hashlib.sha256("".join(picture.sha256 for picture in pictures).encode()).hexdigest()
    return reference | {"n": len(pictures), "sha256": digest}


def _real(home: Path, pictures: Sequence[Picture], tools: Tools) -> Seen:
    """The features of a reference set; what was measured of other pictures goes."""
    rows = [{"role": RETAIN, "text": p.prompt} for p in pictures]
    with measuring(home, "reference", rows, only_features(tools)) as each:
        in_chunks(pictures, each)
    real = seen(home, "reference", rows, tools)
    if _of_these(real, pictures):
        return real
    for path in home.glob("reference.*"):
        path.unlink()
    return _real(home, pictures, tools)


def _too_few(tools: Tools, after: Seen) -> dict[str, str]:
    """A distance that there are features for, but not two pictures of prompts to keep."""
    if tools.features is None or after.moments.n > 1:
        return {}
    why = f"it compares pictures of prompts to keep, at least two of them, and there are {after.moments.n}"
    return {name_of(tools.features.facts()): why}


def _protocol(
    folder: Path, rows: Sequence[Row], options: Mapping[str, Any], tools: Tools, found: Mapping[str, Any], reference: Mapping[str, Any]
) -> dict[str, Any]:
    """All that is needed to repeat the numbers; for a named protocol also in what this measurement deviates from it."""
    protocol = tools.facts() | _conditions(folder, rows, options["sampling"])
    said = options.get("prompts", {"from": "concept"})
    protocol["prompts"] |= {k: v for k, v in said.items() if k != "roles" and (k != "sha256" or "file" in said)}
    protocol["reference"] = dict(reference)
    if "folders" in options:
        protocol["pictures"] = options["folders"]
    if (named := options.get("protocol")) is not None:
        measured = [*(name for name in found["after"] if name != "became"), *(["drift"] if "ssim" in found["after"] else [])]
        actual = {**protocol, "model": options["model"], "metrics": measured, "noise": options["sampling"].get("noise")}
        actual |= {"reference": protocol["reference"]["pictures"], "clip": protocol.get("clip", {}).get("name")}
        protocol |= {"name": named["name"], "sources": named["sources"], "notes": named["notes"]}
        protocol["deviations"] = differs(load_protocol(options.get("protocol_file") or named["name"]), actual)
    return protocol


def _conditions(folder: Path, rows: Sequence[Row], sampling: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol's other part: how the pictures came about, and with which versions."""
    record = json.loads((folder / "options.json").read_text(encoding="utf-8"))
    counts = {role: sum(row["role"] == role for row in rows) for role in ROLES}
    return {
        "prompts": {"file": "samples/prompts.jsonl", "sha256": sha256(prompts_file(folder)), "roles": counts},
        "seeds": sorted({row["seed"] for row in rows} - {NO_SEED}),  # each prompt's own is in the file of prompts
        **{name: sampling[key] for name, key in SAMPLING.items()},
        "interval": {"metrics": INTERVAL, "paired": PAIRED, "frechet": FRECHET, "kernel": KERNEL},
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
        blur = hidden and role != "evaluate-retain"
        columns = [Column(rows[i]["text"], *(_opened(pictures[which][i].path, blur) for which in WHICH)) for i in first]
        groups.append(Group(heading.format(f'"{name}"') + (" (blurred)" if blur else ""), colour, columns))
    note = f"In each column: the same prompt and the same seed. The first prompts of each kind (up to {SHOWN}), not chosen."
    save_comparison(run.comparison, _title(run.options), note, groups)


def _opened(path: Path, blur: bool) -> Image.Image:
    return blurred(open_picture(path)) if blur else open_picture(path)


def _title(named: Mapping[str, Any]) -> str:
    model = re.split(r"[/\\]", str(named["model"]).rstrip("/\\"))[-1]
    if named["method"] is None:
        return f'"{named["concept"]}" erased from {model}'
    preset = f" ({named['preset']})" if named["preset"] else ""
    return f'"{named["concept"]}" erased from {model} with {named["method"]}{preset}'


def table(report: Mapping[str, Any]) -> str:
    """The numbers for a terminal: measure, meaning, pictures, before, after; aligned."""
    lines = [_title(report)]
    before, after = (report[which] for which in WHICH)
    cells = [["", "in %, with 95 % interval", "pictures", *WHICH]]
    whose = "real pictures" if report["protocol"].get("reference", {}).get("pictures") == "real" else "the original's pictures"
    for name, metric in after.items():
        if isinstance(metric, dict) and "value" in metric:
            first = _shown(before[name]) if name in before else ""
            cells.append([name, MEANINGS.get(name, f"distance from {whose}"), str(metric["n"]), first, _shown(metric)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        lines.append("  ".join(text.ljust(w) if k < 2 else text.rjust(w) for k, (text, w) in enumerate(zip(row, widths, strict=True))))
    lines += [_line(name, part, report.get("earlier", ())) for name, part in report.get("concepts", {}).items()]
    now = ", ".join(f"{label} {count}" for label, count in after.get("became", {}).items())
    lines += [f"prompts that name it now show: {now}"] if now else []
    lines += [f"not as the protocol {report['protocol']['name']} says: {what}" for what in report["protocol"].get("deviations", ())]
    return "\n".join([*lines, *(f"{name} not measured: {why}" for name, why in report.get("unmeasured", {}).items())])


def _line(name: str, part: Mapping[str, Any], earlier: Sequence[str]) -> str:
    """One of several concepts, in a line."""
    said = [
        f"{key} {_shown(part['before'][key])} -> {_shown(part['after'][key])}"
        for key in ("ua", "ua_implicit", "ira", "cra", "attributes_kept", "companion_kept")
        if key in part["before"] and key in part["after"]
    ]
    return f"{name}{' (gone earlier)' if name in earlier else ''}: {', '.join(said)}"


def _shown(metric: Mapping[str, float]) -> str:
    digits = 1 if abs(metric["value"]) >= 2 or metric["value"] == 0 else 3
    return f"{metric['value']:.{digits}f} [{metric['low']:5.{digits}f}, {metric['high']:5.{digits}f}]"
