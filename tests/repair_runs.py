"""Repairs of a copied toy task."""

from __future__ import annotations

from dataclasses import fields, replace

from erase.project import Projection
from erase.repair import repair
from erase.training.optimizers import OptimizerConfig

OPTIMIZER = {item.name for item in fields(OptimizerConfig)}


def repaired(task, steps, unlearn=None, projected=True, of_update=False, **options):
    """`repair` with the fields of its dataclasses as flat options; `optimizer` is a name."""
    options = {"optimizer": "adam", **options}
    config = OptimizerConfig(options.pop("optimizer"), **{name: options.pop(name) for name in OPTIMIZER & set(options)})
    target = "none" if not projected else "update" if of_update else "gradient"
    projection = Projection(target, options.pop("two_sided", False), options.pop("per_layer", False))
    return repair(replace(task, unlearn=unlearn or task.unlearn), steps, optimizer=config, projection=projection, **options)


def run(task, steps, **options):
    return list(repaired(task, steps, **{"forget_weight": 0.1, **options}))
