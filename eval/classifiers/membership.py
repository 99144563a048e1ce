"""Membership inference: can the samples to forget still be told from samples that were never trained on?

Two attacks on the probability that a network gives to the true class. Knows numbers, no networks. scikit-learn's only door
in the evaluation.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from erase.errors import InputError
from erase.task import generator

MEMBERS = 10_000
OFFLINE = 0.3  # a in p(x) = ((1 + a) p_out(x) + 1 - a) / 2, the paper's value for CIFAR-10
GAMMA = 2.0
REMEDY = 'pip install "erase-concept[classify]"'

Array = NDArray[np.float64]


def svc_membership(retain: Tensor, test: Tensor, forget: Tensor, seed: int = 0) -> float:
    """Percent of forget samples that an SVC takes for samples that were not trained on; high after good forgetting.

    As in Scissorhands, SalUn and before (Jia et al. 2023): features are confidences in the true class (n,), the SVC has C 3,
    an RBF kernel and gamma "auto"; members are up to 10,000 retain samples, non-members test samples. On CIFAR-10 these are
    10,000 and 10,000; where one side has fewer, as many are drawn of the other, for otherwise the SVC would learn
    which side is larger.
    """
    try:
        from sklearn.svm import SVC
    except ImportError as error:
        raise InputError(f"membership inference needs scikit-learn, which is not installed: {REMEDY}") from error
    count = min(MEMBERS, len(retain), len(test))
    sides = [side[torch.randperm(len(side), generator=generator(seed, "membership", i))[:count]] for i, side in enumerate((retain, test))]
    machine = SVC(C=3, gamma="auto", kernel="rbf")
    machine.fit(torch.cat(sides).double().numpy()[:, None], np.repeat([1, 0], count))
    return 100 * float((machine.predict(forget.double().numpy()[:, None]) == 0).mean())


def rmia(forget: Array, test: Array, forget_references: Array, test_references: Array, outside: NDArray[np.bool_]) -> float:
    """AUC in percent with which RMIA tells forget samples from test samples: 50 when it cannot, 100 when always.

    Offline RMIA (Zarifzadeh, Liu and Shokri 2024): the target's confidence in x over its mean under reference models that were
    not trained on x is compared with the same ratio of samples z from the population; the score of x is the share of z that
    it exceeds GAMMA times. Every second test sample is a z, the others are judged.

    `forget` (n,) and `test` (m,) are the target's confidences, `forget_references` (models, n) and `test_references`
    (models, m) those of the references, `outside` (models, n) says which were not trained on a forget sample.
    """
    if not outside.any(axis=0).all():
        raise ValueError("a forget sample was in the training set of every reference model")
    mean_out = np.where(outside, forget_references, 0).sum(axis=0) / outside.sum(axis=0)
    asked = forget / _prior(mean_out)
    others = test / _prior(test_references.mean(axis=0))
    population, judged = np.sort(others[::2]), others[1::2]
    scores = [np.searchsorted(population, ratios / GAMMA, side="right") / len(population) for ratios in (asked, judged)]
    return 100 * auc(*scores)


def _prior(mean_out: Array) -> Array:
    """p(x), with the share of models that would have been trained on x estimated from those that were not."""
    prior: Array = ((1 + OFFLINE) * mean_out + 1 - OFFLINE) / 2
    return prior


def auc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Probability that a positive score exceeds a negative one, ties counting half."""
    high, low = np.asarray(positive, dtype=np.float64), np.sort(np.asarray(negative, dtype=np.float64))
    below, through = (np.searchsorted(low, high, side=side).mean() for side in ("left", "right"))
    return float((below + through) / 2 / len(low))
