"""Train the embedded model from nothing: `python -m erase.demo.shapes.train --output DIR` (CPU or GPU, resumable, seeded).

Stages, in order: render pictures; autoencoder; latents; UNet with text encoder; judge; write the pipeline folder.
Every stage saves checkpoints and starts again where it stopped; batch i depends on (seed, stage, i) alone.
`--without star` trains the same model on data that never shows or mentions the concept: the gold standard that an
erased model is compared with. It takes autoencoder and judge from `--base` where one is passed: they depend on images, not words.
`--polish` takes the UNet and the text encoder from `--base` too, and gives them only the second course.
`--world scenes` trains the larger model of the second world. It has the demo's autoencoder, and its UNet and text encoder
begin where the demo's ended (`--base`, by default the shipped ones): shapes and colours are known, what is new is where and how many.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from erase.demo import DEMO, SCENES, judge_path, networks
from erase.demo.scenes.judge import SceneJudge, load_scene_judge
from erase.demo.scenes.networks import Composer
from erase.demo.scenes.train import train_composer, train_scene_judge
from erase.demo.shapes import world
from erase.demo.shapes.judge import Judge, load_judge
from erase.demo.training.grow import begin
from erase.demo.training.loop import PLANS, Course, Plan, disturbed, fit, hash_seed, save, to_model
from erase.demo.worlds import KNOWN_MODELS


def _render(task: tuple[str, int, int, str | None]) -> np.ndarray[Any, Any]:
    name, seed, count, without = task
    return np.stack([KNOWN_MODELS[name].world.render(scene) for scene in KNOWN_MODELS[name].world.scenes(count, seed, without)])


def pictures(plan: Plan, folder: Path) -> tuple[Tensor, list[Any]]:
    """The training pictures (n, 3, 64, 64) uint8 and their scenes; drawn once, then read."""
    chunk = 500
    tasks = [(plan.world, 1000 * plan.seed + i, chunk, plan.without) for i in range(plan.pictures // chunk)]
    scenes = [scene for name, seed, count, without in tasks for scene in KNOWN_MODELS[name].world.scenes(count, seed, without)]
    path = folder / "pictures.safetensors"
    if not path.exists():
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            drawn = np.concatenate(list(pool.map(_render, tasks)))
        save({"pictures": torch.from_numpy(drawn).permute(0, 3, 1, 2).contiguous()}, path)
    return load_file(path)["pictures"], scenes


def train_autoencoder(plan: Plan, drawn: Tensor, folder: Path) -> Any:
    """Squared error with colour counted more than brightness, L1 on pixels and their differences (crisp edges), and a
    little KL so that latents stay smooth. For the first 1,000 steps three latent channels are pulled towards the mean
    colour of their patch, which spares the slow discovery of colour."""
    torch.manual_seed(hash_seed(plan.seed, "autoencoder"))
    vae = networks.build_autoencoder().to(plan.device)

    def loss(step: int, generator: torch.Generator) -> Tensor:
        x = to_model(drawn[torch.randint(len(drawn), (16,), generator=generator)], plan.device)
        posterior = vae.encode(x).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(plan.device)
        y = vae.decode(posterior.mean + posterior.std * noise).sample
        error = y - x
        grey = error.mean(1, keepdim=True)
        squared = 2 * grey.pow(2).mean() + 8 * (error - grey).pow(2).mean()
        edges = sum(torch.diff(error, dim=d).abs().mean() for d in (2, 3))
        kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
        value: Tensor = squared + 0.3 * error.abs().mean() + 0.15 * edges + 1e-4 * kl
        if step < 1000:
            value = value + (1 - step / 1000) * (posterior.mean[:, :3] - 2 * F.avg_pool2d(x, 8)).pow(2).mean()
        return value

    fit(Course("autoencoder", plan.autoencoder_steps, 2e-3, decay=0.995), vae, loss, folder, plan.seed, plan.device)
    return vae.eval().requires_grad_(False)


def train_judge(plan: Plan, drawn: Tensor, scenes: list[world.Scene], vae: Any, folder: Path) -> Judge:
    """Cross-entropy on every head, over disturbed pictures."""
    torch.manual_seed(hash_seed(plan.seed, "judge"))
    judge = Judge().to(plan.device)
    labels = {d: torch.tensor([m.index(s.attribute(d)) for s in scenes]) for d, m in world.DOMAINS.items()}

    def loss(step: int, generator: torch.Generator) -> Tensor:
        rows, x = disturbed(drawn, vae, generator, plan.device)
        return torch.stack([F.cross_entropy(y, labels[d][rows].to(plan.device), label_smoothing=0.02) for d, y in judge(x).items()]).sum()

    fit(Course("judge", plan.judge_steps, 2e-3), judge, loss, folder, plan.seed, plan.device)
    return judge.eval().requires_grad_(False)


@torch.no_grad()
def encode(drawn: Tensor, vae: Any, folder: Path, device: str) -> tuple[Tensor, Tensor]:
    """Posterior mean and standard deviation of every picture, (n, 8, 8, 8) each; computed once, then read."""
    path = folder / "latents.safetensors"
    if not path.exists():
        parts = [vae.encode(to_model(part, device)).latent_dist for part in drawn.split(200)]
        save({"mean": torch.cat([p.mean.cpu() for p in parts]), "std": torch.cat([p.std.cpu() for p in parts])}, path)
    latents = load_file(path)
    return latents["mean"], latents["std"]


class Denoiser(nn.Module):
    """UNet and text encoder as one module, because they are trained together."""

    def __init__(self, unet: nn.Module, text_encoder: nn.Module) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder


def train_denoiser(
    plan: Plan, scenes: list[world.Scene], mean: Tensor, std: Tensor, tokenizer: Any, folder: Path, start: Path | None = None
) -> Denoiser:
    """v-prediction with min-SNR weights (Hang et al. 2023, gamma 5) and 10 % empty captions for guidance.

    Then a second, shorter course in which half of each batch is dotted and its noise of middle strength: where the dots
    lie is free in two directions, so their mean is no dots at all, and the first course ends with a third of them solid.
    `start`, a finished folder, takes the place of the first course.
    """
    torch.manual_seed(hash_seed(plan.seed, "denoiser"))
    model = Denoiser(networks.build_unet(), networks.build_text_encoder(tokenizer)).to(plan.device)
    scheduler = networks.build_forward()
    ratio = scheduler.alphas_cumprod / (1 - scheduler.alphas_cumprod)
    weight = torch.minimum(ratio, torch.tensor(5.0)) / (ratio + 1)
    dotted = torch.tensor([i for i, scene in enumerate(scenes) if scene.style == "dotted"])

    def denoising(rows: Tensor, t: Tensor, generator: torch.Generator) -> Tensor:
        speak = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        captions = ["" if speak.random() < 0.1 else world.caption(scenes[i], speak) for i in rows.tolist()]
        tokens = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        latents = mean[rows] + std[rows] * torch.randn(mean[rows].shape, generator=generator)
        noise = torch.randn(latents.shape, generator=generator)
        noisy = scheduler.add_noise(latents, noise, t).to(plan.device)
        target = scheduler.get_velocity(latents, noise, t).to(plan.device)
        text = model.text_encoder(tokens.to(plan.device))[0]
        error = (model.unet(noisy, t.to(plan.device), text).sample - target).pow(2).mean((1, 2, 3))
        loss: Tensor = (error * (weight[t] * 2.5).to(plan.device)).mean()
        return loss

    def everything(step: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(scenes), (64,), generator=generator)
        return denoising(rows, torch.randint(1000, (64,), generator=generator), generator)

    def half_dotted(step: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(scenes), (64,), generator=generator)
        t = torch.randint(1000, (64,), generator=generator)
        if len(dotted):
            rows[:32] = dotted[torch.randint(len(dotted), (32,), generator=generator)]
            t[:32] = torch.randint(300, 900, (32,), generator=generator)
        return denoising(rows, t, generator)

    if start is None:
        fit(Course("denoiser", plan.unet_steps, plan.rate), model, everything, folder, plan.seed, plan.device)
    else:
        begin(model.unet, model.text_encoder, tokenizer, start / "pipeline")
    fit(Course("denoiser-dots", plan.dots_steps, 5e-4, decay=0.99), model, half_dotted, folder, plan.seed, plan.device)
    return model.eval().requires_grad_(False)


def write(folder: Path, model: Denoiser | Composer, vae: Any, tokenizer: Any, judge: Judge | SceneJudge) -> None:
    """A complete pipeline folder and the judge; float16 but for the text encoder, which must match its reader."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=model.text_encoder.float(),
        tokenizer=tokenizer,
        unet=model.unet.half(),
        scheduler=networks.build_sampler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    networks.save_pipeline(pipeline, folder / "pipeline")
    for name in ("vocab.json", "merges.txt"):  # transformers 5 writes tokenizer.json alone, transformers 4 reads these
        shutil.copy(folder / "tokenizer" / name, folder / "pipeline" / "tokenizer")
    save({name: tensor.half() for name, tensor in judge.state_dict().items()}, folder / "judge.safetensors")


