"""The noise process: read from the scheduler's configuration, the same for drawing and for repair, or refused."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from wild_folders import copied, settings

from erase.checkpoints.check.noise import RESCALING, SCHEDULERS, noise_from, noise_of
from erase.checkpoints.folder import check_model_folder
from erase.diffusion import open_model
from erase.errors import InputError

CONFIG = "scheduler/scheduler_config.json"
NEEDS_TORCHSDE = "DPMSolverSDEScheduler"


def with_scheduler(folder: Path, target: Path, kind: str, **values: Any) -> Path:
    """A copy with this scheduler, made from the folder's configuration."""
    return copied(folder, target, settings("model_index.json", scheduler=["diffusers", kind]), settings(CONFIG, _class_name=kind, **values))


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_what_a_file_leaves_out_is_the_default_of_its_class(kind: str) -> None:
    import diffusers

    if kind == NEEDS_TORCHSDE:
        pytest.importorskip("torchsde")
    parameters = inspect.signature(getattr(diffusers, kind).__init__).parameters
    default = {name: p.default for name, p in parameters.items()}
    assert SCHEDULERS[kind] == (default["beta_start"], default["beta_end"], default["beta_schedule"])
    assert default["num_train_timesteps"] == noise_from(kind, {}).steps
    assert default["prediction_type"] == noise_from(kind, {}).prediction
    if kind in RESCALING and kind != "UniPCMultistepScheduler":  # older versions of which lack it
        assert default["rescale_betas_zero_snr"] is False
    if kind not in RESCALING:
        assert "rescale_betas_zero_snr" not in default


@pytest.mark.parametrize("flags", [{}, {"rescale_betas_zero_snr": True}, {"beta_start": ..., "beta_end": ..., "beta_schedule": ...}])
@pytest.mark.parametrize("kind", [kind for kind in SCHEDULERS if kind != NEEDS_TORCHSDE])
def test_repair_adds_noise_as_the_scheduler_draws(
    kind: str, flags: dict[str, Any], family_folders: dict[str, Path], tmp_path: Path
) -> None:
    """Whatever a class does with the configuration, it does for both."""
    import diffusers

    folder = with_scheduler(family_folders["sd1"], tmp_path / "model", kind, prediction_type="v_prediction", **flags)
    check_model_folder(folder)
    draws = getattr(diffusers, kind).from_pretrained(folder, subfolder="scheduler")
    process = open_model(folder).noise_scheduler()
    assert torch.equal(process.alphas_cumprod, draws.alphas_cumprod)
    assert process.config.prediction_type == draws.config.prediction_type == "v_prediction"
    assert noise_of(folder).zero_snr == bool(process.alphas_cumprod[-1] < 1e-6)
    image, noise, step = torch.ones(1, 4, 2, 2), torch.zeros(1, 4, 2, 2), torch.tensor([500])
    assert torch.allclose(process.add_noise(image, noise, step), draws.alphas_cumprod[500].sqrt() * image)


@pytest.mark.parametrize(
    ("kind", "steps", "guidance"), [*((kind, 3, 2.0) for kind in SCHEDULERS if kind != NEEDS_TORCHSDE), ("turbo", 1, 0.0)]
)
def test_a_folder_with_any_of_them_draws(kind: str, steps: int, guidance: float, family_folders: dict[str, Path], tmp_path: Path) -> None:
    """`turbo`: one step without guidance, as models distilled for it are used."""
    turbo = {"timestep_spacing": "trailing"} if kind == "turbo" else {}
    name = "EulerAncestralDiscreteScheduler" if turbo else kind
    folder = with_scheduler(family_folders["sdxl" if turbo else "sd1"], tmp_path / "model", name, **turbo)
    check_model_folder(folder)
    (image,) = open_model(folder).sampler(steps, guidance)(["a star"], [torch.Generator().manual_seed(0)])
    assert image.size == (64, 64)
    assert len(set(image.getdata())) > 1


def test_the_betas_that_a_file_lists_are_used(family_folders: dict[str, Path], tmp_path: Path) -> None:
    betas = torch.linspace(0.001, 0.02, 1000).tolist()
    folder = copied(family_folders["sd1"], tmp_path / "model", settings(CONFIG, trained_betas=betas))
    check_model_folder(folder)
    assert torch.allclose(open_model(folder).noise_scheduler().betas, torch.tensor(betas))


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (
            "EDMDPMSolverMultistepScheduler",
            {},
            r"scheduler is of the class .* \(a model of the EDM kind, trained under another noise process",
        ),
        ("EDMEulerScheduler", {}, "a model of the EDM kind"),
        ("FlowMatchEulerDiscreteScheduler", {}, r"\(a flow-matching model, trained under another noise process"),
        ("IPNDMScheduler", {}, "expected diffusers.one of"),
        (
            "DPMSolverMultistepScheduler",
            {"use_flow_sigmas": True},
            "has use_flow_sigmas True: a flow-matching model, which is not supported",
        ),
        ("EulerDiscreteScheduler", {"timestep_type": "continuous"}, r"trained under continuous noise levels \(EDM\)"),
        ("UniPCMultistepScheduler", {"prediction_type": "flow_prediction"}, "predicts 'flow_prediction'; supported are epsilon and v_pred"),
        ("PNDMScheduler", {"prediction_type": "sample"}, "predicts 'sample'; supported are epsilon and v_prediction"),
        ("DDIMScheduler", {"prediction_type": ["epsilon"]}, "predicts"),
        ("DDIMScheduler", {"beta_schedule": "cosine"}, "has the beta_schedule 'cosine'; expected one of linear, scaled_linear"),
        ("DDIMScheduler", {"beta_end": float("nan")}, "has nan in beta_end; expected numbers above 0"),
        ("DDIMScheduler", {"beta_start": "0.1"}, "has '0.1' in beta_start"),
        ("DDIMScheduler", {"num_train_timesteps": 10**9}, "has num_train_timesteps 1000000000; expected a whole number from 2"),
        ("DDIMScheduler", {"num_train_timesteps": True}, "has num_train_timesteps True"),
        ("DDIMScheduler", {"trained_betas": [0.1, 0.2]}, "has 2 trained_betas for 1000 num_train_timesteps"),
        ("DDIMScheduler", {"trained_betas": [0.1, -0.2]}, "has -0.2 in trained_betas"),
        ("DDIMScheduler", {"trained_betas": 5}, "has 5 in trained_betas; expected a list"),
    ],
)
def test_another_process_is_refused_before_anything(
    kind: str, values: dict[str, Any], message: str, family_folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = with_scheduler(family_folders["sdxl"], tmp_path / "model", kind, **values)
    with pytest.raises(InputError, match=message) as caught:
        check_model_folder(folder)
    assert "\n" not in str(caught.value)
