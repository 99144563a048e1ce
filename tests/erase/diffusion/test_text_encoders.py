"""A text encoder that was filled with noise in place of its file is noticed; every way of reading the file is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from erase.diffusion.models import open_model
from erase.diffusion.text_encoders import PREFIX, check_text_encoder
from erase.errors import InputError


@pytest.fixture(params=["", PREFIX], ids=["as transformers 5 writes", "as released"])
def component(request: pytest.FixtureRequest, tiny_pipeline: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "text_encoder"
    shutil.copytree(tiny_pipeline / "text_encoder", folder)
    tensors = {f"{request.param}{name.removeprefix(PREFIX)}": value for name, value in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_what_was_read_passes(component: Path, dtype: torch.dtype) -> None:
    check_text_encoder(component, transformers.CLIPTextModel.from_pretrained(component, dtype=dtype))


def test_noise_in_place_of_the_file_is_one_line(component: Path) -> None:
    noise = transformers.CLIPTextModel(transformers.CLIPTextConfig.from_pretrained(component))
    with pytest.raises(InputError, match=r"does not read .*text_encoder.*pip install --upgrade transformers"):
        check_text_encoder(component, noise)


@pytest.mark.parametrize("change", [{"model_max_length": 2**70}, {"model_max_length": []}, {"pad_token": "a word of its own"}], ids=str)
def test_a_tokenizer_that_no_prompt_can_use_is_one_line(change: dict[str, object], tiny_pipeline: Path, tmp_path: Path) -> None:
    """What the file says is JSON of the right shape; only a prompt shows that it does not fit."""
    folder = Path(shutil.copytree(tiny_pipeline, tmp_path / "model"))
    path = folder / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match="tokenizer"):
        _ = open_model(folder).pipeline
    assert open_model(tiny_pipeline).pipeline
