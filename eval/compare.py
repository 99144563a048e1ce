"""Compare runs and evaluations by their report.json: as a table, JSON, CSV and a scatter plot.

Numbers of different protocols are not comparable, so each row has a letter for its protocol and the differences from the first
row's protocol.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from erase.errors import InputError
from erase.files import read_object, real_path
from erase.files.tables import csv_text
from erase.options import flat
from erase.run import read_lines
from eval.measurement.report_file import read_report
from eval.metrics.paired import paired_rates
from eval.rendering.charts import Point, scatter
from eval.rendering.verdict import change, measures, number

NAMED = ("concept", "model", "method", "preset")
# Entries of a protocol that do not affect a number: places of files, and versions that are recorded only.
ASIDE = ("versions", "batch", "prompts.file", "interval", "note", "deviations", "sha256", "reference.path")
MEASURES = {"evaluate": "ua", "implicit": "ua_implicit", "evaluate-retain": "kept"}  # role -> the metric that its records give
LONG = 24  # characters of a value in a note, fewer than those of a hash

Comparison = Mapping[str, Any]


def compare(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """One row per folder, in the same order, from its report.json.

    {"run", "folder", "concept", "model", "method", "preset", "seed", "protocol", "differs", "metrics", "against_first"}:
    `protocol` is a letter, the same for equal protocols; `differs` are the differences from the first row's protocol; `metrics` are
    {"before", "after", "change"} by name; `against_first` is `paired_runs` with the first row, empty where the two are not
    comparable. InputError for no folder, a folder given twice, and a folder without a readable report.
    """
    folders = [Path(folder) for folder in folders]
    _check(folders)
    reports = [_report(folder) for folder in folders]
    protocols = [_fixed(report) for report in reports]
    letters = _letters(protocols)
    names = _names(folders)
    rows = []
    for folder, report, protocol, letter, name in zip(folders, reports, protocols, letters, names, strict=True):
        same = letter == letters[0] and report.get("concept") == reports[0].get("concept")
        rows.append(
            {"run": name, "folder": str(folder), **{key: report.get(key) for key in NAMED}, "seed": _seed(folder)}
            | {"protocol": letter, "differs": _differences(protocols[0], protocol), "metrics": _metrics(report)}
            | {"against_first": paired_runs(folders[0], folder) if same and folder != folders[0] else {}}
        )
    return rows


def paired_runs(first: Path, second: Path) -> dict[str, dict[str, float | int]]:
    """Two erased models on the same prompts and seeds, second - first, from their records.jsonl.

    By metric ("ua", "ua_implicit", "kept": everything that prompts to keep request) the record of Paired. Empty where a run has no
    records or the two have different prompts. The caller checks that the protocols are equal.
    """
    sides = [{record["index"]: record for record in read_lines(folder / "records.jsonl")} for folder in (first, second)]
    roles = [{index: record["role"] for index, record in side.items()} for side in sides]
    if not roles[0] or roles[0] != roles[1]:
        return {}
    metrics = {}
    for role, name in MEASURES.items():
        indices = [index for index, its_role in sorted(roles[0].items()) if its_role == role]
        if indices:
            before, after = ([bool(side[index]["ok_after"]) for index in indices] for side in sides)
            metrics[name] = paired_rates(before, after).record()
    return metrics


def as_json(rows: Sequence[Comparison]) -> str:
    """Everything, as JSON."""
    return json.dumps(rows, indent=1, ensure_ascii=False)


def as_csv(rows: Sequence[Comparison]) -> str:
    """One line per run, one column per number (`ira_after_low`, ...), for spreadsheets and data frames."""
    lines = [_flat_row(row) for row in rows]
    return csv_text(list(dict.fromkeys(name for line in lines for name in line)), lines)


def as_table(rows: Sequence[Comparison]) -> str:
    """For a terminal: one line per run with `before -> after [interval] (change in percent of before)`.

    Below: the differences of protocols, and the paired tests.
    """
    metrics = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    heads = ["run", "concept", "method", "seed", "protocol", *metrics]
    cells = [heads]
    for row in rows:
        method = "/".join(str(row[name]) for name in ("method", "preset") if row[name] is not None)
        values = [_both(row["metrics"].get(name), name) for name in metrics]
        cells.append([row["run"], str(row["concept"]), method, "–" if row["seed"] is None else str(row["seed"]), row["protocol"], *values])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([*lines, *_differing(rows), *_tested(rows)])


def scatter_svg(rows: Sequence[Comparison], title: str = "Forgetting against keeping") -> str:
    """An SVG: ua against what is kept, the smaller of ira and cra after as percent of before, with intervals as thin crosses.

    Intervals of keeping are those of the erased model alone. InputError where no run has these numbers.
    """
    several = len({row["protocol"] for row in rows}) > 1
    points = [point for row in rows if (point := _point(row, several))]
    if not points:
        raise InputError("no run has ua, and ira or cra before and after; a scatter of forgetting against keeping needs them")
    return scatter(points, title, "still as asked: smaller of ira and cra, % of the original", "gone: ua, %")


# --- reading --------------------------------------------------------------------------------------------------------


def _check(folders: Sequence[Path]) -> None:
    if not folders:
        raise InputError("nothing to compare; give run folders, or folders of evaluations")
    unique: dict[Path, Path] = {}
    for folder in folders:
        if real_path(folder) in unique:
            raise InputError(f"{folder} is given twice (also as {unique[real_path(folder)]}); give each folder once")
        unique[real_path(folder)] = folder


def _report(folder: Path) -> dict[str, Any]:
    path = folder / "report.json"
    if not path.is_file():
        raise InputError(f"{folder} has no report.json; `erase-concept evaluate {folder}` writes it")
    report = read_report(path)
    if not all(isinstance(report.get(name), dict) for name in ("protocol", "before", "after")):
        raise InputError(
            f"{path} is not a report of erase-concept: expected an object with protocol, before and after; evaluate that folder again"
        )
    return report


def _seed(folder: Path) -> int | None:
    """The seed of a run; None for an evaluation."""
    try:
        seed = read_object(folder / "options.json").get("seed")
    except (OSError, ValueError):
        return None
    return seed if isinstance(seed, int) else None


def _names(folders: Sequence[Path]) -> list[str]:
    """The names of the folders, with their parent's where two are the same."""
    names = [real_path(folder).name for folder in folders]
    return [
        name if names.count(name) == 1 else f"{real_path(folder).parent.name}/{name}" for name, folder in zip(names, folders, strict=True)
    ]


