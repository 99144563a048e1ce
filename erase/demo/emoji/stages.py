"""The stages of the training of the emoji model. Each reads what earlier ones left in the folder, and resumes where it stopped."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from erase.demo import networks as small
from erase.demo.emoji import autoencoding, captions, networks, reading, world
from erase.demo.emoji.denoising import Denoiser, denoising, use_plain_attention
from erase.demo.emoji.judge import MEMBERS, Judge
from erase.demo.emoji.plan import Plan
from erase.demo.training import clip as contrastive
from erase.demo.training.grow import begin
from erase.demo.training.loop import Course, fit, hash_seed
from erase.demo.training.precision import half_precision

EVERY = 100  # steps between two checkpoints


def average(name: str, network: nn.Module, folder: Path) -> int:
    """Load the moving average of a stage's weights as far as it is; the number of its steps, 0 if it has not begun."""
    path = folder / "checkpoints" / f"{name}.safetensors"
    if not path.exists():
        return 0
    with safe_open(path, "pt") as file:
        for key, weight in network.named_parameters():
            weight.data.copy_(file.get_tensor(f"average/{key}"))
        return int(file.metadata()["step"])


def _has(base: Path, part: str) -> bool:
    return (base / "pipeline" / part).is_dir()


def decoder_of(vae: Any) -> nn.Module:
    return nn.ModuleList([vae.post_quant_conv, vae.decoder])


def autoencoder(plan: Plan, folder: Path, base: Path | None) -> Any:
    """Trained on every training pair; those left out of training are new to it too. Afterwards the encoder stays as it is."""
    if base is not None:
        from diffusers import AutoencoderKL

        vae = AutoencoderKL.from_pretrained(base / "pipeline" / "vae").float()
        vae.register_to_config(_name_or_path="")  # or the finished folder would name a folder of this machine
        return vae.to(plan.device, memory_format=torch.channels_last)
    torch.manual_seed(hash_seed(plan.seed, "autoencoder"))
    vae = networks.build_autoencoder().to(plan.device, memory_format=torch.channels_last)
    choices = world.pairs(plan.without)

    def loss(step: int, generator: torch.Generator) -> Tensor:
        x, _ = autoencoding.draw_batch(choices, autoencoding.BATCH, generator, plan.device)
        return autoencoding.reconstruction_loss(step, vae, x, generator)

    fit(Course("autoencoder", plan.autoencoder_steps, 2e-3, decay=0.995, every=EVERY), vae, loss, folder, plan.seed, plan.device)
    return vae


def decoder(plan: Plan, vae: Any, folder: Path) -> None:
    """The decoder alone: the latents stay what they are, so the UNet may be trained meanwhile."""
    choices = world.pairs(plan.without)
    part = decoder_of(vae.requires_grad_(True))

    def loss(step: int, generator: torch.Generator) -> Tensor:
        x, _ = autoencoding.draw_batch(choices, autoencoding.BATCH, generator, plan.device)
        return autoencoding.decoding_loss(vae, x, generator)

    fit(Course("decoder", plan.decoder_steps, 1e-3, decay=0.998, every=EVERY), part, loss, folder, plan.seed, plan.device)


def latents(plan: Plan, vae: Any, folder: Path) -> tuple[Tensor, list[world.Scene]]:
    """Unit variance; the factor goes into the autoencoder's configuration."""
    encoded, scenes = autoencoding.latents(plan.variants, world.pairs(plan.without), vae, folder, plan.seed, plan.device)
    if vae.config.scaling_factor == 0.18215:  # what diffusers has where nothing else was set
        vae.register_to_config(scaling_factor=float(1 / encoded.float().std()))
    return encoded * vae.config.scaling_factor, scenes


def tokenizer(folder: Path, base: Path | None) -> Any:
    """The numbers of the tokens belong to the weights, so they come from `base` where that begins the training."""
    if base is not None:
        shutil.copytree(base / "pipeline" / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)
    return small.build_tokenizer(folder / "tokenizer", captions.words())


