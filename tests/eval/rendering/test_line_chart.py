"""A line chart places values where the arithmetic says, and says them."""

from __future__ import annotations

import xml.etree.ElementTree as tree

import pytest
from svg import drawn, parts, places, points, texts

from eval.rendering.line_chart import Value, lines


def test_a_chart_of_lines_places_values_and_says_them() -> None:
    series = {"gap": [Value(0.001, 4.0, 1.0), Value(0.01, 2.0), Value(0.1, 6.0)], "<MIA>": [Value(0.01, 3.0)]}
    svg = lines(series, "k & gap", "fraction", "points", logarithmic=True)
    circles = points(svg)
    assert len(circles) == 4
    xs = [x for x, _ in circles[:3]]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.1)  # decades are equally far apart
    assert circles[1][1] > circles[0][1] > circles[2][1]  # larger values stand higher
    assert "2.00 at 0.01" in str(tree.fromstring(svg).get("aria-label"))
    assert {"gap", "<MIA>", "0.001", "0.01", "0.1"} <= set(texts(svg))
    assert "no finite values" in lines({"gap": [Value(1, float("nan"))]}, "", "", "")


def test_a_bar_ends_where_its_values_end() -> None:
    """A share of 5 % with a deviation of 12 reaches down to nothing and no further."""

    def bar(*ends: tuple[float, float]) -> list[float]:
        svg = lines({"back": [Value(1, 5.0, 12.0, *ends), Value(2, 40.0)]}, "", "", "")
        (spread,) = drawn(svg, "spread")
        (up, down), at = sorted(y for _, y in places(spread)), max(y for _, y in points(svg))
        return [at - up, down - at]

    up, down = bar()
    assert up == pytest.approx(down, abs=0.2)
    up, down = bar((0.0, 100.0))
    assert down / up == pytest.approx(5 / 12, abs=0.01)


def test_many_series_and_one_value_are_drawn() -> None:
    svg = lines({f"series {i}": [Value(3, 2.0)] for i in range(30)}, "t", "x", "y")
    height = float(tree.fromstring(svg).attrib["height"])
    assert len(points(svg)) == 30
    assert all(0 < float(text.attrib["y"]) < height for text in parts(svg, "text") if "y" in text.attrib)


def test_shares_that_are_all_alike_have_no_scale_beyond_what_a_share_can_be() -> None:
    svg = lines({"gone": [Value(step, 100.0, 0.0, (0.0, 100.0)) for step in (1, 2)]}, "", "", "")
    numbers = [float(text) for text in texts(svg) if text.replace(".", "").isdigit()]
    assert max(numbers) == 100
