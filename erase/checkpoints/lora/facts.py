"""The metadata of files beside a model: what programs show of a LoRA, and where the file comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, uint8

from erase.checkpoints.check.noise import noise_of
from erase.checkpoints.folder import edited_part, network_hash, read_provenance
from erase.checkpoints.lora.names import TITLES
from erase.checkpoints.transformer.names import LAYERS
from erase.checkpoints.transformer.pack import architecture

COUNT = "layers_in_file"  # by which a file that lost some is recognised
BASE = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0", "sd3": "sd3_m", "flux": "flux1"}
ARCHITECTURE = {"sd1": "stable-diffusion-v1", "sdxl": "stable-diffusion-xl-v1-base"}
NO_PROTECTION = (
    "An addition to a model takes nothing out of it: whoever has the original leaves this file out. Not a proof of absence: other words, "
    "adversarial prompts or further training may restore the concept."
)


def facts_of(original: Path, erased: Path, family: str, form: str) -> dict[str, str]:
    """What a file of this form says of itself: ModelSpec's entries, kohya's names of base models, and the erased model's provenance."""
    provenance = read_provenance(erased)
    concept, source = provenance.get("concept", "a concept"), provenance.get("source", original.name)
    kind = "difference" if form == "difference" else "lora"
    prediction = noise_of(original).prediction if family in ("sd1", "sd2", "sdxl") else ""
    about = f"{source} with the concept {concept!r} erased, as an addition to {TITLES[family]}. {NO_PROTECTION}"
    return {
        **provenance,
        "addition_to_sha256": network_hash(edited_part(original)),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{_architecture(original, family, prediction)}/{kind}",
        "modelspec.implementation": "diffusers" if form == "diffusers-lora" else "https://github.com/kohya-ss/sd-scripts",
        "modelspec.title": f"{source} without {concept}",
        "modelspec.description": about,
        **({"modelspec.prediction_type": "v" if prediction == "v_prediction" else prediction} if prediction else {}),
        "ss_base_model_version": BASE[family],
        "ss_v2": str(family == "sd2"),
        "ss_training_comment": about,
    }


def _architecture(original: Path, family: str, prediction: str) -> str:
    if family in LAYERS:
        return architecture(original, family)
    if family == "sd2":
        return "stable-diffusion-v2-768-v" if prediction == "v_prediction" else "stable-diffusion-v2-512"
    return ARCHITECTURE[family]


def network_facts(ranks: Mapping[str, int], alpha: float, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """kohya's entries about the network: its dimension (`Dynamic` where layers differ), its alpha, and the hash by which A1111 knows it."""
    values = set(ranks.values())
    dimension = str(values.pop()) if len(values) == 1 else "Dynamic"
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].contiguous().reshape(-1).view(uint8).numpy().data)
    return {
        "ss_network_module": "networks.lora",
        "ss_network_dim": dimension,
        "ss_network_alpha": f"{alpha:g}",
        "ss_network_args": json.dumps({}),
        "sshs_model_hash": digest.hexdigest(),
    }
