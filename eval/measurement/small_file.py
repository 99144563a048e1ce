"""What a LoRA or a difference file loses against the run that it was exported from: drawn and measured with the run's own prompts.

The file is loaded again by diffusers and draws every evaluation prompt of the run from the same noise, at full and at half strength and
with the concept as a negative prompt. Each of these is an evaluation folder beside the file, with a report of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erase.checkpoints.lora import WARN_BELOW
from erase.diffusion import open_model
from erase.diffusion.small_file import with_small_file
from erase.errors import InputError
from erase.files import read_object, sha256, write_json, written
from erase.images import Callbacks, make_images
from erase.run import Run
from eval.measurement.tools import tools_of
from eval.rendering.html import framed, render_section
from eval.report import evaluate_run
from eval.samples import prompts_file, read_prompts, scheduler_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from erase.checkpoints.lora.write import Written

    Show = Callable[[str, int, int], None]

MEASURES = ("ua", "ua_implicit", "ira", "cra", "attributes_kept")
HEADINGS = {"ua": "forgets", "ua_implicit": "described", "ira": "keeps", "cra": "keeps other domains", "attributes_kept": "attributes"}
LAYERS = 12  # in the report's table, those that lose most
PROTECTION = "A LoRA or a difference is no protection: whoever has the original leaves it out."


@dataclass(frozen=True)
class Setting:
    """One way to use the file: the folder of its measurement, its title, and that as the head of a column."""

    name: str
    title: str
    head: str
    strength: float
    negative: bool = False


SETTINGS = (
    Setting("strength-1", "the file at strength 1", "strength 1", 1.0),
    Setting("strength-0.5", "at strength 0.5", "strength 0.5", 0.5),
    Setting("negative-prompt", "at strength 1, the concept as negative prompt", "1, negative prompt", 1.0, negative=True),
)


def report_folder(path: Path) -> Path:
    """Where the report of a file is: beside it."""
    return path.with_name(f"{path.stem}-report")


def measure_small(run: Run, original: Path, written_file: Written, device: str, show: Show) -> str:
    """Draw and measure all settings, write report.json and report.html beside the file; returns a table for the terminal."""
    home = report_folder(written_file.path)
    if home.exists() and not (home / "report.json").is_file():
        raise InputError(f"{home} exists and is not the report of such a file; move it away, or give another --output", option="output")
    shutil.rmtree(home, ignore_errors=True)
    rows = [_measured(run, original, written_file, home, (setting, device), show) for setting in SETTINGS]
    first = read_object(home / SETTINGS[0].name / "report.json")
    own = run.report if run.report.is_file() else None
    table = [{"title": "the original", **_numbers(first["before"])}]
    table += [{"title": "the run's model", **_numbers(read_object(own)["after"])}] if own else []
    report = {
        **written_file.record(), "sha256": sha256(written_file.path), "run": run.folder.name, "concept": run.options["concept"],
        "measured": [*table, *rows], "protocol": first["protocol"], "no_protection": PROTECTION,
    }  # fmt: skip
    write_json(home / "report.json", report)
    with written(home / "report.html") as part:
        part.write_text(page(report), encoding="utf-8", errors="replace")
    return f"{terminal_table(report)}\nreport    {home / 'report.html'}"


def _measured(
    run: Run, original: Path, written_file: Written, home: Path, how: tuple[Setting, str], show: Show
) -> dict[str, Any]:  # fmt: skip
    """One setting: an evaluation folder with the run's prompts and images before, and images drawn with the file."""
    setting, device = how
    options, rows = run.options, read_prompts(run.folder)
    negative = str(options["concept"]) if setting.negative else ""
    sampling = {**options["sampling"], "noise": "seed and index", **({"negative": negative} if negative else {})}
    record = {name: value for name, value in options.items() if name not in ("method_options", "kind")}
    facts = {"file": written_file.path.name, "sha256": sha256(written_file.path), "strength": setting.strength}
    record |= {"kind": "evaluation", "sampling": sampling, "lora": facts, "erased": f"{options['model']} + {facts['file']}"}
    model = with_small_file(
        open_model(original, device, str(options.get("dtype", "float32")), sampling["size"]), written_file.path, setting.strength
    )
    with Run.open(home / setting.name, record) as evaluation:
        prompts_file(evaluation.folder).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(prompts_file(run.folder), prompts_file(evaluation.folder))
        shutil.copytree(run.samples("before"), evaluation.samples("before"))
        sample = model.sampler(int(sampling["steps"]), float(sampling["guidance"]), scheduler_for(run, original), negative)
        make_images(
            evaluation.samples("after"), [row["text"] for row in rows], [row["seed"] for row in rows], sample, int(sampling["batch"]),
            Callbacks(lambda done, total: show(setting.title, done, total)),
        )  # fmt: skip
        model.free()
        report = evaluate_run(evaluation.folder, tools=tools_of(record, device=device))
    return {"title": setting.title, "strength": setting.strength, "negative": negative, "folder": setting.name, **_numbers(report["after"])}


