"""Samplers: prompts and the generators of their noise -> images; all alike, or row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch
    from PIL import Image

SAMPLERS = {  # class of diffusers -> what A1111 and tools after it call it, where it is the same algorithm
    "DDIMScheduler": "DDIM",
    "DDPMScheduler": "DDPM",
    "DPMSolverMultistepScheduler": "DPM++ 2M",
    "DPMSolverSDEScheduler": "DPM++ SDE",
    "EulerAncestralDiscreteScheduler": "Euler a",
    "EulerDiscreteScheduler": "Euler",
    "HeunDiscreteScheduler": "Heun",
    "KDPM2AncestralDiscreteScheduler": "DPM2 a",
    "KDPM2DiscreteScheduler": "DPM2",
    "LCMScheduler": "LCM",
    "LMSDiscreteScheduler": "LMS",
    "PNDMScheduler": "PLMS",
    "UniPCMultistepScheduler": "UniPC",
}

Sample: TypeAlias = "Callable[[list[str], list[torch.Generator]], list[Image.Image]]"


@dataclass(frozen=True)
class ByRow:
    """Samplers of a set whose images are not all drawn alike: image i with samplers(values[i]), such as its own guidance scale.

    Images of a chunk that have the same value are drawn together, so a set with one value has the bytes of a plain sampler.
    """

    values: Sequence[float]
    samplers: Callable[[float], Sample]

    def of(self, chunk: Sequence[int]) -> Sample:
        """The sampler of a chunk of images."""
        own = [self.values[i] for i in chunk]

        def sample(prompts: list[str], generators: list[torch.Generator]) -> list[Image.Image]:
            images: dict[int, Image.Image] = {}
            for value in dict.fromkeys(own):
                rows = [k for k, other in enumerate(own) if other == value]
                drawn = self.samplers(value)([prompts[k] for k in rows], [generators[k] for k in rows])
                images |= dict(zip(rows, drawn, strict=True))
            return [images[k] for k in range(len(own))]

        return sample
