"""Train the emoji model from nothing: `python -m erase.demo.emoji.train --output DIR` (CPU or GPU, resumable, seeded).

Needs the pictures of `python -m erase.demo.emoji.data`. Stages, in order: autoencoder; latents; UNet with text encoder; judge;
the pipeline folder. Every stage saves checkpoints and starts again where it stopped; batch i depends on (seed, stage, i) alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from erase.demo.emoji import autoencoding, networks, world
from erase.demo.training.loop import fit, hash_seed
from erase.errors import InputError


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    autoencoder_steps: int = 3_000
    seed: int = 0
    without: str | None = None
    device: str = "cpu"


def train_autoencoder(plan: Plan, folder: Path) -> Any:
    """On every training pair; those left out of training are new to it too."""
    torch.manual_seed(hash_seed(plan.seed, "autoencoder"))
    vae = networks.build_autoencoder().to(plan.device, memory_format=torch.channels_last)
    choices = world.pairs(plan.without)

    def loss(step: int, generator: torch.Generator) -> Tensor:
        x, _ = autoencoding.draw_batch(choices, autoencoding.BATCH, generator, plan.device)
        return autoencoding.reconstruction_loss(step, vae, x, generator)

    fit("autoencoder", vae, loss, plan.autoencoder_steps, 2e-3, folder, plan.seed, plan.device, decay=0.995)
    return vae.eval().requires_grad_(False)


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m erase.demo.emoji.train", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints and the finished pipeline")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        train_autoencoder(replace(Plan(), seed=options.seed, device=options.device), options.output)
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
