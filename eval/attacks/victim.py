"""A pipeline under attack: prompt embeddings, predictions and images. Counts every pass through the network.

The same for every model family: text is token ids with vectors in place of some embeddings, prompt embeddings go where the family
reads them, and images come from the pipeline with the run's sampler. One victim is attacked by one attack and then dropped, so an
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

from erase.checkpoints.folder import read_provenance
from erase.diffusion import Conditioning, StableDiffusion, predict

BACKWARD = 2  # a backward pass takes about as long as two forward ones


@dataclass(frozen=True)
class PromptEmbeddings:
    """Text embeddings (n, tokens, width) and, where the network reads them, pooled ones (n, width)."""

    text: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.text)

    def __getitem__(self, rows: Any) -> PromptEmbeddings:
        return PromptEmbeddings(self.text[rows], None if self.pooled is None else self.pooled[rows])

    def detach(self) -> PromptEmbeddings:
        return PromptEmbeddings(self.text.detach(), None if self.pooled is None else self.pooled.detach())


@dataclass
class Passes:
    """Passes of one image each: for drawing, and for anything else. A backward pass counts as two."""

    drawing: int = 0
    other: int = 0


def _text_encoders(model: StableDiffusion, names: Sequence[str]) -> nn.Module:
    return nn.ModuleDict({name: getattr(model.pipeline, name) for name in names})


class Victim:
    """A model opened to be attacked. `original` opens the model before the erasure; None where it is not available.

    `sampler` is the diffusers class with which images are drawn, by default the pipeline's own.
    """

    def __init__(
        self,
        model: StableDiffusion,
        steps: int,
        guidance: float,
        batch: int,
        original: Callable[[], StableDiffusion] | None = None,
        sampler: str | None = None,
    ) -> None:
        self.model, self.steps, self.guidance, self.batch, self.original = model, steps, guidance, batch, original
        model.guidance = guidance
        self.passes, self._drawing = Passes(), False
        self.objective = model.objective()
        self._sampler = model.other_scheduler(sampler)
        self.network: nn.Module = model.edited
        self.count(self.network)

    @property
    def texts(self) -> list[str]:
        """The text encoders that the erasure changed, by the provenance of the model; none where it changed the network."""
        edited = read_provenance(self.model.folder).get("edited")
        return edited.split(", ") if edited else []

    @property
    def changed(self) -> nn.Module:
        """What the erasure changed: the network, or text encoders by the names of their parts."""
        return _text_encoders(self.model, self.texts) if self.texts else self.network

    def unchanged(self) -> nn.Module:
        """The same of the original."""
        assert self.original is not None
        return _text_encoders(self.original(), self.texts) if self.texts else self.original().network()

    @property
    def small(self) -> bool:
        """Whether it is the embedded model or one of its size, which needs other learning rates."""
        return self.model.size <= 128

    @property
    def device(self) -> str:
        return self.model.device

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (c, h, w) of an image's latents."""
        side = self.model.size // int(self.model.pipeline.vae_scale_factor)
        return int(self.model.pipeline.vae.config.latent_channels), side, side

    def count(self, network: nn.Module) -> None:
        """From now on count the passes through this network."""

        def note(module: nn.Module, arguments: Any, keywords: Any, output: Any) -> None:
            size = len(arguments[0] if arguments else keywords["sample" if "sample" in keywords else "hidden_states"])
            first = output[0] if isinstance(output, tuple) else output.sample
            size *= 1 + BACKWARD * bool(first.requires_grad)
            self.passes.drawing += size * self._drawing
            self.passes.other += size * (not self._drawing)

        network.register_forward_hook(note, with_kwargs=True)

    # --- prompt embeddings -----------------------------------------------------------------------------------------

    def embed(self, texts: Sequence[str]) -> PromptEmbeddings:
        """The embeddings of prompts; of the empty one as guidance uses it."""
        unique = list(dict.fromkeys(texts))
        rows = torch.tensor([unique.index(text) for text in texts])
        pooled = self.model.pool(unique)
        embeddings = PromptEmbeddings(self.model.embed(unique).to(self.device), None if pooled is None else pooled.to(self.device))
        self.ready()
        return embeddings[rows]

    def read(self, tokens: Sequence[Tensor], vectors: Sequence[Tensor], places: Sequence[Tensor]) -> PromptEmbeddings:
        """Embeddings of token ids (n, tokens) per text encoder; those of CLIP read vectors (n, tokens, width) where `places` is true."""
        with ExitStack() as stack:
            for (_, encoder), put, where in zip(self.model.word_coders(), vectors, places, strict=True):
                stack.enter_context(_instead(encoder, put, where.to(self.device)))
            return PromptEmbeddings(*self.model.read(tokens))

    def tables(self) -> list[Tensor]:
        """The token embeddings (vocabulary, width) of each text encoder of CLIP."""
        return [encoder.get_input_embeddings().weight.detach() for _, encoder in self.model.word_coders()]

    # --- predictions -----------------------------------------------------------------------------------------------

    def ready(self) -> None:
        """Move all parts of the pipeline to the device."""
        self.model.place(*self.model.parts)

    def predict(self, noisy: Tensor, timesteps: Tensor, embeddings: PromptEmbeddings, network: nn.Module | None = None) -> Tensor:
        """The prediction for noisy latents under prompt embeddings; by another network if given."""
        sizes = self.model.time_ids()
        time_ids = None if sizes is None else sizes.to(self.device).expand(len(noisy), -1)
        conditioning = Conditioning(embeddings.text, embeddings.pooled, time_ids)
        return predict(network or self.network, noisy, timesteps.to(self.device), conditioning, self.model.dtype).float()

    def noised(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Noisy latents and the prediction target."""
        noisy, target = self.objective.noised(clean, noise, timesteps), self.objective.target(clean, noise, timesteps)
        return noisy.to(self.device), target.to(self.device)

    # --- images ---------------------------------------------------------------------------------------------------

    def draw(
        self,
        embeddings: PromptEmbeddings,
        sources: Sequence[torch.Generator],
        guided: bool = True,
        scales: Sequence[float | None] | None = None,
    ) -> list[Image.Image]:
        """One image per prompt from its generator, with the run's sampler; `guided`: with classifier-free guidance.

        `scales`: the guidance scale of each prompt, None for that of the run. Prompts of one scale are drawn together.
        """
        self.ready()
        nothing = self.embed([""])
        own = [self.guidance if scale is None else scale for scale in scales or [None] * len(embeddings)] if guided else None
        images: dict[int, Image.Image] = {}
        self._drawing = True
        try:
            for scale in dict.fromkeys(own or [1.0]):
                rows = [k for k in range(len(embeddings)) if own is None or own[k] == scale]
                for part in (rows[start : start + self.batch] for start in range(0, len(rows), self.batch)):
                    drawn = self._draw(embeddings[part].detach(), nothing, [sources[k] for k in part], scale)
                    images |= dict(zip(part, drawn, strict=True))
        finally:
            self._drawing = False
        return [images[k] for k in range(len(embeddings))]

    @torch.no_grad()
    def _draw(
        self, embeddings: PromptEmbeddings, nothing: PromptEmbeddings, sources: list[torch.Generator], guidance: float
    ) -> list[Image.Image]:
        model, dtype = self.model, self.model.dtype
        arguments = {"prompt_embeds": embeddings.text.to(dtype)}
        arguments |= {"negative_prompt_embeds": nothing.text.to(dtype).expand_as(embeddings.text)}
        if embeddings.pooled is not None and nothing.pooled is not None:
            arguments |= {"pooled_prompt_embeds": embeddings.pooled.to(dtype)}
            arguments |= {"negative_pooled_prompt_embeds": nothing.pooled.to(dtype).expand_as(embeddings.pooled)}
        half = dtype != torch.float32
        with model.scheduled(self._sampler):
            images = model.pipeline(
                num_inference_steps=self.steps, guidance_scale=guidance, generator=sources, height=model.size, width=model.size,
                output_type="latent" if half else "pil", **arguments,
            ).images  # fmt: skip
        return model._decode(images) if half else list(images)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Image.Image]:
        """The images of scaled latents."""
        self.ready()
        return [image for part in latents.split(self.batch) for image in self.model._decode(part.to(self.device))]


@contextmanager
def _instead(encoder: Any, vectors: Tensor, places: Tensor) -> Iterator[None]:
    """Within the context, the encoder's token embeddings are these vectors wherever `places` is true."""

    def put(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
        return torch.where(places[..., None], vectors.to(output), output)

    handle = encoder.get_input_embeddings().register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()
