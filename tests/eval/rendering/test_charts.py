"""Charts are well-formed, say the numbers they are given, and put them where the arithmetic says."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

import pytest

from eval.rendering.charts import CAP, CROWDED, LETTER, POINTS, Point, change_bars, curve, ranges, scatter
from eval.rendering.theme import COLOURS

NS = "{http://www.w3.org/2000/svg}"


def parts(svg: str, tag: str) -> list[ET.Element]:
    return list(ET.fromstring(svg).iter(f"{NS}{tag}"))


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in parts(svg, "text")]


def bars(svg: str) -> list[tuple[float, float]]:
    """Left end and width of each bar."""
    return [(float(bar.attrib["x"]), float(bar.attrib["width"])) for bar in parts(svg, "rect")]


def test_a_bar_is_as_long_as_its_change_and_on_its_side() -> None:
    svg = change_bars({"all": (10, 0), "half": (10, 5), "more": (4, 6)}, "t")
    (x_all, w_all), (x_half, w_half), (x_more, w_more) = bars(svg)
    assert w_half == pytest.approx(w_all / 2, rel=1e-3)
    assert w_more == pytest.approx(w_all / 2, rel=1e-3)
    assert x_all + w_all == pytest.approx(x_half + w_half, rel=1e-3) == pytest.approx(x_more, rel=1e-3)
    assert [bar.attrib["fill"] for bar in parts(svg, "rect")] == [COLOURS["good"], COLOURS["good"], COLOURS["bad"]]
    assert {"−100 % (10 → 0)", "−50 % (10 → 5)", "+50 % (4 → 6)"} <= set(texts(svg))


def test_without_any_before_there_is_no_percentage() -> None:
    svg = change_bars({"never": (0, 0), "new": (0, 3)}, "t")
    assert bars(svg) == []
    assert {"none before, none now", "none before, 3 now"} <= set(texts(svg))


def test_an_enormous_growth_keeps_its_number_but_not_its_length() -> None:
    svg = change_bars({"huge": (1, 1001), "all": (1, 0)}, "t")
    (_, huge), (_, down) = bars(svg)
    assert huge == pytest.approx(down * CAP / 100, rel=1e-3)
    assert "+100000 % (1 → 1001)" in texts(svg)


def test_what_is_drawn_stays_inside_the_drawing() -> None:
    labels = {"FEMALE GENITALIA": (18, 0), "ARMPITS": (3, 900), "FEET": (5, 5), "BELLY": (0, 7)}
    root = ET.fromstring(change_bars(labels, "t"))
    width = float(root.attrib["width"])
    for element in root.iter(f"{NS}text"):
        x, size = float(element.attrib["x"]), LETTER * float(element.attrib["font-size"]) * len(element.text or "")
        start = {"start": x, "middle": x - size / 2, "end": x - size}[element.attrib["text-anchor"]]
        assert start >= 0
        assert start + size <= width + 1


def test_any_text_gives_well_formed_xml_and_comes_back() -> None:
    hostile = "<script>&\"'\x00\x0b\ud800</script>"
    for svg in (change_bars({hostile: (2, 1)}, hostile), scatter([Point(hostile, 50, 50, (40, 60), (40, 60))], hostile, hostile, hostile)):
        assert any("<script>&\"'</script>" in text for text in texts(svg))
        assert parts(svg, "script") == []
        assert hostile[:8] in ET.fromstring(svg).attrib["aria-label"]


def test_a_range_lies_where_its_numbers_say() -> None:
    svg = ranges({"value": 0, "low": 0, "high": 50}, {"value": 100, "low": 75, "high": 100})
    first, second = (float(circle.attrib["cx"]) for circle in parts(svg, "circle"))
    lines = [(float(line.attrib["x1"]), float(line.attrib["x2"])) for line in parts(svg, "line") if line.attrib["stroke-width"] == "2.5"]
    span = second - first
    assert lines == [pytest.approx((first, first + span / 2)), pytest.approx((first + 3 * span / 4, second))]
    assert parts(ranges(None, {"value": 5, "low": 4, "high": 6}), "circle").__len__() == 1


def test_a_curve_leaves_out_what_is_not_finite_and_marks_projected_steps() -> None:
    losses = [0.5, math.nan, 0.25, math.inf, 0.5]
    steps = [{"step": i + 1, "loss": loss, "projected": i == 2} for i, loss in enumerate(losses)]
    svg = curve(steps, {"loss": "Loss"}, "t")
    (line,) = parts(svg, "polyline")
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert len(points) == 3
    assert points[0][1] == points[2][1] < points[1][1]  # down is less
    marks = [element for element in parts(svg, "line") if element.attrib["stroke"] == COLOURS["bad"]]
    assert [float(mark.attrib["x1"]) for mark in marks] == [pytest.approx(points[1][0], abs=0.11)]


def test_many_steps_are_thinned_and_their_mean_kept() -> None:
    steps = [{"step": i, "loss": float(i % 2)} for i in range(10_000)]
    (line,) = parts(curve(steps, {"loss": "Loss"}, "t"), "polyline")
    heights = {point.split(",")[1] for point in line.attrib["points"].split()}
    assert len(line.attrib["points"].split()) <= POINTS
    assert len(heights) == 1


@pytest.mark.parametrize(
    "losses",
    [[], [0.0], [0.3, 0.3], [-1.0, 5.0], [1e-9, 1e3], [math.nan], [None, "x"]],
    ids=["none", "zero", "flat", "signs", "wide", "nan", "wrong"],
)
def test_no_losses_are_too_odd_to_draw(losses: list[object]) -> None:
    svg = curve([{"step": i + 1, "loss": loss} for i, loss in enumerate(losses)], {"loss": "Loss"}, "t")
    assert "nan" not in svg.replace("nan<", "")
    assert "Loss" in texts(svg)


def test_labels_of_points_in_one_place_do_not_hide_each_other() -> None:
    svg = scatter([Point(f"run {i}", 95, 100, (90, 101), (92, 100)) for i in range(12)], "t", "x", "y")
    labels = [element for element in parts(svg, "text") if (element.text or "").startswith("run ")]
    boxes = [(float(e.attrib["x"]), float(e.attrib["y"]), LETTER * 12 * len(e.text or "")) for e in labels]
    assert len(boxes) == 12
    for i, (x, y, wide) in enumerate(boxes):
        assert all(abs(y - v) >= 12 or x + wide <= u or u + w <= x for u, v, w in boxes[i + 1 :])


def test_better_is_up_and_right_and_a_crowd_does_not_crash() -> None:
    svg = scatter([Point("a", 50, 40, (45, 55), (30, 50)), Point("b", 90, 80, (85, 95), (70, 90))], "t", "x", "y")
    (ax, ay), (bx, by) = ((float(c.attrib["cx"]), float(c.attrib["cy"])) for c in parts(svg, "circle"))
    assert bx > ax
    assert by < ay
    crowd = scatter([Point(f"a long name of a run {i}", 100, 100, (0, 1000), (0, 100)) for i in range(200)], "t", "x", "y")
    assert len(parts(crowd, "circle")) == 200
    assert sum(text.startswith("a long") for text in texts(crowd)) <= CROWDED
    assert parts(scatter([], "t", "x", "y"), "circle") == []
