"""The address carries a comparison, and opening it asks for the same one."""

from __future__ import annotations

from urllib.parse import parse_qsl

from page_runs import erased_run

from ui.web.compare.address import LONGEST, query, restored
from ui.web.compare.handlers import ComparisonRequest
from ui.web.compare.suggestions import first
from ui.web.context import Page
from ui.web.drawing.queue import Drawing
from ui.web.jobs.queue import Jobs

ASKED = ComparisonRequest(
    ["star-1", "a b/c&d"], "demo", "ring", "a red star\na ring & more, <b>", "blur", -1, 2, 9, 4.5, "Euler", "96", show=True
)


def test_what_is_asked_for_comes_back_with_the_seed_that_was_drawn():
    text = query(vars(ASKED), ASKED.prompts.splitlines(), 41)
    fields = restored(parse_qsl(text))
    assert {**vars(ASKED), **fields} == {**vars(ASKED), "seed": 41}
    plain = ComparisonRequest(["star-1"], prompts="a star")
    assert query(vars(plain), ["a star"], 0) == "prompt=a+star&model=star-1&seed=0&images=4&steps=25&guidance=4"


def test_an_address_that_is_none_of_ours_or_too_long_is_left_alone():
    assert restored([("run", "star-1"), ("__theme", "dark"), ("seed", "3")]) == {}
    assert restored([("prompt", "a star"), ("seed", "many"), ("images", "4e9")]) == {"prompts": "a star", "models": []}
    assert query(vars(ASKED), ["x" * LONGEST], 0) == ""


def test_an_address_is_drawn_at_once_where_nothing_has_to_be_fetched(tmp_path):
    with Jobs(tmp_path / "runs") as jobs:
        page = Page(tmp_path / "runs", jobs, Drawing("cpu"))
        erased_run(page.runs, "star-1")
        opening, quick = first(page, [("prompt", "a star"), ("prompt", "a ring"), ("model", "star-1"), ("seed", "7")])
        assert (opening.prompts, opening.models, opening.seed, opening.steps, quick) == ("a star\na ring", ["star-1"], 7, 3, True)
        assert not first(page, [("prompt", "a star"), ("original", "owner/name")])[1]
