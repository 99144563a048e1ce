"""A single file becomes the folder it was made from, without a network; whatever is no complete model is named and refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from erase.checkpoints.from_single_file import find_tokenizer
from erase.checkpoints.to_single_file import pack
from erase.diffusion import locate
from erase.errors import InputError
from erase.files.cache import cache_places, whole

UNET = "model.diffusion_model."
State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_places("models")[0]


@pytest.fixture(scope="module")
def files(family_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A single file of each family."""
    folder = tmp_path_factory.mktemp("files")
    return {family: pack(source, folder / f"{family}.safetensors") for family, source in family_folders.items()}


def drawn(folder: Path) -> Tensor:
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    pictures: Tensor = pipeline("a red star", num_inference_steps=2, generator=torch.Generator().manual_seed(0), output_type="pt").images
    return pictures


def configuration(folder: Path, part: str) -> dict[str, object]:
    name = "scheduler_config.json" if part == "scheduler" else "config.json"
    return dict(json.loads((folder / part / name).read_text()))


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_the_folder_of_a_file_draws_the_same_picture(family: str, family_folders: dict[str, Path], files: dict[str, Path]) -> None:
    source = family_folders[family]
    made = locate(str(files[family]), str(source))
    assert torch.equal(drawn(made), drawn(source))
    assert configuration(made, "scheduler")["prediction_type"] == ("v_prediction" if family == "sd2" else "epsilon")
    for part in ("unet", "vae"):
        there, here = configuration(source, part), configuration(made, part)
        assert here["sample_size"] == there["sample_size"]
        assert load_file(next((made / part).glob("*.safetensors"))).keys() == load_file(next((source / part).glob("*.safetensors"))).keys()


def test_a_file_is_unpacked_once_and_needs_no_tokenizer_again(family_folders: dict[str, Path], files: dict[str, Path], cache: Path) -> None:
    made = locate(str(files["sd1"]), str(family_folders["sd1"] / "tokenizer"))
    inside = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert locate(str(files["sd1"])) == made
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == inside
    assert sorted(path.name for path in cache.iterdir()) == [made.name, f"{made.name}.files.json"]


