"""The form fills in what follows from a choice, keeps what was written since, marks what was changed, and is found again after a reload."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ui.web.context import Page
from ui.web.erase.effort import QUICK, STANDARD
from ui.web.erase.groups import GROUPS, ORDER, grouped
from ui.web.erase.handlers import FIRST, OWN, SETTINGS
from ui.web.forms import form as fields_of
from ui.web.jobs.queue import Jobs

gr = pytest.importorskip("gradio")

from erase.methods import METHODS  # noqa: E402
from ui.web.erase.form import EraseForm  # noqa: E402
from ui.web.erase.option_controls import changes_of, marks  # noqa: E402
from ui.web.erase.price import Price  # noqa: E402
from ui.web.visitor import session_of  # noqa: E402


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EraseForm, Price]]:
    root = tmp_path_factory.mktemp("form") / "runs"
    with Jobs(root) as jobs:
        page = Page(root, jobs, None, device="cpu")  # type: ignore[arg-type]
        with gr.Blocks():
            form = EraseForm(page)
            price = Price(page, form, gr.BrowserState(None))
            price.session = gr.State()
        yield form, price


def held(form: EraseForm) -> dict[Any, Any]:
    """What the controls hold when the page is opened."""
    return {component: component.value for component in form.inputs}


def after(values: dict[Any, Any], changes: dict[Any, Any]) -> dict[Any, Any]:
    """The controls after an answer of the server."""
    for component, change in changes.items():
        value = change.get("value", values.get(component)) if isinstance(change, dict) else getattr(change, "value", change)
        if component in values and not (isinstance(change, dict) and "value" not in change):
            values = {**values, component: value}
    return values


def test_an_effort_fills_in_counts_and_steps_and_a_preset_names_its_effort(built):
    form, _ = built
    values = held(form)
    changes = form.follow(values | {form.effort: QUICK})
    assert changes[form.options.of["scissorhands"]["steps"]] == 60
    assert changes[form.options.settings["forget_count"]].value == "48"
    assert changes[form.filled_for] == [FIRST, OWN, "scissorhands", "balanced", QUICK]
    changes = form.follow(values | {form.effort: "robust"})
    assert changes[form.options.preset] == "robust"
    changes = form.follow(values | {form.options.preset: "reference"})
    assert changes[form.effort] is None
    assert changes[form.filled_for][3:] == ["reference", ""]


def test_counts_that_were_written_stay_when_the_concept_changes(built):
    form, _ = built
    count = form.options.settings["forget_count"]
    changes = form.follow(held(form) | {count: "7", form.concept: "red"})
    assert changes[count].value is None  # only what an empty field stands for
    assert changes[count].placeholder == "default: 96"
    assert form.follow(held(form) | {form.concept: "nudity"})[count].placeholder == "default: 400"


def test_what_was_changed_is_counted_marked_and_reset(built):
    form, price = built
    steps = form.options.of["scissorhands"]["steps"]
    values = held(form) | {price.session: session_of(None), price.sent: {}}
    changes = price.priced(values)
    assert "This takes" in changes[form.cost]
    assert changes[form.fold].label == "All options"
    assert [label.split(" · ")[0] for label, _ in changes[form.effort].choices] == ["Quick look", "Standard", "Robust", "Paper"]
    sent = changes[price.sent]
    changes = price.priced(values | {steps: 50, form.options.settings["seed"]: 4, price.sent: sent})
    assert changes[form.fold].label == "All options · 2 changed"
    assert "changed, was 100" in changes[form.options.marks]
    assert form.effort not in changes or changes[form.effort].choices != sent["efforts"]
    reset = form.reset(values | {steps: 50})
    assert (reset[steps], reset[form.options.settings["seed"]]) == (100, 0)
    assert price.priced(values | {steps: 2.5, price.sent: sent})[form.cost].count("Steps is &#x27;2.5&#x27;; expected a whole number") == 1
    assert "Batch is empty" in price.priced(values | {form.options.of["scissorhands"]["batch"]: None, price.sent: sent})[form.cost]


def test_the_form_is_found_again_by_the_browser(built):
    form, _ = built
    steps, words = form.options.of["scissorhands"]["steps"], form.texts["words"]
    kept = form.kept(held(form) | {steps: 50, words: "heart\nvalentine"})
    changes = form.restored(kept)
    assert (changes[steps], changes[words], changes[form.filled_for]) == (
        50,
        "heart\nvalentine",
        [FIRST, OWN, "scissorhands", "balanced", STANDARD],
    )
    for other in (None, {}, {"choice": 3}, {**kept, "values": {"no such": 1}}, {**kept, "choice": ["x"] * 9}, []):
        assert form.restored(other) == {}


def test_every_option_has_one_group():
    names = [name for members in GROUPS.values() for name in members]
    assert len(names) == len(set(names))
    for method in METHODS.values():
        groups = grouped(fields_of(method))
        assert sorted(field.name for members in groups.values() for field in members) == sorted(field.name for field in fields_of(method))
        assert [title for title in ORDER if title in groups] == list(groups)
    known = {field.name for fields in (SETTINGS, *map(fields_of, METHODS.values())) for field in fields}
    assert set(names) <= known


def test_a_mark_says_what_was_there_and_closes_no_tag():
    fields = [field for field in SETTINGS if field.name in ("seed", "forget_count", "dtype")]
    usual = {"seed": 0, "forget_count": None, "dtype": "float32"}
    assert changes_of({"seed": 0.0, "forget_count": "", "dtype": "float32"}, fields, usual) == {}
    assert changes_of({"seed": 3, "forget_count": "8", "dtype": "float16"}, fields, usual) == {
        "seed": "0",
        "forget_count": "empty",
        "dtype": "float32",
    }
    assert marks({}) == ""
    assert "</style><b>" not in marks({"scope": "</style><b>"})
    assert '#option-forget-count [data-testid="block-info"]::after{content:"changed, was 96"}' in marks({"forget_count": "96"})
