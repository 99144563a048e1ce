"""A form has what its dataclass has: every field once, with help, bounds and choices; and gives back what was typed."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest

from erase.errors import InputError
from erase.methods import METHODS, make_method
from erase.options import option
from erase.pipeline import Job
from ui.web.controls import control
from ui.web.forms import UNSET, changed, flags, form, preset_values, presets, typed


@dataclass(frozen=True)
class Own:
    """One of each kind, as somebody's new method would have."""

    often: int = option(3, "how often", low=1, high=9)
    rate: float = option(4e-4, "how fast", above=0.0)
    gentle: bool = option(True, "be gentle")
    kind: str = option("a", "which", choices=("a", "b"))
    side: str | None = option(None, "which side, if any, as for --often", choices=("left", "right"))
    most: int | None = option(None, "at most so many", low=1)
    words: str = option("x", "some words")
    maybe: bool | None = option(None, "on, off, or as the machine allows")
    hidden: int = 3  # no option: no control


CONTROLS = {field.name: field for field in form(Own)}


def test_every_option_has_a_control_with_its_help():
    assert list(CONTROLS) == ["often", "rate", "gentle", "kind", "side", "most", "words", "maybe"]
    assert CONTROLS["often"].info == "How often (at least 1, at most 9)."
    assert CONTROLS["rate"].info == "How fast (more than 0)."
    assert CONTROLS["side"].info == "Which side, if any, as for “Often”."
    assert (CONTROLS["most"].kind, CONTROLS["most"].optional, CONTROLS["often"].optional) == ("int", True, False)


@pytest.mark.parametrize("name", METHODS)
def test_the_form_of_a_method_is_its_dataclass(name):
    assert [field.name for field in form(METHODS[name])] == [item.name for item in fields(METHODS[name])]
    assert all(field.help for field in form(METHODS[name]))


def test_controls_are_those_that_fit():
    kinds = {name: type(control(field, field.default)).__name__ for name, field in CONTROLS.items()}
    expected = {"often": "Number", "rate": "Number", "gentle": "Checkbox", "kind": "Dropdown", "side": "Dropdown", "most": "Textbox"}
    assert kinds == {**expected, "words": "Textbox", "maybe": "Dropdown"}
    shown = control(CONTROLS["side"], None)
    assert (shown.value, [value for _, value in shown.choices]) == (UNSET, [UNSET, "left", "right"])
    assert all(control(field, field.default).info == field.info for field in CONTROLS.values())


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [("often", 4.0, 4), ("often", "4", 4), ("rate", "1e-5", 1e-5), ("gentle", False, False), ("side", UNSET, None), ("most", None, None),
     ("most", "", None), ("words", "  two words ", "two words"), ("maybe", UNSET, None), ("maybe", "on", True), ("maybe", "off", False)],
)  # fmt: skip
def test_what_is_typed_becomes_a_value(name, given, value):
    found = typed(CONTROLS[name], given)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "given"),
    [("often", 2.5), ("often", "many"), ("often", None), ("rate", float("nan")), ("words", " "), ("often", 0), ("often", 10), ("rate", 0.0),
     ("kind", "c"), ("most", "0")],
)  # fmt: skip
def test_what_is_no_value_is_refused_by_the_label(name, given):
    with pytest.raises(InputError, match=f"^{CONTROLS[name].label} is .*; expected"):
        typed(CONTROLS[name], given)


@pytest.mark.parametrize("name", METHODS)
def test_presets_fill_the_form_with_the_methods_values(name):
    assert presets(name) == list(METHODS[name].presets)
    for preset in presets(name):
        filled = preset_values(name, preset)
        assert filled == vars(make_method(name, preset))
        assert changed(form(METHODS[name]), filled, filled) == {}


def test_a_concepts_recommendation_is_part_of_balanced_alone():
    recommended = {"steps": 7, "not_of_this_method": 1}
    assert preset_values("scissorhands", "balanced", recommended)["steps"] == 7
    assert preset_values("scissorhands", "paper", recommended)["steps"] == 125


def test_only_changes_become_flags_and_they_come_back_as_they_were():
    filled = preset_values("scissorhands", "balanced")
    given = filled | {"steps": 3.0, "projected": False, "learning_rate": 1e-5, "trim_scope": "full", "scope": "re:-x"}
    values = changed(form(METHODS["scissorhands"]), given, filled)
    assert values == {"scope": "re:-x", "trim_scope": "full", "steps": 3, "projected": False, "learning_rate": 1e-5}
    assert flags(values) == ["--scope=re:-x", "--trim-scope=full", "--no-projected", "--steps=3", "--learning-rate=1e-05"]
    assert make_method("scissorhands", **values).steps == 3


def test_what_a_preset_sets_cannot_be_emptied():
    filled = preset_values("scissorhands", "reference")
    given = filled | {"trim_scope": ""}
    with pytest.raises(InputError, match="the preset has 'decoder-self-attention'"):
        changed(form(METHODS["scissorhands"]), given, filled)


def test_the_job_has_a_form_too():
    some = form(Job, only=("forget_count", "guidance", "overwrite"))
    assert [(field.name, field.kind, field.optional) for field in some] == [
        ("forget_count", "int", True), ("guidance", "float", True), ("overwrite", "bool", False)
    ]  # fmt: skip


def test_an_unknown_method_is_the_users_mistake():
    with pytest.raises(InputError, match="expected one of scissorhands"):
        presets("scissors")