def train(plan: Plan, folder: Path, base: Path | None = None, polish: bool = False) -> Path:
    """Run every stage that is not done yet; returns the folder that holds `pipeline/` and `judge.safetensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "plan.json"
    record.write_text(json.dumps({**vars(plan)}, indent=1), encoding="utf-8")
    drawn, scenes = pictures(plan, folder)
    if polish and base is not None:  # the numbers of the tokens belong to the weights
        shutil.copytree(base / "pipeline" / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)
    tokenizer = networks.build_tokenizer(folder / "tokenizer", KNOWN_MODELS[plan.world].words())
    if base is not None:
        from diffusers import AutoencoderKL

        vae = AutoencoderKL.from_pretrained(base / "pipeline" / "vae").float().to(plan.device).eval().requires_grad_(False)
        vae.register_to_config(_name_or_path="")  # or the finished folder would name a folder of this machine
    else:
        vae = train_autoencoder(plan, drawn, folder)
    mean, std = encode(drawn, vae, folder, plan.device)
    if base is None:
        vae.register_to_config(scaling_factor=float(1 / mean.std()))
    factor = vae.config.scaling_factor
    latents = mean * factor, std * factor
    model: Denoiser | Composer
    judge: Judge | SceneJudge
    if plan.world == SCENES:
        assert base is not None
        model = train_composer(plan, scenes, *latents, tokenizer, folder, base)
    else:
        model = train_denoiser(plan, scenes, *latents, tokenizer, folder, base if polish else None)
    if plan.world == SCENES:
        known = plan.without is not None
        judge = load_scene_judge(judge_path(SCENES)) if known else train_scene_judge(plan, drawn, scenes, vae, folder)
    elif base is not None:
        judge = load_judge(base / "judge.safetensors")
    else:
        judge = train_judge(plan, drawn, scenes, vae, folder)
    write(folder, model, vae, tokenizer, judge)
    return folder


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m erase.demo.shapes.train", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints and the finished pipeline")
    parser.add_argument("--world", choices=list(PLANS), default=DEMO, help="demo: one thing with a pattern; scenes: several things")
    parser.add_argument(
        "--without", choices=[m for members in world.DOMAINS.values() for m in members], help="a concept that the data never shows"
    )
    parser.add_argument("--base", type=Path, help="a finished folder of the demo: its autoencoder and judge are taken over, or begun with")
    parser.add_argument("--polish", action="store_true", help="continue from the base's UNet and text encoder with the second course")
    parser.add_argument("--unet-steps", type=int, help="steps of the UNet's first course; by default what the shipped weights had")
    parser.add_argument("--dots-steps", type=int, help="steps of its second course, on dotted pictures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(None if arguments is None else list(arguments))
    if options.polish and options.base is None:
        parser.error("--polish continues from finished weights; give their folder with --base")
    if options.world == SCENES and options.without not in (None, *KNOWN_MODELS[SCENES].concepts):
        parser.error(f"--without {options.without}: nothing in scenes is {options.without}")
    if options.world == SCENES and options.without and options.base is None:
        parser.error(f"scenes begins with weights of the demo, which know {options.without}; give those of a demo without it with --base")
    base = options.base or (judge_path().parent if options.world == SCENES else None)
    changes = {name: value for name, value in vars(options).items() if name not in ("output", "base", "polish") and value is not None}
    print(f"finished: {train(replace(PLANS[options.world], **changes), options.output, base, options.polish)}")


if __name__ == "__main__":
    main()
