"""Stable Diffusion 1.x and 2.x: pictures, embeddings and latents of a pipeline folder.

The narrow door between diffusers and everything else: prompts are embedded, pictures encoded and sampled here and
nowhere else. Parts are loaded when needed and can be dropped (`free`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn

from erase.export import variant_of
from erase.operators import declare_operators
from erase.task import InputError, generator

declare_operators()  # before diffusers is imported anywhere

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def first_line(error: Exception) -> str:
    """What an error says, in one line of at most 200 characters."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


class StableDiffusion:
    """A pipeline folder on a device. State: whichever of its parts are loaded."""

    CLASS: ClassVar[str] = "StableDiffusionPipeline"
    OPTIONS: ClassVar[dict[str, Any]] = {"safety_checker": None, "requires_safety_checker": False}
    PARTS: ClassVar[tuple[str, ...]] = ("unet", "vae", "text_encoder")

    def __init__(self, folder: Path, device: str = "cpu", dtype: str = "float32") -> None:
        self.folder, self.device, self.dtype = folder, device, DTYPES[dtype]
        self.name = str(folder)
        self._pipeline: Any = None

    @property
    def pipeline(self) -> Any:
        """The whole pipeline, loaded on first use, every part in the one dtype."""
        if self._pipeline is None:
            import diffusers

            try:
                self._pipeline = getattr(diffusers, self.CLASS).from_pretrained(
                    self.folder, torch_dtype=self.dtype, variant=variant_of(self.folder), use_safetensors=True, local_files_only=True,
                    **self.OPTIONS,
                )  # fmt: skip
            except (OSError, ValueError, SafetensorError) as error:
                raise InputError(f"{self.folder} does not load as a pipeline ({first_line(error)}); is it complete?") from error
            self._pipeline.to(self.device)
            self._pipeline.set_progress_bar_config(disable=True)
            for part in self.PARTS:
                getattr(self._pipeline, part).requires_grad_(False).eval()
        return self._pipeline

    def free(self) -> None:
        """Forget the loaded parts, so that repair has the memory to itself."""
        self._pipeline = None
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    @property
    def size(self) -> int:
        """Side of the pictures it was trained on, in pixels."""
        return int(self.pipeline.unet.config.sample_size * self.pipeline.vae_scale_factor)

    @property
    def scheduler_name(self) -> str:
        return type(self.pipeline.scheduler).__name__

    def sampler(
        self, steps: int, guidance: float, scheduler: str | None = None
    ) -> Callable[[list[str], list[torch.Generator]], list[Image.Image]]:
        """prompts, generators -> pictures; with the pipeline's own scheduler, or another class of diffusers by name."""
        if scheduler is not None and scheduler != self.scheduler_name:
            import diffusers

            kind = getattr(diffusers, scheduler, None)
            if kind is None or not hasattr(kind, "from_config"):
                raise InputError(f"the sampler {scheduler!r} is unknown to diffusers; expected a scheduler's name, as LMSDiscreteScheduler")
            self.pipeline.scheduler = kind.from_config(self.pipeline.scheduler.config)

        def sample(prompts: list[str], generators: list[torch.Generator]) -> list[Image.Image]:
            with torch.inference_mode():
                made = self.pipeline(prompts, num_inference_steps=steps, guidance_scale=guidance, generator=generators)
            images: list[Image.Image] = made.images
            return images

        return sample

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> Tensor:
        """Text embeddings (n, tokens, width) as the UNet reads them, float32 on the CPU."""
        tokenizer = self.pipeline.tokenizer
        tokens = tokenizer(prompts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt")
        text: Tensor = self.pipeline.text_encoder(tokens.input_ids.to(self.device))[0].float().cpu()
        return text

    def pool(self, prompts: list[str]) -> Tensor | None:
        """Pooled text embeddings, for families whose UNet reads them beside the text."""
        return None

    def time_ids(self) -> Tensor | None:
        """What the UNet is told of the picture's size, in families where it is told."""
        return None

    @torch.no_grad()
    def encode(self, pixels: Tensor, first: int = 0) -> Tensor:
        """Pictures (n, 3, s, s) in [-1, 1] -> scaled latents, float32 on the CPU; drawn from the posterior, seeded by number."""
        vae = self.pipeline.vae
        posterior = vae.encode(pixels.to(self.device, vae.dtype)).latent_dist
        noise = torch.stack([torch.randn(posterior.mean.shape[1:], generator=generator("latent", first + i)) for i in range(len(pixels))])
        latents: Tensor = posterior.mean.float().cpu() + posterior.std.float().cpu() * noise
        return latents * float(vae.config.scaling_factor)

    def unet(self) -> nn.Module:
        """The UNet alone, in float32, whatever the file holds: repair needs the small updates. Evaluation mode."""
        from diffusers import UNet2DConditionModel

        unet = UNet2DConditionModel.from_pretrained(
            self.folder / "unet", torch_dtype=torch.float32, variant=variant_of(self.folder), use_safetensors=True, local_files_only=True
        )
        return unet.to(self.device).eval()  # type: ignore[no-any-return]

    def noise_scheduler(self) -> Any:
        """The forward process of training, with the folder's own betas and prediction type."""
        from diffusers import DDPMScheduler

        return DDPMScheduler.from_pretrained(self.folder, subfolder="scheduler", local_files_only=True)
