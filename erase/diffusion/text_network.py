"""The text encoders of a pipeline as the network that is edited, in front of its frozen UNet or transformer.

Batches then hold token ids in the place of text embeddings: those of all text encoders side by side. Everything that sees a network and a
loss works as it does on a UNet, and the predictions that losses compare are the UNet's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from erase.diffusion.batches import Conditioning
from erase.diffusion.prediction import CALLS, UNET, NetworkCall
from erase.diffusion.stable_diffusion import StableDiffusion

CLIP = ("CLIPTextModel", "CLIPTextModelWithProjection")
"""Classes of the text encoders that are edited; T5 is read as it is."""


class TextEncoders(nn.Module):
    """The encoders of CLIP of a model, by the names of their parts. The model, whose other parts are frozen, is no part of this module."""

    _behind: tuple[StableDiffusion]
    _lengths: list[int]
    _empty: Tensor

    def __init__(self, model: StableDiffusion) -> None:
        super().__init__()
        texts = [part for part in model.parts if part.startswith("text_encoder")]
        self._behind = (model,)
        self.place()
        for name in texts:
            encoder = getattr(model.pipeline, name)
            if type(encoder).__name__ in CLIP:
                self.add_module(name, encoder)
        empty = model.tokens([""])
        self._lengths = [len(ids[0]) for ids in empty]
        self._empty = torch.cat(empty, dim=1)

    @property
    def model(self) -> StableDiffusion:
        """The pipeline, whose text encoders are these."""
        return self._behind[0]

    def place(self) -> None:
        """Move what a pass needs to the device: drawing may have moved it away."""
        self.model.place(*(part for part in self.model.parts if part.startswith("text_encoder")), self.model.EDITED)

    def split(self, ids: Tensor) -> Sequence[Tensor]:
        """The token ids (n, tokens) for each text encoder."""
        parts: Sequence[Tensor] = torch.split(ids, self._lengths, dim=1)
        return parts

    def conditioning(self, ids: Tensor, time_ids: Tensor | None = None) -> Conditioning:
        """What the network behind reads for these token ids, with gradients."""
        text, pooled = self.model.read(self.split(ids))
        if getattr(self.model.pipeline.config, "force_zeros_for_empty_prompt", False):  # SDXL, as its pipeline does
            not_empty = (ids != self._empty.to(ids)).any(dim=1).to(text)
            text, pooled = text * not_empty[:, None, None], None if pooled is None else pooled * not_empty[:, None]
        return Conditioning(text, pooled, time_ids)

    def token_embeddings(self) -> dict[str, Any]:
        """The table of token embeddings of each encoder."""
        encoders: dict[str, Any] = dict(self.named_children())
        return {name: encoder.get_input_embeddings() for name, encoder in encoders.items()}

    def last_layers(self) -> dict[str, Any]:
        """The last layer of each encoder that the network behind reads: SDXL and Stable Diffusion 3 leave the very last one out."""
        last = -2 if len(self.split(self._empty)) > 1 else -1
        return {name: _layers(encoder)[last] for name, encoder in self.named_children()}

    def forward(self, noisy: Tensor, timesteps: Tensor, read: Conditioning) -> Tensor:
        """The prediction of the network behind for noisy latents under a prompt of token ids."""
        behind = self.model.edited
        call = CALLS.get(type(behind).__name__, UNET)
        return call.forward(behind, noisy, timesteps, self.conditioning(read.text, read.time_ids))

    def enable_gradient_checkpointing(self) -> None:
        """Of the network behind, whose activations are nearly all that there are."""
        self.model.edited.enable_gradient_checkpointing()


def _layers(encoder: Any) -> Any:
    """The layers of an encoder of CLIP; some versions of transformers have a module around them."""
    return getattr(encoder, "text_model", encoder).encoder.layers


def _forward(network: nn.Module, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
    predicted: Tensor = network(noisy, timesteps, conditioning)
    return predicted


CALLS["TextEncoders"] = NetworkCall(_forward, UNET.reads)


class Tokens:
    """A model as the cache of latents sees it, with token ids for text embeddings."""

    def __init__(self, model: StableDiffusion) -> None:
        self._model = model

    @property
    def size(self) -> int:
        return self._model.size

    def embed(self, prompts: list[str]) -> Tensor:
        """Token ids (n, tokens) of all text encoders side by side."""
        return torch.cat(self._model.tokens(prompts), dim=1)

    def pool(self, prompts: list[str]) -> Tensor | None:
        """None: the text encoders pool the ids."""
        return None

    def time_ids(self) -> Tensor | None:
        return self._model.time_ids()

    def coders(self) -> list[tuple[Any, Any]]:
        return self._model.coders()

    def encode(self, pixels: Tensor, first: int) -> Tensor:
        return self._model.encode(pixels, first)
