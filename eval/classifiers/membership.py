"""Membership inference: can the forget samples still be distinguished from samples that were never trained on?

Two attacks on a network's confidence, the probability of the true class.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from erase.errors import InputError
from erase.task import generator

MEMBERS = 10_000

OFFLINE = 0.3
"""a in p(x) = ((1 + a) p_out(x) + 1 - a) / 2, the paper's value for CIFAR-10."""

GAMMA = 2.0
"""A score of RMIA counts samples whose ratio is smaller by this factor."""

REMEDY = 'pip install "erase-concept[classify]"'

Array = NDArray[np.float64]


def svc_membership(retain: Tensor, test: Tensor, forget: Tensor, seed: int = 0) -> float:
    """Percent of forget samples that an SVC classifies as not trained on; high after good forgetting.

    As in Scissorhands, SalUn and before (Jia et al. 2023): features are confidences (n,), the SVC has C 3, an RBF kernel and
    gamma "auto"; members are up to 10,000 retain samples, non-members test samples. On CIFAR-10 these are 10,000 and 10,000. If one
    set is smaller, as many are drawn of the other, for otherwise the SVC would learn which set is larger. InputError without
    scikit-learn.
    """
    try:
        from sklearn.svm import SVC
    except ImportError as error:
        raise InputError(f"membership inference needs scikit-learn, which is not installed: {REMEDY}") from error
    count = min(MEMBERS, len(retain), len(test))
    drawn = [part[torch.randperm(len(part), generator=generator(seed, "membership", i))[:count]] for i, part in enumerate((retain, test))]
    svc = SVC(C=3, gamma="auto", kernel="rbf")
    svc.fit(torch.cat(drawn).double().numpy()[:, None], np.repeat([1, 0], count))
    return 100 * float((svc.predict(forget.double().numpy()[:, None]) == 0).mean())


def rmia(forget: Array, test: Array, forget_references: Array, test_references: Array, outside: NDArray[np.bool_]) -> float:
    """AUC in percent of RMIA between forget and test samples: 50 where it cannot distinguish them, 100 where it always can.

    Offline RMIA (Zarifzadeh, Liu and Shokri 2024): the target's confidence in x over its mean under reference models that were
    not trained on x is compared with the same ratio of samples z from the population; the score of x is the share of z that
    it exceeds GAMMA times. Every second test sample is a z, the others are scored.

    `forget` (n,) and `test` (m,) are the target's confidences, `forget_references` (models, n) and `test_references`
    (models, m) those of the references; `outside` (models, n) is True where a reference was not trained on a forget sample. ValueError
    if every reference was trained on some forget sample.
    """
    from sklearn.metrics import roc_auc_score

    if not outside.any(axis=0).all():
        raise ValueError("a forget sample was in the training set of every reference model")
    mean_out = np.where(outside, forget_references, 0).sum(axis=0) / outside.sum(axis=0)
    forget_ratios, test_ratios = forget / _prior(mean_out), test / _prior(test_references.mean(axis=0))
    population, scored = np.sort(test_ratios[::2]), np.concatenate([forget_ratios, test_ratios[1::2]])
    scores = np.searchsorted(population, scored / GAMMA, side="right") / len(population)
    return 100 * float(roc_auc_score(np.arange(len(scored)) < len(forget), scores))


def _prior(mean_out: Array) -> Array:
    """p(x) over models trained with and without x, estimated from the models that were not trained on x."""
    prior: Array = ((1 + OFFLINE) * mean_out + 1 - OFFLINE) / 2
    return prior
