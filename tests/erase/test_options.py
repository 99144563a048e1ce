"""Options say in one line what was given, what was expected, and accept all that they promise."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest

from erase.errors import InputError
from erase.methods import METHODS
from erase.options import check, option, told
from erase.pipeline import Job


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


def test_a_late_option_is_told_of_a_run_only_where_it_says_something():
    """So a run that was begun without it goes on; where the preset has another value, the default says something."""

    @dataclass(frozen=True)
    class Grown:
        steps: int = option(3, "steps")
        slope: float = option(1.0, "younger", late=True)

    assert told(Grown(), {}) == told(Grown(slope=1.0), {"steps": 4}) == {"steps": 3}
    assert told(Grown(slope=2.0), {}) == {"steps": 3, "slope": 2.0}
    assert told(Grown(), {"slope": 2.0}) == {"steps": 3, "slope": 1.0}
