"""What the embedded pipelines are made of, as every version of the libraries reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import erase.demo
from erase.demo.networks import PREFIX, save_pipeline

FOLDER = Path(erase.demo.__file__).parent
EMBEDDED = sorted(FOLDER.glob("*/weights/**/text_encoder/model.safetensors"))


def test_there_are_embedded_text_encoders() -> None:
    assert {path.relative_to(FOLDER).parts[0] for path in EMBEDDED} >= {"shapes", "scenes"}


@pytest.mark.parametrize("path", EMBEDDED, ids=lambda path: path.relative_to(FOLDER).parent.parent.as_posix())
def test_an_embedded_text_encoder_is_read_by_transformers_4_too(path: Path) -> None:
    """transformers 5 reads names without `text_model.` as well; transformers 4 would draw noise."""
    with safe_open(path, "pt") as file:
        assert all(name.startswith((PREFIX, "text_projection.")) for name in file.keys())  # noqa: SIM118 - a safetensors file is no mapping


def test_saving_renames_weights_and_changes_nothing_else(tiny_pipeline: Path, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPTextModel

    pipeline = StableDiffusionPipeline.from_pretrained(tiny_pipeline)
    save_pipeline(pipeline, tmp_path / "saved")
    named = load_file(tmp_path / "saved" / "text_encoder" / "model.safetensors")
    assert all(name.startswith(PREFIX) for name in named)
    again = CLIPTextModel.from_pretrained(tmp_path / "saved" / "text_encoder").state_dict()
    before = pipeline.text_encoder.state_dict()
    assert all(torch.equal(again[name], before[name]) for name in before)
