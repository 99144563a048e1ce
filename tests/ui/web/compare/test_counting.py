"""Marks by the role of the prompt, and counts over different images: the same one counts once, one concept never for another."""

from __future__ import annotations

from dataclasses import asdict, replace

from erase.concepts import load_concept
from eval.metrics.intervals import wilson
from ui.web.compare.counting import counted, counts_table, shares
from ui.web.compare.grid import mark
from ui.web.drawing.order import Ask, DrawnImage, Order

ASKS = (Ask("a red star", "evaluate"), Ask("five points", "implicit"), Ask("a red ring", "evaluate-retain"), Ask("an elephant"))
ORDER = Order((("demo", "demo"), ("demo", "/erased")), ASKS, count=2, concept=asdict(load_concept("star")))


def image(prompt: int, model: int, index: int = 0, shows: bool | None = False, asked: bool | None = None) -> DrawnImage:
    return DrawnImage(model, prompt, index, b"", shows=shows, asked=asked)


IMAGES = [
    *(image(0, 0, i, shows=True) for i in range(2)), image(0, 1, 0), image(0, 1, 1, shows=True),
    *(image(1, model, i, shows=model == 0) for model in range(2) for i in range(2)),
    *(image(2, 0, i, asked=True) for i in range(2)), image(2, 1, 0, asked=True), image(2, 1, 1, asked=False),
    *(image(3, model, i) for model in range(2) for i in range(2)),
]  # fmt: skip
EXPECTED = {"evaluate": [(0, 2), (1, 2)], "implicit": [(0, 2), (2, 2)], "evaluate-retain": [(2, 2), (1, 2)]}


def test_an_image_counts_once_by_the_role_of_its_prompt_and_two_models_of_one_name_are_two():
    seen = counted({}, ORDER, IMAGES)
    assert shares(seen, ORDER) == EXPECTED
    assert counted(seen, ORDER, IMAGES) == seen
    assert counted(seen, replace(ORDER, seed=1, count=1), [image(0, 1, 0, shows=True)]) == seen  # seed 1, drawn as the first


def test_another_concept_or_setting_is_counted_apart():
    seen = counted({}, ORDER, IMAGES)
    for other in (replace(ORDER, concept=asdict(load_concept("red"))), replace(ORDER, steps=3), replace(ORDER, negative="blur")):
        assert shares(seen, other) == {}
        both = counted(seen, other, [image(0, 1, 0)])
        assert shares(both, other) == {"evaluate": [(0, 0), (1, 1)]}
        assert shares(both, ORDER) == EXPECTED


def test_the_table_has_wilsons_intervals():
    table = counts_table(counted({}, ORDER, IMAGES), ORDER)
    low, high = wilson(1, 2)
    assert f"<td>1 of 2 <small>50% [{low:.0f}, {high:.0f}]</small></td>" in table
    assert "“star” gone, prompts that name it" in table
    assert counts_table({}, ORDER) == ""


def test_a_mark_says_what_matters_under_its_prompt():
    def words(prompt: int, model: int, original: DrawnImage | None = None, **facts: bool | None) -> str:
        return mark(ORDER, image(prompt, model, **facts), original)[0]

    assert [words(0, 0, shows=True), words(0, 0), words(0, 1), words(1, 1, shows=True)] == ["shows star", "no star", "gone", "still there"]
    kept = image(2, 0, asked=True)
    assert [words(2, 0, asked=True), words(2, 1, kept, asked=True), words(2, 1, kept, asked=False)] == ["as asked", "as asked", "lost"]
    assert words(2, 1, image(2, 0, asked=False), asked=False) == words(2, 0, asked=False) == "not as asked"  # it was not there before
    assert words(3, 1) == words(2, 1, kept, asked=None) == words(0, 1, shows=None) == ""  # nothing can tell
