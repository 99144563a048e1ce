"""FLUX.1: a transformer of dual and single blocks on packed latents, text by T5, pooled text by CLIP.

The variant dev was distilled with guidance and reads its scale. Predictions outside of sampling are taken at the fixed scale GUIDANCE, at
which it is usually trained, so that targets of the original and predictions of the network belong together. dev never learned the empty
prompt as a neutral; schnell reads no scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn

from erase.checkpoints.check.flow import flow_of
from erase.checkpoints.check.networks import part_config
from erase.diffusion.batches import Conditioning
from erase.diffusion.objectives import FlowMatching
from erase.diffusion.prediction import CALLS, NetworkCall, Reads
from erase.diffusion.stable_diffusion import NOT_LOADED, StableDiffusion
from erase.diffusion.text_encoders import without_text_encoders

GUIDANCE = 3.5
AWAY = 2.0
"""Scale of the true guidance away from a negative prompt: a second pass beside the distilled guidance, which stays as it is."""
T5_TOKENS = {True: 512, False: 256}
"""Tokens of a prompt, for a transformer that reads a guidance scale (dev) and for one that does not (schnell)."""


def packed(latents: Tensor) -> Tensor:
    """Latents (n, c, h, w) -> squares of 2 x 2 in rows (n, hw / 4, 4c)."""
    return nn.functional.pixel_unshuffle(latents, 2).flatten(2).transpose(1, 2)


def unpacked(rows: Tensor, height: int, width: int) -> Tensor:
    """Rows (n, hw / 4, 4c) -> latents (n, c, h, w)."""
    return nn.functional.pixel_shuffle(rows.transpose(1, 2).unflatten(2, (height // 2, width // 2)), 2)


def _forward(network: nn.Module, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
    height, width = noisy.shape[2:]
    config: Any = network.config
    guidance = torch.full((len(noisy),), GUIDANCE, device=noisy.device, dtype=noisy.dtype) if config.guidance_embeds else None
    rows = network(
        hidden_states=packed(noisy), timestep=timesteps / 1000, guidance=guidance, encoder_hidden_states=conditioning.text,
        pooled_projections=conditioning.pooled, txt_ids=noisy.new_zeros(conditioning.text.shape[1], 3),
        img_ids=_places(height // 2, width // 2, noisy), return_dict=False,
    )[0]  # fmt: skip
    return unpacked(rows, height, width)


def _places(height: int, width: int, like: Tensor) -> Tensor:
    """Row and column of each square (hw, 3); the first number is 0."""
    rows = torch.arange(height, device=like.device, dtype=like.dtype)[:, None].expand(height, width)
    columns = torch.arange(width, device=like.device, dtype=like.dtype)[None].expand(height, width)
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).flatten(0, 1)


def _reads(config: Mapping[str, Any], tokens: int) -> Reads:
    length = T5_TOKENS[bool(config["guidance_embeds"])]
    return Reads(config["in_channels"] // 4, length, config["joint_attention_dim"], config["pooled_projection_dim"])


CALLS["FluxTransformer2DModel"] = NetworkCall(_forward, _reads)


class Flux(StableDiffusion):
    """A pipeline folder of FLUX.1 on a device."""

    CLASS: ClassVar[str] = "FluxPipeline"
    OPTIONS: ClassVar[dict[str, Any]] = dict(NOT_LOADED)
    EDITED: ClassVar[str] = "transformer"
    NETWORK: ClassVar[str] = "FluxTransformer2DModel"
    PARTS: ClassVar[tuple[str, ...]] = ("transformer", "vae", "text_encoder", "text_encoder_2")
    USUAL: ClassVar[dict[str, float]] = {"guidance": GUIDANCE}

    @property
    def distilled(self) -> bool:
        """Whether the transformer reads a guidance scale (dev)."""
        return bool(part_config(self._folder, "transformer")["guidance_embeds"])

    @property
    def neutral(self) -> bool:
        """Whether the empty prompt was learned as a neutral; not by distillation with guidance."""
        return not self.distilled

    def coders(self) -> list[tuple[Any, Any]]:
        """CLIP and T5, each with its tokenizer before it."""
        p = self.pipeline
        return [(p.tokenizer, p.text_encoder), (p.tokenizer_2, p.text_encoder_2)]

    def word_coders(self) -> list[tuple[Any, Any]]:
        """CLIP: T5 reads pieces of words."""
        return self.coders()[:1]

    def tokens(self, prompts: list[str]) -> list[Tensor]:
        """The token ids (n, tokens) for CLIP and for T5, on the CPU."""
        lengths = (self.pipeline.tokenizer_max_length, T5_TOKENS[self.distilled])
        return [
            tokenizer(prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
            for (tokenizer, _), length in zip(self.coders(), lengths, strict=True)
        ]

    def read(self, tokens: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Embeddings (n, tokens, width) by T5 and pooled ones (n, width) by CLIP; float32 on the device, with gradients."""
        (_, clip), (_, t5) = self.coders()
        return t5(tokens[1].to(self.device))[0].float(), clip(tokens[0].to(self.device)).pooler_output.float()

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> Tensor:
        """Text embeddings (n, tokens, width) by T5, float32 on the CPU."""
        self.place("text_encoder_2")
        embedded: Tensor = self.coders()[1][1](self.tokens(prompts)[1].to(self.device))[0]
        return embedded.float().cpu()

    @torch.no_grad()
    def pool(self, prompts: list[str]) -> Tensor:
        """Pooled embeddings (n, width) by CLIP, float32 on the CPU."""
        self.place("text_encoder")
        pooled: Tensor = self.coders()[0][1](self.tokens(prompts)[0].to(self.device)).pooler_output
        return pooled.float().cpu()

    def objective(self) -> FlowMatching:
        """Flow matching with even timesteps, as FLUX is usually trained; a dynamic shift acts in sampling alone."""
        levels, shift = flow_of(self.folder)
        return FlowMatching(levels, shift, "uniform")

    def training_record(self) -> dict[str, Any]:
        """Density and shift of the timesteps, the weighting of the loss, and the guidance scale of predictions."""
        return self.objective().record() | ({"guidance": GUIDANCE} if self.distilled else {})

    @contextmanager
    def _described(self, prompts: list[str], guidance: float, negative: str) -> Iterator[dict[str, Any]]:
        """Embedded prompts. The scale is embedded too, or read by nobody; a negative prompt has a pass and a scale of its own, AWAY."""
        self.place("text_encoder", "text_encoder_2")
        length = T5_TOKENS[self.distilled]
        described: dict[str, Any] = {"max_sequence_length": length}
        for name, texts in {"": prompts, **({"negative_": [negative] * len(prompts)} if negative else {})}.items():
            text, pooled, _ = self.pipeline.encode_prompt(texts, device=self.device, max_sequence_length=length)
            described |= {f"{name}prompt_embeds": text, f"{name}pooled_prompt_embeds": pooled}
        self.place(self.EDITED, "vae")
        with without_text_encoders(self.pipeline):
            yield described | ({"true_cfg_scale": AWAY} if negative else {})

    def _decode(self, latents: Tensor) -> list[Image.Image]:
        """Latents -> images; those of the pipeline are packed, and square."""
        side = 2 * math.isqrt(latents.shape[1])
        return super()._decode(unpacked(latents, side, side) if latents.ndim == 3 else latents)

    def _prepare(self, network: Any) -> None:
        """Nothing: every call names the guidance scale."""
