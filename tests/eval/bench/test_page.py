"""Lines become a report: means and gaps by hand, the rule of the front, failures, charts, the sheet; nothing a user wrote is HTML."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as tree
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from svg import drawn, texts

from eval.bench.charts import confusion, curves, scatter
from eval.bench.page import labels_in_order, page
from eval.bench.sheet import grid_of
from eval.bench.summary import beats, confusions, front_of, ranked, report
from eval.bench.tables import markdown, number, sentences, table
from eval.rendering.image_grid import MODEL_NAMES, Block, draw_models

PROTOCOL = {"model": "demo", "pictures": {"evaluate": 8, "implicit": 4, "evaluate-retain": 8}}


def numbers(ua: float, ira: float, cra: float, **more: float) -> dict[str, float]:
    return {"ua": ua, "ua_implicit": ua, "ira": ira, "cra": cra, "attributes_kept": cra, **more}


def line(label: str, concept: str, seed: int, after: dict[str, float], **more: Any) -> dict[str, Any]:
    named = {"label": label, "method": label.split(":")[0], "concept": concept, "seed": seed, "folder": "nowhere"}
    seen = {
        "before": {"star": {"star": 8}, "ring": {"ring": 8}},
        "after": {"star": {"ring": 6, "star": 2}, "ring": {"ring": 7, "cross": 1}},
    }
    return {**named, "before": numbers(0, 80, 100), "after": after, "seconds": 10.0, "confusion": seen, **more}


def lines() -> list[dict[str, Any]]:
    """Two concepts, two seeds; `careful` keeps all, `fierce` forgets all, `poor` does neither, `late` failed once."""
    found = []
    for concept in ("star", "red"):
        for seed in (0, 1):
            curve = {"steps": [0, 5, 10], "drawn": [0.0, 25.0 + 50 * seed, 75.0]}
            found += [
                line("careful", concept, seed, numbers(90 + 2 * seed, 80, 90 if concept == "red" else 100), relearn=curve),
                line("fierce:fraction=0.1", concept, seed, numbers(100, 40, 100)),
                line("poor", concept, seed, numbers(60, 40, 90)),
                line("retrain", concept, seed, numbers(100, 80, 100)),
            ]
            late = line("late", concept, seed, numbers(100, 80, 100))
            found.append(late if (concept, seed) != ("red", 1) else {**late, "failure": "RuntimeError: <b>lost</b>"})
    return found


def by_label(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["label"]: row for row in found["methods"]}


def test_means_are_over_concepts_then_seeds_and_deviations_over_seeds() -> None:
    rows = by_label(report(lines(), PROTOCOL))
    assert rows["careful"]["ua"] == {"mean": 91, "std": pytest.approx(2**0.5, abs=1e-4)}
    assert rows["careful"]["cra"] == {"mean": 95, "std": 0}
    assert rows["careful"]["ira_kept"] == {"mean": 100, "std": 0}
    assert rows["careful"]["kept"] == {"mean": 95, "std": 0}  # of red 90, of star 100
    assert rows["careful"]["worst"]["cra_kept"] == {"value": 90, "concept": "red"}
    assert rows["fierce:fraction=0.1"]["kept"]["mean"] == 50
    assert rows["original"]["ua"]["mean"] == 0
    assert rows["original"]["kept"]["mean"] == 100
    assert (rows["careful"]["seeds"], rows["careful"]["runs"]) == (2, 4)


def test_gaps_are_run_by_run_to_the_retrained_model_of_the_same_concept_and_seed() -> None:
    rows = by_label(report(lines(), PROTOCOL))
    # ua and ua_implicit 9, ira 0, cra and attributes 5 on average over the concepts
    assert rows["careful"]["gap_ua"]["mean"] == 9
    assert rows["careful"]["gap_cra"]["mean"] == 5
    assert rows["careful"]["average_gap"]["mean"] == pytest.approx((9 + 9 + 0 + 5 + 5) / 5)
    assert rows["retrain"]["average_gap"] == {"mean": 0, "std": 0}
    assert [row["label"] for row in ranked(rows.values())][:2] == ["careful", "fierce:fraction=0.1"]
    alone = [one for one in lines() if one["label"] != "retrain"]
    rows = by_label(report(alone, PROTOCOL))
    assert not [name for row in rows.values() for name in row if "gap" in name]
    assert [row["label"] for row in ranked(rows.values())] == ["careful", "fierce:fraction=0.1", "poor", "late"]


def test_a_seed_on_which_a_row_failed_is_left_out_of_it() -> None:
    rows = by_label(report(lines(), PROTOCOL))
    assert (rows["late"]["seeds"], rows["late"]["runs"]) == (1, 2)
    assert rows["late"]["failures"] == [{"concept": "red", "seed": 1, "failure": "RuntimeError: <b>lost</b>"}]
    assert rows["late"]["ua"] == {"mean": 100, "std": 0}
    each = {(row["label"], row["concept"]): row for row in report(lines(), PROTOCOL)["concepts"]}
    assert each["late", "star"]["seeds"] == 2
    assert each["late", "red"]["seeds"] == 1


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((90, 90), (90, 90), False),
        ((91, 90), (90, 90), True),
        ((90, 91), (90, 90), True),
        ((91, 89), (90, 90), False),
        ((90, 90), (91, 90), False),
    ],
)
def test_one_row_beats_another_if_it_is_as_good_in_both_and_better_in_one(
    one: tuple[float, float], other: tuple[float, float], expected: bool
) -> None:
    assert beats(one, other) is expected


def test_the_front_is_what_nothing_complete_beats() -> None:
    found = report(lines(), PROTOCOL)
    # late would beat all, but has not come through; the retrained model and the original take no part
    assert [row["label"] for row in front_of(found["methods"])] == ["careful", "fierce:fraction=0.1"]
    assert {row["label"] for row in found["methods"] if row["front"]} == {"careful", "fierce:fraction=0.1"}
    same = [line(label, "star", 0, numbers(90, 80, 100)) for label in ("a", "b")]
    assert [row["label"] for row in front_of(report(same, PROTOCOL)["methods"])] == ["a", "b"]


def test_relearning_counts_the_steps_until_half_of_the_pictures_are_back() -> None:
    rows = by_label(report(lines(), PROTOCOL))
    assert rows["careful"]["relearn_steps"]["mean"] == 7.5  # 10 with the first seed, 5 with the second
    assert rows["careful"]["relearned"] == {"mean": 75, "std": 0}
    assert rows["careful"]["relearn"] == {"steps": [0, 5, 10], "mean": [0, 50, 75], "std": [0, pytest.approx(28.8675), 0]}
    never = line("a", "star", 0, numbers(100, 80, 100), relearn={"steps": [0, 5, 8], "drawn": [0.0, 10.0, 49.0]})
    assert by_label(report([never], PROTOCOL))["a"]["relearn_steps"]["mean"] == 16
    half = line("a", "star", 0, numbers(100, 80, 100), relearn={"steps": [0, 5], "drawn": [0.0, 20.0]})
    half["before"] = numbers(60, 80, 100)  # the original itself draws it in 40 % of the pictures
    assert by_label(report([half], PROTOCOL))["a"]["relearn_steps"]["mean"] == 5


def test_gaps_are_over_the_concepts_that_have_a_retrained_model_and_say_so() -> None:
    found = report([one for one in lines() if (one["label"], one["concept"]) != ("retrain", "star")], PROTOCOL)
    rows = by_label(found)
    assert "retrain" not in rows  # its numbers are those of red alone, which stand with red
    assert [row["label"] for row in found["concepts"] if row["concept"] == "red"][:2] == ["original", "retrain"]
    assert rows["careful"]["gap_cra"]["mean"] == 10
    assert rows["careful"]["cra"]["mean"] == 95
    assert rows["careful"]["average_gap"]["mean"] == pytest.approx((9 + 9 + 0 + 10 + 10) / 5)
    assert rows["careful"]["gap_over"] == ["red"]
    assert rows["late"]["gap_over"] == ["red"]  # of the seed on which it came through
    assert "Nearest to the retrained model (there is one for red): careful, 7.6 points on average." in sentences(found)
    assert "over the concepts that have one: red." in page(found, {"scatter.svg": "", "relearn.svg": ""}, {}, {})
    assert ranked(rows.values())[0]["label"] == "careful"
    assert labels_in_order(found)[:2] == ["original", "retrain"]  # where pictures are shown it has its place all the same
    whole = by_label(report(lines(), PROTOCOL))
    assert not [row for row in whole.values() if "gap_over" in row]


def test_confusions_add_up_over_seeds() -> None:
    found = confusions(lines())
    assert found["star"]["careful"] == {"star": {"ring": 12, "star": 4}, "ring": {"ring": 14, "cross": 2}}
    assert found["star"]["original"] == {"star": {"star": 16}, "ring": {"ring": 16}}


# --- what is shown --------------------------------------------------------------------------------------------------


def test_the_table_says_what_matters() -> None:
    found = report(lines(), PROTOCOL)
    text = table(found)
    assert [part.split()[0] for part in text.splitlines()[:5]] == ["method", "original", "retrain", "careful", "fierce:fraction=0.1"]
    assert "late (2 runs)" in text
    assert "No other row is better in both forgetting (ua) and keeping: careful, fierce:fraction=0.1." in text
    assert "Nearest to the retrained model: careful, 5.6 points on average." in text
    assert "Worst concept of careful: ua 91.0 (star), ira, % of before, 100.0 (star), cra, % of before, 90.0 (red)." in text
    assert "late failed in 1 run (red, seed 1: RuntimeError: <b>lost</b>)." in text
    assert "demo: star, red; 2 seeds; 8 images that name it, 4 images that describe it, 8 images to keep per run." in sentences(found)
    assert "**careful**" in markdown(found)
    assert "## red" in markdown(found)


def test_numbers_have_the_digits_that_mean_something() -> None:
    assert number({"mean": 99.123, "std": 0.5}, "ua") == "99.1 ± 0.5"
    assert number({"mean": 3 * 2**20, "std": 0}, "peak_bytes") == "3"
    assert number({"mean": 0.01234, "std": 0}, "frechet") == "0.0123"
    assert number(None, "ua") == "–"


def test_the_scatter_shows_every_row_that_has_both_numbers() -> None:
    found = report(lines(), PROTOCOL)
    chart = scatter(found["methods"], "title")
    assert {"careful", "fierce:fraction=0.1", "poor", "late", "retrain"} <= set(texts(chart))
    assert "original" not in texts(chart)
    assert len(drawn(chart, "front")) >= 2 + 1  # two rows of the front, and the key
    assert scatter([{"label": "a", "ua": {"mean": 1, "std": 0}}], "title") == ""
    assert curves([{"label": "a"}]) == ""
    assert len(drawn(curves(found["methods"]), "series")) == 1


def test_with_one_seed_the_bars_are_the_pictures_intervals() -> None:
    ends = {"ua": [80.0, 96.0], "ira": [70.0, 85.0], "cra": [85.0, 100.0]}
    both = [line("a", concept, 0, numbers(90, 80, 90), ends=ends) for concept in ("star", "red")]
    (row,) = [row for row in report(both, PROTOCOL)["methods"] if row["label"] == "a"]
    assert row["interval"]["ua"] == {"low": pytest.approx(90 - 10 / 2**0.5, abs=1e-4), "high": pytest.approx(90 + 6 / 2**0.5, abs=1e-4)}
    assert row["interval"]["kept"] == {"low": pytest.approx(90 - 5 / 2**0.5, abs=1e-4), "high": pytest.approx(90 + 10 / 2**0.5, abs=1e-4)}
    assert "95 % interval of the images" in scatter([row], "title")
    assert "deviation over seeds" in scatter(report(lines(), PROTOCOL)["methods"], "title")


def test_a_confusion_says_the_share_of_each_line() -> None:
    words = texts(confusion({"star": {"ring": 3, "star": 1}, "ring": {"ring": 2}}, "careful", "star"))
    assert words.count("star") == words.count("ring") == 2
    assert [text for text in words if text.isdigit()] == ["25", "75", "100"]


def test_the_sheet_has_a_row_for_each_model_and_a_column_for_each_prompt() -> None:
    colours = [[Image.new("RGB", (64, 64), (60 * row, 100 * column, 200)) for column in range(2)] for row in range(3)]
    blocks = [Block("named", "#b42318", ["a star", "a red star"], colours), Block("keep", "#12715b", [], [[], [], []])]
    sheet = draw_models("title", "note", ["original", "retrain", "careful:fraction=0.1"], blocks)
    found = {sheet.getpixel((x, y)) for x in range(MODEL_NAMES, sheet.width, 5) for y in range(0, sheet.height, 5)}
    assert {(60 * row, 100 * column, 200) for row in range(3) for column in range(2)} <= found
    grid = grid_of(["original", "retrain", "<careful>"], [*blocks[:1], Block("<keep>", "#12715b", ["<p>"], [[None], [None], [None]])])
    html = page(report(lines(), PROTOCOL), {}, {}, {"star": grid})
    assert html.count("data:image/jpeg;base64,") == 3 * 2
    assert not {"<careful>", "<keep>", "<p>&"} & set(re.findall("<careful>|<keep>|<p>&", html))
    assert html.count("&lt;careful&gt;") == 1 + 2  # the row and the words of its two images
    assert html.count("&lt;keep&gt;") == html.count("&lt;p&gt;") == 1
    missing = [[None, colours[0][0]]]
    assert draw_models("title", "note", ["a"], [Block("named", "#b42318", ["a", "b"], missing)]).height > 128


def test_nothing_that_a_user_wrote_is_html(tmp_path: Path) -> None:
    found = report(lines(), {**PROTOCOL, "model": "<i>demo", "command": "erase-concept bench --model '<i>demo'"})
    text = page(found, {"scatter.svg": scatter(found["methods"], "title"), "relearn.svg": ""}, {"star": []}, {})
    assert "<b>lost" not in text
    assert "<i>demo" not in text
    assert "&lt;b&gt;lost" in text
    tree.fromstring(confusion({"<a>": {"<b>": 1}}, "<c>", "<a>"))
    json.dumps(found)
