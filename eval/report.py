"""Measure the samples of a run folder and write report.json, report.html, records.jsonl and comparison.png.

A number is written together with its protocol (detector, prompts, seeds, sampler, versions) or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image

from erase.concepts.several import JOINT
from erase.errors import InputError
from erase.files import read_object, sha256, write_json, written
from erase.files.disk import disk_errors
from erase.images import Picture, open_picture
from erase.run import Run, lines_of, locked, package_version
from eval.attacks.report_section import attacks_of, section
from eval.deviations import deviations
from eval.measurement.aggregate import MEANINGS as SCORES
from eval.measurement.aggregate import Measurements, aggregate, by_concept, detected
from eval.measurement.bias import report_section as bias
from eval.measurement.measure import Tools
from eval.measurement.neighbours import neighbours_of
from eval.measurement.run_folder import Progress, measure_samples, measured_distances
from eval.measurement.tools import tools_of
from eval.metrics.accuracy import MEANINGS as ACCURACY
from eval.metrics.frechet import METHOD as FRECHET
from eval.metrics.frechet import name_of
from eval.metrics.intervals import METHOD as INTERVAL
from eval.metrics.kid import METHOD as KERNEL
from eval.metrics.paired import METHOD as PAIRED
from eval.protocols import load_protocol
from eval.rendering.blur import blurred
from eval.rendering.html import shows_nudity, write_html
from eval.rendering.image_grid import Column, Group, save_comparison
from eval.rendering.verdict import verdict
from eval.samples import NO_SEED, ROLES, WHICH, Row, prompts_file, read_prompts, samples_of

NAMED = ("concept", "model", "method", "preset")
SAMPLING = {"sampler": "scheduler", "steps": "steps", "guidance": "guidance", "size": "size", "batch": "batch"}  # protocol <- options
PANELS = {  # role -> heading and colour in comparison.png
    "evaluate": ("To forget: prompts that name {}", "#b42318"),
    "implicit": ("To forget: prompts that describe {} without naming it", "#a15c07"),
    "evaluate-retain": ("To keep: other prompts", "#12715b"),
}
COLUMNS = 8  # of a panel
MEANINGS = ACCURACY | SCORES


def evaluate_run(
    folder: Path,
    progress: Progress | None = None,
    weights: Path | None = None,
    tools: Tools | None = None,
    uncensored: bool = False,
    command: str | None = None,
) -> dict[str, Any]:
    """Measure the samples of a run or an evaluation, before and after, and write report.json, report.html and comparison.png.

    The caller holds the folder's lock, or is alone; `evaluate_locked` takes it.
    `weights` replaces the shipped judge's; `uncensored` shows images of nudity in report.html; `command` repeats the measurement.
    Images that were measured before, with the same tools, are not measured again.
    """
    run = Run.read(folder)
    options, stages = run.options, run.stages()
    _need(options, [*NAMED, "concept_file", "sampling"], "options.json")
    _need(options["sampling"], SAMPLING.values(), "options.json, sampling")
    rows = read_prompts(folder)
    images = {which: samples_of(run, which, rows) for which in WHICH}
    tools = tools or tools_of(options, weights)
    before, after = measure_samples(folder, rows, images, tools, progress)
    labels = tools.detector.facts()["labels"] if tools.detector else None
    several, earlier = options.get("concepts", []), options.get("earlier", [])
    own = _own_rows(rows, earlier)
    domains = _domains(several, earlier) or [options["concept_file"]["domain"]]
    numbers = aggregate([rows[i] for i in own], before.only(own), after.only(own), labels, domains)
    fates = detected(rows, before, after, labels, _domains(several)).fates if earlier else numbers.fates
    metrics = numbers.metrics()
    far, reference = measured_distances(folder, (options.get("asked") or {}).get("reference"), tools, before, after)
    for which in WHICH:
        metrics[which] |= far[which]
    missing = {**tools.missing, **_too_few(tools, after)}
    report = {
        **{name: options[name] for name in NAMED},
        "protocol": _protocol(folder, rows, options, tools, metrics["after"], reference),
        **metrics,
        **({"concepts": by_concept(rows, before, after, labels, several)} if several else {}),
        **({"earlier": earlier} if earlier else {}),
        **({"neighbours": near} if (near := neighbours_of(options["concept_file"], rows, fates, tools.clip)) else {}),
        **({"unmeasured": missing} if missing else {}),
        **({"differs": differs} if (differs := stages.get("score", {}).get("differs")) else {}),
        **({"attacks": attacks} if (attacks := attacks_of(folder)) else {}),
        **({"bias": biased} if (biased := bias.bias_of(folder)) else {}),
        **({"command": line} if (line := command or _last_command(run)) else {}),
        "seconds": {stage: facts["seconds"] for stage, facts in stages.items() if "seconds" in facts},
        "peak_bytes": max((facts["peak_bytes"] for facts in stages.values() if facts.get("peak_bytes")), default=None),
    }
    _compare(run, rows, images)
    hide = shows_nudity(report) and not uncensored
    write_html(folder, report, rows, images, uncensored, fates, [section(folder, hide), bias.section(folder, hide)])
    with disk_errors(run.report):
        with written(folder / "records.jsonl") as part:
            part.write_text(lines_of(fates), encoding="utf-8")
        write_json(run.report, report)
    return report


def evaluate_locked(folder: Path, progress: Progress | None = None, tools: Tools | None = None, uncensored: bool = False) -> dict[str, Any]:
    """`evaluate_run` under the folder's lock. InputError where another process works on the run: two would measure into the same files."""
    Run.read(folder)  # InputError for what is no run, before a lock is created in it
    with ExitStack() as held:
        held.callback(locked(folder).release)
        return evaluate_run(folder, progress, tools=tools, uncensored=uncensored)


