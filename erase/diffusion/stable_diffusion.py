"""Stable Diffusion 1.x and 2.x: images, embeddings and latents of a pipeline folder.

The only wrapper of diffusers: prompts are embedded, images encoded and sampled here and nowhere else. Parts are loaded when
needed and can be unloaded (`free`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn

from erase.checkpoints.check.values import check_loaded
from erase.checkpoints.folder import size_of, variant_of
from erase.checkpoints.from_single_file import restore
from erase.diffusion.autoencoder import decoded, encoded
from erase.diffusion.batches import Conditioning
from erase.diffusion.guidance_embedding import embed_guidance
from erase.diffusion.objectives import Denoising, Objective, schedule_of
from erase.diffusion.safe_guidance import guided
from erase.diffusion.samplers import check_steps, with_class
from erase.diffusion.text_encoders import check_texts
from erase.errors import InputError, first_line
from erase.torchvision_compat import check_torchvision
from erase.training.micro_batches import out_of_memory

NOT_LOADED = {"feature_extractor": None, "image_encoder": None}  # for images as prompts
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class StableDiffusion:
    """A pipeline folder on a device. State: whichever of its parts are loaded."""

    CLASS: ClassVar[str] = "StableDiffusionPipeline"
    OPTIONS: ClassVar[dict[str, Any]] = {"safety_checker": None, "requires_safety_checker": False, **NOT_LOADED}
    EDITED: ClassVar[str] = "unet"  # the part that is repaired
    NETWORK: ClassVar[str] = "UNet2DConditionModel"  # its class
    PARTS: ClassVar[tuple[str, ...]] = ("unet", "vae", "text_encoder")
    USUAL: ClassVar[dict[str, float]] = {}  # defaults of a job in which the family differs
    UPCAST: ClassVar[bool] = False  # whether to run the autoencoder in float32 where its configuration says that it overflows in float16

    def __init__(self, folder: Path, device: str = "cpu", dtype: str = "float32", size: int | None = None) -> None:
        self._folder, self.device, self.dtype = folder, device, DTYPES[dtype]
        self.name = str(folder)
        self.guidance = 7.5  # the scale that a UNet distilled with a guidance embedding reads; that of the last sampler
        self._size = size
        self._network: nn.Module | None = None
        self._pipeline: Any = None
        self._placed: tuple[str, ...] = ()
        self.additions: list[Callable[[Any], None]] = []  # what a loaded pipeline is passed to, as a LoRA that it gets

    @property
    def folder(self) -> Path:
        """The pipeline folder. One in the cache of unpacked files is whole when it is asked for, also hours after the model was opened."""
        restore(self._folder)
        return self._folder

    @property
    def parts(self) -> tuple[str, ...]:
        """The networks that this folder has."""
        return self.PARTS

    @property
    def neutral(self) -> bool:
        """Whether the empty prompt was learned as a neutral."""
        return True

    @property
    def edited(self) -> Any:
        """The network that is repaired, as the pipeline has it."""
        return getattr(self.pipeline, self.EDITED)

    def of(self, network: nn.Module) -> StableDiffusion:
        """This model with another network, one that is being repaired; it stays on its device and is not changed."""
        self._network = network
        return self

    @property
    def pipeline(self) -> Any:
        """The whole pipeline on the host, loaded on first use, every part in the same dtype."""
        if self._pipeline is None:
            check_torchvision()
            import diffusers

            with self._readable():
                self._pipeline = getattr(diffusers, self.CLASS).from_pretrained(
                    self.folder, torch_dtype=self.dtype, variant=variant_of(self.folder), use_safetensors=True, local_files_only=True,
                    **self._options(), **({} if self._network is None else {self.EDITED: self._network}),
                )  # fmt: skip
            self._pipeline.set_progress_bar_config(disable=True)
            if self._network is None:
                self._prepare(self.edited)
            check_texts(self.folder, self._pipeline, self.parts)
            for part in self._own_parts():
                check_loaded(self.folder, part, getattr(self._pipeline, part))
                getattr(self._pipeline, part).requires_grad_(False).eval()
            if self.UPCAST and self.dtype == torch.float16 and self._pipeline.vae.config.force_upcast:
                self._pipeline.vae.to(torch.float32)
            if not self.device.startswith("cpu"):
                self._pipeline.vae.enable_slicing()  # decoding takes more memory than denoising, and little time
            for add in self.additions:
                add(self._pipeline)
        return self._pipeline

    @contextmanager
    def _described(self, prompts: list[str], guidance: float, negative: str) -> Iterator[dict[str, Any]]:
        """The arguments of the pipeline that say what to draw; within, the parts that draw it are on the device."""
        self.place(*self.parts)
        yield {"prompt": prompts} | ({"negative_prompt": [negative] * len(prompts)} if negative else {})

    def _options(self) -> dict[str, Any]:
        """Arguments with which the pipeline is loaded."""
        return self.OPTIONS

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Errors that loaders raise for truncated files and files of other models, as an InputError in one line."""
        try:
            yield
        except Exception as error:  # whatever the loaders of diffusers and transformers make of a configuration that fits nothing
            if isinstance(error, InputError) or out_of_memory(error):
                raise
            raise InputError(f"{self.folder} does not load as a pipeline ({first_line(error)}); is it complete?") from error

    def place(self, *parts: str) -> None:
        """Move these parts to the device and the others to the host: only sampling needs all of them together."""
        pipeline = self.pipeline
        if parts != self._placed:
            for part in sorted(self._own_parts(), key=lambda part: part in parts):  # moving to the host first frees memory
                getattr(pipeline, part).to(self.device if part in parts else "cpu")
            self._placed = parts
            self._give_back()

    def _own_parts(self) -> list[str]:
        return [part for part in self.parts if part != self.EDITED or self._network is None]

    def _give_back(self) -> None:
        """Release the GPU memory that torch caches."""
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def free(self) -> None:
        """Unload all parts, so that repair has all the memory."""
        self._pipeline, self._placed = None, ()
        self._give_back()

    @property
    def size(self) -> int:
        """Side of the images in pixels: as requested, or that of the training images."""
        return self._size or size_of(self.folder)

    @property
    def scheduler_name(self) -> str:
        return type(self.pipeline.scheduler).__name__

    def sampler(
        self, steps: int, guidance: float, scheduler: str | None = None, negative: str = "", size: int | None = None
    ) -> Callable[[list[str], list[torch.Generator]], list[Image.Image]]:
        """prompts, generators -> images; with the pipeline's own scheduler, or another one of diffusers by class name.

        Another one is this sampler's alone: the pipeline keeps its own, and so do samplers that are made without a name. `negative` is
        the prompt from which guidance leads away; `size` the side of the images in pixels where it is not the model's.
        """
        self.guidance = guidance
        other = self.other_scheduler(scheduler)

        def sample(prompts: list[str], generators: list[torch.Generator]) -> list[Image.Image]:
            states = [source.get_state() for source in generators]
            try:
                with self.scheduled(other):
                    check_steps(self.folder / "scheduler", self.pipeline.scheduler, steps)
                    return self._draw(prompts, generators, steps, guidance, negative, size or self.size)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or len(prompts) == 1:
                    raise
            self._give_back()
            for source, state in zip(generators, states, strict=True):
                source.set_state(state)
            half = len(prompts) // 2
            return sample(prompts[:half], generators[:half]) + sample(prompts[half:], generators[half:])

        return sample

    def other_scheduler(self, name: str | None) -> Any:
        """A scheduler of diffusers by class name, with the configuration of the pipeline's own; None where that is the one named."""
        return None if name is None or name == self.scheduler_name else with_class(self.pipeline.scheduler, name)

    @contextmanager
    def scheduled(self, scheduler: Any) -> Iterator[None]:
        """Within, the pipeline samples with this scheduler; with its own for None."""
        own = self.pipeline.scheduler
        try:
            self.pipeline.scheduler = own if scheduler is None else scheduler
            yield
        finally:
            self.pipeline.scheduler = own

    @torch.inference_mode()
    def _draw(
        self, prompts: list[str], generators: list[torch.Generator], steps: int, guidance: float, negative: str, size: int
    ) -> list[Image.Image]:
        half = self.dtype != torch.float32
        with guided(self, len(prompts), guidance), self._described(prompts, guidance, negative) as described:
            output = self.pipeline(
                **described, num_inference_steps=steps, guidance_scale=guidance, generator=generators, height=size, width=size,
                output_type="latent" if half else "pil",
            ).images  # fmt: skip
        images: list[Image.Image] = self._decode(output) if half else output
        return images

    def _decode(self, latents: Tensor) -> list[Image.Image]:
        """The pipeline's latents -> images; in float32 once the autoencoder has overflowed in half precision."""
        if not latents.isfinite().all():
            raise InputError(f"the network overflows in {self.dtype} and generates no image; give --dtype bfloat16 or float32")
        images: list[Image.Image] = self.pipeline.image_processor.postprocess(decoded(self.pipeline.vae, latents), output_type="pil")
        return images

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> Tensor:
        """Text embeddings (n, tokens, width) as the UNet reads them, float32 on the CPU."""
        self.place("text_encoder")
        return self.read(self.tokens(prompts))[0].cpu()

    def coders(self) -> list[tuple[Any, Any]]:
        """Each text encoder with its tokenizer before it."""
        return [(self.pipeline.tokenizer, self.pipeline.text_encoder)]

    def word_coders(self) -> list[tuple[Any, Any]]:
        """Those of CLIP, the first ones, whose tokens are whole words and can be searched."""
        return self.coders()

    def tokens(self, prompts: list[str]) -> list[Tensor]:
        """The token ids (n, tokens) for each text encoder, on the CPU."""
        return [
            tokenizer(prompts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt").input_ids
            for tokenizer, _ in self.coders()
        ]

    def read(self, tokens: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Text embeddings of token ids and, in families whose UNet reads them, pooled ones; float32 on the device.

        The text encoders must be on the device. Gradients reach token embeddings that a hook replaces.
        """
        text: Tensor = self.coders()[0][1](tokens[0].to(self.device))[0].float()
        return text, None

    def pool(self, prompts: list[str]) -> Tensor | None:
        """Pooled text embeddings, for families whose UNet reads them beside the text."""
        return None

    def time_ids(self) -> Tensor | None:
        """The sizes that the UNet reads (6,), in families that have them."""
        return None

    def conditioning(self, prompts: list[str], device: torch.device | str) -> Conditioning:
        """Everything that the UNet reads for these prompts, on a device."""
        time_ids = self.time_ids()
        whole = Conditioning(self.embed(prompts), self.pool(prompts), None if time_ids is None else time_ids.expand(len(prompts), -1))
        return whole.map(lambda tensor: tensor.to(device))

    @torch.no_grad()
    def encode(self, pixels: Tensor, first: int = 0) -> Tensor:
        """Images (n, 3, s, s) in [-1, 1] -> scaled latents, float32 on the CPU; drawn from the posterior, seeded by the image's number."""
        self.place("vae")
        return encoded(self.pipeline.vae, pixels, self.device, first)

    def network(self, dtype: torch.dtype = torch.float32, device: str | None = None) -> nn.Module:
        """The repaired network alone, in evaluation mode; in float32, because repair needs small updates, or in that of frozen weights."""
        check_torchvision()
        import diffusers

        where: dict[str, Any] = {"variant": variant_of(self.folder), "use_safetensors": True, "local_files_only": True}
        with self._readable():
            kind = getattr(diffusers, self.NETWORK)
            network = kind.from_pretrained(self.folder / self.EDITED, torch_dtype=dtype, **where)
        check_loaded(self.folder, self.EDITED, network)
        self._prepare(network)
        return network.to(device or self.device).eval()  # type: ignore[no-any-return]

    def _prepare(self, network: Any) -> None:
        """What a network of this family needs before it is called."""
        embed_guidance(network, lambda: self.guidance)

    def noise_scheduler(self) -> Any:
        """The schedule of alphas that the network was trained under, in families that have one."""
        return schedule_of(self.folder)

    def objective(self) -> Objective:
        """What the network was trained to predict, and under which noise."""
        return Denoising(self.noise_scheduler())

    def training_record(self) -> dict[str, Any]:
        """What a run records of the objective beside the configuration of the scheduler; empty for a schedule of alphas."""
        return {}
