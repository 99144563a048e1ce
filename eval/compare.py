"""Several runs or evaluations side by side, from their report.json: as a table, JSON, CSV and a scatter.

Numbers of different protocols are not comparable: each row names its protocol by a letter and says in what it differs from
the first row's. Reads files; measures nothing.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from erase.errors import InputError
from erase.options import flat
from erase.run import read_lines
from eval.metrics.paired import paired_rates
from eval.rendering.charts import Point, scatter
from eval.rendering.verdict import change, measures, number

NAMED = ("concept", "model", "method", "preset")
# What a protocol says beside what it fixes: where files are, versions that are recorded but not part of the measurement.
ASIDE = ("versions", "batch", "prompts.file", "interval", "note", "deviations", "sha256", "reference.path")
MEASURES = {"evaluate": "ua", "implicit": "ua_implicit", "evaluate-retain": "kept"}  # role -> what its records say
LONG = 24  # characters of a value in a note; hashes are longer

Comparison = Mapping[str, Any]


def compare(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """A row for each folder, in this order, of its report.json.

    {"run", "folder", "concept", "model", "method", "preset", "seed", "protocol", "differs", "metrics", "against_first"}:
    `protocol` is a letter, the same for equal protocols; `differs` says in what it differs from the first row's; `metrics`
    holds by name {"before", "after", "change"}; `against_first` is `paired_runs` with the first row, empty where that cannot
    be. InputError: no folder, one given twice, no report there, not a report.
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
    """Two erased models on the same prompts and seeds, second - first, from records.jsonl; for those see eval.rendering.html.write_html.

    By measure ("ua", "ua_implicit", "kept": all that prompts to keep ask for) the record of Paired. Empty where a run has no
    records or the two are not of the same pictures. Whether the protocols are the same is for the caller to know.
    """
    sides = [{record["index"]: record for record in read_lines(folder / "records.jsonl")} for folder in (first, second)]
    places = [{index: record["role"] for index, record in side.items()} for side in sides]
    if not places[0] or places[0] != places[1]:
        return {}
    found = {}
    for role, name in MEASURES.items():
        indices = [index for index, its_role in sorted(places[0].items()) if its_role == role]
        if indices:
            before, after = ([bool(side[index]["ok_after"]) for index in indices] for side in sides)
            found[name] = paired_rates(before, after).record()
    return found


def as_json(rows: Sequence[Comparison]) -> str:
    """All of it."""
    return json.dumps(rows, indent=1, ensure_ascii=False)


def as_csv(rows: Sequence[Comparison]) -> str:
    """A line a run, a column a number: `ira_after_low`, and so on; for spreadsheets and data frames."""
    lines = [_flat_row(row) for row in rows]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(dict.fromkeys(name for line in lines for name in line)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def as_table(rows: Sequence[Comparison]) -> str:
    """For a terminal: a line a run with `before -> after [interval]`; below, which protocols differ and in what, and the tests."""
    metrics = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    heads = ["run", "concept", "method", "seed", "protocol", *metrics]
    cells = [heads]
    for row in rows:
        method = "/".join(str(row[name]) for name in ("method", "preset") if row[name] is not None)
        shown = [_both(row["metrics"].get(name), name) for name in metrics]
        cells.append([row["run"], str(row["concept"]), method, "–" if row["seed"] is None else str(row["seed"]), row["protocol"], *shown])
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
    return scatter(points, title, "kept: smaller of ira and cra, % of the original", "forgotten: ua, %")


# --- reading --------------------------------------------------------------------------------------------------------


def _check(folders: Sequence[Path]) -> None:
    if not folders:
        raise InputError("nothing to compare; give run folders, or folders of evaluations")
    seen: dict[Path, Path] = {}
    for folder in folders:
        if folder.resolve() in seen:
            raise InputError(f"{folder} is given twice (also as {seen[folder.resolve()]}); give each folder once")
        seen[folder.resolve()] = folder


def _report(folder: Path) -> dict[str, Any]:
    path = folder / "report.json"
    if not path.is_file():
        raise InputError(f"{folder} has no report.json; `erase-concept evaluate {folder}` writes it")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); evaluate that folder again") from error
    if not isinstance(report, dict) or not all(isinstance(report.get(name), dict) for name in ("protocol", "before", "after")):
        raise InputError(f"{path} is not a report of ours: expected an object with protocol, before and after; evaluate that folder again")
    return report


def _seed(folder: Path) -> int | None:
    """Of the run that made the model, where the folder is one."""
    try:
        value = json.loads((folder / "options.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    seed = value.get("seed") if isinstance(value, dict) else None
    return seed if isinstance(seed, int) else None


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names, and their parents' where those are the same."""
    names = [folder.resolve().name for folder in folders]
    return [
        name if names.count(name) == 1 else f"{folder.resolve().parent.name}/{name}" for name, folder in zip(names, folders, strict=True)
    ]


def _metrics(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found = {}
    for name, (before, after) in measures(report).items():
        changed = change(report, name)
        shown = dict(zip(("difference", "low", "high"), changed, strict=True)) if changed else None
        found[name] = {"before": before, "after": after, "change": shown}
    return found


# --- protocols ------------------------------------------------------------------------------------------------------


def _fixed(report: Mapping[str, Any]) -> dict[str, Any]:
    """What must be equal for numbers to stand side by side, flat."""
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
    """`guidance: 7.5, not 4.0`; a list (seeds, labels) is named once."""
    found: dict[str, str] = {}
    for name in {**first, **other}:
        if (name in first, first.get(name)) != (name in other, other.get(name)):
            group = name.split("[")[0]
            one = f"{name}: {_short(other, name)}, not {_short(first, name)}"
            found[group] = one if group not in found and group == name else f"{group}: another list"
    return list(found.values())


def _short(protocol: Mapping[str, Any], name: str) -> str:
    text = str(protocol[name]) if name in protocol else "nothing"
    return text if len(text) <= LONG else f"{text[:12]}..."


# --- showing --------------------------------------------------------------------------------------------------------


def _both(metric: Mapping[str, Any] | None, name: str) -> str:
    if metric is None:
        return "–"
    before = number({**(metric["before"] or {}), "low": None}, name)
    return f"{before} -> {number(metric['after'], name)}"


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
    kept = [_share(metrics[name]) for name in ("ira", "cra") if name in metrics]
    known = [share for share in kept if share]
    if ua is None or ua.get("low") is None or not known:
        return None
    value, low, high = min(known)
    label = f"{row['run']} ({row['protocol']})" if several else str(row["run"])
    return Point(label, value, ua["value"], (low, high), (ua["low"], ua["high"]))


def _share(metric: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """After as percent of before, with the ends of after's interval."""
    before, after = metric["before"], metric["after"]
    if before is None or after is None or after.get("low") is None or before["value"] <= 0:
        return None
    value, low, high = (100 * after[name] / before["value"] for name in ("value", "low", "high"))
    return value, low, high
