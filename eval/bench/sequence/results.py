"""The numbers of a sequence, step by step: what is gone, what of it stayed gone, and what is kept. Reads reports of evaluations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erase.checkpoints.diff import changed_bytes
from erase.diffusion import locate
from erase.run import Run
from eval.bench.sequence.plan import Plan
from eval.bench.sequence.run import StepCell
from eval.measurement.report_file import read_report
from eval.metrics.gaps import spread

KEPT = ("ira", "cra", "companion_kept")  # as in a bench: what is kept is the smallest of these in percent of the original's
MEANINGS = {
    "gone": "images of prompts that name a concept and do not show it, in % (ua)",
    "lowest": "the lowest of these over the concepts erased so far",
    "lost": "points of ua that a concept lost since the step that erased it: the most of any concept",
    "kept": "the smallest of ira and cra in percent of the original's",
    "frechet": "Fréchet distance of images of other prompts from the original's",
    "seconds": "seconds of erasing in this step, without drawing images",
    "changed_bytes": "size of the tensors that are not the original's",
}

Step = dict[str, Any]


def steps_of(plan: Plan, cells: Sequence[StepCell]) -> list[Step]:
    """A record for each step, from its evaluation; one that failed has the reason instead of numbers."""
    source = locate(str(plan.job.model), plan.job.parts or plan.job.tokenizer, plan.job.prediction_type)
    records = []
    for cell in cells:
        erased = plan.titles if plan.together else [plan.titles[cell.step]]
        facts = {"label": cell.label, "seed": cell.seed, "step": cell.step + 1, "erased": erased, "gone_so_far": plan.gone_after(cell.step)}
        if cell.failure:
            records.append({**facts, "failure": cell.failure})
            continue
        record = {**facts, "run": str(cell.folder), "measured": str(cell.measured), **_numbers(read_report(cell.measured / "report.json"))}
        record["seconds"] = Run.read(cell.folder).stages().get("erase", {}).get("seconds")
        record["changed_bytes"] = changed_bytes(source, cell.folder / "model")
        records.append(record)
    return _with_losses(records)


def _numbers(report: Mapping[str, Any]) -> dict[str, Any]:
    """ua of each concept, whether erased yet or not; accuracies to keep, before and after; the Fréchet distance."""
    names = [name for name, part in report["concepts"].items() if "ua" in part["after"] and " + " not in name]
    ua = {name: report["concepts"][name]["after"]["ua"] for name in names}
    kept = {
        name: {which: report[which][name] for which in ("before", "after")} | {"paired": report["paired"].get(name)}
        for name in KEPT
        if name in report["before"] and name in report["after"]
    }
    far = next((value["value"] for name, value in report["after"].items() if "frechet" in name or name == "fid"), None)
    shares = [100 * sides["after"]["value"] / sides["before"]["value"] for sides in kept.values() if sides["before"]["value"]]
    return {"ua": ua, "keeping": kept, "kept": round(min(shares), 4) if shares else None, "frechet": far}


def _with_losses(records: list[Step]) -> list[Step]:
    """The lowest ua of the concepts erased so far, and the most that one lost since its own step."""
    at_first: dict[tuple[str, int], dict[str, float]] = {}  # by row and seed: concept -> its ua after its own step
    for record in records:
        if "failure" in record:
            continue
        now = {name: record["ua"][name]["value"] for name in record["gone_so_far"] if name in record["ua"]}
        first = at_first.setdefault((record["label"], record["seed"]), {})
        first.update({name: now[name] for name in record["erased"] if name in now})
        record["lowest"] = min(now.values(), default=None)
        record["lost"] = max((max(0.0, first[name] - value) for name, value in now.items() if name in first), default=None)
    return records


def rows_of(records: Sequence[Step]) -> list[dict[str, Any]]:
    """A row for each label and step: means over seeds with their deviation, and how many seeds came so far."""
    keys = dict.fromkeys((record["label"], record["step"]) for record in records)
    return [_row([one for one in records if (one["label"], one["step"]) == key]) for key in keys]


def _row(records: Sequence[Step]) -> dict[str, Any]:
    first, fine = records[0], [record for record in records if "failure" not in record]
    row: dict[str, Any] = {name: first[name] for name in ("label", "step", "erased", "gone_so_far")} | {"seeds": len(fine)}
    row["failures"] = [{"seed": record["seed"], "failure": record["failure"]} for record in records if "failure" in record]
    if not fine:
        return row
    row["ua"] = {name: _of([record["ua"].get(name, {}).get("value") for record in fine]) for name in fine[0]["ua"]}
    if len(fine) == 1:
        row["interval"] = {name: [metric["low"], metric["high"]] for name, metric in fine[0]["ua"].items()}
    for name in ("lowest", "lost", "kept", "frechet", "seconds", "changed_bytes"):
        row[name] = _of([record[name] for record in fine])
    row["keeping"] = {name: _of([record["keeping"].get(name, {}).get("after", {}).get("value") for record in fine]) for name in KEPT}
    return row


def _of(values: Sequence[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return spread(known) if known and len(known) == len(values) else None


def report_of(plan: Plan, cells: Sequence[StepCell], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The report: protocol, every step, and the rows of the table."""
    records = steps_of(plan, cells)
    fine = next((record for record in records if "failure" not in record), None)
    measured = read_report(Path(fine["measured"]) / "report.json") if fine else {}
    protocol = {
        "model": str(plan.job.model), "sequence": plan.titles, "together": plan.together, "seeds": list(plan.bench.seeds),
        "stay_gone": plan.job.stay_gone, **facts, "measurement": measured.get("protocol", {}),
        "mean": "over seeds, with the deviation over seeds; a step that failed on a seed is left out",
    }  # fmt: skip
    return {"protocol": protocol, "steps": records, "rows": rows_of(records)}
