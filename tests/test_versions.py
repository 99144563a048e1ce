"""`make test-versions` takes what pyproject.toml says: every lower bound as the oldest version, torch and torchvision as one pair."""

from __future__ import annotations

import pytest
import versions

PROJECT = versions.project()


@pytest.mark.parametrize(
    ("requirement", "pin"),
    [
        ("torch>=2.4", "torch==2.4"),
        ("nudenet>=3.4.2,<4", "nudenet==3.4.2"),
        ("open-clip-torch <5, >= 3", "open-clip-torch==3"),
        ("tomli>=2.0; python_version < '3.11'", "tomli==2.0; python_version < '3.11'"),
    ],
)
def test_the_oldest_version_is_the_lower_bound(requirement: str, pin: str) -> None:
    assert versions.oldest(requirement) == pin


def test_a_requirement_without_a_lower_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="tqdm<5"):
        versions.oldest("tqdm<5")


def test_every_requirement_has_a_lower_bound_and_the_extras_bring_what_they_need() -> None:
    pins = {pin.partition("==")[0] for pin in map(versions.oldest, versions.requirements(PROJECT))}
    assert {"torch", "torchvision", "diffusers", "gradio", "torchmetrics", "nudenet"} <= pins


def test_a_package_has_one_lower_bound_in_all_extras() -> None:
    lines = [line for table in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()) for line in table]
    assert len(set(lines)) == len({versions.name_of(line) for line in lines})


def test_the_newest_pair_is_installed_before_everything_else() -> None:
    first, *_ = versions.installs("newest", versions.requirements(PROJECT))
    assert first[-2:] == ["torch", "torchvision"]
