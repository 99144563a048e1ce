"""A Stable Diffusion pipeline folder -> pictures, embeddings, latents, and a Task.

The narrow door between diffusers and everything else: prompts are embedded, pictures encoded and sampled, noise added
and predicted here and nowhere else. Parts are loaded when needed and can be dropped (`free`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn

from erase.export import check_model_folder, variant_of
from erase.latents import ImageLatents, Latents
from erase.operators import declare_operators
from erase.task import Batch, Batches, InputError, Task, generator

declare_operators()  # before diffusers is imported anywhere

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def locate(model: str) -> Path:
    """The folder of a model: `demo` is embedded, a folder is itself, anything else is fetched from the hub."""
    if model == "demo":
        from erase.demo import pipeline_path

        return pipeline_path()
    path = Path(model).expanduser()
    looks_local = path.exists() or path.suffix in (".ckpt", ".safetensors", ".bin", ".pt", ".pth") or model.startswith((".", "/", "~"))
    if not looks_local and model.count("/") == 1:
        path = _fetch(model)
    elif not looks_local:
        raise InputError(f"--model {model!r} is neither a folder nor a hub name; expected demo, a diffusers folder, or OWNER/NAME")
    check_model_folder(path)
    return path


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.txt", "*/*.json", "*/*.txt", "*/*.safetensors"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:  # the hub's client raises a dozen kinds; each means that the model is not to be had
        raise InputError(
            f"--model {name!r} could not be fetched from the hub ({_first_line(error)}); give a local diffusers folder"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def pick_device(device: str) -> str:
    """`auto` is the best there is; a device that is not there is an InputError."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        kind, index = torch.device(device).type, torch.device(device).index or 0
    except RuntimeError:
        raise InputError(f"--device {device!r} is unknown; expected auto, cpu, cuda, cuda:N or mps") from None
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(kind, False) or (kind == "cuda" and index >= torch.cuda.device_count()):
        raise InputError(
            f"--device {device} is not available to this installation of torch ({torch.__version__}); give --device cpu or auto"
        )
    return device


class StableDiffusion:
    """A pipeline folder on a device. State: whichever of its parts are loaded."""

    def __init__(self, folder: Path, device: str = "cpu", dtype: str = "float32") -> None:
        self.folder, self.device, self.dtype = folder, device, DTYPES[dtype]
        self.name = str(folder)
        self._pipeline: Any = None

    @property
    def pipeline(self) -> Any:
        """The whole StableDiffusionPipeline, loaded on first use, every part in the one dtype."""
        if self._pipeline is None:
            from diffusers import StableDiffusionPipeline

            try:
                self._pipeline = StableDiffusionPipeline.from_pretrained(
                    self.folder, torch_dtype=self.dtype, variant=variant_of(self.folder), use_safetensors=True, safety_checker=None,
                    requires_safety_checker=False, local_files_only=True,
                )  # fmt: skip
            except (OSError, ValueError, SafetensorError) as error:
                raise InputError(f"{self.folder} does not load as a pipeline ({_first_line(error)}); is it complete?") from error
            self._pipeline.to(self.device)
            self._pipeline.set_progress_bar_config(disable=True)
            for part in (self._pipeline.unet, self._pipeline.vae, self._pipeline.text_encoder):
                part.requires_grad_(False).eval()
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
        return self.pipeline.text_encoder(tokens.input_ids.to(self.device))[0].float().cpu()

    @torch.no_grad()
    def encode(self, pixels: Tensor, first: int = 0) -> Tensor:
        """Pictures (n, 3, s, s) in [-1, 1] -> scaled latents, float32 on the CPU; drawn from the posterior, seeded by number."""
        vae = self.pipeline.vae
        posterior = vae.encode(pixels.to(self.device, self.dtype)).latent_dist
        noise = torch.stack([torch.randn(posterior.mean.shape[1:], generator=generator("latent", first + i)) for i in range(len(pixels))])
        latents = posterior.mean.float().cpu() + posterior.std.float().cpu() * noise
        return latents * vae.config.scaling_factor

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


