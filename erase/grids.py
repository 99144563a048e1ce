"""What --tune tries: for each method the same number of settings, its default among them. A table, no work.

A setting is the options that differ from the defaults. Those that train on the retain set may all go up to the same
learning rate with the same schedule, for that alone decides much.
"""

from __future__ import annotations

from typing import Any

SETTINGS = 6

_FAST: dict[str, Any] = {"learning_rate": 0.1, "cosine": True}
_FASTER: dict[str, Any] = {"learning_rate": 0.2, "cosine": True}

GRIDS: dict[str, tuple[dict[str, Any], ...]] = {
    "fine_tune": ({}, {"learning_rate": 0.003}, {"learning_rate": 0.03, "cosine": True}, _FAST, _FASTER, {"learning_rate": 0.1}),
    "gradient_ascent": (
        {},
        {"learning_rate": 1e-4},
        {"learning_rate": 3e-4},
        {"learning_rate": 3e-3},
        {"learning_rate": 1e-2},
        {"learning_rate": 3e-2},
    ),
    "random_label": (
        {},
        {"learning_rate": 0.03, "cosine": True},
        _FAST,
        {**_FAST, "forget_weight": 0.3},
        {**_FAST, "forget_weight": 0.1},
        {**_FASTER, "forget_weight": 0.1},
    ),
    "influence": ({}, {"strength": 0.1}, {"strength": 0.3}, {"strength": 3.0}, {"strength": 10.0}, {"strength": 30.0}),
    "boundary_shrink": (
        {},
        {"learning_rate": 1e-4},
        {"learning_rate": 3e-4},
        {"learning_rate": 3e-3},
        {"learning_rate": 1e-2},
        {"learning_rate": 1e-2, "cosine": True},
    ),
    "boundary_expand": (
        {},
        {"learning_rate": 1e-4},
        {"learning_rate": 3e-4},
        {"learning_rate": 3e-3},
        {"learning_rate": 1e-2},
        {"learning_rate": 1e-2, "cosine": True},
    ),
    "l1_sparse": ({}, {"l1": 1e-3}, _FAST, _FASTER, {**_FAST, "l1": 1e-3}, {**_FAST, "l1": 3e-4}),
    "salun": (
        {},
        {"learning_rate": 0.03, "cosine": True},
        _FAST,
        {**_FAST, "forget_weight": 0.3},
        {**_FAST, "forget_weight": 0.1},
        {**_FASTER, "forget_weight": 0.1},
    ),
}