def _own_rows(rows: Sequence[Row], earlier: Sequence[str]) -> list[int]:
    """Indexes of the rows that this run is measured by: all but those of concepts that an earlier run erased."""
    return [i for i, row in enumerate(rows) if "concept" not in row or set(row["concept"].split(JOINT)) - set(earlier)]


def _domains(concepts: Sequence[Mapping[str, Any]], earlier: Sequence[str] = ()) -> list[str]:
    """The domains of concepts, without those of an earlier run."""
    return list(dict.fromkeys(concept["domain"] for concept in concepts if concept["name"] not in earlier))


def _last_command(run: Run) -> str | None:
    """The command of an evaluation that is only measured again."""
    return read_object(run.report).get("command") if run.report.exists() else None


def _too_few(tools: Tools, after: Measurements) -> dict[str, str]:
    """The reason why there is no distance although there is an extractor: fewer than two images of prompts to keep."""
    if tools.features is None or after.moments.n > 1:
        return {}
    why = f"it compares images of prompts to keep and needs at least two; there are {after.moments.n}"
    return {name_of(tools.features.facts()): why}


def _protocol(
    folder: Path, rows: Sequence[Row], options: Mapping[str, Any], tools: Tools, after: Mapping[str, Any], reference: Mapping[str, Any]
) -> dict[str, Any]:
    """All that is needed to repeat the numbers; with a named protocol also how this measurement deviates from it."""
    protocol = tools.facts() | _conditions(folder, rows, options["sampling"])
    source = options.get("prompts", {"from": "concept"})
    protocol["prompts"] |= {k: v for k, v in source.items() if k != "roles" and (k != "sha256" or "file" in source)}
    protocol["reference"] = dict(reference)
    protocol |= {name: options[name] for name in ("lora",) if name in options}
    if "folders" in options:
        protocol["pictures"] = options["folders"]
    if (named := options.get("protocol")) is not None:
        measured = [*(name for name in after if name != "became"), *(["drift"] if "ssim" in after else [])]
        actual = {**protocol, "model": options["model"], "metrics": measured, "noise": options["sampling"].get("noise")}
        actual |= {"reference": protocol["reference"]["pictures"], "clip": protocol.get("clip", {}).get("name")}
        protocol |= {"name": named["name"], "sources": named["sources"], "notes": named["notes"]}
        of = load_protocol(options.get("protocol_file") or named["name"])
        protocol["deviations"] = [*deviations(of, actual), *(f"from the publication: {text}" for text in of.differs)]
    return protocol


