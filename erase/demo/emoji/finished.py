"""What a training leaves behind: a pipeline folder, the judge, and a record of how far each stage came."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from erase.demo import networks as small
from erase.demo.emoji import networks, stages
from erase.demo.emoji.denoising import Denoiser
from erase.demo.emoji.judge import Judge
from erase.demo.emoji.plan import Plan
from erase.demo.training.loop import save
from erase.errors import InputError
from erase.files import write_json


def write(plan: Plan, folder: Path, base: Path | None) -> None:
    """`folder`/pipeline and judge.safetensors from the newest checkpoints, finished or not; float16 but for the text encoder,
    which must match its reader."""
    from diffusers import StableDiffusionPipeline

    tokens = stages.tokenizer(folder, base)
    model, steps = _newest(tokens, folder)
    vae = stages.autoencoder(plan, folder, base)
    stages.latents(plan, vae, folder)  # sets the factor of the latents
    steps["decoder"] = stages.average("decoder", stages.decoder_of(vae), folder)
    pipeline = StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=model.text_encoder.float(),
        tokenizer=tokens,
        unet=model.unet.half(),
        scheduler=small.build_sampler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    small.save_pipeline(pipeline, folder / "pipeline")
    for name in ("vocab.json", "merges.txt"):  # transformers 5 writes tokenizer.json alone, transformers 4 reads these
        shutil.copy(folder / "tokenizer" / name, folder / "pipeline" / "tokenizer")
    judge = Judge()
    if steps_of_judge := stages.average("judge", judge, folder):
        steps["judge"] = steps_of_judge
        save({name: tensor.half() for name, tensor in judge.state_dict().items()}, folder / "judge.safetensors")
    write_json(folder / "training.json", {"plan": vars(plan) | {"device": ""}, "steps": steps})


def _newest(tokens: Any, folder: Path) -> tuple[Denoiser, dict[str, int]]:
    """UNet and text encoder as far as they are."""
    model = Denoiser(networks.build_unet(), networks.build_text_encoder(tokens))
    steps = stages.average("denoiser", model, folder)
    if not steps:
        raise InputError(f"{folder} has no checkpoint of the UNet yet; run --stage denoiser first")
    return model, {"denoiser": steps}