def diffusion_task(
    unet: nn.Module,
    scheduler: Any,
    latents: Latents,
    weights: dict[str, nn.Parameter],
    batch: int = 16,
    seed: int = 0,
    anchored: int = 0,
    imitated: int = 0,
    first_batch_only: bool = False,
    empty_captions: float = 0.1,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int, int], None] | None = None,
) -> Task:
    """A Task from cached latents: batch i's pictures, noise and timesteps depend on (seed, i) alone.

    With `anchored` = n > 0 the original network's predictions for the anchor prompts are computed now, for forget
    batches 0 to n - 1, which then come round again: forgetting needs no second network and no third pass. Where there
    are pictures of the anchors, half of what it looks at (`passed`) comes from them: once the concept gives way, sampling
    passes there, and a network that never saw this prompt with such pictures breaks down on the way. With
    `imitated` = n > 0 the same is done for retain batches, whose target then is what the original network predicts
    instead of the noise itself: the same minimum, where nothing is damaged, without the noise's share in the gradient.
    A share of `empty_captions` of the retain pictures comes without its prompt, so that guidance keeps working.
    """
    device = next(unet.parameters()).device

    def loss(network: nn.Module, b: Batch) -> Tensor:
        return F.mse_loss(predict(network, b["noisy"], b["timesteps"], b["text"], dtype).float(), b["target"])

    def towards_anchor(network: nn.Module, b: Batch) -> Tensor:
        return F.mse_loss(predict(network, b["passed"], b["timesteps"], b["text"], dtype).float(), b["anchor"])

    def told(done: int) -> None:
        if progress is not None:
            progress(done, anchored + imitated)

    draw = _drawer(scheduler, latents.text, device)
    forget = numbered(latents.forget, batch, (seed, "forget"), draw, 0.0, first_batch_only)
    retain = numbered(latents.retain, batch, (seed, "retain"), draw, empty_captions, first_batch_only)
    if anchored:
        if not latents.forget.anchors.shape[1]:
            raise InputError(
                "forgetting towards an anchor needs anchor prompts, and there are none; give --anchor WORD or --unlearn ascent"
            )
        forget = with_prediction(unet, forget, anchored, "anchor", ("passed", "anchor_text"), dtype, told)
    if imitated:
        retain = with_prediction(unet, retain, imitated, "target", ("noisy", "text"), dtype, lambda done: told(anchored + done))
    return Task(unet, forget, retain, loss, towards_anchor, weights, seed)


def predict(network: nn.Module, noisy: Tensor, timesteps: Tensor, text: Tensor, dtype: torch.dtype) -> Tensor:
    """What the network sees in noisy latents under a prompt; in `dtype` where that is less than float32."""
    with torch.autocast(noisy.device.type, dtype, enabled=dtype != torch.float32):
        predicted: Tensor = network(noisy, timesteps, encoder_hidden_states=text, return_dict=False)[0]
        return predicted


def denoising_target(scheduler: Any, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the network is trained to predict: the noise, or the velocity (Salimans and Ho 2022)."""
    kind = scheduler.config.prediction_type
    if kind not in ("epsilon", "v_prediction"):
        raise InputError(f"the scheduler predicts {kind!r}; supported are epsilon and v_prediction")
    target: Tensor = noise if kind == "epsilon" else scheduler.get_velocity(clean, noise, timesteps)
    return target


Draw = Callable[[ImageLatents, Tensor, tuple[object, ...], float], dict[str, Tensor]]


def _drawer(scheduler: Any, text: Tensor, device: torch.device) -> Draw:
    def draw(images: ImageLatents, rows: Tensor, key: tuple[object, ...], empty: float) -> dict[str, Tensor]:
        noise_source = generator(*key, "noise")
        clean = images.latents[rows]
        noise = torch.randn(clean.shape, generator=noise_source)
        timesteps = torch.randint(scheduler.config.num_train_timesteps, (len(rows),), generator=noise_source)
        silent = torch.rand(len(rows), generator=noise_source) < empty
        text_rows = images.text[rows].masked_fill(silent, 0)
        target = denoising_target(scheduler, clean, noise, timesteps)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        made = {"noisy": noisy, "timesteps": timesteps, "target": target, "text": text[text_rows]}
        if images.anchors.shape[1]:
            turn = torch.randint(images.anchors.shape[1], (len(rows), 1), generator=noise_source)
            made["anchor_text"] = text[images.anchors[rows].gather(1, turn)[:, 0]]
            made["passed"] = noisy
        if images.instead is not None:
            given = torch.rand(len(rows), generator=noise_source) < 0.5
            there = scheduler.add_noise(images.instead[rows], noise, timesteps)
            made["passed"] = torch.where(given.reshape(-1, *[1] * (noisy.ndim - 1)), there, noisy)
        return {name: tensor.to(device) for name, tensor in made.items()}

    return draw


def numbered(images: ImageLatents, batch: int, key: tuple[object, ...], draw: Draw, empty: float, first_only: bool = False) -> Batches:
    """Batches by number: epochs follow each other, each in its own seeded order, every picture once an epoch.

    With `first_only` every batch has the pictures of the first, under noise of its own.
    """
    n = len(images.text)

    def rows(first: int) -> Tensor:
        order = {
            epoch: torch.randperm(n, generator=generator(*key, "order", epoch)) for epoch in range(first // n, (first + batch - 1) // n + 1)
        }
        return torch.stack([order[p // n][p % n] for p in range(first, first + batch)])

    return lambda i: draw(images, rows(0 if first_only else i * batch), (*key, i), empty)


@torch.no_grad()
def with_prediction(
    unet: nn.Module,
    batches: Batches,
    count: int,
    name: str,
    inputs: tuple[str, str],
    dtype: torch.dtype,
    progress: Callable[[int], None] = lambda done: None,
) -> Batches:
    """The first `count` batches, round and round, with `name`: what the network as it is now predicts for these inputs of theirs."""
    noisy, text = inputs
    kept = []
    for i in range(count):
        b = batches(i)
        kept.append(predict(unet, b[noisy], b["timesteps"], b[text], dtype).float().cpu())
        progress(i + 1)

    def batch(i: int) -> Batch:
        b = dict(batches(i % count))
        return b | {name: kept[i % count].to(b["noisy"].device)}

    return batch