def _conditions(folder: Path, rows: Sequence[Row], sampling: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the protocol about prompts, seeds, sampling, kinds of interval and versions."""
    record = read_object(folder / "options.json")
    counts = {role: sum(row["role"] == role for row in rows) for role in ROLES}
    return {
        "prompts": {"file": "samples/prompts.jsonl", "sha256": sha256(prompts_file(folder)), "roles": counts},
        "seeds": sorted({row["seed"] for row in rows} - {NO_SEED}),  # the seed of each prompt is in the file of prompts
        **{name: sampling[key] for name, key in SAMPLING.items()},
        **({"negative": sampling["negative"]} if sampling.get("negative") else {}),
        "interval": {"metrics": INTERVAL, "paired": PAIRED, "frechet": FRECHET, "kernel": KERNEL},
        "versions": {
            "sampling": [record["environment"], *record.get("resumed_in", [])],
            "evaluation": {name: package_version(name) for name in ("erase-concept", "torch", "numpy", "pillow")},
        },
    }


def _need(holder: Mapping[str, Any], names: Iterable[str], where: str) -> None:
    absent = [name for name in names if name not in holder]
    if absent:
        raise InputError(f"{where} has no {', '.join(absent)}, which every number needs; start the run again with --overwrite")


def _compare(run: Run, rows: Sequence[Row], images: Mapping[str, Sequence[Picture]]) -> None:
    """comparison.png with the first prompts of each role, so that nobody selects them."""
    name = run.options["concept"]
    hidden = run.options["concept_file"]["detector"] == "nudenet"  # whoever opens the file should not see nudity unexpectedly
    groups = []
    for role, (heading, colour) in PANELS.items():
        first = [i for i, row in enumerate(rows) if row["role"] == role][:COLUMNS]
        blur = hidden and role != "evaluate-retain"
        columns = [Column(rows[i]["text"], *(_opened(images[which][i].path, blur) for which in WHICH)) for i in first]
        groups.append(Group(heading.format(f'"{name}"') + (" (blurred)" if blur else ""), colour, columns))
    note = f"In each column: the same prompt and the same seed. The first prompts of each kind (up to {COLUMNS}), not chosen."
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
    """The numbers for a terminal, aligned: metric, meaning, number of images, before, after; then the verdict in three answers."""
    lines = [_title(report)]
    before, after = (report[which] for which in WHICH)
    cells = [["", "in %, with 95 % interval", "images", *WHICH]]
    whose = "real images" if report["protocol"].get("reference", {}).get("pictures") == "real" else "the original's images"
    for name, metric in after.items():
        if isinstance(metric, dict) and "value" in metric:
            first = _with_interval(before[name]) if name in before else ""
            cells.append([name, MEANINGS.get(name, f"distance from {whose}"), str(metric["n"]), first, _with_interval(metric)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        lines.append("  ".join(text.ljust(w) if k < 2 else text.rjust(w) for k, (text, w) in enumerate(zip(row, widths, strict=True))))
    lines += [_line(name, part, report.get("earlier", ())) for name, part in report.get("concepts", {}).items()]
    now = ", ".join(f"{label} {count}" for label, count in after.get("became", {}).items())
    lines += [f"prompts that name it now show: {now}"] if now else []
    lines += [f"deviates from the protocol {report['protocol']['name']}: {what}" for what in report["protocol"].get("deviations", ())]
    lines += [f"differs from the publication of {report['method']}: {what}" for what in report.get("differs", ())]
    lines += bias.lines(report.get("bias", {}))
    lines += [f"{name} not measured: {why}" for name, why in report.get("unmeasured", {}).items()]
    return "\n".join([*lines, " ".join(f"{question} {claim.answer}." for question, claim in verdict(report).questions().items())])


def _line(name: str, part: Mapping[str, Any], earlier: Sequence[str]) -> str:
    """One of several concepts, in one line."""
    changes = [
        f"{key} {_with_interval(part['before'][key])} -> {_with_interval(part['after'][key])}"
        for key in ("ua", "ua_implicit", "ira", "cra", "attributes_kept", "companion_kept")
        if key in part["before"] and key in part["after"]
    ]
    return f"{name}{' (erased earlier)' if name in earlier else ''}: {', '.join(changes)}"


def _with_interval(metric: Mapping[str, float]) -> str:
    digits = 1 if abs(metric["value"]) >= 2 or metric["value"] == 0 else 3
    return f"{metric['value']:.{digits}f} [{metric['low']:5.{digits}f}, {metric['high']:5.{digits}f}]"
