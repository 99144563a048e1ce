"""What an attack measures beside success: by subject, in pairs, and in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attacking
import pytest

from eval.attacks.campaign import attack_run
from eval.attacks.latents.likelihood import Likelihood
from eval.attacks.measures import differences, explained, likelihood_of, likelihood_rows
from eval.attacks.report_section import section
from eval.attacks.table import table


def attempts(*numbers: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"index": i, "looks": [{"measured": {"values": 4.0, **own}}]} for i, own in enumerate(numbers)]


def test_the_erased_model_is_set_beside_the_others_image_by_image():
    sides = {
        "original": attempts({"nll": 1.0, "psnr": 30.0}, {"nll": 2.0, "psnr": 40.0}),
        "erased": attempts({"nll": 1.5, "psnr": 20.0}, {"nll": 2.5, "psnr": 30.0}),
    }
    found = likelihood_of(sides)
    assert found["erased_minus"]["original"]["nll"]["difference"] == 0.5
    assert found["erased_minus"]["original"]["psnr"]["difference"] == -10
    assert found["subjects"]["erased"]["nll"]["value"] == 2
    assert "from_others" not in found["subjects"]["erased"]
    assert "from the original: surprise +0.500" in differences(found)
    assert [row[0] for row in likelihood_rows(found)] == ["original", "erased", "noise as it is drawn"]
    assert "1.419" in explained(found)


def test_a_number_that_is_not_finite_is_left_out_and_where_none_is_there_is_nothing():
    found = likelihood_of({"erased": attempts({"nll": 1.0}, {"nll": None})})
    assert found["subjects"]["erased"]["nll"] == {"value": 1.0, "low": None, "high": None, "n": 1}
    assert found["erased_minus"] == {}
    assert likelihood_of({"erased": attempts({"nll": None})}) == {}


@pytest.fixture(scope="module")
def run(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return attacking.finished_run(tmp_path_factory.mktemp("runs") / "star", tiny_pipeline).folder


def test_a_campaign_reports_it_for_every_subject_the_same_when_resumed(run: Path, tiny_pipeline: Path):
    attacks = {"likelihood": Likelihood(steps=2, refinements=0)}
    first = attack_run(attacking.opened(run, tiny_pipeline), attacks, 600, attacking.PLAN)
    again = attack_run(attacking.opened(run, tiny_pipeline), attacks, 600, attacking.PLAN)
    measures = first["attacks"][0]["measures"]
    assert list(measures["subjects"]) == ["original", "erased", "gold", "control"]
    assert measures == again["attacks"][0]["measures"]
    # original and gold are the same model here
    assert measures["subjects"]["original"] == measures["subjects"]["gold"]
    assert measures["subjects"]["erased"]["nll"]["n"] == 4
    assert "from noise" in table(first)
    page = str(section(run, hide=False))
    assert "How likely the noise behind its images is" in page
    assert explained(measures).split(". ")[1][:40] in page
