"""A CLIP in open_clip's format with random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import open_clip
import torch

from erase.demo import pipeline_path
from erase.files import write_tensors
from eval.vision.clip import FILES

CONFIG: dict[str, Any] = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 32, "vocab_size": 805, "width": 32, "heads": 2, "layers": 2, "hf_tokenizer_name": "tokenizer"},
}
PREPROCESSING = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


def build(folder: Path, **changes: Any) -> Path:
    """A folder as open_clip has it: configuration, weights, tokenizer."""
    torch.manual_seed(0)
    network = open_clip.CLIP(**CONFIG)
    with torch.no_grad():
        for projection in (network.visual.proj, network.text_projection):
            projection.normal_()
    folder.mkdir(parents=True)
    (folder / FILES[0]).write_text(json.dumps({"model_cfg": CONFIG | changes, "preprocess_cfg": PREPROCESSING}))
    write_tensors(folder / FILES[1], network.state_dict())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(pipeline_path() / "tokenizer" / name, folder)
    return folder
