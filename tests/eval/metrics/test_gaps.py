"""Gaps by hand and on the paper's own table, relearning, and curves."""

from __future__ import annotations

import copy

import pytest
import torch
from toys import build_classifier, copied, points, same

from erase.classifiers.datasets import Samples
from eval.classifiers.predictions import accuracy, confidence, logits
from eval.classifiers.relearning import relearn_time, relearned
from eval.metrics.gaps import average_gap, gap_of_means, spread, tow

NAMES = ("forget_accuracy", "test_accuracy", "retain_accuracy", "mia")


def row(*values: float) -> dict[str, float]:
    return dict(zip(NAMES, values, strict=True))


# CIFAR-10, 10 % (Table 1 of the Scissorhands paper): forget, test, retain, MIA.
RETRAIN, SCISSORHANDS = row(94.81, 94.26, 100, 13.05), row(95.40, 92.92, 98.93, 9.56)


def test_the_gap_and_tow_of_the_papers_own_table() -> None:
    assert average_gap(SCISSORHANDS, RETRAIN) == pytest.approx(6.49 / 4)
    assert tow(SCISSORHANDS, RETRAIN) == pytest.approx((1 - 0.0059) * (1 - 0.0134) * (1 - 0.0107))
    assert tow(SCISSORHANDS, RETRAIN, "mia") == pytest.approx((1 - 0.0349) * (1 - 0.0134) * (1 - 0.0107))
    assert (average_gap(RETRAIN, RETRAIN), tow(RETRAIN, RETRAIN)) == (0, 1)


def test_the_gap_of_means_hides_what_seeds_balance() -> None:
    found, known = [row(80, 90, 100, 10), row(100, 90, 100, 30)], [row(90, 90, 100, 20)] * 2
    assert gap_of_means(found, known) == 0
    assert [average_gap(a, b) for a, b in zip(found, known, strict=True)] == [5, 5]
    assert spread([1.0, 2.0, 3.0]) == {"mean": 2, "std": 1}


def test_predictions_are_those_of_the_network_and_leave_it_alone() -> None:
    network = torch.nn.Sequential(
        torch.nn.Linear(2, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(8, 4)
    )
    b = points((0, 1, 2, 3), 0, 700)
    samples = Samples(b["x"], b["y"], tuple(map(str, range(700))))
    before = copied(network)
    found = logits(network, samples)
    assert network.training
    assert same(before, copied(network))
    with torch.no_grad():
        wanted = network.eval()(b["x"])
    assert torch.allclose(found, wanted, atol=1e-6)
    assert accuracy(wanted, b["y"]) == pytest.approx(100 * sum(int(wanted[i].argmax() == b["y"][i]) for i in range(700)) / 700)
    sure = confidence(wanted, b["y"])
    assert sure[5] == pytest.approx(float(wanted[5].double().exp()[b["y"][5]] / wanted[5].double().exp().sum()))


def test_relearning_comes_back_and_leaves_the_network_alone() -> None:
    network = build_classifier()
    b = points((0, 3), 0, 64)
    samples = Samples(b["x"], b["y"], tuple(map(str, range(64))))
    before = copied(network)
    curve = list(relearned(network, samples, 30, 16, rate=0.05))
    assert same(before, copied(network))
    assert curve == list(relearned(copy.deepcopy(network), samples, 30, 16, rate=0.05))
    assert curve[-1] > 95
    assert relearn_time(curve, curve[-1]) == curve.index(curve[-1]) + 1
    assert relearn_time([10.0, 20.0], 30.0) is None
