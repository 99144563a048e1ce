"""The model families that a single file may hold, recognised by the names and shapes of its tensors.

A single file has no configuration. Widths and depths follow from the shapes; what shapes cannot tell (attention heads, scale of
the latents, noise schedule) is fixed by the family. No weights are read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from erase.checkpoints.weight_names import (
    UNET,
    VAE,
    Tensors,
    clip_to_folder,
    count,
    open_clip_to_file,
    open_clip_to_folder,
    under,
    unet_to_file,
    unet_to_folder,
    vae_to_file,
    vae_to_folder,
)
from erase.errors import InputError

WHOLE = "give a checkpoint with UNet, autoencoder and text encoder"


@dataclass(frozen=True)
class Family:
    """`text`: part of the folder -> prefix in the file; `heads`: channels per attention head, None for 8 heads everywhere."""

    title: str
    pipeline: str
    text: Mapping[str, str]
    heads: int | None
    scaling: float
    sizes: Mapping[str, int]
    specification: Mapping[str, str]
    scheduler: Mapping[str, Any]


CLIP_LARGE = {"vocab_size": 49408, "hidden_size": 768, "num_hidden_layers": 12, "max_position_embeddings": 77}
TEXT_ENCODERS = {  # what every program expects in a single file of a family, because the file has no configuration
    "sd1": {"text_encoder": CLIP_LARGE},
    "sd2": {"text_encoder": {**CLIP_LARGE, "hidden_size": 1024, "num_hidden_layers": 23}},
    "sdxl": {"text_encoder": CLIP_LARGE, "text_encoder_2": {**CLIP_LARGE, "hidden_size": 1280, "num_hidden_layers": 32}},
}
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000, "steps_offset": 1}
FAMILIES = {
    "sd1": Family(
        "Stable Diffusion 1.x", "StableDiffusionPipeline", {"text_encoder": "cond_stage_model.transformer."}, None, 0.18215,
        {"epsilon": 512, "v_prediction": 512}, {"epsilon": "stable-diffusion-v1", "v_prediction": "stable-diffusion-v1"},
        {"_class_name": "PNDMScheduler", **NOISE, "skip_prk_steps": True, "set_alpha_to_one": False},
    ),
    "sd2": Family(
        "Stable Diffusion 2.x", "StableDiffusionPipeline", {"text_encoder": "cond_stage_model.model."}, 64, 0.18215,
        {"epsilon": 512, "v_prediction": 768}, {"epsilon": "stable-diffusion-v2-512", "v_prediction": "stable-diffusion-v2-768-v"},
        {"_class_name": "DDIMScheduler", **NOISE, "clip_sample": False, "set_alpha_to_one": False},
    ),
    "sdxl": Family(
        "Stable Diffusion XL", "StableDiffusionXLPipeline",
        {"text_encoder": "conditioner.embedders.0.transformer.", "text_encoder_2": "conditioner.embedders.1.model."}, 64, 0.13025,
        {"epsilon": 1024, "v_prediction": 1024},
        {"epsilon": "stable-diffusion-xl-v1-base", "v_prediction": "stable-diffusion-xl-v1-base"},
        {"_class_name": "EulerDiscreteScheduler", **NOISE, "timestep_spacing": "leading"},
    ),
}  # fmt: skip
OTHER_FILES = {  # a part of some tensor name -> what such a file is
    r"lora_|\.lora\.|hada_w1|lokr_w1|\.oft_": "a LoRA, an addition to a model; merge it into its model, or give the model",
    r"emb_params|string_to_param": "a textual inversion, a word for a model; give the model",
    r"control_model\.|controlnet_": f"a ControlNet, an addition to a model; {WHOLE}",
    r"^(transformer_blocks|single_transformer_blocks)\.": "the transformer of a diffusers folder alone; give the whole folder",
    r"^(down_blocks|mid_block|up_blocks)\.": "the UNet of a diffusers folder alone; give the whole folder",
    r"^text_model\.": f"a text encoder alone; {WHOLE}",
    r"^(encoder|decoder)\.(down|up|mid)": f"an autoencoder alone; {WHOLE}",
}
EDM = {  # tensors that mark a model trained under continuous noise levels
    "edm_mean": "Playground 2.5", "edm_std": "Playground 2.5", "edm_vpred.sigma_max": "CosXL", "edm_vpred.sigma_min": "CosXL",
}  # fmt: skip
RECORDED = {  # what files call it -> what a scheduler calls it
    "v": "v_prediction", "v_prediction": "v_prediction", "v-prediction": "v_prediction", "vpred": "v_prediction",
    "epsilon": "epsilon", "eps": "epsilon",
}  # fmt: skip
CHANNELS = {9: "an inpainting model", 8: "an image editing model (InstructPix2Pix)", 7: "an upscaler", 5: "a depth-conditioned model"}


def recognise(tensors: Tensors, label: str) -> str:
    """The name in FAMILIES for a single file's tensors; InputError that begins with `label` and names what it is instead."""
    if UNET + "input_blocks.0.0.weight" not in tensors:
        raise InputError(f"{label} is {_other_file(tensors)}")
    channels = tensors[UNET + "input_blocks.0.0.weight"].shape[1]
    if channels != 4:
        kind = CHANNELS.get(channels, f"a model whose UNet has {channels} input channels")
        raise InputError(f"{label} is {kind}, which is not supported; give the model that generates from a prompt alone")
    prefixes = {prefix for family in FAMILIES.values() for prefix in family.text.values() if under(tensors, prefix)}
    class_embedding = tensors.get(UNET + "label_emb.0.0.weight")
    if under(tensors, "conditioner.embedders.0.model."):
        raise InputError(f"{label} is a refiner of Stable Diffusion XL, which is not supported; give the base model")
    name = next((name for name, family in FAMILIES.items() if prefixes and set(family.text.values()) <= prefixes), None)
    if name is None:
        raise InputError(f"{label} {_without_text(tensors, prefixes)}; {WHOLE}")
    if marks := [mark for mark in EDM if mark in tensors]:
        raise InputError(f"{label} is a model of the EDM kind ({EDM[marks[0]]}), which is not supported; give one of Stable Diffusion XL")
    if name == "sd2" and class_embedding is not None:
        raise InputError(f"{label} starts from images (unCLIP of Stable Diffusion 2.1), not supported; give the base model")
    if not under(tensors, VAE):
        raise InputError(f"{label} is {FAMILIES[name].title} without its autoencoder; {WHOLE}")
    if not all(tensor.dtype.itemsize >= 2 for tensor in tensors.values()):
        raise InputError(f"{label} has 8-bit weights; give a checkpoint in float16, bfloat16 or float32")
    return name


