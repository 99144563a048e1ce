"""Files for others: bit-identical where the dtype is the source's, with their story, and refused where they cannot hold it all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from erase.checkpoints import FORMATS
from erase.checkpoints.export import export
from erase.checkpoints.folder import read_provenance
from erase.checkpoints.lora.names import family_of
from erase.checkpoints.safetensors_header import metadata
from erase.checkpoints.to_single_file import pack
from erase.demo import pipeline_path
from erase.diffusion import locate
from erase.errors import InputError

FACTS = {"concept": "star", "method": "scissorhands", "preset": "balanced", "source": "a-model", "options": {"steps": 60}}
FAMILIES = ("sd1", "sd2", "sdxl")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def drawn(folder: Path) -> Tensor:
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    pictures: Tensor = pipeline("a red star", num_inference_steps=2, generator=torch.Generator().manual_seed(0), output_type="pt").images
    return pictures


def weights(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for file in folder.glob("*/*.safetensors"):
        found |= {f"{file.parent.name}/{name.removeprefix('text_model.')}": value for name, value in load_file(file).items()}
    return found


def same_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in a)


@pytest.fixture(scope="module")
def erased(family_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A changed model of each family, as a run leaves it."""
    root = tmp_path_factory.mktemp("erased")
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    found = {}
    for family, source in family_folders.items():
        there = load_file(source / "unet/diffusion_pytorch_model.safetensors")
        found[family] = export(source, {name: there[name] + 1}, root / family, FACTS)
    return found


