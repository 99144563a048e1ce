"""A pipeline under attack: what it is told, what it predicts, what it draws. Counts every pass through a UNet.

The same for every family: text is token numbers with vectors put in, a prompt's embeddings go where the family wants them,
and pictures come from the pipeline itself, with its own sampler. One victim is attacked by one attack and then dropped, so an
attack on the weights changes them in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from erase.diffusion import Conditioning, StableDiffusion, denoising_target, predict

BACKWARD = 2  # a backward pass takes about as long as two forward ones


@dataclass(frozen=True)
class Said:
    """What the UNet is told: text embeddings (n, tokens, width) and, where it reads them, pooled ones (n, width)."""

    text: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.text)

    def __getitem__(self, rows: Any) -> Said:
        return Said(self.text[rows], None if self.pooled is None else self.pooled[rows])

    def detach(self) -> Said:
        return Said(self.text.detach(), None if self.pooled is None else self.pooled.detach())


@dataclass
class Passes:
    """Pictures that went through a UNet once: to be drawn, and for anything else. A backward pass counts as two."""

    drawing: int = 0
    other: int = 0


class Victim:
    """A model opened to be attacked. `original` opens the model before the erasure: None where it is not at hand."""

    def __init__(
        self, model: StableDiffusion, steps: int, guidance: float, batch: int, original: Callable[[], StableDiffusion] | None = None
    ) -> None:
        self.model, self.steps, self.guidance, self.batch, self.original = model, steps, guidance, batch, original
        self.passes, self._drawing = Passes(), False
        self.scheduler = model.noise_scheduler()
        self.unet: nn.Module = model.pipeline.unet
        self.count(self.unet)

    @property
    def small(self) -> bool:
        """The embedded model or one like it: it learns at other rates."""
        return self.model.size <= 128

    @property
    def device(self) -> str:
        return self.model.device

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a picture's latents."""
        side = self.model.size // int(self.model.pipeline.vae_scale_factor)
        return int(self.unet.config.in_channels), side, side  # type: ignore[union-attr, arg-type]

    def count(self, unet: nn.Module) -> None:
        """Passes through this network count as the attack's from here on."""

        def note(module: nn.Module, given: Any, named: Any, made: Any) -> None:
            size = len(given[0] if given else named["sample"])
            first = made[0] if isinstance(made, tuple) else made.sample
            size *= 1 + BACKWARD * bool(first.requires_grad)
            self.passes.drawing += size * self._drawing
            self.passes.other += size * (not self._drawing)

        unet.register_forward_hook(note, with_kwargs=True)

    # --- what it is told -------------------------------------------------------------------------------------------

    def said(self, texts: Sequence[str]) -> Said:
        """Prompts as the UNet reads them; the empty one as guidance has it."""
        unique = list(dict.fromkeys(texts))
        rows = torch.tensor([unique.index(text) for text in texts])
        pooled = self.model.pool(unique)
        said = Said(self.model.embed(unique).to(self.device), None if pooled is None else pooled.to(self.device))
        self.ready()
        return said[rows]

    def read(self, tokens: Sequence[Tensor], vectors: Sequence[Tensor], places: Sequence[Tensor]) -> Said:
        """Token numbers (n, tokens) a text encoder, with vectors (n, tokens, width) instead wherever `places` (n, tokens) is true."""
        with ExitStack() as stack:
            for (_, encoder), put, where in zip(self.model.coders(), vectors, places, strict=True):
                stack.enter_context(_instead(encoder, put, where.to(self.device)))
            return Said(*self.model.read(tokens))

    def tables(self) -> list[Tensor]:
        """The token embeddings (vocabulary, width) of each text encoder."""
        return [encoder.get_input_embeddings().weight.detach() for _, encoder in self.model.coders()]

    # --- what it predicts ------------------------------------------------------------------------------------------

    def ready(self) -> None:
        """Everything on the device."""
        self.model.place(*self.model.PARTS)

    def predict(self, noisy: Tensor, timesteps: Tensor, said: Said, unet: nn.Module | None = None) -> Tensor:
        """The network's answer to noisy latents under a text; of another network where one is given."""
        sizes = self.model.time_ids()
        time_ids = None if sizes is None else sizes.to(self.device).expand(len(noisy), -1)
        conditioning = Conditioning(said.text, said.pooled, time_ids)
        return predict(unet or self.unet, noisy, timesteps.to(self.device), conditioning, self.model.dtype).float()

    def noised(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Noisy latents, and what a network should answer to them."""
        noisy = self.scheduler.add_noise(clean, noise, timesteps)
        target = denoising_target(self.scheduler, clean, noise, timesteps)
        return noisy.to(self.device), target.to(self.device)

    # --- what it draws ---------------------------------------------------------------------------------------------

    def draw(self, said: Said, sources: Sequence[torch.Generator], guided: bool = True) -> list[Image.Image]:
        """A picture for each text from its source of noise, with the pipeline's own sampler; `guided` away from nothing."""
        self.ready()
        nothing = self.said([""])
        images: list[Image.Image] = []
        self._drawing = True
        try:
            for start in range(0, len(said), self.batch):
                rows = slice(start, start + self.batch)
                images += self._draw(said[rows].detach(), nothing, list(sources[rows]), self.guidance if guided else 1.0)
        finally:
            self._drawing = False
        return images

    @torch.no_grad()
    def _draw(self, said: Said, nothing: Said, sources: list[torch.Generator], guidance: float) -> list[Image.Image]:
        model, dtype = self.model, self.model.dtype
        arguments = {"prompt_embeds": said.text.to(dtype), "negative_prompt_embeds": nothing.text.to(dtype).expand_as(said.text)}
        if said.pooled is not None and nothing.pooled is not None:
            arguments |= {"pooled_prompt_embeds": said.pooled.to(dtype)}
            arguments |= {"negative_pooled_prompt_embeds": nothing.pooled.to(dtype).expand_as(said.pooled)}
        half = dtype != torch.float32
        images = model.pipeline(
            num_inference_steps=self.steps, guidance_scale=guidance, generator=sources, height=model.size, width=model.size,
            output_type="latent" if half else "pil", **arguments,
        ).images  # fmt: skip
        return model._decode(images) if half else list(images)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Pictures of scaled latents."""
        self.ready()
        return [image for part in latents.split(self.batch) for image in self.model._decode(part.to(self.device))]


@contextmanager
def _instead(encoder: Any, vectors: Tensor, places: Tensor) -> Iterator[None]:
    """While it lasts, the encoder's token embeddings are these vectors wherever `places` is true."""

    def put(module: nn.Module, given: Any, found: Tensor) -> Tensor:
        return torch.where(places[..., None], vectors.to(found), found)

    handle = encoder.get_input_embeddings().register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()
