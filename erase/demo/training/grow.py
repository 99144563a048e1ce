"""Start a larger network where a smaller one ended: what both have is copied, what is new does nothing yet.

New layers of a residual network change nothing while their last matrix is zero (Chen et al. 2016, Net2Net, by other means), so
the larger one computes what the smaller did, and training goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

LAST = ("to_out.0", "ff.net.2", "out_proj", "fc2")  # what writes into the residual stream of a UNet's or a CLIP's transformer


@torch.no_grad()
def grow(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy `weights` into `network`; layers that they lack become silent."""
    own = network.state_dict()
    if unknown := sorted(weights.keys() - own.keys()):
        raise ValueError(f"the larger network has no {unknown[0]}")
    for name, tensor in own.items():
        if name in weights:
            tensor.copy_(weights[name])
        elif any(f"{last}." in name for last in LAST):
            tensor.zero_()


@torch.no_grad()
def keep_words(embedding: nn.Embedding, weights: Tensor, old: Mapping[str, int], new: Mapping[str, int]) -> None:
    """The rows of the tokens that both vocabularies have; the others stay as they are."""
    shared = [token for token in new if token in old]
    embedding.weight[[new[token] for token in shared]] = weights[[old[token] for token in shared]].to(embedding.weight)


def begin(unet: nn.Module, text_encoder: Any, tokenizer: Any, start: Path) -> None:
    """UNet and text encoder of a pipeline folder, of this size or smaller, and the embeddings of the words that it knows."""
    from transformers import CLIPTextModel

    drawn = load_file(start / "unet" / "diffusion_pytorch_model.safetensors")
    text = CLIPTextModel.from_pretrained(start / "text_encoder").state_dict()  # which knows its names of the weights in the file
    table = text.pop(next(name for name in text if name.endswith("token_embedding.weight")))
    grow(unet, drawn)
    grow(text_encoder, text)
    old = json.loads((start / "tokenizer" / "vocab.json").read_text(encoding="utf-8"))
    keep_words(text_encoder.get_input_embeddings(), table, old, tokenizer.get_vocab())
