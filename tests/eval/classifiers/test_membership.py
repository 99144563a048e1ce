"""Membership inference equals independent computations and says what it should where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC

from eval.classifiers.membership import rmia, svc_membership


def beta(a: float, b: float, n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).beta(a, b, n)


def test_the_svc_is_scikit_learns_on_both_sides_whole_when_they_are_equally_many() -> None:
    retain, test, forget = beta(9, 1, 300, 0), beta(2, 2, 300, 1), beta(4, 2, 77, 2)
    machine = SVC(C=3, gamma="auto", kernel="rbf").fit(np.concatenate([retain, test])[:, None], [1] * 300 + [0] * 300)
    wanted = 100 * np.mean(machine.predict(forget[:, None]) == 0)
    assert svc_membership(*map(torch.from_numpy, (retain, test, forget))) == pytest.approx(wanted)
    assert 5 < wanted < 95


def test_forget_samples_that_look_like_retain_or_like_test() -> None:
    retain, test = torch.full((100,), 0.99), torch.linspace(0.1, 0.5, 400)
    assert svc_membership(retain, test, torch.full((10,), 0.99)) == 0
    assert svc_membership(retain, test, torch.full((10,), 0.3)) == 100


def test_many_more_test_samples_do_not_make_everyone_a_stranger() -> None:
    """30 retain samples among 3,000 test samples: an SVC on all of them would call nobody a member."""
    retain, test = torch.from_numpy(beta(9, 3, 30, 0)), torch.from_numpy(beta(3, 3, 3000, 1))
    everyone = torch.cat([retain, test]).numpy()[:, None]
    naive = SVC(C=3, gamma="auto", kernel="rbf").fit(everyone, [1] * 30 + [0] * 3000)
    assert np.mean(naive.predict(retain.numpy()[:, None]) == 0) == 1
    assert svc_membership(retain, test, retain) < 50


def rmia_slowly(forget, test, forget_references, test_references, outside):  # type: ignore[no-untyped-def]
    """The definition, sample by sample."""

    def prior(values):  # type: ignore[no-untyped-def]
        return 0.5 * (1.3 * np.mean(values) + 0.7)

    others = [test[i] / prior(test_references[:, i]) for i in range(len(test))]
    asked = [
        forget[i] / prior([v for v, out in zip(forget_references[:, i], outside[:, i], strict=True) if out]) for i in range(len(forget))
    ]
    population, judged = others[::2], others[1::2]

    def score(ratio):  # type: ignore[no-untyped-def]
        return np.mean([ratio / z >= 2 for z in population])

    return 100 * roc_auc_score([1] * len(asked) + [0] * len(judged), [score(r) for r in [*asked, *judged]])


def test_rmia_is_its_definition() -> None:
    rng = np.random.default_rng(3)
    forget, test = rng.beta(3, 1, 20), rng.beta(1, 2, 30)
    references = rng.beta(1, 2, (4, 20)), rng.beta(1, 2, (4, 30))
    outside = np.array([[i % 2 == j % 2 for i in range(20)] for j in range(4)])
    found = rmia(forget, test, *references, outside)
    assert found == pytest.approx(rmia_slowly(forget, test, *references, outside))
    assert 50 < found < 100


def test_rmia_cannot_tell_what_is_the_same_and_finds_what_was_learned_by_heart() -> None:
    rng = np.random.default_rng(0)
    test, references = rng.beta(1, 3, 400), rng.beta(1, 3, (2, 400))
    outside = np.ones((2, 200), dtype=bool)
    alike = rmia(rng.beta(1, 3, 200), test, references[:, :200], references, outside)
    assert abs(alike - 50) < 8
    assert rmia(np.ones(200), test, references[:, :200], references, outside) > 90


def test_rmia_needs_a_reference_that_is_new_to_each_sample() -> None:
    with pytest.raises(ValueError, match="every reference"):
        rmia(np.ones(2), np.ones(4), np.ones((2, 2)), np.ones((2, 4)), np.array([[True, False], [True, False]]))
