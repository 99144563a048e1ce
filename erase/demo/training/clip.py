"""Train the small CLIP of the embedded world: `python -m erase.demo.training.clip --output DIR`, a folder in open_clip's format.

Renders and captions of the world, the tokens of the embedded model, and the loss of CLIP (Radford et al. 2021). It measures
how well a picture fits its prompt, and its features how far two sets of pictures lie apart.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from erase.demo import clip_path, pipeline_path
from erase.demo.shapes import world
from erase.demo.shapes.train import pictures
from erase.demo.training.loop import Course, Plan, fit, to_model
from erase.files import write_json, write_tensors
from erase.torchvision_compat import check_torchvision

CONFIG: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": world.SIZE, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64, "patch_size": None},
    "text_cfg": {"context_length": 32, "width": 96, "heads": 4, "layers": 3, "hf_tokenizer_name": "tokenizer"},
}
PREPROCESSING = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
BATCH = 128


def train_clip(plan: Plan, folder: Path, steps: int = 1500) -> Path:
    """Train, or go on training, and write `folder`/demo_clip."""
    check_torchvision()
    import open_clip
    from transformers import CLIPTokenizer

    drawn, scenes = pictures(plan, folder)
    tokenizer = CLIPTokenizer.from_pretrained(pipeline_path() / "tokenizer")
    CONFIG["text_cfg"]["vocab_size"] = len(tokenizer)
    torch.manual_seed(plan.seed)
    network = open_clip.CLIP(**CONFIG).to(plan.device)

    def loss(step: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(drawn), (BATCH,), generator=generator)
        speak = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        texts = [world.caption(scenes[i], speak) for i in rows.tolist()]
        tokens = tokenizer(texts, padding="max_length", max_length=32, truncation=True, return_tensors="pt").input_ids
        image = F.normalize(network.encode_image(to_model(drawn[rows], plan.device)))
        text = F.normalize(network.encode_text(tokens.to(plan.device)))
        logits = network.logit_scale.exp().clamp(max=100) * image @ text.T
        # A caption that leaves much out fits several pictures of a batch: equal captions are equally right.
        same = torch.tensor([[a == b for b in texts] for a in texts], dtype=torch.float32, device=logits.device)
        same = same / same.sum(1, keepdim=True)
        return (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2

    fit(Course("clip", steps, 1e-3), network, loss, folder, plan.seed, plan.device)
    recalibrate(network, drawn, plan.device)
    return write(network, folder / "demo_clip")


@torch.no_grad()
def recalibrate(network: Any, drawn: Tensor, device: str) -> None:
    """Batch norms have seen the weights of the last steps, not their average: measure again, over 50 batches."""
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
    network.train()
    for rows in torch.arange(50 * BATCH).remainder(len(drawn)).split(BATCH):
        network.encode_image(to_model(drawn[rows], device))
    network.eval()


def write(network: torch.nn.Module, folder: Path) -> Path:
    """Configuration, weights in float16 and tokenizer: all that open_clip needs."""
    write_json(folder / "open_clip_config.json", {"model_cfg": CONFIG, "preprocess_cfg": PREPROCESSING})
    write_tensors(folder / "open_clip_model.safetensors", {name: half(t) for name, t in network.state_dict().items()})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(pipeline_path() / "tokenizer" / name, folder)
    return folder


def half(tensor: Tensor) -> Tensor:
    return tensor.detach().half() if tensor.is_floating_point() else tensor


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m erase.demo.training.clip", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for pictures, checkpoints and the finished CLIP")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(None if arguments is None else list(arguments))
    plan = Plan(seed=options.seed, device=options.device)
    print(f"finished: {train_clip(plan, options.output, options.steps)}; shipped: {clip_path().name}")


if __name__ == "__main__":
    main()
