"""Stable Diffusion 3 and 3.5: a transformer of two streams, trained by flow matching, and three text encoders, of which T5 may be absent.

The text is CLIP-L beside CLIP-G, padded to the width of T5, followed by T5; where there is no T5, by zeros, as in the pipeline. The
embeddings are those of the pipeline and are cached, so that T5 is in memory for the embedding alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from erase.attention import fold_equal_tokens
from erase.checkpoints.check.flow import flow_of
from erase.checkpoints.folder import components
from erase.diffusion.batches import Conditioning
from erase.diffusion.objectives import FlowMatching
from erase.diffusion.prediction import CALLS, NetworkCall, Reads
from erase.diffusion.stable_diffusion import NOT_LOADED, StableDiffusion
from erase.diffusion.text_encoders import without_text_encoders

T5_TOKENS = 256  # the pipeline's own max_sequence_length


def _forward(network: nn.Module, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
    predicted: Tensor = network(
        hidden_states=noisy, timestep=timesteps, encoder_hidden_states=conditioning.text, pooled_projections=conditioning.pooled,
        return_dict=False,
    )[0]  # fmt: skip
    return predicted


def _reads(config: Mapping[str, Any], tokens: int) -> Reads:
    return Reads(config["in_channels"], tokens + T5_TOKENS, config["joint_attention_dim"], config["pooled_projection_dim"])


CALLS["SD3Transformer2DModel"] = NetworkCall(_forward, _reads)


class StableDiffusion3(StableDiffusion):
    """A pipeline folder of Stable Diffusion 3 or 3.5 on a device."""

    CLASS: ClassVar[str] = "StableDiffusion3Pipeline"
    OPTIONS: ClassVar[dict[str, Any]] = dict(NOT_LOADED)
    EDITED: ClassVar[str] = "transformer"
    NETWORK: ClassVar[str] = "SD3Transformer2DModel"
    PARTS: ClassVar[tuple[str, ...]] = ("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")

    @property
    def parts(self) -> tuple[str, ...]:
        """The networks that this folder has: it may lack T5."""
        return tuple(part for part in self.PARTS if part in components(self._folder))

    def _options(self) -> dict[str, Any]:
        """Arguments with which the pipeline is loaded: it asks for every part, so that T5 is None where the folder has none."""
        absent = [] if "text_encoder_3" in self.parts else ["text_encoder_3", "tokenizer_3"]
        return {**self.OPTIONS, **dict.fromkeys(absent)}

    def coders(self) -> list[tuple[Any, Any]]:
        """The two encoders of CLIP and, where there is one, T5, each with its tokenizer before it."""
        p = self.pipeline
        pairs = [(p.tokenizer, p.text_encoder), (p.tokenizer_2, p.text_encoder_2), (p.tokenizer_3, p.text_encoder_3)]
        return [pair for pair in pairs if pair[1] is not None]

    def word_coders(self) -> list[tuple[Any, Any]]:
        """The two encoders of CLIP: T5 reads pieces of words."""
        return self.coders()[:2]

    def tokens(self, prompts: list[str]) -> list[Tensor]:
        """The token ids (n, tokens) for each text encoder, on the CPU."""
        clip = self.pipeline.tokenizer_max_length
        return [
            tokenizer(prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
            for (tokenizer, _), length in zip(self.coders(), (clip, clip, T5_TOKENS), strict=False)
        ]

    def read(self, tokens: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Embeddings (n, tokens, width) and pooled ones (n, width) of CLIP; float32 on the device, with gradients."""
        clip, pooled = self._read_clip(tokens[:2])
        width = self.edited.config.joint_attention_dim
        if len(tokens) > 2:
            last = self.pipeline.text_encoder_3(tokens[2].to(self.device))[0].float()
        else:
            last = torch.zeros(len(clip), T5_TOKENS, width, device=clip.device)
        return torch.cat([nn.functional.pad(clip, (0, width - clip.shape[-1])), last], dim=1), pooled

    def _read_clip(self, tokens: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Embeddings of both encoders of CLIP side by side, each from its last layer but one, and their pooled ones."""
        wide, pooled = [], []
        for (_, encoder), numbers in zip(self.word_coders(), tokens, strict=True):
            output = encoder(numbers.to(self.device), output_hidden_states=True)
            wide.append(output.hidden_states[-2].float())
            pooled.append(output[0].float())
        return torch.cat(wide, dim=-1), torch.cat(pooled, dim=-1)

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> Tensor:
        """Text embeddings (n, tokens, width) as the transformer reads them, float32 on the CPU."""
        self.place(*(part for part in self.parts if part.startswith("text")))
        return self.read(self.tokens(prompts))[0].cpu()

    @torch.no_grad()
    def pool(self, prompts: list[str]) -> Tensor:
        """Pooled embeddings (n, width) of both encoders of CLIP, float32 on the CPU."""
        self.place(*(part for part in self.parts if part.startswith("text")))
        return self._read_clip(self.tokens(prompts)[:2])[1].cpu()

    @contextmanager
    def _described(self, prompts: list[str], guidance: float, negative: str) -> Iterator[dict[str, Any]]:
        """Embedded prompts, with guidance also negative ones."""
        self.place(*(part for part in self.parts if part.startswith("text")))
        against = [negative] * len(prompts) if negative else None
        embedded = self.pipeline.encode_prompt(
            prompts, None, None, device=self.device, do_classifier_free_guidance=guidance > 1, negative_prompt=against
        )
        self.place(self.EDITED, "vae")
        names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
        with without_text_encoders(self.pipeline):
            yield dict(zip(names, embedded, strict=True))

    def objective(self) -> FlowMatching:
        """Flow matching over the scheduler's shifted levels, drawn logit-normal(0, 1) as in training (Esser et al. 2024)."""
        levels, shift = flow_of(self.folder)
        return FlowMatching(levels, shift, "logit-normal")

    def training_record(self) -> dict[str, Any]:
        """Density and shift of the timesteps, and the weighting of the loss."""
        return self.objective().record()

    def _prepare(self, network: Any) -> None:
        """Where T5 is absent, the zeros in its place are computed once."""
        if "text_encoder_3" not in self.parts:
            fold_equal_tokens(network, T5_TOKENS)
