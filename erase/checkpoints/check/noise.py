"""The noise process that a model was trained under, read from its scheduler's configuration.

Drawing and repair use the same one: that of the scheduler's class, with the class's own defaults for what the file leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erase.checkpoints.folder import config_of, model_index
from erase.errors import InputError

PLAIN = (0.0001, 0.02, "linear")
K_DIFFUSION = (0.00085, 0.012, "linear")
LATENT_CONSISTENCY = (0.00085, 0.012, "scaled_linear")
SCHEDULERS: dict[str, tuple[float, float, str]] = {
    **dict.fromkeys(
        (
            "DDIMScheduler", "DDIMParallelScheduler", "DDPMScheduler", "DDPMParallelScheduler", "DEISMultistepScheduler",
            "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler",
            "LMSDiscreteScheduler", "PNDMScheduler", "SASolverScheduler", "UniPCMultistepScheduler",
        ),
        PLAIN,
    ),
    **dict.fromkeys(
        ("DPMSolverSDEScheduler", "HeunDiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler"), K_DIFFUSION
    ),
    **dict.fromkeys(("LCMScheduler", "TCDScheduler"), LATENT_CONSISTENCY),
}  # fmt: skip
"""Class -> the first and last beta and the schedule that it has without a configuration. Others add noise in another way."""
RESCALING = {
    "DDIMScheduler", "DDIMParallelScheduler", "DDPMScheduler", "DDPMParallelScheduler", "DPMSolverMultistepScheduler",
    "EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler", "LCMScheduler", "TCDScheduler", "UniPCMultistepScheduler",
}  # fmt: skip
"""Classes that can rescale the betas so that nothing of the image is left at the last step (zero terminal SNR)."""
SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
PREDICTIONS = ("epsilon", "v_prediction")
MAXIMUM_STEPS = 100_000
OTHER_PROCESSES = {
    "use_flow_sigmas": (True, "a flow-matching model"),
    "timestep_type": ("continuous", "trained under continuous noise levels (EDM)"),
}


@dataclass(frozen=True)
class Noise:
    """A schedule of betas, and what the network predicts: the noise (epsilon) or the velocity (v_prediction).

    `betas`, where the file lists them, replace start, end and schedule.
    """

    steps: int
    start: float
    end: float
    schedule: str
    betas: tuple[float, ...] | None
    prediction: str
    zero_snr: bool


def noise_of(folder: Path) -> Noise:
    """The noise process of a pipeline folder; InputError for one that is not a schedule of betas, and for impossible values."""
    kind = str(model_index(folder)["scheduler"][1])
    if kind not in SCHEDULERS:
        raise InputError(f"{folder} is trained by flow matching ({kind}), which has no schedule of betas and predicts velocities")
    try:
        return noise_from(kind, config_of(folder, "scheduler", "scheduler_config.json"))
    except ValueError as error:
        raise InputError(f"{folder}: its scheduler {error}") from None


def noise_from(kind: str, config: Mapping[str, Any]) -> Noise:
    """The noise process of a scheduler of the class `kind`; ValueError, with what follows `its scheduler`."""
    for name, (value, what) in OTHER_PROCESSES.items():
        if config.get(name) == value:
            raise ValueError(f"has {name} {value!r}: {what}, which is not supported; give a model with a schedule of betas")
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise ValueError(f"predicts {prediction!r}; supported are {' and '.join(PREDICTIONS)}")
    steps, start, end, schedule = (
        config.get(name, default)
        for name, default in zip(("num_train_timesteps", "beta_start", "beta_end", "beta_schedule"), (1000, *SCHEDULERS[kind]), strict=True)
    )
    if type(steps) is not int or not 1 < steps <= MAXIMUM_STEPS:
        raise ValueError(f"has num_train_timesteps {steps!r}; expected a whole number from 2 to {MAXIMUM_STEPS}")
    if schedule not in (*SCHEDULES, *(("sigmoid",) if kind.startswith("DDPM") else ())):
        raise ValueError(f"has the beta_schedule {schedule!r}; expected one of {', '.join(SCHEDULES)}")
    betas = config.get("trained_betas")
    if betas is not None and not isinstance(betas, list):
        raise ValueError(f"has {betas!r} in trained_betas; expected a list of numbers")
    for name, beta in (("beta_start", start), ("beta_end", end), *(("trained_betas", beta) for beta in betas or ())):
        if isinstance(beta, bool) or not isinstance(beta, int | float) or not math.isfinite(beta) or not 0 < beta <= 1:
            raise ValueError(f"has {beta!r} in {name}; expected numbers above 0 and up to 1")
    if betas is not None and len(betas) != steps:
        raise ValueError(f"has {len(betas)} trained_betas for {steps} num_train_timesteps; expected as many")
    zero_snr = bool(config.get("rescale_betas_zero_snr", False)) and kind in RESCALING
    return Noise(steps, float(start), float(end), schedule, None if betas is None else tuple(map(float, betas)), prediction, zero_snr)
