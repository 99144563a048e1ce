"""What each option and each part of Scissorhands does to the numbers: the same pictures with and without, the interval of the difference.

    python benchmarks/ablation.py --output runs/ablation                    every option, each alone on top of the defaults
    python benchmarks/ablation.py --output runs/ablation --rows parts       every part of the method, taken away or as it is elsewhere
    python benchmarks/ablation.py --output runs/ablation --rows two_sided=true scope=full,trim_scope=cross-attention
    python benchmarks/ablation.py --output runs/robust --base preset=robust --rows robust --attacks partial inversion relearn

The runs are those of `erase-concept bench`, resumable like it, on concepts that settings may be chosen on. Writes ablation.json and
ablation.md beside the bench's own files: differences in percentage points, picture by picture, with Tango's 95 % interval for pairs;
`attributes` (the rest of what prompts of the concept ask for) is the difference of the means over concepts. With --attacks every run is
attacked with these, and a second table has the share of attempts in which each brings the concept back, all concepts together, and how
many times as long as the base erasing took.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from host import facts

from erase.run import read_lines
from eval.attacks import ERASED
from eval.attacks.several_runs import attacked, success_of
from eval.bench.plan import slug
from eval.metrics.paired import paired_rates
from ui.cli.main import main as command

CONCEPTS = ("green", "star")
OPTIONS = (
    "one_anchor=false", "cosine=true", "two_sided=true", "per_layer=true", "project_update=true", "spare=divide", "spare=exclude",
    "layers=7", "forget_timesteps=0-0.85", "guard=0.1", "gone=0.05", "fraction=0.02", "forget_weight=2",
)  # fmt: skip
PARTS = (
    "trimming=false", "steps=0", "projected=false", "unlearn=ascent,forget_weight=0.1", "unlearn=ascent,forget_weight=0.1,projected=false",
    "retain_captions=1", "first_batch_only=true", "retain_target=data", "anchor_pictures=false", "signed=false", "scope=full",
    "scope=full,trim_scope=cross-attention", "preset=paper", "preset=paper,learning_rate=0.0008", "preset=reference",
    "preset=reference,learning_rate=0.0008",
)  # fmt: skip
ROBUST = (
    "relapse=0", "redirect=none", "trimming=false", "cross_attention_rate=1", "cosine=false", "empty_captions=0.1", "unnamed=0.5",
    "adversarial=4",
)  # fmt: skip
ROLES = {"evaluate": "ua", "implicit": "described", "evaluate-retain": "kept"}


def outcomes(folders: Sequence[Path]) -> dict[str, list[bool]]:
    """Of each role's pictures after erasing: as wanted or not, run after run."""
    rows = [row for folder in folders for row in read_lines(folder / "records.jsonl")]
    return {name: [row["ok_after"] for row in rows if row["role"] == role] for role, name in ROLES.items()}


def differences(base: Sequence[Path], other: Sequence[Path]) -> dict[str, dict[str, float | int]]:
    """other - base in percentage points by measure; the runs are of the same concepts, prompts and noise, in the same order."""
    before, after = outcomes(base), outcomes(other)
    found = {name: paired_rates(before[name], after[name]) for name in ROLES.values()}
    attributes = fmean(_attributes(run) for run in other) - fmean(_attributes(run) for run in base)
    return {name: p.record() for name, p in found.items()} | {"attributes": {"difference": round(attributes, 4)}}


def _attributes(folder: Path) -> float:
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return float(report["after"]["attributes_kept"]["value"])


def attacks_on(folders: Sequence[Path]) -> dict[str, Any]:
    """Of runs that were attacked: the share of attempts that bring the concept back, by attack, all runs together."""
    runs = [attacked(folder, "").attempts for folder in folders]
    return {name: success_of(run[name][ERASED] for run in runs) for name in runs[0]}


def seconds(folders: Sequence[Path]) -> float:
    """That erasing took, all runs together."""
    return sum(json.loads((folder / "stages.json").read_text(encoding="utf-8"))["erase"]["seconds"] for folder in folders)


def attack_table(found: Mapping[str, Mapping[str, Any]], times: Mapping[str, float]) -> str:
    """As Markdown, a row an option, the base first."""
    names = list(next(iter(found.values())))
    lines = [f"| with | erasing takes | {' | '.join(f'`{name}`' for name in names)} |", "|---|---:|" + "---:|" * len(names)]
    for label, row in found.items():
        cells = [f"{row[name]['value']:.0f} [{row[name]['low']:.0f}, {row[name]['high']:.0f}]" for name in names]
        lines.append(f"| `{label}` | {times[label]:.1f} × | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def table(rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """As Markdown, a row an option."""
    names = list(ROLES.values())
    lines = [f"| with | {' | '.join(names)} | attributes |", "|---|" + "---:|" * (len(names) + 1)]
    for label, row in rows.items():
        cells = [f"{row[name]['difference']:+.1f} [{row[name]['low']:+.1f}, {row[name]['high']:+.1f}]" for name in names]
        lines.append(f"| `{label}` | {' | '.join(cells)} | {row['attributes']['difference']:+.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--concepts", nargs="+", default=list(CONCEPTS))
    parser.add_argument("--base", default="", help="options that all rows share, as option=value,...")
    parser.add_argument("--rows", nargs="+", default=["options"], help="what each row has beside them; or options, or parts")
    parser.add_argument("--evaluate-count", type=int, default=48)
    parser.add_argument("--attacks", nargs="+", metavar="NAME", help="attack every run with these")
    parser.add_argument("--attempts", type=int, default=16, help="of each attack on each run")
    given = parser.parse_args()
    known = {"options": OPTIONS, "parts": PARTS, "robust": ROBUST}
    given.rows = [row for name in given.rows for row in known.get(name, (name,))]
    methods = [_method(given.base), *(_method(",".join(filter(None, (given.base, row)))) for row in given.rows)]
    words = ["bench", "--output", str(given.output), "--concepts", *given.concepts, "--methods", *methods]
    if status := command([*words, "--evaluate-count", str(given.evaluate_count)]):
        raise SystemExit(status)
    runs = {method: [given.output / "runs" / slug(concept, 0, method) for concept in given.concepts] for method in methods}
    rows = {row: differences(runs[methods[0]], runs[method]) for row, method in zip(given.rows, methods[1:], strict=True)}
    about: dict[str, Any] = {"facts": facts(), "base": methods[0], "concepts": given.concepts, "evaluate_count": given.evaluate_count}
    found, text = {"rows": rows}, table(rows)
    if given.attacks:
        every = [str(folder) for folders in runs.values() for folder in folders]
        words = ["attack", *every, "--attacks", *given.attacks, "--attempts", str(given.attempts), "--budget", "100h"]
        if status := command(words):
            raise SystemExit(status)
        labels = dict(zip(methods, (methods[0], *given.rows), strict=True))
        times = {labels[method]: round(seconds(runs[method]) / seconds(runs[methods[0]]), 3) for method in methods}
        broken = {labels[method]: attacks_on(runs[method]) for method in methods}
        about |= {"attempts": given.attempts}
        found, text = found | {"times_as_long": times, "attacks": broken}, f"{text}\n{attack_table(broken, times)}"
    (given.output / "ablation.json").write_text(json.dumps(about | found, indent=1) + "\n", encoding="utf-8")
    (given.output / "ablation.md").write_text(text, encoding="utf-8")
    print(f"\n{text}")


def _method(options: str) -> str:
    return f"scissorhands:{options}" if options else "scissorhands"


if __name__ == "__main__":
    main()
