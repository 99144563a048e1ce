"""The style sheet survives Gradio, and its colours can be read."""

from __future__ import annotations

import re
from itertools import product

import pytest

from eval.rendering.theme import COLOURS, DARK
from ui.web.style import css

RULES = [(selector.strip(), body) for selector, body in re.findall(r"([^{}]+)\{([^{}]*)\}", css())]
SIDES = ("left", "right", "top", "bottom")


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """By WCAG 2.2: 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_no_rule_sets_one_side_after_a_border_with_a_variable():
    """A browser's CSSOM writes such a rule without the other sides, and Gradio sends the sheet through it."""
    lost = [
        selector
        for selector, body in RULES
        if re.search(r"(?:^|;)\s*border:[^;]*var\(", body) and any(f"border-{side}" in body for side in SIDES)
    ]
    assert lost == []


@pytest.mark.parametrize("colours", [COLOURS, DARK], ids=["light", "dark"])
def test_text_has_a_contrast_of_4_5_on_every_surface(colours):
    surfaces = [colours["paper"], "#15181c" if colours is DARK else "#ffffff"]
    for name, surface in product(("ink", "muted", "good", "bad", "mark"), surfaces):
        assert contrast(colours[name], surface) >= 4.5, (name, surface)
    assert contrast("#2a5db0", "#ffffff") >= 4.5  # the words of the primary button
