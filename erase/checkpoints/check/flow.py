"""Pipeline folders of transformers that are trained by flow matching: their noise levels, and whether their parts fit one another."""

from __future__ import annotations

import math
from pathlib import Path

from erase.checkpoints.check.networks import part_config
from erase.checkpoints.folder import components, config_of
from erase.errors import InputError

OTHER_LEVELS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "invert_sigmas", "shift_terminal", "stochastic_sampling")
LARGEST_SHIFT = 100.0


def flow_of(folder: Path) -> tuple[int, float]:
    """Number of noise levels, and the shift that is built into them (1: none; a dynamic shift acts in sampling alone).

    InputError for impossible values, and for levels that are made in another way.
    """
    config = config_of(folder, "scheduler", "scheduler_config.json")
    levels, shift = config.get("num_train_timesteps", 1000), config.get("shift", 1.0)
    if type(levels) is not int or not 1 < levels <= 100_000:
        raise InputError(f"{folder}: its scheduler has num_train_timesteps {levels!r}; expected a whole number from 2 to 100000")
    if isinstance(shift, bool) or not isinstance(shift, int | float) or not math.isfinite(shift) or not 0 < shift <= LARGEST_SHIFT:
        raise InputError(f"{folder}: its scheduler has shift {shift!r}; expected a number above 0 and up to {LARGEST_SHIFT:g}")
    if other := [name for name in OTHER_LEVELS if config.get(name)]:
        raise InputError(f"{folder}: its scheduler has {other[0]}, which is not supported; give a model without it")
    return levels, 1.0 if config.get("use_dynamic_shifting") else float(shift)


def check_flow_fit(folder: Path, family: str) -> None:
    """InputError where the parts of a transformer's folder do not belong together."""
    (_check_flux if family == "FluxPipeline" else _check_sd3)(folder)


def _check_flux(folder: Path) -> None:
    own, latent = part_config(folder, "transformer"), part_config(folder, "vae")["latent_channels"]
    if own["in_channels"] != 4 * latent or (own["out_channels"] or own["in_channels"]) != 4 * latent:
        problem = f"its transformer reads {own['in_channels']} packed channels, and its autoencoder makes {latent}, packed {4 * latent}"
        raise InputError(f"{folder}: {problem}; give the model that generates from a prompt alone")
    if (pooled := part_config(folder, "text_encoder")["hidden_size"]) != own["pooled_projection_dim"]:
        problem = f"its transformer reads {own['pooled_projection_dim']} pooled values, and its text_encoder has {pooled}"
        raise InputError(f"{folder}: {problem}; give the text encoder that belongs to the transformer")
    check_t5(folder, "text_encoder_2", own["joint_attention_dim"])


def _check_sd3(folder: Path) -> None:
    own, vae = part_config(folder, "transformer"), part_config(folder, "vae")
    if not own["in_channels"] == own["out_channels"] == vae["latent_channels"]:
        problem = f"its transformer reads {own['in_channels']} channels and predicts {own['out_channels']}"
        raise InputError(f"{folder}: {problem}, and its autoencoder makes {vae['latent_channels']}; give another model")
    clip = [part_config(folder, part) for part in ("text_encoder", "text_encoder_2")]
    pooled, width = sum(config["projection_dim"] for config in clip), sum(config["hidden_size"] for config in clip)
    remedy = "give the text encoders that belong to the transformer"
    if pooled != own["pooled_projection_dim"]:
        problem = f"its transformer reads {own['pooled_projection_dim']} pooled values, and its text encoders have {pooled}"
        raise InputError(f"{folder}: {problem}; {remedy}")
    if width > own["joint_attention_dim"]:
        problem = f"its transformer reads text of the width {own['joint_attention_dim']}, and its two encoders of CLIP have {width}"
        raise InputError(f"{folder}: {problem}; {remedy}")
    check_t5(folder, "text_encoder_3", own["joint_attention_dim"])


def check_t5(folder: Path, part: str, width: int) -> None:
    """InputError where T5, if it is there, has another width, or where it and its tokenizer are not both there."""
    both = (part, part.replace("text_encoder", "tokenizer"))
    present = [name for name in both if name in components(folder)]
    if len(present) == 1:
        absent = next(name for name in both if name not in present)
        raise InputError(f"{folder} has {present[0]} without {absent}; give both, or neither")
    own = part_config(folder, part).get("d_model", 512) if present else width
    if own != width:
        raise InputError(f"{folder}: its transformer reads text of the width {width}, and {part} has {own}; give the one of this model")