def test_the_family_of_a_folder_is_known(family_folders: dict[str, Path]) -> None:
    assert [family_of(family_folders[family]) for family in FAMILIES] == list(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unchanged_model_comes_back_bit_identical(family: str, family_folders: dict[str, Path], tmp_path: Path) -> None:
    source = family_folders[family]
    made = locate(str(pack(source, tmp_path / "one.safetensors")), str(source))
    assert same_bits(weights(made), weights(source))
    assert same_bits(load_file(pack(made, tmp_path / "two.safetensors")), load_file(tmp_path / "one.safetensors"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_from_the_file_is_the_picture_from_the_folder(family: str, erased: dict[str, Path], tmp_path: Path) -> None:
    source = erased[family]
    made = locate(str(pack(source, tmp_path / "one.safetensors")), str(source))
    assert torch.equal(drawn(made), drawn(source))
    assert same_bits(weights(made), weights(source))


def test_the_erased_model_differs_from_its_source(family_folders: dict[str, Path], erased: dict[str, Path]) -> None:
    assert not torch.equal(drawn(erased["sd1"]), drawn(family_folders["sd1"]))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_half_file_is_half_and_the_rounded_source(dtype: str, erased: dict[str, Path], tmp_path: Path) -> None:
    source, kind = load_file(pack(erased["sd1"], tmp_path / "source.safetensors")), getattr(torch, dtype)
    cast = load_file(pack(erased["sd1"], tmp_path / "cast.safetensors", dtype=dtype))
    assert same_bits(cast, {name: value.to(kind) for name, value in source.items()})


@pytest.mark.parametrize("form", FORMATS)
def test_the_story_is_in_every_format(form: str, erased: dict[str, Path], tmp_path: Path) -> None:
    out = pack(erased["sd2"], tmp_path / ("out" if form == "folder" else "out.safetensors"), form)
    facts = read_provenance(out) if form == "folder" else metadata(out)
    assert facts.items() >= read_provenance(erased["sd2"]).items()
    assert facts["source_sha256"]
    if form == "folder":
        assert "not a proof" in (out / "README.md").read_text()
    else:
        assert "Not a proof of absence" in facts["not_a_proof"]
    if form == "single-file":
        assert facts["modelspec.architecture"] == "stable-diffusion-v2-768-v"
        assert facts["modelspec.prediction_type"] == "v"
        assert facts["modelspec.resolution"] == "64x64"
        assert facts["modelspec.title"] == "a-model without star"


def test_neither_masks_nor_scores_get_out(erased: dict[str, Path], tmp_path: Path) -> None:
    names = set(load_file(pack(erased["sd1"], tmp_path / "one.safetensors")))
    assert all(name.startswith(("model.diffusion_model.", "first_stage_model.", "cond_stage_model.")) for name in names)
    assert not any(word in name for name in names for word in ("mask", "score", "sensitivity"))


def test_the_unet_alone_takes_the_place_of_a_folders(family_folders: dict[str, Path], erased: dict[str, Path], tmp_path: Path) -> None:
    mixed = Path(shutil.copytree(family_folders["sd1"], tmp_path / "mixed"))
    (mixed / "unet/diffusion_pytorch_model.safetensors").unlink()
    pack(erased["sd1"], mixed / "unet/diffusion_pytorch_model.safetensors", "unet")
    assert torch.equal(drawn(mixed), drawn(erased["sd1"]))


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_half_folder_loads_plainly(family: str, erased: dict[str, Path], tmp_path: Path) -> None:
    out = pack(erased[family], tmp_path / "half", "folder", "float16")
    assert {value.dtype for value in weights(out).values()} == {torch.float16}
    assert torch.isfinite(drawn(out)).all()


def test_a_folder_in_its_own_dtype_is_a_copy(erased: dict[str, Path], tmp_path: Path) -> None:
    out = pack(erased["sd1"], tmp_path / "out", "folder")
    files = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert files == {path.relative_to(erased["sd1"]): path.read_bytes() for path in erased["sd1"].rglob("*") if path.is_file()}


def test_what_a_single_file_has_no_place_for_is_refused(tmp_path: Path) -> None:
    """The embedded model's heads and latents are its own."""
    with pytest.raises(InputError, match=r"does not fit into a single file of Stable Diffusion 1\.x \(.*\); give --format folder"):
        pack(pipeline_path(), tmp_path / "demo.safetensors")
    assert not list(tmp_path.iterdir())
    assert pack(pipeline_path(), tmp_path / "unet.safetensors", "unet").is_file()


def test_a_weight_of_no_place_is_refused(family_folders: dict[str, Path], tmp_path: Path) -> None:
    strange = Path(shutil.copytree(family_folders["sd2"], tmp_path / "strange"))
    file = strange / "text_encoder/model.safetensors"
    save_file(load_file(file) | {"adapter.weight": torch.zeros(3)}, file)
    with pytest.raises(InputError, match=r"text_encoder: .* tensors, of which .* can be stored"):
        pack(strange, tmp_path / "one.safetensors")


def test_a_module_that_the_layout_does_not_know_is_refused(family_folders: dict[str, Path], tmp_path: Path) -> None:
    """As UNets distilled for few steps have it."""
    strange = Path(shutil.copytree(family_folders["sd1"], tmp_path / "strange"))
    file = strange / "unet/diffusion_pytorch_model.safetensors"
    save_file(load_file(file) | {"time_embedding.cond_proj.weight": torch.zeros(3)}, file)
    with pytest.raises(InputError, match=r"model\.diffusion_model\.time_embedding\.cond_proj\.weight"):
        pack(strange, tmp_path / "one.safetensors")


def test_what_published_folders_say_beside_the_layout_does_not_matter(family_folders: dict[str, Path], tmp_path: Path) -> None:
    """An autoencoder trained at another size, positions among the weights, an index of older versions."""
    real = Path(shutil.copytree(family_folders["sdxl"], tmp_path / "real"))
    config = json.loads((real / "vae/config.json").read_text())
    (real / "vae/config.json").write_text(json.dumps({**config, "sample_size": 256, "force_upcast": False}))
    unet = json.loads((real / "unet/config.json").read_text())
    (real / "unet/config.json").write_text(json.dumps({k: v for k, v in unet.items() if k != "transformer_layers_per_block"}))
    for part in ("text_encoder", "text_encoder_2"):
        file = real / part / "model.safetensors"
        save_file(load_file(file) | {"text_model.embeddings.position_ids": torch.arange(32)[None]}, file)
    assert set(load_file(pack(real, tmp_path / "a.safetensors"))) == set(
        load_file(pack(family_folders["sdxl"], tmp_path / "b.safetensors"))
    )


def distilled(family: str, source: Path, target: Path, **shape: object) -> Path:
    """A folder with another UNet, of random weights."""
    import diffusers

    folder = Path(shutil.copytree(source, target))
    config = {k: v for k, v in json.loads((folder / "unet/config.json").read_text()).items() if not k.startswith("_")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shutil.rmtree(folder / "unet")
        diffusers.UNet2DConditionModel(**{**config, **shape}).save_pretrained(folder / "unet")
    return folder


UNEVEN = {"transformer_layers_per_block": [1, [2], [1]], "reverse_transformer_layers_per_block": [[1, 2], [2, 1], 1]}


@pytest.mark.parametrize(
    ("family", "shape"),
    [
        ("sdxl", {"mid_block_type": "UNetMidBlock2D", **UNEVEN}),
        ("sdxl", {"mid_block_type": "UNetMidBlock2D"}),
        ("sd1", {"mid_block_type": None}),
        ("sdxl", UNEVEN),
    ],
    ids=["SSD-1B", "no attention in the middle", "tiny-sd", "uneven depths"],
)
def test_a_unet_from_which_blocks_were_removed_comes_back(
    family: str, shape: dict[str, object], family_folders: dict[str, Path], tmp_path: Path
) -> None:
    source = distilled(family, family_folders[family], tmp_path / "model", **shape)
    made = locate(str(pack(source, tmp_path / "one.safetensors")), str(source))
    assert same_bits(weights(made), weights(source))
    assert torch.equal(drawn(made), drawn(source))


def test_the_names_of_a_distilled_file_are_those_that_are_published(family_folders: dict[str, Path], tmp_path: Path) -> None:
    """SSD-1B's own file: the middle has its first residual block alone."""
    source = distilled("sdxl", family_folders["sdxl"], tmp_path / "model", mid_block_type="UNetMidBlock2D", **UNEVEN)
    middle = {name.split(".")[3] for name in load_file(pack(source, tmp_path / "x.safetensors")) if ".middle_block." in name}
    assert middle == {"0"}


@pytest.mark.parametrize(
    ("output", "form", "dtype", "said"),
    [
        ("x.ckpt", "single-file", "source", "expected a name that ends in .safetensors"),
        ("folder", "unet", "source", "expected a name that ends in .safetensors"),
        ("there.safetensors", "unet", "source", "exists already; give another name"),
        ("x.safetensors", "pickle", "source", "--format pickle --dtype source is unknown"),
        ("x.safetensors", "unet", "int8", "--dtype int8 is unknown"),
    ],
)
def test_wrong_wishes_are_refused(output: str, form: str, dtype: str, said: str, erased: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "there.safetensors").touch()
    with pytest.raises(InputError, match=said):
        pack(erased["sd1"], tmp_path / output, form, dtype)


def test_overflow_in_half_precision_leaves_nothing(erased: dict[str, Path], tmp_path: Path) -> None:
    large = Path(shutil.copytree(erased["sd1"], tmp_path / "large"))
    file = large / "vae/diffusion_pytorch_model.safetensors"
    state = load_file(file)
    state["encoder.conv_in.bias"][0] = 1e6
    save_file(state, file)
    for form, name in (("single-file", "x.safetensors"), ("folder", "x")):
        with pytest.raises(InputError, match=r"encoder\.conv_in\.bias has values outside the range of torch\.float16"):
            pack(large, tmp_path / name, form, "float16")
    assert [path.name for path in tmp_path.iterdir()] == ["large"]


@pytest.mark.parametrize(
    ("form", "name", "killed_after"),
    [
        ("folder", "out", "erase.checkpoints.to_single_file.copy_part"),
        ("unet", "out.safetensors", "erase.checkpoints.safetensors_file.write_tensors_in_order"),
    ],
)
def test_what_a_killed_export_left_is_removed_by_the_next_one(
    form: str, name: str, killed_after: str, family_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (child := os.fork()) == 0:
        module, function = killed_after.rsplit(".", 1)
        real = getattr(sys.modules[module], function)

        def killed(*arguments: object) -> None:
            real(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr(killed_after, killed)
        pack(family_folders["sd1"], tmp_path / name, form)
    os.waitpid(child, 0)
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".part")
    pack(family_folders["sd1"], tmp_path / "another.safetensors", "unet")
    assert [path.name for path in tmp_path.iterdir()] == ["another.safetensors"]
