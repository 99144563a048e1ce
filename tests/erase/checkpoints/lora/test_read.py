"""A file that does not fit its model is refused in one line that says what it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_files import build_any, changed_copy
from torch import Tensor

from erase.checkpoints.lora.read import read_small
from erase.checkpoints.lora.write import Form, write_small
from erase.errors import InputError

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def files(family_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A LoRA of each of four families, and a difference."""
    root = tmp_path_factory.mktemp("files")
    folders = {**family_folders, "flux": build_any("flux", root / "flux")}
    written = {}
    for family, folder in folders.items():
        erased = changed_copy(folder, root / f"{family}-erased", r"attn2\.to_[kv]\.|attn\.add_[kv]_proj\.")
        written[family] = write_small(folder, erased, root / f"{family}.safetensors", Form("lora", 2)).path
        if family == "sd1":
            written["difference"] = write_small(folder, erased, root / "difference.safetensors", Form("difference")).path
    return written


def edited(file: Path, target: Path, change: Callable[[State], object]) -> Path:
    """A copy of a file, with its metadata, after `change` has worked on its tensors."""
    tensors = load_file(file)
    change(tensors)
    with safe_open(file, "pt") as opened:
        save_file(tensors, target, opened.metadata())
    return target


@pytest.mark.parametrize(
    ("given", "model", "message"),
    [
        ("flux", "sd1", "for FLUX.1, and the model is of Stable Diffusion 1.x: .* of layers that the model lacks"),
        ("sdxl", "sd1", "for another model: .* of layers that the model lacks, as lora_unet_input_blocks"),
        ("sd1", "sdxl", "for another model: .*; give the model that it was made for"),
    ],
)
def test_a_file_for_another_family(given: str, model: str, message: str, files: dict[str, Path], family_folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=message):
        read_small(files[given], family_folders[model])


def halved(tensors: State) -> None:
    for name in sorted(tensors)[::2]:
        del tensors[name]


def without_ups(tensors: State) -> None:
    for name in [name for name in tensors if "lora_up" in name]:
        del tensors[name]


def without_layers(tensors: State) -> None:
    first = sorted(tensors)[0].split(".")[0]
    for name in [name for name in tensors if name.startswith(first)]:
        del tensors[name]


def not_a_number(tensors: State) -> None:
    next(tensor for name, tensor in tensors.items() if "lora_up" in name)[0] = torch.nan


def eight_bits(tensors: State) -> None:
    name = next(name for name in tensors if "lora_up" in name)
    tensors[name] = tensors[name].to(torch.int8)


def loha(tensors: State) -> None:
    tensors["lora_unet_mid_block_attentions_0_proj_in.hada_w1_a"] = torch.zeros(2, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (halved, "is not complete: .*; download it again"),
        (without_ups, r"has down alone \(\d+ such layers of \d+\)"),
        (without_layers, r"is not complete: it has \d+ layers and was written with \d+"),
        (not_a_number, "has 2 NaN in lora_unet_.*lora_up.weight"),
        (eight_bits, "in int8; give it in float16"),
        (loha, "is a LoHa, which is not read"),
    ],
)
def test_a_damaged_file(
    change: Callable[[State], object], message: str, files: dict[str, Path], family_folders: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as raised:
        read_small(edited(files["sd1"], tmp_path / "x.safetensors", change), family_folders["sd1"])
    assert "\n" not in str(raised.value)
    assert raised.value.option == "lora"


def test_what_is_not_a_small_file(family_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = family_folders["sd1"]
    with pytest.raises(InputError, match=r"is not a LoRA: its .* tensors are of another kind"):
        read_small(folder / "vae" / "diffusion_pytorch_model.safetensors", folder)
    with pytest.raises(InputError, match="is a pickle, which can run any code"):
        read_small(tmp_path / "x.pt", folder)
    with pytest.raises(InputError, match="does not exist"):
        read_small(tmp_path / "x.safetensors", folder)
    save_file({"lora_te_text_model_encoder_layers_0_mlp_fc1.alpha": torch.tensor(1.0)}, tmp_path / "te.safetensors")
    with pytest.raises(InputError, match="only for text encoders"):
        read_small(tmp_path / "te.safetensors", folder)


def test_a_difference_with_half_of_its_keys(files: dict[str, Path], family_folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not complete"):
        read_small(edited(files["difference"], tmp_path / "x.safetensors", halved), family_folders["sd1"])
