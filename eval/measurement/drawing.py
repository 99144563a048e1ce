"""How the images of a measurement are drawn: the noise they start from, and samplers that load a model when they are first used."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from erase.diffusion import StableDiffusion
from erase.errors import InputError
from erase.files.disk import disk_errors
from erase.images import Sample
from erase.task import generator

SEED = 1_000_003  # not the noise of any training images
NOISE: dict[str, Callable[[int, int], torch.Generator]] = {
    "seed and index": lambda seed, index: generator(seed, "picture", index),
    "seed alone": lambda seed, index: torch.Generator().manual_seed(seed),
}


def samplers(model: StableDiffusion, sampling: Mapping[str, Any]) -> Callable[[float], Sample]:
    """Samplers by guidance scale, which load the model on their first call, so not at all where every image exists."""
    negative = [sampling["negative"]] if sampling.get("negative") else []

    def sampler(guidance: float) -> Sample:
        return lambda texts, generators: model.sampler(sampling["steps"], guidance, sampling["scheduler"], *negative)(texts, generators)

    return sampler


def nothing(texts: list[str], generators: Any) -> Any:
    """The sampler of a set of which every image exists."""
    raise InputError(f"{len(texts)} images are missing after all were generated; is another program writing to the folder?")


def copy_images(source: Path, folder: Path) -> None:
    """A copy of an image set, whole or not at all."""
    part = folder.with_name(f".{folder.name}.part")
    with disk_errors(folder):
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(source, part)
        part.rename(folder)
