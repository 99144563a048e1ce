"""Options say in one line what was given, what was expected, and accept all that they promise."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Literal, Optional

import pytest

from erase.errors import InputError
from erase.methods import CLASSIFIER_METHODS, METHODS
from erase.options import (
    REWRITTEN,
    Kind,
    added_options,
    bounds_of,
    check,
    check_device,
    check_value,
    choices_of,
    differences,
    kind_of,
    option,
)
from erase.pipeline import Job
from eval.attacks.options import Campaign
from eval.classifiers.options import Classify
from eval.options import Evaluation, Relearning
from ui.cli.generate import Generation


@dataclass(frozen=True)
class Some:
    """One option of each kind."""

    share: float = option(0.5, "a share", above=0.0, high=1.0)
    learning_count: int = option(3, "a count", low=1)
    word: str = option("near", "a word", choices=("near", "far"))
    limit: int | None = option(None, "a limit, or none", low=1)
    free: float = option(0.0, "any number")
    flag: bool = option(True, "on or off", low=5)
    plain: int = -7

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Annotated:
    """Annotations as people write them."""

    count: int | None = option(None, "a count")
    share: Optional[float] = option(None, "a share")  # noqa: UP045
    near: Literal["near", "far"] = option("near", "a word")
    far: Literal["near", "far"] | None = option(None, "a word, or none")
    flag: bool = option(True, "on or off")
    name: str = option("", "a name")
    names: tuple[str, ...] = ()
    paths: tuple[int, ...] = ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"share": 0}, "--share is 0; expected more than 0.0"),
        ({"share": 1.5}, "--share is 1.5; expected at most 1.0"),
        ({"share": float("nan")}, "--share is nan; expected a finite number"),
        ({"free": float("inf")}, "--free is inf; expected a finite number"),
        ({"learning_count": 0}, "--learning-count is 0; expected at least 1"),
        ({"limit": 0}, "--limit is 0; expected at least 1"),
        ({"word": "further"}, "--word is 'further'; expected one of near, far"),
    ],
)
def test_a_value_out_of_bounds_is_named_with_what_was_expected(given: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        Some(**given)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    "given",
    [{}, {"share": 1.0}, {"share": 1e-9}, {"learning_count": 1}, {"word": "far"}, {"limit": None}, {"flag": False}, {"plain": -9}],
)
def test_the_bounds_themselves_none_flags_and_fields_that_are_no_options_pass(given: dict[str, object]) -> None:
    assert Some(**given)


@pytest.mark.parametrize("options", [Job, *METHODS.values()], ids=lambda options: options.__name__)
def test_every_field_is_an_option_with_help_and_its_default_is_allowed(options: type) -> None:
    options()
    for item in fields(options):
        assert item.metadata["help"].strip(), item.name
        if item.default is not None and item.metadata["choices"]:
            assert item.default in item.metadata["choices"]


def test_the_kind_of_a_field_follows_from_its_annotation_however_it_is_written() -> None:
    kinds = {name: kind_of(Annotated, name) for name in ("count", "share", "near", "far", "flag", "name", "names")}
    assert kinds == {
        "count": Kind(int, True),
        "share": Kind(float, True),
        "near": Kind(str, False, ("near", "far")),
        "far": Kind(str, True, ("near", "far")),
        "flag": Kind(bool),
        "name": Kind(str),
        "names": Kind(str, repeated=True),
    }
    assert choices_of(Annotated, "far") == ("near", "far")
    assert choices_of(Some, "word") == ("near", "far")
    with pytest.raises(TypeError, match=r"Annotated\.paths is .*; expected bool, int"):
        kind_of(Annotated, "paths")


def test_an_option_that_was_added_later_counts_with_its_default_where_a_record_lacks_it() -> None:
    """So a run that was begun without it can be resumed; any other value of it is a difference."""

    @dataclass(frozen=True)
    class Grown:
        steps: int = option(3, "steps")
        slope: float = option(1.0, "younger", added_in="0.2")

    assert added_options(Grown) == {"slope": 1.0}
    added = {f"method_options.{name}": value for name, value in added_options(Grown).items()}
    old, new = {"method_options": {"steps": 3}}, {"method_options": asdict(Grown())}
    assert differences(old, new, added) == []
    assert differences(new, new, added) == []
    assert differences(old, {"method_options": asdict(Grown(slope=2.0))}, added) == ["method_options.slope: 1.0 there, 2.0 now"]
    assert differences(old, {"method_options": {"steps": 3}}, added) == []
    assert differences(old, new) == ["method_options.slope: absent there, 1.0 now"]


def test_a_rewritten_weight_file_is_the_same_weights() -> None:
    """A run that recorded an embedded file before its tensors were renamed resumes; the hashes are those of the files there are."""
    from erase.demo.worlds import KNOWN_MODELS
    from erase.files import sha256

    old, new = next(iter(REWRITTEN.items()))
    assert differences({"weights": {"a": old}}, {"weights": {"a": new}}) == []
    assert differences({"weights": {"a": new}}, {"weights": {"a": old}}) != []
    files = [known.pipeline / "text_encoder" / "model.safetensors" for known in map(KNOWN_MODELS.__getitem__, ("demo", "scenes"))]
    files.append(KNOWN_MODELS["demo"].gold("heart") / "pipeline" / "text_encoder" / "model.safetensors")
    assert {sha256(file) for file in files} == set(REWRITTEN.values())


@pytest.mark.parametrize("name", ["learning_rate", "guard", "cross_attention_rate"])
def test_rates_and_limits_end_where_nothing_can_be_meant_by_more(name: str) -> None:
    """A rate of 10,000 moves every weight by more than it is; 1e38 was a slip that ended hours later, in a loss that is not finite."""
    bound = {"guard": 1000.0}.get(name, 1e4)
    for value in (1e-8, bound):
        assert getattr(METHODS["scissorhands"](**{name: value}), name) == value
    for value in (bound * 1.001, 1e38):
        with pytest.raises(InputError, match=f"^--{name.replace('_', '-')} is .*; expected at most {bound}$"):
            METHODS["scissorhands"](**{name: value})


ALL = [Job, Campaign, Classify, Evaluation, Relearning, Generation, *METHODS.values(), *CLASSIFIER_METHODS.values()]


@pytest.mark.parametrize("options", ALL, ids=lambda options: options.__name__)
def test_every_number_has_bounds_at_both_ends_which_are_themselves_allowed(options: type) -> None:
    for item in (item for item in fields(options) if "help" in item.metadata):
        kind = kind_of(options, item.name).type
        if kind not in (int, float):
            continue
        low, above, high = bounds_of(item, kind is float)
        assert (low is None) != (above is None), f"{item.name} has no lower bound"
        least = kind(low) if low is not None else math.nextafter(above, math.inf) if kind is float else above + 1
        most = kind(high)
        for value in (least, most):
            check_value(item, value)
        below = (math.nextafter(least, -math.inf) if kind is float else least - 1) if low is not None else above
        for value in (
            below,
            math.nextafter(most, math.inf) if kind is float else most + 1,
            *([math.nan, math.inf] if kind is float else []),
        ):
            with pytest.raises(InputError, match=rf"^--{item.name.replace('_', '-')} is .*; expected") as caught:
                check_value(item, value)
            assert caught.value.option == item.name
            assert len(str(caught.value)) < 200


@pytest.mark.parametrize("options", ALL, ids=lambda options: options.__name__)
def test_a_text_is_not_empty_and_is_text(options: type) -> None:
    for item in fields(options):
        if "help" not in item.metadata or kind_of(options, item.name).type is not str or item.metadata["choices"]:
            continue
        for text in ("", " ", "a\0b", "\udcff", "x" * 10_001):
            repeated = kind_of(options, item.name).repeated
            value = (text,) if repeated else text
            if text != item.default and (text.strip() or not repeated):
                with pytest.raises(InputError):
                    check_value(item, value)


@pytest.mark.parametrize("device", ["auto", "cpu", "cpu:0", "cuda", "cuda:0", "cuda:12", "mps"])
def test_names_of_devices(device: str) -> None:
    check_device(device)
    assert Job(device=device)


@pytest.mark.parametrize("device", ["", "x", "cuda:-1", "cuda:1000", "cuda:a", "cuda:", "CPU", "cpu:1", "cuda:0 ", "meta"])
def test_what_is_no_device_is_refused_before_torch_is_asked(device: str) -> None:
    for options in (Job, Evaluation, Classify, Generation):
        with pytest.raises(InputError, match="--device"):
            options(device=device)