def reader(plan: Plan, tokens: Any, folder: Path, base: Path | None) -> Any:
    """The text encoder after its first course."""
    torch.manual_seed(hash_seed(plan.seed, "reader"))
    network = reading.Reader(networks.build_text_encoder(tokens), networks.WIDTH).to(plan.device)
    choices = world.pairs(plan.without)
    if not (base is None or plan.without is not None or not _has(base, "text_encoder")):
        return network.text_encoder

    def loss(step: int, generator: torch.Generator) -> Tensor:
        texts, labels = reading.sample(choices, 96, generator)
        numbers = tokens(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        with half_precision(plan.device):
            read = network(numbers.to(plan.device))
        return reading.reading_loss({domain: logits.float() for domain, logits in read.items()}, labels)

    fit(Course("reader", plan.reader_steps, 1.5e-3, decay=0.995, every=EVERY), network, loss, folder, plan.seed, plan.device)
    return network.text_encoder


def denoiser(plan: Plan, vae: Any, text_encoder: Any, tokens: Any, folder: Path, base: Path | None) -> None:
    """UNet and text encoder together, on the latents of every training pair: first of plain pictures, then of random ones."""
    torch.manual_seed(hash_seed(plan.seed, "denoiser"))
    encoded, scenes = latents(plan, vae, folder)
    model = Denoiser(networks.build_unet(), text_encoder).to(plan.device)
    if base is not None and plan.without is None and _has(base, "unet"):
        begin(model.unet, model.text_encoder, tokens, base / "pipeline")
        plan = replace(plan, plain_steps=0)  # it knows its names
    if plan.device == "cpu":
        use_plain_attention(model)
    choices = world.pairs(plan.without)
    plain = autoencoding.plain_latents(choices, vae, plan.device) * vae.config.scaling_factor
    plain_scenes = [world.Scene(*pair, "white") for pair in choices]
    plain_loss = denoising(model, plain, plain_scenes, tokens, plan.device)
    copies = max(1, plan.variants // 4)  # of the plain pictures among the random ones: a fifth of all
    loss = denoising(model, torch.cat([encoded, plain.half().repeat(copies, 1, 1, 1)]), scenes + plain_scenes * copies, tokens, plan.device)

    def course(step: int, generator: torch.Generator) -> Tensor:
        return (plain_loss if step < plan.plain_steps else loss)(step, generator)

    fit(Course("denoiser", plan.unet_steps, plan.rate, every=EVERY, muon=True), model, course, folder, plan.seed, plan.device)


def judge(plan: Plan, vae: Any, folder: Path, base: Path | None) -> None:
    """Cross-entropy of object, style and background over renders of every pair, a quarter of them reconstructed, with a little noise."""
    if base is not None and (base / "judge.safetensors").exists():
        shutil.copy(base / "judge.safetensors", folder)
        return
    torch.manual_seed(hash_seed(plan.seed, "judge"))
    network = Judge().to(plan.device).to(memory_format=torch.channels_last)
    choices = world.pairs() + world.pairs(unseen=True)
    average("decoder", decoder_of(vae), folder)

    def loss(step: int, generator: torch.Generator) -> Tensor:
        x, scenes = autoencoding.draw_batch(choices, 64, generator, plan.device)
        with torch.no_grad(), half_precision(plan.device):
            x[:16] = vae.decode(vae.encode(x[:16]).latent_dist.mean).sample.float()
        x = x + 0.05 * torch.randn(x.shape, generator=generator).to(plan.device)
        with half_precision(plan.device):
            logits = network(x)
        labels = {domain: torch.tensor([members.index(s.attribute(domain)) for s in scenes]) for domain, members in MEMBERS.items()}
        losses = [F.cross_entropy(logits[d].float(), labels[d].to(plan.device), label_smoothing=0.02) for d in MEMBERS]
        return torch.stack(losses).sum()

    fit(Course("judge", plan.judge_steps, 2e-3, decay=0.998, every=EVERY), network, loss, folder, plan.seed, plan.device)


CLIP: dict[str, Any] = {
    "embed_dim": 96,
    "vision_cfg": {"image_size": networks.SIZE, "layers": [1, 1, 1, 1], "width": 12, "head_width": 64, "patch_size": None},
    "text_cfg": {"context_length": small.TOKENS, "width": 96, "heads": 4, "layers": 3, "hf_tokenizer_name": "tokenizer"},
}


def clip(plan: Plan, folder: Path, base: Path | None) -> None:
    """A small CLIP in open_clip's format, on renders of every pair and their captions: `folder`/emoji_clip."""
    if base is not None and (base / "emoji_clip").is_dir():
        shutil.copytree(base / "emoji_clip", folder / "emoji_clip", dirs_exist_ok=True)
        return
    choices = world.pairs() + world.pairs(unseen=True)

    def batches(generator: torch.Generator) -> tuple[Tensor, list[str]]:
        x, scenes = autoencoding.draw_batch(choices, contrastive.BATCH, generator, plan.device)
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        return x, [captions.caption(scene, rng) for scene in scenes]

    tokenizer(folder, base)
    config = copy.deepcopy(CLIP)
    network = contrastive.fit_clip(config, batches, folder / "tokenizer", folder, plan.clip_steps, plan.seed, plan.device)
    contrastive.write(network, config, folder / "tokenizer", folder / "emoji_clip")
