"""Stable Diffusion XL: two text encoders, a pooled embedding and the picture's size beside the text.

What differs from Stable Diffusion 1.x and 2.x, and nothing else.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from erase.diffusion.stable import StableDiffusion


class StableDiffusionXL(StableDiffusion):
    """A pipeline folder of SDXL on a device."""

    CLASS: ClassVar[str] = "StableDiffusionXLPipeline"
    OPTIONS: ClassVar[dict[str, Any]] = {"add_watermarker": False}  # or the same prompt and seed would not give the same picture everywhere
    PARTS: ClassVar[tuple[str, ...]] = ("unet", "vae", "text_encoder", "text_encoder_2")
    UPCAST: ClassVar[bool] = True

    def embed(self, prompts: list[str]) -> Tensor:
        """Embeddings (n, tokens, width) of both encoders side by side, each from its last layer but one; float32 on the CPU."""
        return self._embedded(prompts)[0]

    def pool(self, prompts: list[str]) -> Tensor:
        """Pooled embeddings (n, width) of the second encoder, float32 on the CPU."""
        return self._embedded(prompts)[1]

    def time_ids(self) -> Tensor:
        """Original size, corner of the cut-out and size of the picture (6,): all pictures here are whole and of the model's size."""
        return torch.tensor([self.size, self.size, 0, 0, self.size, self.size], dtype=torch.float32)

    @torch.no_grad()
    def _embedded(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        self.place("text_encoder", "text_encoder_2")
        p = self.pipeline
        wide, pooled = [], torch.empty(0)
        for tokenizer, encoder in ((p.tokenizer, p.text_encoder), (p.tokenizer_2, p.text_encoder_2)):
            tokens = tokenizer(prompts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt")
            said = encoder(tokens.input_ids.to(self.device), output_hidden_states=True)
            wide.append(said.hidden_states[-2].float().cpu())
            pooled = said[0].float().cpu()
        text = torch.cat(wide, dim=-1)
        if p.config.force_zeros_for_empty_prompt:  # guidance compares with nothing at all, not with the empty prompt
            silent = torch.tensor([not prompt for prompt in prompts])
            text[silent], pooled[silent] = 0, 0
        return text, pooled
