"""What is measured of a classifier that has unlearned, and the lines of all methods and seeds -> a report.

Knows no method: a line says what made its network. Every gap is to the retrained network of the same seed and request.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from erase.classifiers.datasets import Samples
from erase.classifiers.forget_sets import Case
from erase.run import read_lines
from erase.task import generator
from eval.classifiers.membership import rmia, svc_membership
from eval.classifiers.predictions import accuracy, confidence, logits
from eval.classifiers.relearning import RATE, relearn_time, relearned
from eval.metrics.gaps import COMPARED, average_gap, gap_of_means, spread, tow

SEPARATES = 5.0  # average gap that the original must have to retrain for a table to tell methods apart
BASELINES = ("original", "retrain")
MEANINGS = {
    "forget_accuracy": "accuracy on the forget set",
    "retain_accuracy": "accuracy on the retain set",
    "test_accuracy": "accuracy on the test samples (without classes that are forgotten whole)",
    "gone_accuracy": "accuracy on the test samples of classes that are forgotten whole",
    "mia": "share of the forget set that an SVC takes for not trained on",
    "average_gap": "mean distance to retrain over the first three and mia, seed by seed",
    "gap_of_means": "the same of the means over seeds, as the paper has it",
    "tow": "tug of war: 1 is retrain",
    "tow_mia": "the same with mia in place of the accuracy on the forget set",
    "run_time": "percent of the time of retraining",
    "rmia": "AUC of the membership inference RMIA, forget against test samples: 50 is none",
    "relearn_epochs": "epochs until the forget set is known again as well as the original knew it",
    "relearn_gap": "distance to retrain of the accuracy on the forget set after relearning as long as unlearning took",
    "peak_bytes": "most memory held meanwhile",
    "seconds": "seconds that unlearning took",
}

Line = Mapping[str, Any]


def measurement(relearn: int = 0, relearn_rate: float = RATE, references: int = 0) -> Callable[[nn.Module, Case], dict[str, Any]]:
    """What measures a network: COMPARED, and as asked RMIA against `references` networks and the curve of relearning."""

    def measure(network: nn.Module, case: Case) -> dict[str, Any]:
        forget, retain = (case.training[rows] for rows in (case.forget, case.retain))
        said = {name: logits(network, part) for name, part in (("forget", forget), ("retain", retain), ("test", case.test))}
        if not all(bool(torch.isfinite(part).all()) for part in said.values()):
            return {"diverged": "what the network gives is not finite"}
        y = {"forget": forget.y, "retain": retain.y, "test": case.test.y}
        sure = {name: confidence(said[name], y[name]) for name in said}
        found: dict[str, Any] = {f"{name}_accuracy": accuracy(said[name], y[name]) for name in said}
        if len(case.gone):
            found["gone_accuracy"] = accuracy(logits(network, case.gone), case.gone.y)
        found["mia"] = svc_membership(sure["retain"], sure["test"], sure["forget"], case.seed)
        if references:
            found["rmia"] = _rmia(case, references, sure)
        if relearn:
            found["relearn"] = list(relearned(network, forget, relearn, case.batch, relearn_rate, case.seed))
        return found | {"forget_samples": len(forget), "retain_samples": len(retain), "test_samples": len(case.test)}

    return measure


def _rmia(case: Case, references: int, sure: Mapping[str, Tensor]) -> float:
    """References learn halves of the training samples, every second one the half that the one before did not learn."""
    n = len(case.training)
    forget, outside = case.training[case.forget], []
    answers: list[list[Any]] = [[], []]
    for j in range(references):
        order = torch.randperm(n, generator=generator(case.seed, "reference", j // 2))
        rows = order.tensor_split(2)[j % 2].sort().values
        network = case.train(f"reference-{j}", rows)
        outside.append(~torch.isin(case.forget, rows).numpy())
        for answer, samples in zip(answers, (forget, case.test), strict=True):
            answer.append(_sure(network, samples))
    return rmia(sure["forget"].numpy(), sure["test"].numpy(), np.stack(answers[0]), np.stack(answers[1]), np.stack(outside))


def _sure(network: nn.Module, samples: Samples) -> Any:
    return confidence(logits(network, samples), samples.y).numpy()


# --- from lines to a report ------------------------------------------------------------------------------------------


def report_of(folder: Path, **facts: Any) -> dict[str, Any]:
    """The report of a run so far, from its options and lines; `facts` are added to the protocol."""
    options = json.loads((folder / "options.json").read_text(encoding="utf-8"))
    environment = options.pop("environment", {})
    aside = ("kind", "resumed_in", "data")
    protocol = {name: value for name, value in options.items() if name not in aside} | {"versions": environment} | facts
    return report(read_lines(folder / "results.jsonl"), protocol)


def report(lines: Sequence[Line], protocol: Mapping[str, Any]) -> dict[str, Any]:
    """{"protocol", "methods"}: a row for each label, in order of its first line, from the last request; the best first is
    up to who reads it. `protocol` gains the seeds, the size of the forget set and whether the original is far enough from
    retrain for the table to tell methods apart.
    """
    last = max(line["request"] for line in lines)
    final = [line for line in lines if line["request"] == last]
    labels = list(dict.fromkeys(line["label"] for line in final))
    rows = [_row(label, final) for label in labels]
    nothing = next((row["average_gap"]["mean"] for row in rows if row["label"] == "original" and "average_gap" in row), None)
    sizes = next((line for line in final if "forget_samples" in line), {})
    facts = {
        "seeds": sorted({line["seed"] for line in final}),
        **{name: sizes.get(name) for name in ("forget_samples", "retain_samples", "test_samples")},
        "original_gap": nothing,
        "separates": nothing is not None and nothing >= SEPARATES,
        "gap": "mean of |method - retrain| over forget, retain and test accuracy and mia, in points, by seed; then mean and deviation",
        "mia": "SVC (C 3, RBF, gamma auto) on the confidence in the true class; as many retain as test samples, at most 10,000 each",
        "run_time": "of processor seconds on a CPU, else of seconds",
    }
    return {"protocol": {**protocol, **facts}, "methods": rows, "requests": _by_request(lines)}


def _row(label: str, lines: Sequence[Line]) -> dict[str, Any]:
    """Means and deviations over the seeds on which it did not diverge."""
    mine = [line for line in lines if line["label"] == label]
    fine = [line for line in mine if "diverged" not in line]
    known = {line["seed"]: line for line in lines if line["label"] == "retrain"}
    first = {line["seed"]: line for line in lines if line["label"] == "original"}
    row: dict[str, Any] = {"method": mine[0]["method"], "label": label, "preset": mine[0].get("preset"), "values": mine[0]["values"]}
    row |= {"seeds": len(fine), "diverged": [line["diverged"] for line in mine if "diverged" in line]}
    values: dict[str, list[float]] = {}
    for line in fine:
        for name, value in _numbers(line, known.get(line["seed"]), first.get(line["seed"])).items():
            values.setdefault(name, []).append(value)
    pairs = [(line, known[line["seed"]]) for line in fine if line["seed"] in known]
    row |= {name: spread(found) for name, found in values.items()}
    return row | ({"gap_of_means": round(gap_of_means(*zip(*pairs, strict=True)), 4)} if pairs else {})


def _numbers(line: Line, retrain: Line | None, original: Line | None) -> dict[str, float]:
    """Everything that one line says, alone and beside the same seed's retrain and original."""
    names = (*COMPARED, "gone_accuracy", "rmia", "seconds", "peak_bytes")
    found = {name: float(line[name]) for name in names if line.get(name) is not None}
    if retrain is None:
        return found
    found |= {"average_gap": average_gap(line, retrain), "tow": tow(line, retrain), "tow_mia": tow(line, retrain, "mia")}
    if line["label"] != "original" and line.get("work") is not None and retrain.get("work"):
        found["run_time"] = 100 * line["work"] / retrain["work"]
    curve, epochs = line.get("relearn"), line.get("epochs")
    if curve and original is not None:
        # Who has not learned it again by the end is counted with one epoch more than were tried: the mean is then a lower bound.
        found["relearn_epochs"] = float(relearn_time(curve, original["forget_accuracy"]) or len(curve) + 1)
    if curve and epochs and epochs <= len(curve):
        found["relearn_gap"] = abs(curve[epochs - 1] - retrain["relearn"][epochs - 1])
    return found


def _by_request(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """For requests one after another: label -> average gap after each of them."""
    numbers = sorted({line["request"] for line in lines})
    if len(numbers) < 2:
        return []
    found = []
    for number in numbers:
        here = [line for line in lines if line["request"] == number]
        rows = [_row(label, here) for label in dict.fromkeys(line["label"] for line in here)]
        gaps = {row["label"]: row["average_gap"] for row in rows if "average_gap" in row}
        found.append({"request": number, "forget": here[0]["forget"], "average_gap": gaps})
    return found


def ranked(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Methods that came through on every seed that any did, the smallest mean average gap first; without the baselines."""
    most = max((row["seeds"] for row in rows), default=0)
    fine = [row for row in rows if row["label"] not in BASELINES and row["seeds"] == most and "average_gap" in row]
    return sorted(fine, key=lambda row: row["average_gap"]["mean"])
