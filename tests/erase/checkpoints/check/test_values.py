"""NaN, infinity and tensors of zeros: found with part, tensor and number, in the pass that hashes the files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from wild_folders import TEXT, UNET, VAE, State, copied, weights

from erase.checkpoints.check import values
from erase.checkpoints.check.values import Faults, digest_and_faults, faults_of
from erase.checkpoints.export import export
from erase.checkpoints.folder import weight_hashes
from erase.checkpoints.to_single_file import pack
from erase.diffusion import locate, open_model
from erase.errors import InputError
from erase.files import sha256

NAN, INFINITY = float("nan"), float("inf")


def with_values(name: str, *places: float) -> Callable[[State], State]:
    def change(state: State) -> State:
        flat = state[name].reshape(-1)
        flat[: len(places)] = torch.tensor(places)
        return {**state, name: flat.reshape(state[name].shape)}

    return change


def zeros(name: str) -> Callable[[State], State]:
    return lambda state: {**state, name: torch.zeros_like(state[name])}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("piece", [8, 24, 2**24])
def test_faults_are_counted_in_the_pass_that_hashes(
    dtype: torch.dtype, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "PIECE", piece)
    torch.manual_seed(0)
    state = {name: torch.randn(5, 7).to(dtype) for name in ("good", "two", "mixed", "zero", "other")}
    state["two"][0, 3] = state["two"][4, 6] = NAN
    state["mixed"][0, 0], state["mixed"][2, 2], state["mixed"][4, 6] = INFINITY, -INFINITY, NAN
    state |= {"zero": torch.zeros(5, 7, dtype=dtype), "bias": torch.zeros(5, dtype=dtype), "one": torch.zeros(1, 1, dtype=dtype)}
    state |= {"empty": torch.zeros(0, 3, dtype=dtype), "number": torch.zeros(3, 3, dtype=torch.int64)}
    path = tmp_path / "weights.safetensors"
    save_file(state, path, {"format": "pt"})
    digest, faults = digest_and_faults(path)
    assert digest == sha256(path)
    assert faults == {"two": Faults(nan=2), "mixed": Faults(nan=1, infinite=2), "zero": Faults(zero=True)}
    assert digest_and_faults(path, {"good", "two"}) == (digest, {"two": Faults(nan=2)})


def test_the_largest_finite_values_are_no_fault() -> None:
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        assert not faults_of(torch.tensor([torch.finfo(dtype).max, torch.finfo(dtype).min, 0.0], dtype=dtype))
    assert not faults_of(Tensor())


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (UNET, with_values("conv_out.weight", NAN, 1.0, NAN), "its unet has 2 NaN in conv_out.weight; download the model again, or"),
        (UNET, with_values("conv_in.weight", INFINITY), "its unet has 1 infinite value in conv_in.weight"),
        (VAE, with_values("encoder.conv_in.weight", NAN, -INFINITY), "its vae has 1 NaN and 1 infinite value in encoder.conv_in.weight"),
        (TEXT, with_values("text_model.final_layer_norm.weight", NAN), "its text_encoder has 1 NaN in .*final_layer_norm.weight"),
        (UNET, zeros("conv_in.weight"), "its unet has nothing but zeros in conv_in.weight"),
    ],
)
def test_a_folder_with_such_values_is_refused_by_all_that_reads_it(
    file: str, change: Callable[[State], State], message: str, family_folders: dict[str, Path], tmp_path: Path
) -> None:
    if file == TEXT and "final_layer_norm.weight" in load_file(family_folders["sd1"] / TEXT):
        change, message = with_values("final_layer_norm.weight", NAN), message
    folder = copied(family_folders["sd1"], tmp_path / "model", weights(file, change))
    for read in (weight_hashes, lambda path: pack(path, tmp_path / "one.safetensors"), lambda path: pack(path, tmp_path / "out", "folder")):
        with pytest.raises(InputError, match=message) as caught:
            read(folder)
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    if "zeros" not in message:
        with pytest.raises(InputError, match=message):
            _ = open_model(folder).pipeline


def test_a_unet_that_is_loaded_alone_is_looked_at(family_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(family_folders["sd1"], tmp_path / "model", weights(UNET, with_values("conv_out.weight", NAN)))
    with pytest.raises(InputError, match=r"its unet has 1 NaN in conv_out.weight"):
        open_model(folder).network()


def test_what_overflows_in_the_dtype_that_is_asked_for_is_said_so(family_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(family_folders["sd1"], tmp_path / "model", weights(UNET, with_values("conv_out.weight", 1e6)))
    with pytest.raises(InputError, match=r"its unet has values in conv_out.weight that are outside the range of float16; give --dtype"):
        _ = open_model(folder, dtype="float16").pipeline


def test_what_no_network_reads_may_hold_anything(family_folders: dict[str, Path], tmp_path: Path) -> None:
    averaged = {"model_ema.conv_in.weight": torch.full((2, 2), NAN), "position_ids": torch.full((1, 3), NAN)}
    folder = copied(family_folders["sd1"], tmp_path / "model", weights(UNET, lambda state: state | averaged))
    assert weight_hashes(folder)[UNET] == sha256(folder / UNET)


def test_zeros_that_were_trimmed_are_no_fault(family_folders: dict[str, Path], tmp_path: Path) -> None:
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    state = load_file(family_folders["sd1"] / UNET)
    erased = export(family_folders["sd1"], {name: torch.zeros_like(state[name])}, tmp_path / "erased", {"concept": "star"})
    assert weight_hashes(erased)[UNET] == sha256(erased / UNET)


def test_a_single_file_with_such_values_is_refused(
    family_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = pack(family_folders["sd1"], tmp_path / "one.safetensors")
    state = load_file(file)
    state["model.diffusion_model.out.2.weight"][0, 0] = NAN
    state["alphas_cumprod"] = torch.full((3,), NAN)
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(InputError, match=r"nan.safetensors has \d+ NaN in model.diffusion_model.out.2.weight; download"):
        locate(str(tmp_path / "nan.safetensors"), str(family_folders["sd1"]))
    assert not list((tmp_path / "cache").rglob("*.json"))
