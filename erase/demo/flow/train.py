"""Train the flow model: `python -m erase.demo.flow.train --output DIR` (CPU or GPU, resumable, seeded).

Stages, in order: latents of rendered shapes, by the autoencoder of the shapes; the transformer; the pipeline folder. Every stage
starts again where it stopped; batch i depends on (seed, i) alone. `--stage pipeline` writes the pipeline folder from the newest
checkpoint at any time. `--without star` trains the transformer on data that never shows or mentions the concept; the text encoders,
which come from the shapes and are not trained, know the word.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from erase.attention import fold_equal_tokens
from erase.demo import networks, pipeline_path
from erase.demo.flow import networks as flow
from erase.demo.flow.world import words
from erase.demo.shapes import world
from erase.demo.training.loop import Course, fit, hash_seed, save, to_model
from erase.demo.training.precision import half_precision
from erase.errors import InputError
from erase.files import write_tensors

STAGES = ("latents", "denoiser", "pipeline")
CHUNK = 500  # pictures that are rendered and encoded at a time
BATCH = 96
EVERY = 50  # steps between two checkpoints
SILENCE = 0.1  # share of empty captions, for classifier-free guidance


@dataclass(frozen=True)
class Plan:
    """How much of everything: half an hour of one idle core that has matrix tiles."""

    pictures: int = 40_000
    steps: int = 8_000
    seed: int = 0
    without: str | None = None
    device: str = "cpu"
    width: int = 128
    depth: int = 4
    rate: float = 1e-3


def scenes(plan: Plan) -> list[list[world.Scene]]:
    """What the pictures show, in chunks."""
    return [list(world.scenes(CHUNK, 1000 * plan.seed + i, plan.without)) for i in range(plan.pictures // CHUNK)]


def _render(chunk: list[world.Scene]) -> np.ndarray[Any, Any]:
    return np.stack([world.render(scene) for scene in chunk])


@torch.no_grad()
def latents(plan: Plan, vae: Any, folder: Path) -> tuple[Tensor, Tensor, list[world.Scene]]:
    """Mean and standard deviation of the latents of every picture (n, 8, 8, 8), scaled to unit variance, and the scenes."""
    path, chunks = folder / "latents.safetensors", scenes(plan)
    if not path.exists():
        parts = []
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            for drawn in pool.map(_render, chunks):
                pixels = to_model(torch.from_numpy(drawn).permute(0, 3, 1, 2), plan.device)
                parts.append(vae.encode(pixels).latent_dist)
        save({"mean": torch.cat([p.mean.half().cpu() for p in parts]), "std": torch.cat([p.std.half().cpu() for p in parts])}, path)
    stored = load_file(path)
    factor = vae.config.scaling_factor
    return stored["mean"].float() * factor, stored["std"].float() * factor, [scene for chunk in chunks for scene in chunk]


class Texts:
    """What the transformer reads of each caption: that of the empty prompt in row 0, that of scene i in row i + 1; encoded on first use.

    A scene has one caption, drawn by (seed, i).
    """

    def __init__(self, plan: Plan, shown: list[world.Scene], tokenizer: Any) -> None:
        draws = (np.random.default_rng(hash_seed(plan.seed, "caption", i)) for i in range(len(shown)))
        self.captions = ["", *(world.caption(scene, rng) for scene, rng in zip(shown, draws, strict=True))]
        self.tokenizer, self.encoders, self.device = tokenizer, flow.text_encoders(tokenizer), plan.device
        for encoder in self.encoders:
            encoder.to(plan.device)
        count = len(self.captions)
        self.text = torch.empty(count, networks.TOKENS, 2 * networks.WIDTH, dtype=torch.float16)
        self.pooled = torch.empty(count, sum(flow.POOLED))
        self.present = torch.zeros(count, dtype=torch.bool)

    def __getitem__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Text (n, tokens + 256, width), zeros where T5 is absent, and pooled text (n, width), of rows (n,); on the device."""
        absent = rows[~self.present[rows]].unique()
        if len(absent):
            text, pooled = self.encode([self.captions[row] for row in absent.tolist()])
            self.text[absent], self.pooled[absent], self.present[absent] = text.half().cpu(), pooled.cpu(), True
        text = nn.functional.pad(self.text[rows].float(), (0, 0, 0, flow.ABSENT_TOKENS))
        return text.to(self.device), self.pooled[rows].to(self.device)

    @torch.no_grad()
    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Text and pooled text of both encoders, as the pipeline has them."""
        tokens = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids.to(self.device)
        read = [encoder(tokens, output_hidden_states=True) for encoder in self.encoders]
        return torch.cat([output.hidden_states[-2] for output in read], dim=-1), torch.cat([output.text_embeds for output in read], dim=-1)


def build(plan: Plan) -> Any:
    """The transformer as training begins."""
    torch.manual_seed(hash_seed(plan.seed, "denoiser"))
    transformer = flow.build_transformer(plan.width, plan.depth).to(plan.device)
    fold_equal_tokens(transformer, flow.ABSENT_TOKENS)
    return transformer


def noise_levels(count: int, generator: torch.Generator) -> Tensor:
    """Factors of the noise (count,), one from each of as many equal parts of the scheduler's shifted levels.

    With a shift of 3, four fifths lie above 0.4, where the text decides what is drawn.
    """
    even = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    return flow.SHIFT * even / (1 + (flow.SHIFT - 1) * even)


def denoising(plan: Plan, transformer: Any, mean: Tensor, std: Tensor, texts: Texts) -> Callable[[int, torch.Generator], Tensor]:
    """Squared error of the velocity n - x, all levels alike, and 10 % empty captions for guidance."""

    def loss(step: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(mean), (BATCH,), generator=generator)
        silent = torch.rand(BATCH, generator=generator) < SILENCE
        text, pooled = texts[torch.where(silent, 0, rows + 1)]
        clean = mean[rows] + std[rows] * torch.randn(mean[rows].shape, generator=generator)
        noise, spoil = torch.randn(clean.shape, generator=generator), noise_levels(BATCH, generator)
        share = spoil.reshape(-1, 1, 1, 1)
        noisy = ((1 - share) * clean + share * noise).to(plan.device)
        with half_precision(plan.device):
            velocity = transformer(
                hidden_states=noisy,
                encoder_hidden_states=text,
                pooled_projections=pooled,
                timestep=1000 * spoil.to(plan.device),
                return_dict=False,
            )[0]
        value: Tensor = (velocity.float() - (noise - clean).to(plan.device)).pow(2).mean()
        return value

    return loss


def write(transformer: Any, vae: Any, tokenizer: Any, folder: Path) -> None:
    """A complete pipeline folder in float16; its configuration lets text encoders be read as float32, as everything else is."""
    from diffusers import StableDiffusion3Pipeline

    first, second = flow.text_encoders(tokenizer)
    pipeline = StableDiffusion3Pipeline(
        transformer=transformer.half(),
        scheduler=flow.build_scheduler(),
        vae=vae.half(),
        text_encoder=first,
        tokenizer=tokenizer,
        text_encoder_2=second,
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )
    pipeline.save_pretrained(folder / "pipeline")
    for part in ("text_encoder", "text_encoder_2"):
        path = folder / "pipeline" / part / "model.safetensors"
        write_tensors(path, {name: tensor.half() for name, tensor in load_file(path).items()}, {"format": "pt"})
    for part in ("tokenizer", "tokenizer_2"):
        for name in ("vocab.json", "merges.txt"):  # transformers 5 writes tokenizer.json alone, transformers 4 reads these
            shutil.copy(folder / "tokenizer" / name, folder / "pipeline" / part)


def newest(model: nn.Module, folder: Path) -> int:
    """Load the moving average of the weights as far as the training is; the number of its steps."""
    path = folder / "checkpoints" / "denoiser.safetensors"
    if not path.is_file():
        raise InputError(f"--stage pipeline: {folder} has no checkpoint of the transformer yet; train it with --stage denoiser")
    with safe_open(path, "pt") as file:
        for key, weight in model.named_parameters():
            weight.data.copy_(file.get_tensor(f"average/{key}"))
        return int(file.metadata()["step"])


def train(plan: Plan, folder: Path, stage: str | None = None) -> Path:
    """Run every stage that is not done yet, or `stage` alone; the folder then holds `pipeline/`."""
    from diffusers import AutoencoderKL

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(vars(plan), indent=1) + "\n", encoding="utf-8")
    tokenizer = networks.build_tokenizer(folder / "tokenizer", words())
    vae = AutoencoderKL.from_pretrained(pipeline_path() / "vae").float().to(plan.device).eval().requires_grad_(False)
    vae.register_to_config(_name_or_path="", shift_factor=0.0)
    transformer = build(plan)
    if stage in (None, "latents"):
        latents(plan, vae, folder)
    if stage in (None, "denoiser"):
        mean, std, shown = latents(plan, vae, folder)
        loss = denoising(plan, transformer, mean, std, Texts(plan, shown, tokenizer))
        fit(Course("denoiser", plan.steps, plan.rate, every=EVERY, muon=True), transformer, loss, folder, plan.seed, plan.device)
    if stage in (None, "pipeline"):
        newest(transformer, folder)
        write(transformer, vae, tokenizer, folder)
    return folder


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m erase.demo.flow.train", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints and the finished pipeline")
    parser.add_argument("--stage", choices=STAGES, help="run this stage alone, after those that it needs (default: all)")
    concepts = [member for members in world.DOMAINS.values() for member in members]
    parser.add_argument("--without", choices=concepts, help="a concept that the data never shows")
    parser.add_argument("--steps", type=int, help="steps of the transformer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(None if arguments is None else list(arguments))
    changes = {name: value for name, value in vars(options).items() if name not in ("output", "stage") and value is not None}
    try:
        train(replace(Plan(), **changes), options.output, options.stage)
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; the same command resumes from the last checkpoint", file=sys.stderr)
        raise SystemExit(130) from None
    print(f"finished: {options.output}")


if __name__ == "__main__":
    main()
