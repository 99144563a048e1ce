"""The settings that --tune tries: for each method the same number, the default among them.

A setting is the options that differ from the defaults. Methods that train on the retain set all have the same largest learning rate
with the same schedule, because these matter most.
"""

from __future__ import annotations

from typing import Any

SETTINGS = 6

_FAST: dict[str, Any] = {"learning_rate": 0.1, "cosine": True}
_FASTER: dict[str, Any] = {"learning_rate": 0.2, "cosine": True}

# With random labels, the weight of the wrong labels decides how far forgetting goes.
_RELABELLED: tuple[dict[str, Any], ...] = (
    {},
    {"learning_rate": 0.03, "cosine": True},
    {"learning_rate": 0.03, "cosine": True, "forget_weight": 0.03},
    {"learning_rate": 0.03, "cosine": True, "forget_weight": 0.3},
    {"learning_rate": 0.05, "cosine": True, "forget_weight": 0.1},
    {"learning_rate": 0.1, "cosine": True, "forget_weight": 0.1},
)

GRIDS: dict[str, tuple[dict[str, Any], ...]] = {
    "fine_tune": (
        {},
        {"learning_rate": 0.003},
        {"learning_rate": 0.03, "cosine": True},
        _FAST,
        _FASTER,
        {"learning_rate": 0.5, "cosine": True},
    ),
    # A network that is confident on its forget set has almost no gradient there, so the learning rate may be high.
    "gradient_ascent": ({}, *({"learning_rate": rate} for rate in (1e-2, 3e-2, 0.1, 0.3, 1.0))),
    "random_label": _RELABELLED,
    "influence": ({}, *({"strength": strength} for strength in (3.0, 10.0, 20.0, 30.0, 60.0))),
    "boundary_shrink": ({}, *({"learning_rate": rate} for rate in (1e-5, 3e-5, 1e-4, 3e-4, 3e-3))),
    "boundary_expand": ({}, *({"learning_rate": rate} for rate in (1e-5, 3e-5, 1e-4, 3e-4, 3e-3))),
    "l1_sparse": (
        {},
        {"l1": 1e-3},
        _FASTER,
        {**_FAST, "l1": 1e-3},
        {**_FAST, "l1": 3e-3},
        {**_FASTER, "l1": 1e-3},
    ),
    "salun": _RELABELLED,
    "scissorhands": ({}, {"forget_weight": 0.15}, {"forget_weight": 0.6}, {"fraction": 0.02}, {"fraction": 0.1}, {"learning_rate": 0.03}),
}
