"""Metrics of an unlearned classifier, and the report made from the results of all methods and seeds.

Every gap is the distance to the retrained network of the same seed and request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from erase.classifiers.datasets import Samples
from erase.classifiers.forget_sets import Case
from erase.files import read_object
from erase.methods.unreproduced import of_classifiers
from erase.run import read_lines
from erase.task import generator
from eval.classifiers.membership import rmia, svc_membership
from eval.classifiers.predictions import accuracy, confidence, logits
from eval.classifiers.relearning import RATE, relearn_time, relearned
from eval.metrics.gaps import COMPARED, average_gap, gap_of_means, spread, tow

SEPARATES = 5.0
"""Average gap of the original from which on a table can distinguish methods."""

BASELINES = ("original", "retrain")
MEANINGS = {
    "forget_accuracy": "accuracy on the forget set",
    "retain_accuracy": "accuracy on the retain set",
    "test_accuracy": "accuracy on the test samples (without classes that are forgotten completely)",
    "gone_accuracy": "accuracy on the test samples of classes that are forgotten completely",
    "mia": "share of the forget set that an SVC classifies as not trained on",
    "average_gap": "mean distance to retrain over the first three and mia, seed by seed",
    "gap_of_means": "the same distance between the means over seeds, as in the paper",
    "tow": "tug of war: 1 is retrain",
    "tow_mia": "the same with mia in place of the accuracy on the forget set",
    "run_time": "percent of the time of retraining",
    "rmia": "AUC of the membership inference RMIA, forget against test samples: 50 cannot distinguish them",
    "relearn_epochs": "epochs of relearning until the accuracy on the forget set is that of the original",
    "relearn_gap": "distance to retrain in accuracy on the forget set after as many epochs of relearning as unlearning had",
    "peak_bytes": "peak memory of unlearning",
    "seconds": "seconds of unlearning",
}

Result = Mapping[str, Any]
"""One line of results.jsonl."""

Row = Mapping[str, Any]
"""One row of a report: method, label, preset, values, seeds, diverged, and metrics as {"mean", "std"}. Where the preset is named after a
data set or paper also the `cell` whose values it has, whether they were `released` for just this, and in what it `differs` from paper
and script."""


def measurement(relearn: int = 0, relearn_rate: float = RATE, references: int = 0) -> Callable[[nn.Module, Case], dict[str, Any]]:
    """A function that measures a network: COMPARED, and optionally RMIA with `references` networks and `relearn` epochs of relearning."""

    def measure(network: nn.Module, case: Case) -> dict[str, Any]:
        forget, retain = (case.training[rows] for rows in (case.forget, case.retain))
        outputs = {name: logits(network, part) for name, part in (("forget", forget), ("retain", retain), ("test", case.test))}
        if not all(bool(torch.isfinite(part).all()) for part in outputs.values()):
            return {"diverged": "the network's output is not finite"}
        y = {"forget": forget.y, "retain": retain.y, "test": case.test.y}
        confidences = {name: confidence(outputs[name], y[name]) for name in outputs}
        metrics: dict[str, Any] = {f"{name}_accuracy": accuracy(outputs[name], y[name]) for name in outputs}
        if len(case.gone):
            metrics["gone_accuracy"] = accuracy(logits(network, case.gone), case.gone.y)
        metrics["mia"] = svc_membership(confidences["retain"], confidences["test"], confidences["forget"], case.seed)
        if references:
            metrics["rmia"] = _rmia(case, references, confidences)
        if relearn:
            metrics["relearn"] = list(relearned(network, forget, relearn, case.batch, relearn_rate, case.seed))
        return metrics | {"forget_samples": len(forget), "retain_samples": len(retain), "test_samples": len(case.test)}

    return measure


def _rmia(case: Case, references: int, confidences: Mapping[str, Tensor]) -> float:
    """RMIA with references trained on halves of the training samples, every second one on the complement of the half before."""
    n = len(case.training)
    forget, outside = case.training[case.forget], []
    of_forget, of_test = [], []
    for j in range(references):
        order = torch.randperm(n, generator=generator(case.seed, "reference", j // 2))
        rows = order.tensor_split(2)[j % 2].sort().values
        network = case.train(f"reference-{j}", rows)
        outside.append(~torch.isin(case.forget, rows).numpy())
        of_forget.append(_confidence(network, forget))
        of_test.append(_confidence(network, case.test))
    target = confidences["forget"].numpy(), confidences["test"].numpy()
    return rmia(*target, np.stack(of_forget), np.stack(of_test), np.stack(outside))


def _confidence(network: nn.Module, samples: Samples) -> NDArray[np.float64]:
    values: NDArray[np.float64] = confidence(logits(network, samples), samples.y).numpy()
    return values


# --- from results to a report ----------------------------------------------------------------------------------------


def report_of(folder: Path, **facts: Any) -> dict[str, Any]:
    """The report of a run so far, from its options and results; `facts` are added to the protocol."""
    options = read_object(folder / "options.json")
    environment = options.pop("environment", {})
    left_out = ("kind", "resumed_in", "data")
    protocol = {name: value for name, value in options.items() if name not in left_out} | {"versions": environment} | facts
    return report(read_lines(folder / "results.jsonl"), protocol)


def report(lines: Sequence[Result], protocol: Mapping[str, Any]) -> dict[str, Any]:
    """{"protocol", "methods", "requests"}: a row for each label, from the last request, in order of its first line (see `ranked`).

    `protocol` gains the seeds, the size of the forget set, and whether the original is far enough from retrain for the table to
    distinguish methods.
    """
    last = max(line["request"] for line in lines)
    final = [line for line in lines if line["request"] == last]
    labels = list(dict.fromkeys(line["label"] for line in final))
    rows = [_row(label, final) for label in labels]
    original_gap = next((row["average_gap"]["mean"] for row in rows if row["label"] == "original" and "average_gap" in row), None)
    sizes = next((line for line in final if "forget_samples" in line), {})
    facts = {
        "seeds": sorted({line["seed"] for line in final}),
        **{name: sizes.get(name) for name in ("forget_samples", "retain_samples", "test_samples")},
        "original_gap": original_gap,
        "separates": original_gap is not None and original_gap >= SEPARATES,
        "gap": "mean of |method - retrain| over forget, retain and test accuracy and mia, in points, by seed; then mean and deviation",
        "mia": "SVC (C 3, RBF, gamma auto) on the confidence in the true class; as many retain as test samples, at most 10,000 each",
        "run_time": "of processor seconds on a CPU, else of seconds",
    }
    return {"protocol": {**protocol, **facts}, "methods": rows, "requests": _by_request(lines)}


def _row(label: str, lines: Sequence[Result]) -> dict[str, Any]:
    """Means and standard deviations over the seeds on which the method did not diverge."""
    own = [line for line in lines if line["label"] == label]
    finished = [line for line in own if "diverged" not in line]
    retrain = {line["seed"]: line for line in lines if line["label"] == "retrain"}
    original = {line["seed"]: line for line in lines if line["label"] == "original"}
    row: dict[str, Any] = {"method": own[0]["method"], "label": label, "preset": own[0].get("preset"), "values": own[0]["values"]}
    row |= {name: own[0][name] for name in ("cell", "released") if name in own[0]}
    row |= {"differs": differs} if (differs := of_classifiers(own[0]["method"], str(own[0].get("preset")))) else {}
    row |= {"seeds": len(finished), "diverged": [line["diverged"] for line in own if "diverged" in line]}
    values: dict[str, list[float]] = {}
    for line in finished:
        for name, value in _numbers(line, retrain.get(line["seed"]), original.get(line["seed"])).items():
            values.setdefault(name, []).append(value)
    pairs = [(line, retrain[line["seed"]]) for line in finished if line["seed"] in retrain]
    row |= {name: spread(per_seed) for name, per_seed in values.items()}
    return row | ({"gap_of_means": round(gap_of_means(*zip(*pairs, strict=True)), 4)} if pairs else {})


def _numbers(line: Result, retrain: Result | None, original: Result | None) -> dict[str, float]:
    """The metrics of one line, alone and compared with retrain and original of the same seed."""
    names = (*COMPARED, "gone_accuracy", "rmia", "seconds", "peak_bytes")
    numbers = {name: float(line[name]) for name in names if line.get(name) is not None}
    if retrain is None:
        return numbers
    numbers |= {"average_gap": average_gap(line, retrain), "tow": tow(line, retrain), "tow_mia": tow(line, retrain, "mia")}
    if line["label"] != "original" and line.get("work") is not None and retrain.get("work"):
        numbers["run_time"] = 100 * line["work"] / retrain["work"]
    curve, epochs = line.get("relearn"), line.get("epochs")
    if curve and original is not None:
        # Not relearned by the end counts as one epoch more than were tried: the mean is then a lower bound.
        numbers["relearn_epochs"] = float(relearn_time(curve, original["forget_accuracy"]) or len(curve) + 1)
    if curve and epochs and epochs <= len(curve):
        numbers["relearn_gap"] = abs(curve[epochs - 1] - retrain["relearn"][epochs - 1])
    return numbers


def _by_request(lines: Sequence[Result]) -> list[dict[str, Any]]:
    """For several requests: the average gap by label after each of them."""
    numbers = sorted({line["request"] for line in lines})
    if len(numbers) < 2:
        return []
    by_request = []
    for number in numbers:
        of_request = [line for line in lines if line["request"] == number]
        rows = [_row(label, of_request) for label in dict.fromkeys(line["label"] for line in of_request)]
        gaps = {row["label"]: row["average_gap"] for row in rows if "average_gap" in row}
        by_request.append({"request": number, "forget": of_request[0]["forget"], "average_gap": gaps})
    return by_request


def ranked(rows: Sequence[Row]) -> list[Row]:
    """The methods that finished on the most seeds, by average gap, the smallest first; without the baselines."""
    most = max((row["seeds"] for row in rows), default=0)
    finished = [row for row in rows if row["label"] not in BASELINES and row["seeds"] == most and "average_gap" in row]
    return sorted(finished, key=lambda row: row["average_gap"]["mean"])
