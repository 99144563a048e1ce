"""From the reports of a sweep's runs to the score of each setting. Pure functions of reports; knows no files.

A run's score is the smaller of forgetting and keeping, in %. Forgetting is the smaller of `ua` and `ua_implicit`; keeping is
the smallest of `ira`, `cra` and `attributes_kept`, each in percent of before, at most 100. A setting's score is the mean over
its runs; of equal ones the one with the better worst run comes first, then the quicker one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from eval.rendering.charts import Point, scatter

SCORE = (
    "the smaller of forgetting (the smaller of ua and ua_implicit) and keeping (the smallest of ira, cra and attributes_kept, in % of "
    "before, at most 100); of a setting the mean over its runs"
)
FORGETTING, KEEPING = ("ua", "ua_implicit"), ("ira", "cra", "attributes_kept")

Report = Mapping[str, Any]
Trial = dict[str, Any]


def worth(report: Report) -> dict[str, float] | None:
    """Forgetting, keeping and score of one run; None where it was not measured."""
    before, after = report["before"], report["after"]
    gone = [after[name]["value"] for name in FORGETTING if name in after]
    remaining = [
        min(100.0, 100 * after[name]["value"] / before[name]["value"])
        for name in KEEPING
        if name in before and name in after and before[name]["value"] > 0
    ]
    if not gone or not remaining:
        return None
    return {"forgetting": min(gone), "keeping": min(remaining), "score": min(*gone, *remaining)}


def trials(runs: Sequence[tuple[str, Mapping[str, Any], Report | None, str | None]]) -> list[Trial]:
    """Runs (label of the trial, what is to be known of the run, its report, its failure) -> trials, the best first, failed ones last."""
    results: dict[str, Trial] = {}
    for label, known, report, failure in runs:
        trial = results.setdefault(label, {"label": label, "runs": [], "failures": []})
        value = worth(report) if report is not None else None
        if value is None:
            trial["failures"].append({**known, "why": failure or "the run has no ua, or no ira and cra, to be scored by"})
        else:
            trial["runs"].append({**known, **value, "seconds": (report or {}).get("seconds", {}).get("erase")})
    for trial in results.values():
        runs_of = trial["runs"] if not trial["failures"] else []  # a setting that fails on one concept is none
        for name in ("score", "forgetting", "keeping"):
            trial[name] = mean(run[name] for run in runs_of) if runs_of else None
        trial["worst"] = min((run["score"] for run in runs_of), default=None)
        trial["seconds"] = mean(run["seconds"] or 0.0 for run in runs_of) if runs_of else None
    return sorted(results.values(), key=_rank)


def _rank(trial: Trial) -> tuple[float, ...]:
    if trial["score"] is None:
        return (1,)
    return (0, -trial["score"], -trial["worst"], trial["seconds"])


def table(results: Sequence[Trial]) -> str:
    """For a terminal, the best first."""
    cells = [["score", "worst", "forgetting", "keeping", "seconds", "runs", "setting"]]
    for trial in results:
        numbers = [trial[name] for name in ("score", "worst", "forgetting", "keeping", "seconds")]
        texts = ["-" if value is None else f"{value:.1f}" for value in numbers]
        cells.append([*texts, str(len(trial["runs"])), trial["label"].partition(":")[2]])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(text.rjust(w) if i < 6 else text for i, (text, w) in enumerate(zip(row, widths, strict=True))) for row in cells]
    lines += [
        f"failed: {t['label'].partition(':')[2]} on {f['concept']}, seed {f['seed']}: {f['why']}" for t in results for f in t["failures"]
    ]
    return "\n".join(lines)


def scatter_svg(results: Sequence[Trial]) -> str:
    """Forgetting against keeping, one point per setting, with the range over its runs as thin crosses."""

    def ends(trial: Trial, name: str) -> tuple[float, float]:
        values = [run[name] for run in trial["runs"]]
        return min(values), max(values)

    points = [
        Point(t["label"].partition(":")[2], t["keeping"], t["forgetting"], ends(t, "keeping"), ends(t, "forgetting"))
        for t in results
        if t["score"] is not None
    ]
    return scatter(points, "Settings: forgetting against keeping", "kept: smallest of ira, cra, attributes, % of before", "forgotten, %")
