"""Lines of runs (`eval.bench.results`) of several methods on the same model, prompts and seeds -> one report of all.

Pure functions; knows no method and no files. Distances are to the retrained model of the same concept and seed, where there
is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eval.bench.results import RETRAIN
from eval.metrics.accuracy import TOGETHER
from eval.metrics.gaps import spread

ORIGINAL = "original"
BASELINES = (ORIGINAL, RETRAIN)
PERCENT = ("ua", "ua_implicit", "ira", "cra", "attributes_kept")
COMPARED = PERCENT  # what the average gap to the retrained model is over
KEPT = ("ira", "cra", "companion_kept")  # of these, in percent of before, the smallest is what a method keeps
BACK = 50.0  # percent of the original's images of the concept at which it counts as back
MEANINGS = {
    "ua": "the concept, named, is not drawn, %",
    "ua_implicit": "the concept, described, is not drawn, %",
    "ira": "the rest of its domain is drawn as asked, %",
    "cra": "other domains are as asked, in other prompts, %",
    "ira_kept": "ira in percent of the original's",
    "cra_kept": "cra in percent of the original's",
    "kept": "the smallest of these, and of companion in percent of the original's where there is one: what the scatter calls kept",
    "attributes_kept": "other domains are as asked, in prompts that name the concept, %",
    "companion_kept": "what is asked for beside the concept is there, in prompts that name it, %",
    "place_kept": "and stands on the side that is asked for, %",
    "things_kept": "all things asked for are there with their attributes, in other prompts, %",
    "count_kept": "there are as many things as asked for, in other prompts, %",
    "relation_kept": "they stand as asked for, in other prompts, %",
    "false_alarms": "the concept is detected in images of other prompts, %",
    "clip_score": "how well images of other prompts fit them, by CLIP",
    "frechet": "Fréchet distance of images of other prompts from the original's",
    "frechet_gold": "the same from the retrained model's",
    "average_gap": "mean distance to the retrained model over ua, ua_implicit, ira, cra and attributes_kept, run by run, in points",
    "relearn_steps": f"steps of fine-tuning until {BACK:g} % of the original's images of the concept are back; never: twice the last",
    "relearned": "images that show the concept after the last of these steps, in percent of the original's",
    "seconds": "seconds of erasing, without drawing the images, which all rows share",
    "peak_bytes": "most memory held while erasing",
    "changed_bytes": "size of the tensors that are not the original's",
}

Line = Mapping[str, Any]


def report(lines: Sequence[Line], protocol: Mapping[str, Any]) -> dict[str, Any]:
    """{"protocol", "methods", "concepts"}: a row for each label, and one for each label and concept.

    A number of a row is the mean over concepts, then over seeds, with the deviation over seeds; a seed on which the row
    failed for any concept is left out. A line with a `failure` has no numbers.
    """
    lines = [*_originals(lines), *lines]
    concepts = list(dict.fromkeys(one["concept"] for one in lines))
    labels = list(dict.fromkeys(one["label"] for one in lines))
    places = {ORIGINAL: -2, RETRAIN: -1}
    labels.sort(key=lambda label: places.get(label, 0))
    numbers = {_key(one): _numbers(one, lines) for one in lines if not one.get("failure")}
    rows = [_row(label, lines, numbers, concepts) for label in labels]
    each = [_row(label, lines, numbers, [concept]) | {"concept": concept} for concept in concepts for label in labels]
    meanings = {
        "concepts": concepts,
        "seeds": sorted({one["seed"] for one in lines}),
        "mean": "over concepts, then over seeds; std over seeds; seeds on which a row failed for a concept are left out of it",
        "kept": MEANINGS["kept"],
        "average_gap": MEANINGS["average_gap"],
        "front": "complete rows than which no other is better in both ua and kept",
    }
    rows = [row for row in rows if row["label"] != RETRAIN or row["runs"] or row["failures"]]  # else it stands with its own concepts
    front = [row["label"] for row in front_of(rows)]
    for row in rows:
        row["front"] = row["label"] in front
    return {"protocol": {**protocol, **meanings}, "methods": rows, "concepts": [row for row in each if row["runs"] or row["failures"]]}


def protocol_of(lines: Sequence[Line]) -> dict[str, Any]:
    """The protocol that all runs share, from the first of them, and each concept's and seed's prompts by their hash."""
    fine = [one for one in lines if not one.get("failure")]
    if not fine:
        return {"model": "unknown"}
    first = fine[0]["protocol"]
    aside = ("prompts", "seeds", "reference")
    prompts = {f"{one['concept']}, seed {one['seed']}": one["protocol"]["prompts"]["sha256"] for one in fine}
    shared = {name: value for name, value in first.items() if name not in aside}
    return {
        "model": fine[0]["model"],
        **shared,
        "pictures": first["prompts"]["roles"],
        "prompts": prompts,
        "reference": "the original's pictures",
    }


def front_of(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The methods that came through everywhere and than which no other is better in both ua and kept.

    One row beats another if it is at least as good in both and better in one. Baselines take no part.
    """
    rows = list(rows)
    most = max((row["runs"] for row in rows), default=0)
    fine = [row for row in rows if row["label"] not in BASELINES and row["runs"] == most and "ua" in row and "kept" in row]
    places = {row["label"]: (row["ua"]["mean"], row["kept"]["mean"]) for row in fine}
    return [row for row in fine if not any(beats(other, places[row["label"]]) for other in places.values())]


