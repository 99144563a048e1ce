"""Safe latent diffusion (Schramowski et al., CVPR 2023): no edit, but guidance away from the concept while images are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from erase.errors import InputError
from erase.methods.base import DiffusionMethod, Presets
from erase.methods.requirements import Requirements
from erase.options import option

if TYPE_CHECKING:
    from torch import Tensor

    from erase.diffusion.batches import DiffusionBatch
    from erase.diffusion.safe_guidance import SafeGuidance
    from erase.task import Step, Task


@dataclass(frozen=True)
class SafeLatentDiffusion(DiffusionMethod):
    """The run's model has the original's weights, and a file that says how this toolkit guides it: what guidance alone gives.

    Where the folder is loaded by anything else, the concept is there. Per step and value: m = min(1, s_S |e_c - e_S|) where
    e_c - e_S < lambda, else 0;  g = m (e_S - e_0) + s_m v;  v <- beta v + (1 - beta) g;  after delta steps  e = e_0 + s (e_c - e_0 - g).
    """

    text: str | None = option(None, "text to lead away from; by default the concept's words")
    warmup: int = option(0, "delta: denoising steps without it", low=0)
    scale: float = option(5000.0, "s_S: how soon a difference from the text's prediction counts in full", low=0.0)
    threshold: float = option(1.0, "lambda: difference up to which a value counts as on the way to the text", low=-10.0)
    momentum: float = option(0.5, "s_m: weight of the momentum", low=0.0, high=1.0)
    decay: float = option(0.7, "beta: decay of the momentum", low=0.0, high=1.0)

    # the paper's settings Hyp-Max and Hyp-Medium
    presets: ClassVar[Presets] = {
        "balanced": {},
        "paper": {"warmup": 10, "scale": 1000.0, "threshold": 0.01, "momentum": 0.3, "decay": 0.4},
    }

    @property
    def requirements(self) -> Requirements:
        return Requirements(steps=0, optimizer=None, passes=0, images=())

    def finished(self, concept: str, original: Path) -> Path:
        """The original: nothing is erased from it."""
        return original

    def guidance(self, words: tuple[str, ...]) -> SafeGuidance:
        """What the run's model is drawn with, for a concept of these words."""
        from erase.diffusion.safe_guidance import SafeGuidance

        text = self.text or ", ".join(dict.fromkeys(words))
        return SafeGuidance(text, self.warmup, self.scale, self.threshold, self.momentum, self.decay)

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """InputError: there is no edit of a network."""
        raise InputError("sld guides the drawing of images and edits no network; use `guidance`")
