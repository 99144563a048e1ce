"""Repairs of a copied toy task."""

from __future__ import annotations

from erase.repair import repair


def run(task, steps, **options):
    return list(repair(task, steps, **{"forget_weight": 0.1, **options}))
