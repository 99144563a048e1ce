"""Attacks on an erased model: whether the concept can be brought back, and whether also in a model that never knew it. One file each."""

from __future__ import annotations

ORIGINAL, ERASED, GOLD, CONTROL = SUBJECTS = ("original", "erased", "gold", "control")
