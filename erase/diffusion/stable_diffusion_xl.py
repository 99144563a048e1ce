"""Stable Diffusion XL: two text encoders, a pooled embedding and the image size beside the text.

Only what differs from Stable Diffusion 1.x and 2.x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from erase.diffusion.stable_diffusion import NOT_LOADED, StableDiffusion


class StableDiffusionXL(StableDiffusion):
    """A pipeline folder of SDXL on a device."""

    CLASS: ClassVar[str] = "StableDiffusionXLPipeline"
    OPTIONS: ClassVar[dict[str, Any]] = {"add_watermarker": False, **NOT_LOADED}  # images must not depend on an optional package
    PARTS: ClassVar[tuple[str, ...]] = ("unet", "vae", "text_encoder", "text_encoder_2")
    UPCAST: ClassVar[bool] = True

    def embed(self, prompts: list[str]) -> Tensor:
        """Embeddings (n, tokens, width) of both encoders side by side, each from its last layer but one; float32 on the CPU."""
        return self._embedded(prompts)[0]

    def pool(self, prompts: list[str]) -> Tensor:
        """Pooled embeddings (n, width) of the second encoder, float32 on the CPU."""
        return self._embedded(prompts)[1]

    def time_ids(self) -> Tensor:
        """Original size, crop corner and target size (6,): all images are uncropped and of the model's size."""
        return torch.tensor([self.size, self.size, 0, 0, self.size, self.size], dtype=torch.float32)

    def coders(self) -> list[tuple[Any, Any]]:
        """Each text encoder with its tokenizer before it."""
        p = self.pipeline
        return [(p.tokenizer, p.text_encoder), (p.tokenizer_2, p.text_encoder_2)]

    def read(self, tokens: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Embeddings of both encoders side by side, and the pooled ones of the second; float32 on the device, with gradients."""
        wide, pooled = [], None
        for (_, encoder), numbers in zip(self.coders(), tokens, strict=True):
            output = encoder(numbers.to(self.device), output_hidden_states=True)
            wide.append(output.hidden_states[-2].float())
            pooled = output[0].float()
        return torch.cat(wide, dim=-1), pooled

    @torch.no_grad()
    def _embedded(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        self.place("text_encoder", "text_encoder_2")
        text, pooled = (part.cpu() for part in self.read(self.tokens(prompts)) if part is not None)
        if self.pipeline.config.force_zeros_for_empty_prompt:  # guidance then uses zeros, not the embedding of the empty prompt
            silent = torch.tensor([not prompt for prompt in prompts])
            text[silent], pooled[silent] = 0, 0
        return text, pooled