def _metrics(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    metrics = {}
    for name, (before, after) in measures(report).items():
        changed = change(report, name)
        record = dict(zip(("difference", "low", "high"), changed, strict=True)) if changed else None
        metrics[name] = {"before": before, "after": after, "change": record, "percent": _percent(before, after, record)}
    return metrics


def _percent(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, changed: Mapping[str, float] | None
) -> dict[str, float] | None:
    """The change in percent of the original's value, with the ends of the change where they are known; None where that value is 0."""
    if before is None or after is None or before["value"] <= 0:
        return None
    ends = changed or {"value": after["value"] - before["value"]}
    names = {"difference": "value", "low": "low", "high": "high", "value": "value"}
    return {names[name]: round(100 * end / before["value"], 2) for name, end in ends.items()}


# --- protocols ------------------------------------------------------------------------------------------------------


def _fixed(report: Mapping[str, Any]) -> dict[str, Any]:
    """The flat entries of a protocol that must be equal for numbers to be comparable."""
    values = flat(report["protocol"])
    return {
        name: value
        for name, value in values.items()
        if not any(name == aside or name.startswith((f"{aside}.", f"{aside}[")) for aside in ASIDE)
    }


def _letters(protocols: Sequence[Mapping[str, Any]]) -> list[str]:
    """A for the first protocol and all that equal it, B for the next; after Z comes A2."""
    kinds: list[Mapping[str, Any]] = []
    for protocol in protocols:
        if protocol not in kinds:
            kinds.append(protocol)
    names = [f"{ascii_uppercase[i % 26]}{i // 26 + 1 if i >= 26 else ''}" for i in range(len(kinds))]
    return [names[kinds.index(protocol)] for protocol in protocols]


def _differences(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """One phrase per difference, `guidance: 7.5, not 4.0`; a list (seeds, labels) appears once."""
    phrases: dict[str, str] = {}
    for name in {**first, **other}:
        if (name in first, first.get(name)) != (name in other, other.get(name)):
            group = name.split("[")[0]
            one = f"{name}: {_short(other, name)}, not {_short(first, name)}"
            phrases[group] = one if group not in phrases and group == name else f"{group}: another list"
    return list(phrases.values())


def _short(protocol: Mapping[str, Any], name: str) -> str:
    text = str(protocol[name]) if name in protocol else "nothing"
    return text if len(text) <= LONG else f"{text[:12]}..."


# --- showing --------------------------------------------------------------------------------------------------------


def _both(metric: Mapping[str, Any] | None, name: str) -> str:
    if metric is None:
        return "–"
    before = number({**(metric["before"] or {}), "low": None}, name)
    percent = f" ({round(metric['percent']['value'], 1) or 0.0:+.1f} %)" if metric["percent"] else ""
    return f"{before} -> {number(metric['after'], name)}{percent}"


def _differing(rows: Sequence[Comparison]) -> list[str]:
    if len({row["protocol"] for row in rows}) < 2:
        return []
    first = {row["protocol"]: row["differs"] for row in reversed(rows)}
    lines = ["", "Protocols differ, so these numbers are not comparable across letters:"]
    return [*lines, *(f"  {letter}: {'; '.join(differs)}" for letter, differs in sorted(first.items()) if differs)]


def _tested(rows: Sequence[Comparison]) -> list[str]:
    tests = [(f"  {row['run']}, {name}", test) for row in rows for name, test in row["against_first"].items()]
    lines = [
        f"{head}: {test['difference']:+.1f} points [{test['low']:+.1f}, {test['high']:+.1f}], p {test['p']:.3g}, n {test['n']}"
        for head, test in tests
    ]
    return ["", f"Against {rows[0]['run']} on the same prompts and seeds:", *lines] if lines else []


def _flat_row(row: Comparison) -> dict[str, Any]:
    line = {name: value for name, value in row.items() if not isinstance(value, dict | list)}
    line["differs"] = "; ".join(row["differs"])
    for name, sides in row["metrics"].items():
        for side, metric in sides.items():
            line |= {f"{name}_{side}{'' if key == 'value' else f'_{key}'}": value for key, value in (metric or {}).items()}
    for name, test in row["against_first"].items():
        line |= {f"{name}_against_first_{key}": value for key, value in test.items()}
    return line


def _point(row: Comparison, several: bool) -> Point | None:
    metrics = row["metrics"]
    ua = (metrics.get("ua") or {}).get("after")
    shares = [_share(metrics[name]) for name in ("ira", "cra") if name in metrics]
    known = [share for share in shares if share]
    if ua is None or ua.get("low") is None or not known:
        return None
    value, low, high = min(known)
    label = f"{row['run']} ({row['protocol']})" if several else str(row["run"])
    return Point(label, value, ua["value"], (low, high), (ua["low"], ua["high"]))


def _share(metric: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """After as a percentage of before, with the ends of after's interval."""
    before, after = metric["before"], metric["after"]
    if before is None or after is None or after.get("low") is None or before["value"] <= 0:
        return None
    value, low, high = (100 * after[name] / before["value"] for name in ("value", "low", "high"))
    return value, low, high
