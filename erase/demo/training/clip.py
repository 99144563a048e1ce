"""Train a small CLIP of an embedded world, a folder in open_clip's format.

`python -m erase.demo.training.clip --output DIR` trains that of the shapes, `erase.demo.emoji.train` that of the emoji: renders and
captions of the world, the tokens of its model, and the loss of CLIP (Radford et al. 2021). It measures how well a picture fits its
prompt, and its features how far two sets of pictures lie apart.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterable
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


Batches = Callable[[torch.Generator], tuple[Tensor, list[str]]]
"""Pictures (n, 3, size, size) in [-1, 1] and their captions; everything random comes from the generator."""


def train_clip(plan: Plan, folder: Path, steps: int = 1500) -> Path:
    """Train that of the shapes, or go on training, and write `folder`/demo_clip."""
    drawn, scenes = pictures(plan, folder)

    def batches(generator: torch.Generator) -> tuple[Tensor, list[str]]:
        rows = torch.randint(len(drawn), (BATCH,), generator=generator)
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        return to_model(drawn[rows], plan.device), [world.caption(scenes[i], rng) for i in rows.tolist()]

    tokenizer = pipeline_path() / "tokenizer"
    network = fit_clip(CONFIG, batches, tokenizer, folder, steps, plan.seed, plan.device)
    return write(network, CONFIG, tokenizer, folder / "demo_clip")


def fit_clip(config: dict[str, Any], batches: Batches, tokenizer_folder: Path, folder: Path, steps: int, seed: int, device: str) -> Any:
    """A CLIP of this configuration, trained on `batches`; sets the size of the vocabulary in `config`."""
    check_torchvision()
    import open_clip
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    config["text_cfg"]["vocab_size"] = len(tokenizer)
    length = config["text_cfg"]["context_length"]
    torch.manual_seed(seed)
    network = open_clip.CLIP(**config).to(device)

    def loss(step: int, generator: torch.Generator) -> Tensor:
        x, texts = batches(generator)
        tokens = tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
        image = F.normalize(network.encode_image(x))
        text = F.normalize(network.encode_text(tokens.to(device)))
        logits = network.logit_scale.exp().clamp(max=100) * image @ text.T
        # A caption that leaves much out fits several pictures of a batch: equal captions are equally right.
        same = torch.tensor([[a == b for b in texts] for a in texts], dtype=torch.float32, device=logits.device)
        same = same / same.sum(1, keepdim=True)
        return (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2

    fit(Course("clip", steps, 1e-3), network, loss, folder, seed, device)
    recalibrate(network, batches)
    return network


@torch.no_grad()
def recalibrate(network: Any, batches: Batches, count: int = 50) -> None:
    """Batch norms have seen the weights of the last steps, not their average: measure again, over `count` batches."""
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
    network.train()
    for number in range(count):
        network.encode_image(batches(torch.Generator().manual_seed(number))[0])
    network.eval()


def write(network: torch.nn.Module, config: dict[str, Any], tokenizer_folder: Path, folder: Path) -> Path:
    """Configuration, weights in float16 and tokenizer: all that open_clip needs."""
    write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": PREPROCESSING})
    write_tensors(folder / "open_clip_model.safetensors", {name: half(t) for name, t in network.state_dict().items()})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer_folder / name, folder)
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
