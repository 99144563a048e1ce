"""Single files of FLUX.1 and Stable Diffusion 3.5: there and back to the bit, and what is missing is named, not guessed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_files import weights_of
from tiny_pipeline import build_flux, build_stable_diffusion_3
from torch import Tensor

from erase.checkpoints.folder import weight_files
from erase.checkpoints.from_single_file import unpacked
from erase.checkpoints.safetensors_header import metadata
from erase.checkpoints.to_single_file import pack
from erase.diffusion import locate
from erase.errors import InputError
from ui.cli.main import main

State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("folders")
    return {
        "dev": build_flux(root / "dev"),
        "schnell": build_flux(root / "schnell", distilled=False),
        "sd3": build_stable_diffusion_3(root / "sd3", t5=True),
        "sd3-without-t5": build_stable_diffusion_3(root / "sd3-without-t5", dual=()),
    }


@pytest.fixture(scope="module")
def files(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("files")
    return {name: pack(folder, root / f"{name}.safetensors") for name, folder in folders.items()}


def bits(folder: Path) -> dict[str, State]:
    """Part -> its tensors, those of a text encoder without a prefix."""
    parts = {path.name: weight_files(path) for path in folder.iterdir() if path.is_dir() and weight_files(path)}
    return {
        part: {name.removeprefix("text_model."): value for path in paths.values() for name, value in load_file(path).items()}
        for part, paths in parts.items()
    }


@pytest.mark.parametrize("name", ["dev", "schnell", "sd3", "sd3-without-t5"])
def test_a_folder_becomes_a_file_and_the_same_folder_again(
    name: str, folders: dict[str, Path], files: dict[str, Path], tmp_path: Path
) -> None:
    folder = locate(str(files[name]), str(folders[name]))
    before, after = bits(folders[name]), bits(folder)
    assert before.keys() == after.keys()
    for part, tensors in before.items():
        assert tensors.keys() == after[part].keys(), part
        assert all(torch.equal(tensor, after[part][key]) for key, tensor in tensors.items()), part
    again = pack(folder, tmp_path / "again.safetensors")
    assert {key: (value.dtype, value.shape) for key, value in load_file(again).items()} == {
        key: (value.dtype, value.shape) for key, value in load_file(files[name]).items()
    }
    assert locate(str(files[name])) == folder  # found again without the folder of its parts
    options = {"text_encoder_3": None, "tokenizer_3": None} if name == "sd3-without-t5" else {}
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, **options)
    assert all(torch.equal(value, weights_of(folders[name])[key]) for key, value in pipeline.transformer.state_dict().items())


def test_the_file_of_flux_is_its_transformer_alone_and_that_of_sd3_is_whole(files: dict[str, Path]) -> None:
    flux, sd3 = load_file(files["dev"]), load_file(files["sd3"])
    assert not any(name.startswith(("model.", "vae.", "text_encoders.")) for name in flux)
    assert {"double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight", "guidance_in.in_layer.weight"} <= flux.keys()
    assert not any("guidance_in" in name for name in load_file(files["schnell"]))
    for prefix in ("model.diffusion_model.joint_blocks.0.", "first_stage_model.", *(f"text_encoders.{n}.transformer." for n in CLIPS)):
        assert any(name.startswith(prefix) for name in sd3), prefix
    architectures = [metadata(files[name])["modelspec.architecture"] for name in ("dev", "schnell", "sd3", "sd3-without-t5")]
    assert architectures == ["flux-1-dev", "flux-1-schnell", "stable-diffusion-3.5-medium", "stable-diffusion-3.5-large"]


CLIPS = ("clip_l", "clip_g", "t5xxl")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "dev",
            "is a transformer of FLUX.1-dev and lacks text_encoder, text_encoder_2, vae and the tokenizers; give --parts FOLDER, "
            r"a diffusers folder or hub name of FLUX.1-dev that has them, as \S+/FLUX.1-dev \(its transformer is not read\)",
        ),
        ("sd3", "is a transformer of Stable Diffusion 3.5 and has no tokenizers; give --parts FOLDER"),
        ("sd3-without-t5", "and lacks text_encoder_3 and the tokenizers; give --parts FOLDER"),
    ],
)
def test_what_a_file_lacks_is_named(name: str, message: str, files: dict[str, Path], tmp_path: Path) -> None:
    other = shutil.copy(files[name], tmp_path / "another.safetensors")  # not unpacked before
    with pytest.raises(InputError, match=message) as raised:
        unpacked(Path(other))
    assert raised.value.option == "parts"


@pytest.mark.parametrize(
    ("file", "parts", "message"),
    [
        ("schnell", "dev", r"is FLUX.1-schnell \(has no guidance_in\), and --parts FOLDER is of FLUX.1-dev; give a folder of"),
        ("dev", "schnell", r"is FLUX.1-dev \(has guidance_in\), and --parts FOLDER is of FLUX.1-schnell"),
        ("dev", "sd3", "is a StableDiffusion3Pipeline, and .* is of FLUX.1-dev"),
        ("sd3", "sd3-without-t5", r"has dual_attention_layers \[0\], and --parts FOLDER \[\]"),
    ],
)
def test_parts_of_another_model(file: str, parts: str, message: str, files: dict[str, Path], folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=message):
        locate(str(files[file]), str(folders[parts]))


def halved(tensors: State) -> None:
    for name in sorted(tensors)[::2]:
        del tensors[name]


def without_a_bias(tensors: State) -> None:
    del tensors["double_blocks.0.txt_mlp.2.bias"]


def not_a_number(tensors: State) -> None:
    tensors["img_in.weight"][0, 0] = torch.nan


def eight_bits(tensors: State) -> None:
    tensors["txt_in.weight"] = tensors["txt_in.weight"].to(torch.float8_e4m3fn)


def fill(tensors: State) -> None:
    tensors["img_in.weight"] = torch.randn(32, 384)


def chroma(tensors: State) -> None:
    tensors["distilled_guidance_layer.in_proj.weight"] = torch.randn(2, 2)


def further(tensors: State) -> None:
    tensors["double_blocks.0.img_attn.extra.weight"] = torch.randn(2, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (halved, "not complete: (it|its transformer) lacks"),
        (without_a_bias, "is not complete: its transformer lacks transformer_blocks.0.ff_context.net.2.bias"),
        (not_a_number, "has 1 NaN in img_in.weight"),
        (eight_bits, r"has 8-bit weights \(txt_in.weight\)"),
        (fill, "is FLUX.1 Fill, which completes an image, not supported"),
        (chroma, "is Chroma, which is not supported; give FLUX.1"),
        (further, "transformer has double_blocks.0.img_attn.extra.weight, which no known family has"),
    ],
)
def test_a_file_that_is_not_in_order(
    change: Callable[[State], None], message: str, files: dict[str, Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    tensors = load_file(files["dev"])
    change(tensors)
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=message) as raised:
        locate(str(tmp_path / "x.safetensors"), str(folders["dev"]))
    assert "\n" not in str(raised.value)
    assert not list((tmp_path / "cache").rglob("model_index.json"))


def test_a_file_that_says_dev_and_is_schnell(files: dict[str, Path], folders: dict[str, Path], tmp_path: Path) -> None:
    save_file(load_file(files["schnell"]), tmp_path / "x.safetensors", {"modelspec.architecture": "flux-1-dev"})
    with pytest.raises(InputError, match=r"says that it is FLUX.1-dev, and lacks guidance_in, which dev has and schnell has not"):
        locate(str(tmp_path / "x.safetensors"), str(folders["schnell"]))


def test_parts_without_a_transformer_and_with_a_part_missing(files: dict[str, Path], folders: dict[str, Path], tmp_path: Path) -> None:
    parts = shutil.copytree(folders["sd3"], tmp_path / "parts", ignore=shutil.ignore_patterns("transformer"))
    folder = locate(str(files["sd3"]), str(parts))
    assert json.loads((folder / "transformer" / "config.json").read_text())["dual_attention_layers"] == [0]
    shutil.rmtree(parts / "vae")
    with pytest.raises(InputError, match="parts lacks vae; give a folder that has all parts"):
        locate(str(files["sd3"]), str(parts))


def test_the_command_unpacks_a_file_with_its_parts(
    files: dict[str, Path], folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(files["dev"]), "--format", "folder", "--output", str(tmp_path / "model")]
    assert main(command) == 2
    assert "give --parts FOLDER" in capsys.readouterr().err
    assert main([*command, "--parts", str(folders["dev"])]) == 0
    assert bits(tmp_path / "model").keys() == {"transformer", "vae", "text_encoder", "text_encoder_2"}
