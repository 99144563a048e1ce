"""Train the emoji model from nothing: `python -m erase.demo.emoji.train --output DIR` (CPU or GPU, resumable, seeded).

Needs the pictures of `python -m erase.demo.emoji.data`. Stages, in order: autoencoder; its decoder alone; latents; text encoder;
UNet with text encoder; judge; the pipeline folder. Every stage saves checkpoints and starts again where it stopped; batch i depends
on (seed, stage, i) alone. `--stage` runs one of them, so that two can share a machine: `decoder` and `judge` may run beside `denoiser`.
`--base` takes autoencoder and tokenizer from such a folder, judge and CLIP if it has them, and begins text encoder and UNet with its own.
`--without cat` trains on data that never shows or mentions the concept; from `--base` it then takes no UNet and no text encoder.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from erase.demo.emoji import stages, world
from erase.demo.emoji.finished import write
from erase.demo.emoji.plan import Plan
from erase.errors import InputError

STAGES = ("autoencoder", "decoder", "latents", "reader", "denoiser", "judge", "clip", "pipeline")


def train(plan: Plan, folder: Path, base: Path | None = None, stage: str | None = None) -> Path:
    """Run every stage that is not done yet, or `stage` alone; the folder then holds `pipeline/` and `judge.safetensors`."""
    if base is not None and not (base / "pipeline" / "vae").is_dir():
        raise InputError(f"--base {base} holds no pipeline/vae; expected the folder of a finished training")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(vars(plan), indent=1) + "\n", encoding="utf-8")
    if stage == "clip":  # all the others need the autoencoder
        stages.clip(plan, folder, base)
        return folder
    vae = stages.autoencoder(plan, folder, base)
    if stage == "reader":
        stages.reader(plan, stages.tokenizer(folder, base), folder, base)
    if stage == "decoder" or (stage is None and base is None):  # a base's decoder continues only where that is requested
        stages.decoder(plan, vae, folder)
    if stage in (None, "latents"):
        stages.latents(plan, vae, folder)
    if stage in (None, "denoiser"):
        tokens = stages.tokenizer(folder, base)
        stages.denoiser(plan, vae, stages.reader(plan, tokens, folder, base), tokens, folder, base)
    if stage in (None, "judge"):
        stages.judge(plan, vae, folder, base)
    if stage is None:
        stages.clip(plan, folder, base)
    if stage in (None, "pipeline"):
        write(plan, folder, base)
    return folder


def concept(text: str) -> str:
    """What --without names: an object or a style; argparse shows the message."""
    member = world.slug_of(text)
    if member is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no object or style of this world; give one of objects.txt, such as cat")
    return member


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m erase.demo.emoji.train", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints and the finished pipeline")
    parser.add_argument("--stage", choices=STAGES, help="run this stage alone, after those that it needs (default: all)")
    parser.add_argument("--without", type=concept, metavar="CONCEPT", help="an object or a style that the data never shows")
    parser.add_argument("--base", type=Path, help="a finished folder to begin with")
    parser.add_argument("--unet-steps", type=int, help="steps of the UNet and the text encoder")
    parser.add_argument("--plain-steps", type=int, help="how many of these show plain pictures only")
    parser.add_argument("--decoder-steps", type=int, help="steps of the decoder alone")
    parser.add_argument("--judge-steps", type=int, help="steps of the judge")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(None if arguments is None else list(arguments))
    changes = {name: value for name, value in vars(options).items() if name not in ("output", "base", "stage") and value is not None}
    try:
        train(replace(Plan(), **changes), options.output, options.base, options.stage)
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; the same command resumes from the last checkpoint", file=sys.stderr)
        raise SystemExit(130) from None
    print(f"finished: {options.output}")


if __name__ == "__main__":
    main()
