"""Attacks on the weights of a run that changed the text encoder: they go to that, and put the original's back."""

from __future__ import annotations

from pathlib import Path

import attacking
import pytest
import torch

from erase.checkpoints.export import export
from erase.diffusion import open_model
from erase.task import generator
from eval.attacks.registry import ATTACKS, lacking
from eval.attacks.setting import ERASED, setting_of
from eval.attacks.weights.interpolate import Interpolate
from eval.attacks.weights.quantise import Quantise
from eval.attacks.weights.restore import Restore

PROMPTS = ["a red star", "a ring"]


@pytest.fixture(scope="module")
def erased(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline with noise on the text encoder's MLPs."""
    encoder = open_model(tiny_pipeline).pipeline.text_encoder
    noisy = {
        f"text_encoder.{name}": weight + 0.3 * torch.randn(weight.shape, generator=generator(name))
        for name, weight in encoder.named_parameters()
        if ".mlp." in name
    }
    return export(tiny_pipeline, noisy, tmp_path_factory.mktemp("erased") / "model", {"concept": "star", "method": "munba"})


@pytest.mark.parametrize("attack", [Restore(fractions=(1.0,)), Interpolate(shares=(1.0,))])
def test_the_originals_text_encoder_comes_back(attack: Restore, erased: Path, tiny_pipeline: Path, tmp_path: Path) -> None:
    victim, original = attacking.victim(erased, tiny_pipeline), open_model(tiny_pipeline)
    assert not torch.allclose(victim.embed(PROMPTS).text, original.embed(PROMPTS), atol=1e-3)
    [look] = attack(victim, attacking.goal(tmp_path), [0], 0)
    assert len(look.images) == 1
    assert torch.equal(victim.embed(PROMPTS).text, original.embed(PROMPTS))


def test_rounding_is_of_the_part_that_was_changed(erased: Path, tmp_path: Path) -> None:
    victim = attacking.victim(erased)
    unet, text = ([weight.detach().clone() for weight in part.parameters()] for part in (victim.network, victim.changed))
    list(Quantise(bits=(4,))(victim, attacking.goal(tmp_path), [0], 0))
    assert all(torch.equal(a, b) for a, b in zip(unet, victim.network.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(text, victim.changed.parameters(), strict=True))


def test_fine_tuning_of_what_moved_is_left_out_with_the_reason(erased: Path, tiny_pipeline: Path, tmp_path: Path) -> None:
    run = attacking.finished_run(tmp_path / "run", tiny_pipeline).folder
    assert "network" not in setting_of(run, "cpu").missing
    (run / "model").rename(run / "old")
    (run / "model").symlink_to(erased)
    setting = setting_of(run, "cpu")
    assert setting.models[ERASED] == run / "model"
    why = lacking(ATTACKS["revive"], {"network": setting.missing["network"]})
    assert why is not None
    assert why.startswith(
        "needs a UNet or transformer that the erasure changed: the run changed text_encoder and left the network as it was"
    )