def _other_file(tensors: Tensors) -> str:
    for pattern, description in OTHER_FILES.items():
        if any(re.search(pattern, name) for name in tensors):
            return description
    if under(tensors, VAE):
        return f"an autoencoder alone; {WHOLE}"
    beginnings = Counter(".".join(name.split(".")[:2]) for name in tensors)
    most_common = ", ".join(f"{name} ({n})" for name, n in beginnings.most_common(4)) or "nothing"
    return f"of an unknown layout: its {len(tensors)} tensors begin with {most_common}; give one of Stable Diffusion 1.x, 2.x or XL"


def _without_text(tensors: Tensors, prefixes: set[str]) -> str:
    if UNET + "label_emb.0.0.weight" in tensors:
        absent = [part for part, prefix in FAMILIES["sdxl"].text.items() if prefix not in prefixes]
        return f"is a UNet of Stable Diffusion XL without {' and '.join(absent)}"
    widths = {t.shape[1] for name, t in tensors.items() if name.startswith(UNET) and name.endswith("attn2.to_k.weight")}
    version = {768: " 1.x", 1024: " 2.x"}.get(max(widths, default=0), "")
    return f"is a UNet of Stable Diffusion{version} without its text encoder"


def prediction_of(tensors: Tensors, facts: Mapping[str, str], family: str, requested: str | None, label: str) -> str:
    """The prediction type: what the file says of itself, else the user's option, else what its family always has.

    InputError where the option contradicts the file, where the file contradicts itself, and for another type.
    """
    signs = _signs(tensors, facts, label)
    predictions = set(signs.values())
    if len(predictions) > 1 and requested is None:
        both = " and ".join(f"{prediction} ({sign})" for sign, prediction in signs.items())
        raise InputError(f"{label} says both {both}; give --prediction-type epsilon or v_prediction", option="prediction_type")
    if requested is not None and predictions and requested not in predictions:
        sign, own = next(iter(signs.items()))
        message = f"--prediction-type {requested} contradicts {label}, which is a model of {own} ({sign}); leave the option out"
        raise InputError(message, option="prediction_type")
    prediction = requested or next(iter(predictions), None)
    if prediction is None and family == "sd2":
        raise InputError(
            f"{label} does not record its prediction type; give --prediction-type v_prediction (most models of 768 pixels) or epsilon "
            "(most of 512)",
            option="prediction_type",
        )
    return prediction or "epsilon"


