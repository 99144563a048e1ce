"""The courses of `scenes`: its judge, and its UNet with the text encoder. `train.py` runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from erase.demo import networks
from erase.demo.scenes import world as scenes
from erase.demo.scenes.judge import SceneJudge, judging_loss, targets
from erase.demo.scenes.networks import Composer, composing
from erase.demo.training.grow import begin
from erase.demo.training.loop import Course, Plan, disturbed, fit, hash_seed


def train_scene_judge(plan: Plan, images: Tensor, drawn_scenes: list[scenes.Scene], vae: Any, folder: Path) -> SceneJudge:
    """Heat, shape and colour of every thing, over disturbed pictures."""
    torch.manual_seed(hash_seed(plan.seed, "scene judge"))
    judge = SceneJudge().to(plan.device)

    def loss(step: int, generator: torch.Generator) -> Tensor:
        rows, x = disturbed(images, vae, generator, plan.device)
        heat, what = (part.to(plan.device) for part in targets([drawn_scenes[i].things for i in rows.tolist()]))
        return judging_loss(judge(x), heat, what)

    fit(Course("scene-judge", plan.judge_steps, 2e-3), judge, loss, folder, plan.seed, plan.device)
    return judge.eval().requires_grad_(False)


def train_composer(
    plan: Plan, drawn_scenes: list[scenes.Scene], mean: Tensor, std: Tensor, tokenizer: Any, folder: Path, start: Path
) -> Composer:
    """The larger networks of `scenes`, which begin where those of `start`, a finished folder, ended."""
    torch.manual_seed(hash_seed(plan.seed, "composer"))
    model = Composer(networks.build_unet(plan.depth), networks.build_text_encoder(tokenizer, plan.layers)).to(plan.device)
    begin(model.unet, model.text_encoder, tokenizer, start / "pipeline")
    loss = composing(model, drawn_scenes, mean, std, tokenizer, plan.device)
    fit(Course("composer", plan.unet_steps, plan.rate), model, loss, folder, plan.seed, plan.device)
    return model.eval().requires_grad_(False)
