"""Charts are well-formed, say the numbers they are given, and put them where the arithmetic says."""

from __future__ import annotations

import math
from threading import Thread
from xml.etree import ElementTree as ET

import pytest
from svg import NS, drawn, parts, places, points, texts

from eval.rendering.charts import CAP, CROWDED, POINTS, Point, change_bars, curve, scatter
from eval.rendering.html.numbers import LEFT, RIGHT, ranges_of
from eval.rendering.svg import LETTER, text_width
from eval.rendering.theme import COLOURS


def bars(svg: str) -> list[tuple[float, float]]:
    """Left end and width of each bar."""
    ends = [[x for x, _ in places(bar)] for bar in drawn(svg, "bar")]
    return [(min(xs), max(xs) - min(xs)) for xs in ends]


def test_a_bar_is_as_long_as_its_change_and_on_its_side() -> None:
    svg = change_bars({"all": (10, 0), "half": (10, 5), "more": (4, 6)}, "t")
    (x_all, w_all), (x_half, w_half), (x_more, w_more) = bars(svg)
    assert w_half == pytest.approx(w_all / 2, rel=1e-3)
    assert w_more == pytest.approx(w_all / 2, rel=1e-3)
    assert x_all + w_all == pytest.approx(x_half + w_half, rel=1e-3) == pytest.approx(x_more, rel=1e-3)
    assert [bar.attrib["fill"] for bar in drawn(svg, "bar")] == [COLOURS["good"], COLOURS["good"], COLOURS["bad"]]
    assert [bar.attrib["class"] for bar in drawn(svg, "bar")] == ["f-good", "f-good", "f-bad"]  # of a page's style sheet
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
    labels = {"FEMALE GENITALIA": (18, 0), "ARMPITS": (3, 900), "FEET": (5, 5), "BELLY": (0, 7), "a label that is very long" * 2: (1, 2)}
    root = ET.fromstring(change_bars(labels, "t"))
    width = float(root.attrib["width"])
    for element in root.iter(f"{NS}text"):
        size = LETTER * float(element.attrib["font-size"].removesuffix("px")) * len(element.text or "")
        x, anchor = start_of(element)
        start = {"start": x, "middle": x - size / 2, "end": x - size}[anchor]
        assert start >= 0
        assert start + size <= width + 1


def start_of(element: ET.Element) -> tuple[float, str]:
    """Where a text is anchored, and by which end."""
    transform = element.get("transform", "")
    x = element.get("x") or transform.removeprefix("translate(").split(",")[0].split(" ")[0]
    return float(x), element.get("text-anchor", "start")


def test_any_text_gives_well_formed_xml_and_comes_back() -> None:
    hostile = "<script>&\"'$x^2$\x00\x0b\ud800</script>"
    for svg in (change_bars({hostile: (2, 1)}, hostile), scatter([Point(hostile, 50, 50, (40, 60), (40, 60))], hostile, hostile, hostile)):
        assert any("<script>&\"'$x^2$</script>" in text for text in texts(svg))
        assert parts(svg, "script") == []
        assert hostile[:8] in ET.fromstring(svg).attrib["aria-label"]


def test_a_range_lies_where_its_numbers_say() -> None:
    first, second = ranges_of({"value": 0, "low": 0, "high": 50}, {"value": 100, "low": 75, "high": 100})
    assert (first.value, second.value) == (LEFT, RIGHT)
    assert (first.low, first.high) == (LEFT, (LEFT + RIGHT) / 2)
    assert (second.low, second.high) == (LEFT + 0.75 * (RIGHT - LEFT), RIGHT)
    assert len(ranges_of(None, {"value": 5, "low": 4, "high": 6})) == 1


def test_a_curve_leaves_out_what_is_not_finite_and_marks_projected_steps() -> None:
    losses = [0.5, math.nan, 0.25, math.inf, 0.5]
    steps = [{"step": i + 1, "loss": loss, "projected": i == 2} for i, loss in enumerate(losses)]
    svg = curve(steps, {"loss": "Loss"}, "t")
    (line,) = drawn(svg, "curve")
    corners = places(line)
    assert len(corners) == 3
    assert corners[0][1] == corners[2][1] < corners[1][1]  # down is less
    (mark,) = drawn(svg, "mark")
    assert mark.attrib["stroke"] == COLOURS["bad"]
    assert {x for x, _ in places(mark)} == {corners[1][0]}


def test_many_steps_are_thinned_and_their_mean_kept() -> None:
    steps = [{"step": i, "loss": float(i % 2)} for i in range(10_000)]
    (line,) = drawn(curve(steps, {"loss": "Loss"}, "t"), "curve")
    assert len(places(line)) <= POINTS
    assert len({y for _, y in places(line)}) == 1


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
    boxes = [(float(e.attrib["x"]), float(e.attrib["y"]), text_width(e.text or "", 12)) for e in labels]
    assert len(boxes) == 12
    for i, (x, y, wide) in enumerate(boxes):
        assert all(abs(y - v) >= 12 or x + wide <= u or u + w <= x for u, v, w in boxes[i + 1 :])


def test_better_is_up_and_right_and_a_crowd_does_not_crash() -> None:
    svg = scatter([Point("a", 50, 40, (45, 55), (30, 50)), Point("b", 90, 80, (85, 95), (70, 90))], "t", "x", "y")
    (ax, ay), (bx, by) = points(svg)
    assert bx > ax
    assert by < ay
    crowd = scatter([Point(f"a long name of a run {i}", 100, 100, (0, 1000), (0, 100)) for i in range(200)], "t", "x", "y")
    assert len(points(crowd)) == 200
    assert sum(text.startswith("a long") for text in texts(crowd)) <= CROWDED
    assert points(scatter([], "t", "x", "y")) == []


def test_a_chart_is_the_same_bytes_in_every_thread_and_needs_no_style_of_its_own() -> None:
    def draw() -> None:
        results.append(scatter([Point("a", 50, 40, (45, 55), (30, 50))], "t", "x", "y"))

    results: list[str] = []
    threads = [Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    draw()
    assert len(results) == 5
    assert len(set(results)) == 1
    for absent in ("<style", "style=", "url(", "<metadata", "<!DOCTYPE"):
        assert absent not in results[0]
    assert ET.fromstring(results[0]).attrib["role"] == "img"


def test_ids_of_two_charts_on_one_page_differ() -> None:
    both = [scatter([Point("a", 50, 40, (45, 55), (30, 50))], title, "x", "y") for title in ("one", "two")]
    ids = [[element.attrib["id"] for element in ET.fromstring(svg).iter() if "id" in element.attrib] for svg in both]
    assert ids[0]
    assert not set(ids[0]) & set(ids[1])
