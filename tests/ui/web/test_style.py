"""The style sheet reaches the browser as it is written, and its colours can be read."""

from __future__ import annotations

import re
from itertools import product

import pytest

from eval.rendering.theme import COLOURS, DARK
from ui.web.style import head, raised


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """By WCAG 2.2: 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_every_rule_weighs_more_than_gradios_and_keeps_its_selectors():
    sheet = "/* a, b */.a:is(b,.c) d, e{x:y}@media(max-width:9px){.f:not(.g,.h){i:j(k,l)}}@keyframes m{from{n:o}to{p:q}}r{s:t}"
    up = ":root:root:root"
    rest = f"@media(max-width:9px){{{up} .f:not(.g,.h){{i:j(k,l)}}}}@keyframes m{{from{{n:o}}to{{p:q}}}}{up} r{{s:t}}"
    assert raised(sheet) == f"{up} .a:is(b,.c) d,{up} e{{x:y}}{rest}"


def test_the_sheet_is_whole():
    sheet = head()
    assert re.fullmatch(r"<style>:root\{--.*\}\s*</style>", sheet, re.DOTALL)
    assert sheet.count("{") == sheet.count("}")
    inner = re.sub(r"@media[^{]+\{|@keyframes.*?\}\s*\}", "", sheet.removesuffix("</style>").partition(".dark{")[2].partition("}")[2])
    selectors = re.findall(r"([^{}]+)\{[^{}]*\}", inner)
    assert len(selectors) > 200
    assert all(selector.strip().startswith(":root:root:root ") for selector in selectors)


@pytest.mark.parametrize("colours", [COLOURS, DARK], ids=["light", "dark"])
def test_text_has_a_contrast_of_4_5_on_every_surface(colours):
    surfaces = [colours["paper"], "#15181c" if colours is DARK else "#ffffff"]
    for name, surface in product(("ink", "muted", "good", "bad", "mark"), surfaces):
        assert contrast(colours[name], surface) >= 4.5, (name, surface)
    assert contrast("#2a5db0", "#ffffff") >= 4.5  # the words of the primary button