def test_a_folder_is_that_of_everything_that_decides_its_content(
    family_folders: dict[str, Path], files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's hash and name, the tokenizer, the versions; the same from another folder is the same."""
    source, elsewhere = family_folders["sd1"], tmp_path / "elsewhere"
    elsewhere.mkdir()
    made = locate(str(files["sd1"]), str(source))
    moved = Path(shutil.copy(files["sd1"], elsewhere / "sd1.safetensors"))
    assert locate(str(moved), str(source)) == made
    other = Path(shutil.copytree(source / "tokenizer", elsewhere / "tokenizer"))
    (other / "merges.txt").write_text((other / "merges.txt").read_text() + "\n")
    folders = {made, locate(str(moved), str(other))}
    folders.add(locate(str(moved.rename(elsewhere / "renamed.safetensors")), str(source)))
    monkeypatch.setattr("erase.checkpoints.unpacked_folders.package_version", lambda name: "0")
    folders.add(locate(str(files["sd1"]), str(source)))
    assert len(folders) == 4
    assert all(map(whole, folders))


@pytest.mark.parametrize("lost", ["unet", "tokenizer/vocab.json", "model_index.json", "vae/config.json"])
def test_a_cache_that_was_half_cleaned_is_made_whole(family_folders: dict[str, Path], files: dict[str, Path], lost: str) -> None:
    made = locate(str(files["sd1"]), str(family_folders["sd1"]))
    before = {path.relative_to(made): path.read_bytes() for path in made.rglob("*") if path.is_file()}
    shutil.rmtree(made / lost) if (made / lost).is_dir() else (made / lost).unlink()
    assert locate(str(files["sd1"]), str(family_folders["sd1"])) == made
    assert {path.relative_to(made): path.read_bytes() for path in made.rglob("*") if path.is_file()} == before


def test_where_it_comes_from_is_in_the_metadata(family_folders: dict[str, Path], files: dict[str, Path]) -> None:
    from erase.checkpoints.safetensors_header import metadata
    from erase.files import sha256

    made = locate(str(files["sd1"]), str(family_folders["sd1"]))
    facts = metadata(made / "unet/diffusion_pytorch_model.safetensors")
    assert facts["single_file"] == "sd1.safetensors"
    assert facts["single_file_sha256"] == sha256(files["sd1"])


def changed(file: Path, target: Path, change: Callable[[State], State]) -> Path:
    """The same tensors, changed, without metadata."""
    save_file({name: value.contiguous() for name, value in change(load_file(file)).items()}, target)
    return target


def without(prefix: str) -> Callable[[State], State]:
    return lambda state: {name: value for name, value in state.items() if not name.startswith(prefix)}


def widened(channels: int) -> Callable[[State], State]:
    return lambda state: state | {UNET + "input_blocks.0.0.weight": torch.zeros(64, channels, 3, 3)}


def only(prefix: str, to: str = "") -> Callable[[State], State]:
    return lambda state: {to + name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


REFUSED: list[tuple[str, Callable[[State], State], str]] = [
    ("sd1", lambda _: {"lora_unet_down_blocks_0.lora_down.weight": torch.zeros(1)}, "a LoRA, an addition to a model; merge it"),
    ("sd1", lambda _: {"unet.mid_block.to_q.lora_A.weight": torch.zeros(1)}, "a LoRA"),
    ("sd1", lambda _: {"emb_params": torch.zeros(1)}, "a textual inversion"),
    ("sd1", lambda _: {"control_model.input_hint_block.0.weight": torch.zeros(1)}, "a ControlNet"),
    ("sd1", lambda _: {"double_blocks.0.img_attn.qkv.weight": torch.zeros(1)}, "a transformer of FLUX.1 and not complete"),
    ("sd1", lambda _: {"model.diffusion_model.joint_blocks.0.x.weight": torch.zeros(1)}, "Stable Diffusion 3 and not complete"),
    ("sd1", lambda _: {"down_blocks.0.resnets.0.conv1.weight": torch.zeros(1)}, "the UNet of a diffusers folder alone"),
    ("sd1", only("first_stage_model."), "an autoencoder alone"),
    ("sd1", only("first_stage_model.", "first_stage_model."), "an autoencoder alone"),
    ("sd1", lambda _: {"a.b.c": torch.zeros(1), "a.b.d": torch.zeros(1)}, r"unknown layout: its 2 tensors begin with a.b (2); give one of"),
    ("sd1", lambda _: {}, "unknown layout: its 0 tensors begin with nothing"),
    ("sd1", widened(9), "an inpainting model, which is not supported"),
    ("sdxl", widened(9), "an inpainting model"),
    ("sd1", widened(8), "InstructPix2Pix"),
    ("sd2", widened(5), "a depth-conditioned model"),
    ("sd1", widened(6), "has 6 input channels"),
    ("sd1", without("cond_stage_model."), "is a UNet of Stable Diffusion without its text encoder; give a checkpoint with"),
    ("sdxl", without("conditioner.embedders.1."), "a UNet of Stable Diffusion XL without text_encoder_2"),
    ("sdxl", without("conditioner.embedders.0."), "a UNet of Stable Diffusion XL without text_encoder;"),
    ("sdxl", only("conditioner.embedders.1.", "conditioner.embedders.0."), "unknown layout"),
    ("sdxl", lambda s: s | {"conditioner.embedders.0.model.ln_final.bias": torch.zeros(1)}, "a refiner"),
    ("sd2", lambda s: s | {UNET + "label_emb.0.0.weight": torch.zeros(1, 1)}, "unCLIP"),
    ("sdxl", lambda s: s | {"edm_mean": torch.zeros(4)}, "the EDM kind (Playground 2.5)"),
    ("sdxl", lambda s: s | {"edm_vpred.sigma_max": torch.tensor(120.0)}, "the EDM kind (CosXL), which is not supported"),
    ("sd1", lambda s: s | {UNET + "out.2.lora_A.weight": torch.zeros(1)}, "an adapter that is not merged (conv_out.lora_A.weight, 1"),
    ("sd1", without("first_stage_model."), "Stable Diffusion 1.x without its autoencoder"),
    ("sd1", lambda s: {name: value.to(torch.float8_e4m3fn) for name, value in s.items()}, "8-bit weights"),
    ("sd2", lambda s: s, "does not record its prediction type; give --prediction-type v_prediction"),
    ("sd1", without(UNET + "middle_block.1.proj_out"), "its unet lacks mid_block.attentions.0.proj_out"),
    ("sd1", without(UNET + "input_blocks.1.0"), "is not complete: it lacks down_blocks.0.resnets.0.conv2.weight"),
    ("sd1", without("first_stage_model.encoder.mid.attn_1.q"), "its vae lacks encoder.mid_block.attentions.0.to_q"),
    ("sd1", without("cond_stage_model.transformer.text_model.final_layer_norm"), "its text_encoder lacks final_layer_norm"),
    ("sd1", lambda s: s | {UNET + "motion.weight": torch.zeros(7)}, "unet has motion.weight, which no known family has"),
    ("sd1", lambda s: s | {UNET + "out.2.bias": torch.zeros(7)}, "unet has conv_out.bias of (7,) where (4,) belongs"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "change", "said"), REFUSED, ids=[said[:40] for _, _, said in REFUSED])
def test_what_is_no_complete_model_is_named(
    family: str,
    change: Callable[[State], State],
    said: str,
    files: dict[str, Path],
    family_folders: dict[str, Path],
    tmp_path: Path,
    cache: Path,
) -> None:
    file = changed(files[family], tmp_path / "given.safetensors", change)
    with pytest.raises(InputError) as caught:
        locate(str(file), str(family_folders[family]))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not cache.exists() or not list(cache.iterdir())


def test_what_the_file_does_not_say_the_user_may(files: dict[str, Path], family_folders: dict[str, Path], tmp_path: Path) -> None:
    file = changed(files["sd2"], tmp_path / "plain.safetensors", lambda state: state)
    for kind, size in (("v_prediction", 96), ("epsilon", 64)):
        made = locate(str(file), str(family_folders["sd2"]), kind)
        assert configuration(made, "scheduler")["prediction_type"] == kind
        assert configuration(made, "unet")["sample_size"] == size, "768 and 512 pixels, as published"


@pytest.mark.parametrize(
    ("facts", "marks", "option", "expected"),
    [
        ({"modelspec.prediction_type": "v"}, [], None, "v_prediction"),
        ({"modelspec.prediction_type": "epsilon"}, [], None, "epsilon"),
        ({"modelspec.architecture": "stable-diffusion-v2-768-v"}, [], None, "v_prediction"),
        ({"modelspec.architecture": "stable-diffusion-v2-512"}, [], None, "epsilon"),
        ({}, ["v_pred"], None, "v_prediction"),
        ({"modelspec.prediction_type": "v"}, ["v_pred"], "v_prediction", "v_prediction"),
        (
            {"modelspec.prediction_type": "epsilon"},
            [],
            "v_prediction",
            r"--prediction-type v_prediction contradicts .* epsilon \(modelspec",
        ),
        ({}, ["v_pred"], "epsilon", r"contradicts .*, which is a model of v_prediction \(its tensor v_pred\); leave the option out"),
        ({"modelspec.prediction_type": "epsilon"}, ["v_pred"], None, "says both v_prediction .* and epsilon .*; give --prediction-type"),
        ({"modelspec.prediction_type": "epsilon"}, ["v_pred"], "v_prediction", "v_prediction"),
        ({"modelspec.prediction_type": "rectified flow"}, [], None, "predicts 'rectified flow' .*; supported are epsilon and v_prediction"),
        ({"modelspec.prediction_type": "sample"}, [], "epsilon", "predicts 'sample'"),
    ],
)
def test_what_the_file_says_it_predicts_counts(
    facts: dict[str, str],
    marks: list[str],
    option: str | None,
    expected: str,
    files: dict[str, Path],
    family_folders: dict[str, Path],
    tmp_path: Path,
) -> None:
    file, state = tmp_path / "marked.safetensors", load_file(files["sd2"])
    save_file(state | {name: torch.zeros(0) for name in marks}, file, facts)
    if expected in ("epsilon", "v_prediction"):
        made = locate(str(file), str(family_folders["sd2"]), option)
        assert configuration(made, "scheduler")["prediction_type"] == expected
        return
    with pytest.raises(InputError, match=expected):
        locate(str(file), str(family_folders["sd2"]), option)


def test_an_option_that_contradicts_a_folder_is_refused(family_folders: dict[str, Path]) -> None:
    assert locate(str(family_folders["sd2"]), prediction="v_prediction") == family_folders["sd2"]
    for model, option, own in ((str(family_folders["sd2"]), "epsilon", "v_prediction"), ("demo", "epsilon", "v_prediction")):
        with pytest.raises(InputError, match=rf"--prediction-type {option} contradicts .*, whose scheduler says {own}") as caught:
            locate(model, prediction=option)
        assert caught.value.option == "prediction_type"


@pytest.mark.parametrize(("recorded", "size"), [("64x64", 8), ("80x64", [8, 10]), ("60x64", 64), ("0x0", 64), ("large", 64)])
def test_the_recorded_size_is_the_folders(
    recorded: str, size: object, files: dict[str, Path], family_folders: dict[str, Path], tmp_path: Path
) -> None:
    """Width x height, as the specification of such metadata has it."""
    file = tmp_path / "sized.safetensors"
    save_file(load_file(files["sd1"]), file, {"modelspec.resolution": recorded})
    assert configuration(locate(str(file), str(family_folders["sd1"])), "unet")["sample_size"] == size


def test_positions_and_the_averaged_copy_are_no_part_of_the_folder(
    files: dict[str, Path], family_folders: dict[str, Path], tmp_path: Path
) -> None:
    extra = {
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(32)[None],
        "model_ema.diffusion_modelinput_blocks00weight": torch.zeros(1),
        "alphas_cumprod": torch.zeros(1000),
        "first_stage_model.loss.logvar": torch.zeros(1),
        "cond_stage_model.transformer.text_projection.weight": torch.zeros(1),
    }
    file = changed(files["sd1"], tmp_path / "more.safetensors", lambda state: state | extra)
    made = locate(str(file), str(family_folders["sd1"]))
    plain = locate(str(files["sd1"]), str(family_folders["sd1"]))
    for part in ("unet", "vae", "text_encoder"):
        a, b = (load_file(next((folder / part).glob("*.safetensors"))) for folder in (made, plain))
        assert a.keys() == b.keys()


def test_a_tokenizer_that_is_not_there_or_does_not_fit_is_named(
    files: dict[str, Path], family_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    with pytest.raises(InputError, match=r"has no vocab\.json and merges\.txt; give a folder"):
        find_tokenizer(str(tmp_path))
    large = Path(shutil.copytree(family_folders["sd1"] / "tokenizer", tmp_path / "large"))
    words = json.loads((large / "vocab.json").read_text())
    (large / "vocab.json").write_text(json.dumps(words | {f"more{i}": len(words) + i for i in range(10)}))
    with pytest.raises(InputError, match=r"the tokenizer has \d+ words, the text_encoder of this checkpoint \d+; give its own"):
        locate(str(files["sd1"]), str(large))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(InputError, match=r"a single file has no tokenizer, and that of openai/clip.* give --tokenizer DIR"):
        locate(str(files["sd1"]))
    assert not list(cache.iterdir())


def test_flags_of_a_file_of_sdxl_are_read(files: dict[str, Path], family_folders: dict[str, Path], tmp_path: Path) -> None:
    flags = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    made = locate(str(changed(files["sdxl"], tmp_path / "v.safetensors", lambda state: state | flags)), str(family_folders["sdxl"]))
    found = configuration(made, "scheduler")
    assert (found["prediction_type"], found["rescale_betas_zero_snr"]) == ("v_prediction", True)
    assert configuration(made, "unet")["sample_size"] == 128
