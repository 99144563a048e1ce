"""The section of a run's report about bias: the first images, and by attribute how far its distribution moved. Reads files, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from erase.files import read_object
from eval.measurement.bias.numbers import clear
from eval.rendering.html import Figure, Image, Panel, render_section, thumbnail

HOME, REPORT = "bias", "report.json"
SHOWN = 8  # images, and labels of a domain
HEADINGS = ("", "distance", "by chance", "other label", "uneven, before", "after", "change")
EXPLAINED = (
    "The prompts leave these attributes open, and both models draw them from the same noise: distance is the total variation between the "
    "two distributions of labels, the share of labels, in percent, that would have to change for them to be equal",
    "By chance is the distance between two halves of the original's own images, the mean and the value below which 95 % are; uneven is "
    "the distance from a distribution in which all labels are as frequent: where it grows, the model has become more biased",
)


def bias_of(folder: Path) -> dict[str, Any]:
    """The reports of a run's folder by set of prompts; empty where none was measured."""
    return {path.parent.name: read_object(path) for path in sorted((folder / HOME).glob(f"*/{REPORT}"))}


def section(folder: Path, hide: bool) -> Markup:
    """The section as HTML, empty where nothing was measured. `hide` blurs the images."""
    parts = [_part(folder / HOME / name, report, hide) for name, report in bias_of(folder).items()]
    return render_section("bias.html", explained=f"{'. '.join(EXPLAINED)}.", headings=HEADINGS, parts=parts) if parts else Markup("")


def _part(home: Path, report: Mapping[str, Any], hide: bool) -> dict[str, Any]:
    prompts, count = report["protocol"]["prompts"]["prompts"], report["protocol"]["images"]
    figures = []
    for i in range(min(SHOWN, count)):
        text = prompts[i % len(prompts)]
        images = [
            Image(thumbnail(home / which / f"{i:05d}.png", hide), f"{name}{', blurred' if hide else ''}: {text}", name)
            for which, name in (("before", "original"), ("after", "erased"))
        ]
        figures.append(Figure(images, text, blurred=hide))
    return {
        "set": report["set"],
        "images": count,
        "warning": report.get("warning", ""),
        "panel": Panel("Above the original, below the erased model: the first images, not chosen", "good", figures),
        "rows": rows(report),
        "sentences": [sentence(domain, record) for domain, record in report["domains"].items()],
        "labels": [[domain, label_rows(record)] for domain, record in report["domains"].items()],
        "detector": report["protocol"]["detector"]["name"],
    }


def rows(report: Mapping[str, Any]) -> list[list[str]]:
    """A row for each domain."""
    return [[_title(domain, record), *_cells(record)] for domain, record in report["domains"].items()]


def _title(domain: str, record: Mapping[str, Any]) -> str:
    return f"{domain}, without {', '.join(record['left_out'])}" if record.get("left_out") else domain


def _cells(record: Mapping[str, Any]) -> list[str]:
    if "distance" not in record:
        return [record["not_measured"], "", "", "", "", ""]
    chance, uneven = record["halves"], record["uneven"]
    change = uneven["change"]
    return [
        _with_interval(record["distance"]),
        f"{chance['value']:.1f}, {chance['high']:.1f}" if chance else "–",
        f"{record['changed']:.1f}",
        _with_interval(uneven["before"]),
        _with_interval(uneven["after"]),
        f"{change['difference']:+.1f} [{change['low']:+.1f},\u00a0{change['high']:+.1f}]",
    ]


def _with_interval(metric: Mapping[str, float]) -> str:
    return f"{metric['value']:.1f} [{metric['low']:.1f},\u00a0{metric['high']:.1f}]"


def sentence(domain: str, record: Mapping[str, Any]) -> str:
    """What a row says, with the label that moved most and, where it is clear, how the unevenness changed."""
    exceeds = clear(record)
    if exceeds is None:
        return f"{domain}: not measured, {record.get('not_measured', 'too few images')}"
    verdict = "moved" if exceeds else "no clear change"
    chance = f"by chance {record['halves']['value']:.1f}, in 95 % of cases below {record['halves']['high']:.1f}"
    text = f"{domain}: {verdict}, distance {record['distance']['value']:.1f} ({chance})"
    order = [row for row in label_rows(record) if row[0] not in record.get("left_out", ())]
    text += f"; most of all {order[0][0]}, {order[0][1]} → {order[0][2]} %" if exceeds and order else ""
    change = record["uneven"]["change"]
    clearly = change["low"] > 0 or change["high"] < 0
    more = "more" if change["difference"] > 0 else "less"
    return f"{text}; {'' if exceeds else 'but '}{more} uneven by {abs(change['difference']):.1f} points" if clearly else text


def label_rows(record: Mapping[str, Any]) -> list[list[str]]:
    """The labels that moved most: their share of all labels before and after, in percent."""
    totals = {which: sum(one[which] for one in record["labels"].values()) or 1 for which in ("before", "after")}
    shares = {label: [100 * one[which] / totals[which] for which in totals] for label, one in record["labels"].items()}
    order = sorted(shares, key=lambda label: -abs(shares[label][1] - shares[label][0]))
    return [[label, *(f"{share:.1f}" for share in shares[label]), f"{shares[label][1] - shares[label][0]:+.1f}"] for label in order[:SHOWN]]


def lines(reports: Mapping[str, Any]) -> list[str]:
    """For a terminal: a line for each attribute."""
    return [
        f"bias, {name}, {report['protocol']['images']} images: {sentence(domain, record)}"
        for name, report in reports.items()
        for domain, record in report["domains"].items()
    ]