def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """At least as good in both, better in one."""
    return one[0] >= other[0] and one[1] >= other[1] and one != other


def ranked(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Methods: the nearest to the retrained model first, or where a concept has none, those with the best of their worse half."""

    def place(row: Mapping[str, Any]) -> tuple[float, ...]:
        if "average_gap" in row and "gap_over" not in row:
            return (-row["runs"], row["average_gap"]["mean"])
        return (-row["runs"], -min((row[name]["mean"] for name in ("ua", "kept") if name in row), default=-math.inf))

    return sorted((row for row in rows if row["label"] not in BASELINES), key=place)


def _originals(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The original's line of each concept and seed: what any run there says of before."""
    results: dict[tuple[str, int], dict[str, Any]] = {}
    for one in lines:
        if not one.get("failure") and (one["concept"], one["seed"]) not in results:
            own = {"label": ORIGINAL, "method": ORIGINAL, "before": one["before"], "after": one["before"]}
            visible = {"before": one["confusion"]["before"], "after": one["confusion"]["before"]} if one.get("confusion") else {}
            results[one["concept"], one["seed"]] = {
                **own, "concept": one["concept"], "seed": one["seed"], "confusion": visible, "folder": one.get("folder"),
            }  # fmt: skip
    return list(results.values())


def _key(one: Line) -> tuple[str, str, int]:
    return one["label"], one["concept"], one["seed"]


def _numbers(one: Line, lines: Sequence[Line]) -> dict[str, float]:
    """Everything that one line says, alone and beside the retrained model of the same concept and seed."""
    before, after = one["before"], one["after"]
    results = {name: value for name, value in after.items() if name in (*PERCENT, *TOGETHER, "false_alarms", "clip_score", "ssim")}
    distance = [value for name, value in after.items() if name.startswith(("fid", "frechet"))]
    if distance:
        results["frechet"] = distance[0]
    elif one["label"] == ORIGINAL and any(_has_distance(other) for other in lines):
        results["frechet"] = 0.0
    ratios = {name: 100 * after[name] / before[name] for name in KEPT if name in after and before.get(name)}
    results |= {f"{name}_kept": ratios[name] for name in ("ira", "cra") if name in ratios}
    results |= {"kept": min(ratios.values())} if {"ira", "cra"} <= ratios.keys() else {}
    results |= {name: float(one[name]) for name in ("seconds", "peak_bytes", "changed_bytes", "frechet_gold") if one.get(name) is not None}
    if one.get("relearn"):
        results |= _relearning(one["relearn"], 100 - before["ua"])
    return results | _gaps(one, lines)


def _has_distance(one: Line) -> bool:
    return any(name.startswith(("fid", "frechet")) for name in one.get("after", ()))


def _relearning(curve: Mapping[str, Sequence[float]], drawn: float) -> dict[str, float]:
    """How fast, and how much of it in the end; `drawn` is what the original draws of the concept, in percent."""
    if not drawn:
        return {}
    shares = [100 * value / drawn for value in curve["drawn"]]
    back = next((step for step, share in zip(curve["steps"], shares, strict=True) if share >= BACK), 2 * curve["steps"][-1])
    return {"relearn_steps": float(back), "relearned": shares[-1]}


def _gaps(one: Line, lines: Sequence[Line]) -> dict[str, float]:
    """Distance to the retrained model in each metric that both have, and the mean over COMPARED."""
    gold = next((g for g in lines if _key(g) == (RETRAIN, one["concept"], one["seed"]) and not g.get("failure")), None)
    if gold is None:
        return {}
    names = [name for name in (*PERCENT, "clip_score") if name in one["after"] and name in gold["after"]]
    results = {f"gap_{name}": abs(one["after"][name] - gold["after"][name]) for name in names}
    over = [results[f"gap_{name}"] for name in COMPARED if name in names]
    return results | ({"average_gap": math.fsum(over) / len(over)} if over else {})


def _row(
    label: str, lines: Sequence[Line], numbers: Mapping[tuple[str, str, int], Mapping[str, float]], concepts: Sequence[str]
) -> dict[str, Any]:
    """Means and deviations of one row over these concepts; distances to the retrained model over those that have one (`gap_over`,
    where these are not all).
    """
    mine = [one for one in lines if one["label"] == label and one["concept"] in concepts]
    seeds = sorted({one["seed"] for one in mine})
    complete = [seed for seed in seeds if all((label, concept, seed) in numbers for concept in concepts)]
    row: dict[str, Any] = {"method": mine[0]["method"] if mine else label, "label": label, "seeds": len(complete)}
    row |= {"runs": len(complete) * len(concepts)}
    row["failures"] = [{name: one[name] for name in ("concept", "seed", "failure")} for one in mine if one.get("failure")]
    if not complete:
        return row
    beside = [concept for concept in concepts if all((RETRAIN, concept, seed) in numbers for seed in complete)]
    row |= {"gap_over": beside} if 0 < len(beside) < len(concepts) else {}
    names = dict.fromkeys(name for (its, _, _), results in numbers.items() if its == label for name in results)
    for name in names:
        over = beside if name.startswith("gap_") or name in ("average_gap", "frechet_gold") else concepts
        values = [[numbers[label, concept, seed].get(name) for concept in over] for seed in complete]
        if over and all(value is not None for of_seed in values for value in of_seed):
            row[name] = spread([math.fsum(of_seed) / len(of_seed) for of_seed in values])  # type: ignore[arg-type]
    if len(concepts) > 1:
        row["worst"] = _worst(label, numbers, concepts, complete)
    row |= _intervals([one for one in mine if one["seed"] in complete], row)
    curves = [one["relearn"] for one in mine if one.get("relearn") and one["seed"] in complete]
    return row | ({"relearn": _curve(curves)} if curves else {})


def _intervals(lines: Sequence[Line], row: Mapping[str, Any]) -> dict[str, Any]:
    """95 % intervals of ua and kept, from the images of these runs alone: the uncertainty where there is one seed."""
    sides: dict[str, list[tuple[float, float]]] = {"ua": [], "kept": []}
    for one in (one for one in lines if "ua" in one.get("ends", {})):
        sides["ua"].append(_sides(one, "ua", 1.0))
        ratios = {name: one["after"][name] / one["before"][name] for name in KEPT if name in one["ends"] and one["before"].get(name)}
        if ratios:
            lower = min(ratios, key=ratios.__getitem__)
            sides["kept"].append(_sides(one, lower, 100 / one["before"][lower]))
    results = {}
    for name, each in sides.items():
        if name in row and len(each) == len(lines):
            below, above = (math.sqrt(math.fsum(side[k] ** 2 for side in each)) / len(each) for k in (0, 1))
            results[name] = {"low": round(row[name]["mean"] - below, 4), "high": round(row[name]["mean"] + above, 4)}
    return {"interval": results} if results else {}


def _sides(one: Line, name: str, unit: float) -> tuple[float, float]:
    """How far the ends of an interval are from its value."""
    low, high = one["ends"][name]
    value = one["after"][name]
    return unit * (value - low), unit * (high - value)


def _worst(
    label: str, numbers: Mapping[tuple[str, str, int], Mapping[str, float]], concepts: Sequence[str], seeds: Sequence[int]
) -> dict[str, Any]:
    """Of each of these the concept with the lowest mean over seeds."""
    results = {}
    for name in ("ua", "ira_kept", "cra_kept"):
        means = {}
        for concept in concepts:
            values = [numbers[label, concept, seed].get(name) for seed in seeds]
            if values and all(value is not None for value in values):
                means[concept] = math.fsum(values) / len(values)  # type: ignore[arg-type]
        if means:
            lowest = min(means, key=means.__getitem__)
            results[name] = {"value": round(means[lowest], 4), "concept": lowest}
    return results


def _curve(curves: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    """Mean and deviation over runs after each number of steps that all of them have."""
    steps = [step for step in curves[0]["steps"] if all(step in curve["steps"] for curve in curves)]
    at = [spread([curve["drawn"][list(curve["steps"]).index(step)] for curve in curves]) for step in steps]
    return {"steps": steps, "mean": [value["mean"] for value in at], "std": [value["std"] for value in at]}


def confusions(lines: Sequence[Line]) -> dict[str, dict[str, dict[str, dict[str, int]]]]:
    """Concept -> label -> requested -> detected -> number of images, over all seeds; the original's and the retrained model's with them."""
    results: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    for one in [*_originals(lines), *lines]:
        if one.get("failure") or not one.get("confusion"):
            continue
        table = results.setdefault(one["concept"], {}).setdefault(one["label"], {})
        for requested, counts in one["confusion"]["after"].items():
            into = table.setdefault(requested, {})
            for label, n in counts.items():
                into[label] = into.get(label, 0) + n
    return results
