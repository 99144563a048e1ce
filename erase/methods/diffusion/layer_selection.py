"""Which weights to trim and which layers to edit: those that forgetting needs and retaining does not (SFR-on, SLUG)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from erase.errors import InputError
from erase.scope import weight_of
from erase.sensitivity import mean_gradients, over_batches
from erase.task import B, Task

Scores = dict[str, Tensor]


@torch.no_grad()
def spare(forget: Mapping[str, Tensor], retain: Mapping[str, Tensor], how: str) -> Scores:
    """Scores of weights that forgetting needs and retaining does not, after SFR-on (Huang et al., NeurIPS 2024, arXiv 2409.19732).

    SFR-on changes the weights whose Fisher information over the forget set is at least that over the retain set. With
    connection sensitivities s_f and s_r instead,

        exclude:  s_f where s_f >= s_r, else 0: a weight with a larger retain sensitivity is not a candidate;
        divide:   s_f / (s_r + mean s_r): every weight is a candidate, and counts by its relative forget sensitivity.

    The mean, over all tensors, keeps the ratio of two noisy numbers near zero from becoming arbitrary.
    """
    if how == "exclude":
        return {name: torch.where(s >= retain[name], s, 0.0) for name, s in forget.items()}
    if how != "divide":
        raise InputError(f"--spare {how!r} is unknown: give none, divide or exclude")
    sums = [s.sum(dtype=torch.float32).cpu() for s in retain.values()]
    mean = float(torch.stack(sums).sum()) / sum(s.numel() for s in retain.values())
    if not mean:  # the retain loss depends on no weight: nothing is to be spared
        return dict(forget)
    return {name: s / (retain[name] + mean) for name, s in forget.items()}


def candidates(scores: Mapping[str, Tensor]) -> int:
    """Number of weights with a score above zero."""
    return sum(int(s.count_nonzero()) for s in scores.values())


@torch.no_grad()
def layer_scores(forget: Mapping[str, Tensor], retain: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Module -> ||g_f|| / ||w|| · (1 - cos(g_f, g_r)), from mean gradients over the forget and the retain set.

    SLUG (Cai et al., ICML 2025, arXiv 2407.11867) selects the layer on the Pareto front of the largest first factor, how much the
    concept depends on it, and the smallest cosine, how little an edit affects the retain loss. The product of both ranks several
    layers. The weights of one module count together; a module that is all zero scores 0.
    """
    sums_of: dict[str, Tensor] = {}
    for name, w in weights.items():
        f, r, w = (t.detach().flatten().to(torch.promote_types(t.dtype, torch.float32)) for t in (forget[name], retain[name], w))
        sums = torch.stack([x.dot(y) for x, y in ((f, f), (r, r), (w, w), (f, r))]).cpu()
        module = name.rpartition(".")[0] or name
        sums_of[module] = sums_of.get(module, torch.zeros(4)) + sums
    scores = {}
    for module, (ff, rr, ww, fr) in ((module, sums.double().tolist()) for module, sums in sums_of.items()):
        aligned = fr / (ff * rr) ** 0.5 if ff * rr else 0.0
        scores[module] = (ff / ww) ** 0.5 * (1 - aligned) if ww else 0.0
    return scores


def best_layers(scores: Mapping[str, float], count: int) -> list[str]:
    """The `count` modules with the largest scores, of equals the first; InputError where there are fewer."""
    if count > len(scores):
        raise InputError(f"--layers is {count}, but the scope has {len(scores)} layers; give at most that many, or a larger --scope")
    return sorted(scores, key=lambda module: -scores[module])[:count]


def in_modules(names: list[str], modules: list[str]) -> list[str]:
    """The parameters that belong directly to these modules."""
    return [name for name in names if (name.rpartition(".")[0] or name) in modules]


def with_layers(task: Task[B], count: int, batches: int, resume: Mapping[str, Tensor] | None) -> Task[B]:
    """The task with only the `count` best layers in scope, by gradients over `batches` batches; on resume, those in the snapshot."""
    if resume is None:
        retain = task.retain_data or task.retain
        g_f, g_r = (over_batches(task, batches, mean_gradients, source, task.scored) for source in (task.forget, retain))
        scores = layer_scores(g_f, g_r, task.scored)
        names = in_modules(list(task.scored), best_layers(scores, count))
        for name in task.scored:
            task.layers[name] = {"layer_score": scores[name.rpartition(".")[0] or name]}
    else:
        names = [weight_of(name) for name in task.weights if f"weight/{name}" in resume]
    trained = {name: weight for name, weight in task.weights.items() if weight_of(name) in names}
    for name, weight in task.weights.items():
        weight.requires_grad_(name in trained)
    return replace(task, weights=trained, base={name: weight for name, weight in task.base.items() if name in names})
