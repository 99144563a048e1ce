"""What each preset, and each part of the method, does on the embedded model: forgetting and keeping, over seeds.

    python benchmarks/quality.py --output runs/quality                     presets x concepts x seeds
    python benchmarks/quality.py --output runs/quality --ablation          one change a row, one concept, one seed

Resumable: every cell is an ordinary run folder. Pictures of a concept and seed are drawn once and shared. Writes
quality.json (or ablation.json) and the same as a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics as st
from dataclasses import replace
from pathlib import Path
from typing import Any

from host import facts

from erase.pipeline import Job, erase_concept
from erase.stages.work import Work
from eval.report import evaluate_run

METRICS = ("ua", "ua_implicit", "ira", "cra", "attributes_kept")

# name -> (preset, changed options). Each row differs from `balanced` in what its name says.
ABLATION: dict[str, tuple[str, dict[str, Any]]] = {
    "balanced": ("balanced", {}),
    "no trimming": ("balanced", {"trimming": False}),
    "trimming only, no repair": ("balanced", {"steps": 0}),
    "no projection": ("balanced", {"projected": False}),
    "ascent, not anchor, lambda 0.1": ("balanced", {"unlearn": "ascent", "forget_weight": 0.1}),
    "ascent, lambda 0.1, no projection": ("balanced", {"unlearn": "ascent", "forget_weight": 0.1, "projected": False}),
    "one retain caption": ("balanced", {"retain_captions": 1}),
    "the same first batch at every step": ("balanced", {"first_batch_only": True}),
    "retain target: the data": ("balanced", {"retain_target": "data"}),
    "no pictures of the anchor": ("balanced", {"anchor_pictures": False}),
    "score of absolute gradients (released code)": ("balanced", {"signed": False}),
    "trim and repair all weights": ("balanced", {"scope": "full"}),
    "trim cross-attention, repair all weights": ("balanced", {"scope": "full", "trim_scope": "cross-attention"}),
    "paper": ("paper", {}),
    "paper at our learning rate": ("paper", {"learning_rate": 4e-4}),
    "reference": ("reference", {}),
    "reference at our learning rate": ("reference", {"learning_rate": 4e-4}),
}


def cell(root: Path, name: str, job: Job, values: dict[str, Any]) -> dict[str, Any]:
    """One finished run and its report; pictures are copied from the first run of the same concept and seed."""
    folder = root / f"{job.concept}-{job.seed}-{name}".translate(str.maketrans(" /", "--", ",|'%="))
    job = replace(job, output=str(folder))
    shared = root / f"{job.concept}-{job.seed}-balanced"
    if folder != shared and (shared / "samples" / "before").exists() and not folder.exists():
        with Work(job, values):
            parts = ["images/forget", "images/anchor", "samples"] + (
                [] if "retain_captions" in values or name.startswith("reference") else ["images/retain"]
            )
            for part in parts:
                shutil.copytree(shared / part, folder / part, ignore=shutil.ignore_patterns("after"))
    erase_concept(job, values)
    report = evaluate_run(folder)
    steps = [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()] if (folder / "stats.jsonl").exists() else []
    row = {
        "name": name,
        "concept": job.concept,
        "seed": job.seed,
        "projected_steps": round(100 * st.mean(s["projected"] for s in steps), 1) if steps else 0.0,
    }
    row |= {f"{metric}_{when}": report[when][metric]["value"] for metric in METRICS for when in ("before", "after")}
    row["pictures"] = sum(report["after"][m]["n"] for m in ("ua", "ua_implicit", "ira"))
    row["seconds"] = report["seconds"].get("erase")
    print(json.dumps(row), flush=True)
    return row


def table(rows: list[dict[str, Any]], by: tuple[str, ...]) -> str:
    """Markdown: a line for each value of `by`, means over the rest; `ira` and `cra` as a share of before in brackets."""
    keys = list(dict.fromkeys(tuple(row[k] for k in by) for row in rows))
    lines = ["| " + " | ".join([*by, "ua", "ua implicit", "ira (of before)", "cra (of before)", "steps projected", "seconds"]) + " |"]
    lines.append("|" + "---|" * (len(by) + 6))
    for key in keys:
        mine = [row for row in rows if tuple(row[k] for k in by) == key]
        m = {f"{k}_{w}": st.mean(row[f"{k}_{w}"] for row in mine) for k in METRICS for w in ("before", "after")}
        kept = [f"{m[f'{k}_after']:.1f} ({100 * m[f'{k}_after'] / max(m[f'{k}_before'], 1e-9):.1f} %)" for k in ("ira", "cra")]
        tail = [f"{st.mean(row['projected_steps'] for row in mine):.0f} %", f"{st.mean(row['seconds'] for row in mine):.0f}"]
        lines.append("| " + " | ".join([*map(str, key), f"{m['ua_after']:.1f}", f"{m['ua_implicit_after']:.1f}", *kept, *tail]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/quality"))
    parser.add_argument("--concepts", nargs="+", default=["star", "red", "striped"], help="one shape, one colour, one style")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--presets", nargs="+", default=["balanced", "paper", "reference"])
    parser.add_argument("--evaluate-count", type=int, default=150, help="pictures that name the concept, and as many that do not")
    parser.add_argument("--ablation", action="store_true", help="the ablation on the first concept and seed instead")
    parser.add_argument("--rows", nargs="+", help="only these rows of the ablation")
    given = parser.parse_args()
    job = Job(model="demo", evaluate_count=given.evaluate_count)
    rows = []
    if given.ablation:
        for name, (preset, values) in ABLATION.items():
            if not given.rows or name in given.rows or name == "balanced":
                rows.append(cell(given.output, name, replace(job, concept=given.concepts[0], seed=given.seeds[0], preset=preset), values))
    else:
        for preset in given.presets:
            for concept in given.concepts:
                rows += [cell(given.output, preset, replace(job, concept=concept, seed=seed, preset=preset), {}) for seed in given.seeds]
    about = facts() | {"evaluate_count": given.evaluate_count}
    kind = "ablation" if given.ablation else "quality"
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / f"{kind}.json").write_text(json.dumps({"facts": about, "rows": rows}, indent=1) + "\n")
    text = table(rows, ("name",) if given.ablation else ("name", "concept"))
    (given.output / f"{kind}.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