def _signs(tensors: Tensors, facts: Mapping[str, str], label: str) -> dict[str, str]:
    """Where a file says what it predicts -> what; InputError for a type that is not supported."""
    signs = {"its tensor v_pred": "v_prediction"} if "v_pred" in tensors else {}
    recorded = facts.get("modelspec.prediction_type", "").strip().lower()
    if recorded and recorded not in RECORDED:
        raise InputError(f"{label} predicts {recorded[:40]!r} (modelspec.prediction_type); supported are epsilon and v_prediction")
    if recorded:
        signs["modelspec.prediction_type"] = RECORDED[recorded]
    architecture = facts.get("modelspec.architecture", "")
    for name, prediction in (("stable-diffusion-v2-768-v", "v_prediction"), ("stable-diffusion-v2-512", "epsilon")):
        if architecture == name and not recorded:
            signs["modelspec.architecture"] = prediction
    return signs


def size_of(facts: Mapping[str, str], family: str, prediction: str) -> tuple[int, int]:
    """Height and width of the images in pixels."""
    recorded = re.fullmatch(r"(\d{1,5})x(\d{1,5})", facts.get("modelspec.resolution", ""))
    width, height = (int(side) for side in recorded.groups()) if recorded else (0, 0)
    usual = FAMILIES[family].sizes[prediction]
    return (height, width) if width and height and width % 8 == height % 8 == 0 else (usual, usual)


def to_folder(tensors: Tensors, family: str) -> dict[str, dict[str, Any]]:
    """Part -> its tensors under the names of diffusers and transformers."""
    parts = {"unet": unet_to_folder(under(tensors, UNET)), "vae": vae_to_folder(under(tensors, VAE))}
    for part, prefix in FAMILIES[family].text.items():
        own = under(tensors, prefix)
        parts[part] = open_clip_to_folder(own, _used(own, family)) if prefix.endswith(".model.") else clip_to_folder(own)
    return parts


def _used(tensors: Tensors, family: str) -> int:
    """Blocks of OpenCLIP that are used: Stable Diffusion 2 reads the last but one, so folders omit the last."""
    blocks = count(tensors, r"transformer\.resblocks\.(\d+)\.")
    whole = 23 if tensors["positional_embedding"].shape[1] == 1024 else blocks  # some converters omit it themselves
    omitted = family == "sd2" and not (whole == 23 and blocks == 23)
    return blocks - 1 if omitted else blocks


def to_file(parts: Mapping[str, Tensors], family: str) -> dict[str, Any]:
    """A folder's parts -> the tensors of a single file."""
    tensors = {UNET + name: tensor for name, tensor in unet_to_file(parts["unet"]).items()}
    tensors |= {VAE + name: tensor for name, tensor in vae_to_file(parts["vae"]).items()}
    for part, prefix in FAMILIES[family].text.items():
        own = clip_to_folder(parts[part]) if part != "text_encoder_2" else dict(parts[part])
        if prefix.endswith(".model."):
            own = open_clip_to_file(own)
        if family == "sd2":
            own |= _last_again(own)
        tensors |= {prefix + name: tensor for name, tensor in own.items()}
    return tensors


def _last_again(tensors: Tensors) -> dict[str, Any]:
    """The block that Stable Diffusion 2 has but does not read: programs expect it, its content has no effect."""
    last = count(tensors, r"transformer\.resblocks\.(\d+)\.") - 1
    copied = under(tensors, f"transformer.resblocks.{last}.")
    return {f"transformer.resblocks.{last + 1}.{name}": tensor for name, tensor in copied.items()}
