"""What a job with factors takes in memory on FLUX.1-dev and Stable Diffusion 3.5 medium, from their configurations alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from true_configs import flux_dev, sd35_medium

from erase.checkpoints.check.networks import number_of_weights
from erase.checkpoints.folder import check_model_folder
from erase.diffusion.memory import Question, plan
from erase.errors import InputError
from erase.pipeline import Job
from erase.pipeline.estimate import estimate, lines

GB = 10**9


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flux_dev(tmp_path_factory.mktemp("flux") / "FLUX.1-dev")


@pytest.fixture(scope="module")
def medium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sd35_medium(tmp_path_factory.mktemp("sd3") / "sd3.5-medium")


def test_the_configurations_describe_networks_of_the_published_sizes(dev: Path, medium: Path) -> None:
    assert number_of_weights(dev, "transformer") == pytest.approx(11.9e9, rel=0.01)
    assert number_of_weights(medium, "transformer") == pytest.approx(2.47e9, rel=0.02)
    assert number_of_weights(medium, "text_encoder_2") == pytest.approx(0.695e9, rel=0.01)
    assert number_of_weights(dev, "text_encoder_2") == pytest.approx(4.76e9, rel=0.01)


@pytest.mark.parametrize(("model", "most"), [("dev", 34), ("medium", 18)])
def test_a_job_with_factors_fits_a_card(model: str, most: int, request: pytest.FixtureRequest) -> None:
    """512 px, batch 4, bfloat16, rank 16, with gradient checkpointing: base in its dtype, factors, their optimizer and the passes."""
    folder = request.getfixturevalue(model)
    job = Job(
        ("star",), str(folder), dtype="bfloat16", size=512, sampling_batch=4, lora_rank=16, checkpointing=True, device="cpu", anchor="ring"
    )
    cost = estimate(job, {"batch": 4})
    assert 0 < cost.memory_bytes <= most * GB
    repair = {name: size for name, size in cost.memory_parts.items() if name != "drawing"}
    assert max(cost.memory_parts["drawing"], sum(repair.values())) == pytest.approx(cost.memory_bytes, abs=2)
    assert cost.memory_parts["weights"] == pytest.approx(2 * number_of_weights(folder, "transformer"), rel=0.02), "in its own dtype"
    assert (cost.seconds, cost.time) == (0, "not measured: this folder has no weights")
    assert "4 images at once with gradient checkpointing" in cost.memory
    assert "weights" in lines(cost)


def test_the_base_is_counted_in_its_dtype_and_the_factors_with_their_optimizer(tmp_path: Path) -> None:
    """One dual and one single block of FLUX.1-dev, by hand."""
    folder = flux_dev(tmp_path / "short", num_layers=1, num_single_layers=1)
    given: dict[str, Any] = {
        "folder": folder, "scope": "cross-attention", "optimizer": "adam", "batch": 1, "dtype": torch.bfloat16, "device": "cuda",
        "sampling_batch": 1, "side": 16, "micro_batch": 1, "checkpointing": True, "frozen": torch.bfloat16,
    }  # fmt: skip
    sides = 4 * (3072 + 3072) + (4096 + 3072) + (768 + 3072) + (3072 + 3072)  # attention, and where tokens and pooled text enter
    matrices = 4 * 3072 * 3072 + 3072 * 4096 + 3072 * 768 + 3072 * 3072
    scoped = matrices + 7 * 3072 + 2 * 128
    low, full = plan(Question(rank=16, **given), 1)[0], plan(Question(**given), 1)[0]
    assert (low.parts["optimizer"], full.parts["optimizer"]) == (8 * 16 * sides, 8 * scoped)
    base = 2 * number_of_weights(folder, "transformer")
    assert (low.parts["weights"], full.parts["weights"]) == (base + 4 * 16 * sides, base + 2 * scoped), "what is trained is in float32"
    scored = plan(Question(rank=16, scored="cross-attention", **given), 1)[0]
    assert scored.parts["scores and mask"] == 5 * matrices
    longer = 2 * number_of_weights(flux_dev(tmp_path / "longer", num_layers=2, num_single_layers=1), "transformer")
    block = longer - base + 4 * 16 * 4 * (3072 + 3072)
    two = plan(Question(rank=16, processes=2, **given), 1)[0]
    assert two.parts["weights"] == 4 * 16 * sides + base // 2 + 2 * block, "half of the base, and two blocks that are gathered"


def test_a_folder_without_weights_is_good_for_estimates_alone(dev: Path) -> None:
    check_model_folder(dev, weights=False)
    with pytest.raises(InputError, match=r"no weights|lacks its part"):
        check_model_folder(dev)