def _numbers(side: Mapping[str, Any]) -> dict[str, Any]:
    return {name: side[name] for name in MEASURES if name in side}


def cells(report: Mapping[str, Any]) -> list[list[str]]:
    """Headings and rows of the comparison."""
    names = [name for name in MEASURES if any(name in row for row in report["measured"])]
    table = [["", *names]]
    for row in report["measured"]:
        table.append([row["title"], *(f"{row[name]['value']:.1f}" if name in row else "–" for name in names)])
    return table


def lost(report: Mapping[str, Any]) -> str:
    """What the file at strength 1 loses against the run's model, in one sentence."""
    rows = {row["title"]: row for row in report["measured"]}
    run, file = rows.get("the run's model"), rows[SETTINGS[0].title]
    if run is None:
        return ""
    names = [name for name in MEASURES if name in run and name in file]
    changes = [f"{name} {file[name]['value'] - run[name]['value']:+.1f}" for name in names]
    return f"Against the run's model, in points: {', '.join(changes)}." if changes else ""


def terminal_table(report: Mapping[str, Any]) -> str:
    """The comparison, aligned, in per cent."""
    table = cells(report)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(text.ljust(w) if k == 0 else text.rjust(w) for k, (text, w) in enumerate(zip(row, widths, strict=True))) for row in table
    ]
    return "\n".join([*lines, lost(report)]).rstrip()


def _named(layer: str) -> str:
    """The end of a layer's path, and the rest of it as a second line."""
    block, _, end = layer.partition(".transformer_blocks." if ".transformer_blocks." in layer else ".attn.")
    return f"{end}\n{block}" if end else layer


def page(report: Mapping[str, Any]) -> str:
    """report.html: what the file keeps and loses."""
    worst = sorted(report["layers"], key=lambda row: row["norm"] ** 2 * (1 - (row["kept"] / 100) ** 2), reverse=True)[:LAYERS]
    table, heads = cells(report), {"the original": "original", "the run's model": "run"} | {one.title: one.head for one in SETTINGS}
    ranks = sorted({row["rank"] for row in report["layers"] if row["rank"]})
    section = render_section(
        "small_file.html",
        headings=["", *(heads[row[0]] for row in table[1:])],
        rows=[[f"{name}\n{HEADINGS[name]}", *(row[i] for row in table[1:])] for i, name in enumerate(table[0][1:], 1)],
        lost=lost(report),
        kept=f"{report['kept']:.1f}",
        warn=report["kept"] < WARN_BELOW,
        size=f"{report['bytes'] / 2**20:.1f} MiB" if report["bytes"] >= 2**20 else f"{report['bytes'] / 2**10:.0f} KiB",
        ranks=f"{ranks[0]} to {ranks[-1]}" if len(ranks) > 1 else "".join(map(str, ranks)),
        layers=[[_named(row["layer"]), str(row["rank"] or "–"), f"{row['norm']:.3g}", f"{row['kept']:.1f}"] for row in worst],
        count=len(report["layers"]),
        left_out=len(report["left_out"]),
        inexact=report["inexact_entries"],
        difference=report["format"] == "difference",
        settings=[row["folder"] for row in report["measured"] if "folder" in row],
        protection=report["no_protection"],
    )
    return framed(report["file"], f"“{report['concept']}” as {report['format']}", f"from {report['run']}", [section])
