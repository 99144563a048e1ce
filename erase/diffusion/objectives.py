"""What a network was trained to do: the noise levels, how images are noised, and what is predicted at which level.

Levels are numbered from 0, the least noise. At every level x_t = a x + s n, of an image x and noise n. Denoising networks have a schedule
of alphas, a = sqrt(alpha_bar) and s = sqrt(1 - alpha_bar), and predict n or the velocity a n - s x (Salimans and Ho 2022). Flow matching
(Lipman et al. 2023; Liu et al. 2023) has a = 1 - s, and predicts the velocity n - x.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from erase.checkpoints.folder import scheduler_of
from erase.diffusion.prediction import denoising_target
from erase.torchvision_compat import check_torchvision

Density = Literal["uniform", "logit-normal"]


class Objective(Protocol):
    """What a family was trained with. Timesteps (n,) are what its network reads; latents are (n, c, h, w)."""

    @property
    def levels(self) -> int:
        """Number of noise levels."""

    def timesteps(self, numbers: Tensor) -> Tensor:
        """The timesteps of levels by number."""

    def draw(self, count: int, between: tuple[float, float], random: torch.Generator) -> Tensor:
        """`count` timesteps as training draws them, from a range in shares of the levels."""

    def noised(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noisy latents."""

    def target(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network is to predict for them."""

    def scales(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """The factors a of the image and s of the noise, (n,) each."""

    def scale(self, number: int) -> tuple[float, float]:
        """The same of one level; of -1, the clean image, they are 1 and 0."""

    def hides(self, timesteps: Tensor, ratio: float) -> Tensor:
        """Whether the noise-to-signal ratio s / a exceeds `ratio` (n,)."""

    def implied(self, noisy: Tensor, predicted: Tensor, scale: tuple[float, float]) -> tuple[Tensor, Tensor]:
        """The image and the noise that a prediction implies at a level of these factors."""


@dataclass(frozen=True)
class Denoising:
    """A schedule of alphas: that of a scheduler of diffusers, with its prediction type."""

    scheduler: Any

    @property
    def levels(self) -> int:
        return int(self.scheduler.config.num_train_timesteps)

    def timesteps(self, numbers: Tensor) -> Tensor:
        return numbers

    def draw(self, count: int, between: tuple[float, float], random: torch.Generator) -> Tensor:
        first, last = (round(self.levels * share) for share in between)
        return first + torch.randint(self.levels, (count,), generator=random) * (last - first) // self.levels

    def noised(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        noisy: Tensor = self.scheduler.add_noise(clean, noise, timesteps)
        return noisy

    def target(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return denoising_target(self.scheduler, clean, noise, timesteps)

    def scales(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        signal = self.scheduler.alphas_cumprod[timesteps].sqrt()
        return signal, (1 - signal**2).sqrt()

    def scale(self, number: int) -> tuple[float, float]:
        signal = 1.0 if number < 0 else float(self.scheduler.alphas_cumprod[number])
        return signal**0.5, (1 - signal) ** 0.5

    def hides(self, timesteps: Tensor, ratio: float) -> Tensor:
        hidden: Tensor = self.scheduler.alphas_cumprod[timesteps] * (1 + ratio**2) < 1
        return hidden

    def implied(self, noisy: Tensor, predicted: Tensor, scale: tuple[float, float]) -> tuple[Tensor, Tensor]:
        keep, spoil = scale
        if self.scheduler.config.prediction_type == "v_prediction":
            return keep * noisy - spoil * predicted, spoil * noisy + keep * predicted
        return (noisy - spoil * predicted) / keep, predicted


def schedule_of(folder: Path) -> Any:
    """The forward process of training of a folder with a schedule of alphas: its own prediction type, and the levels at which it draws."""
    check_torchvision()
    import diffusers

    where: dict[str, Any] = {"subfolder": "scheduler", "local_files_only": True}
    process = diffusers.DDPMScheduler.from_pretrained(folder, **where)
    own = getattr(diffusers, scheduler_of(folder)).from_pretrained(folder, **where)
    process.betas, process.alphas, process.alphas_cumprod = own.betas, own.alphas, own.alphas_cumprod
    return process


@dataclass(frozen=True)
class FlowMatching:
    """Flow matching over shifted levels: s <- shift s / (1 + (shift - 1) s), s = 1/n, ..., 1; the network reads n s.

    Training draws the number of a level: `uniform`, or `logit-normal`, the sigmoid of a standard normal number as a share of the levels
    (Esser et al. 2024). Errors are weighted alike at all levels.
    """

    levels: int = 1000
    shift: float = 1.0
    density: Density = "logit-normal"

    @property
    def spread(self) -> Tensor:
        """The factor s of the noise at every level (levels,), ascending."""
        even = torch.arange(1, self.levels + 1, dtype=torch.float32) / self.levels
        return self.shift * even / (1 + (self.shift - 1) * even)

    def timesteps(self, numbers: Tensor) -> Tensor:
        return self.levels * self.spread.to(numbers.device)[numbers]

    def draw(self, count: int, between: tuple[float, float], random: torch.Generator) -> Tensor:
        first, last = (round(self.levels * share) for share in between)
        even = self.density == "uniform"
        share = torch.rand(count, generator=random) if even else torch.randn(count, generator=random).sigmoid()
        return self.timesteps((first + (share * (last - first)).long()).clamp(first, last - 1))

    def noised(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        keep, spoil = (_per_image(part).to(clean) for part in self.scales(timesteps))
        return keep * clean + spoil * noise

    def target(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return noise - clean

    def scales(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        spoil = timesteps / self.levels
        return 1 - spoil, spoil

    def scale(self, number: int) -> tuple[float, float]:
        spoil = 0.0 if number < 0 else float(self.spread[number])
        return 1 - spoil, spoil

    def hides(self, timesteps: Tensor, ratio: float) -> Tensor:
        keep, spoil = self.scales(timesteps)
        return spoil > ratio * keep

    def implied(self, noisy: Tensor, predicted: Tensor, scale: tuple[float, float]) -> tuple[Tensor, Tensor]:
        keep, spoil = scale
        return noisy - spoil * predicted, noisy + keep * predicted

    def record(self) -> dict[str, Any]:
        """What a run records of it."""
        return {"objective": "flow matching", "timesteps": self.density, "shift": self.shift, "weighting": "none"}


def _per_image(values: Tensor) -> Tensor:
    return values.reshape(-1, 1, 1, 1)
