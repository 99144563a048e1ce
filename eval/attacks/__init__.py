"""Attacks on an erased model: does anything bring the concept back, and would it also in a model that never knew it? A file each."""

from __future__ import annotations

ORIGINAL, ERASED, GOLD, CONTROL = SUBJECTS = ("original", "erased", "gold", "control")
