"""An exported folder is its source but for the changed weights: all that loaders read, nothing private, no part that is not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from wild_folders import Change, copied, file, settings

from erase.checkpoints.copying import complete_parts
from erase.checkpoints.export import export
from erase.checkpoints.to_single_file import pack

CHECKER = settings("model_index.json", safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
HOME = "/home/someone/models/clip"
WAYS: dict[str, Callable[[Path, Path], Path]] = {
    "erased": lambda source, out: export(source, {}, out, {"concept": "star"}),
    "folder": lambda source, out: pack(source, out, "folder"),
    "half": lambda source, out: pack(source, out, "folder", "float16"),
}


@pytest.fixture(params=WAYS)
def copy(request: pytest.FixtureRequest, family_folders: dict[str, Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy by each way, of the folder with some changes."""
    return lambda *changes: WAYS[request.param](copied(family_folders["sd1"], tmp_path / "model", *changes), tmp_path / "out")


def test_every_file_that_a_loader_reads_comes_along(copy: Callable[..., Path], tmp_path: Path) -> None:
    names = ["tokenizer/spiece.model", "tokenizer/sentencepiece.bpe.model", "tokenizer/vocab.txt", "tokenizer/chat_template.jinja"]
    out = copy(*(file(name, b"content") for name in names), file("tokenizer/added_tokens.json", b'{"a": 1}'), file("LICENSE.md", b"terms"))
    source = tmp_path / "model"
    inside = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert inside - {path.relative_to(out).as_posix() for path in out.rglob("*")} == set()
    assert {*names, "tokenizer/added_tokens.json", "LICENSE.md"} <= inside


def test_no_path_of_the_machine_that_saved_it_gets_out(copy: Callable[..., Path]) -> None:
    windows = "C:\\Users\\someone\\clip"
    out = copy(
        settings("tokenizer/tokenizer_config.json", name_or_path=HOME, special_tokens_map_file=f"{HOME}/special_tokens_map.json"),
        settings("text_encoder/config.json", _name_or_path=windows, text_config={"_name_or_path": HOME}),
        settings("unet/config.json", _name_or_path=f"./{HOME}"),
        settings("vae/config.json", _name_or_path="CompVis/stable-diffusion-v1-4"),
        settings("scheduler/scheduler_config.json", _name_or_path="~/clip"),
        settings("model_index.json", _name_or_path=HOME),
    )
    texts = {path: path.read_text() for path in out.rglob("*.json")}
    assert [path.name for path, text in texts.items() if "someone" in text or "~/" in text] == []
    assert "CompVis/stable-diffusion-v1-4" in texts[out / "vae/config.json"], "the name of a public model stays"


def without_weights(folder: Path) -> None:
    CHECKER(folder)
    settings("safety_checker/config.json", model_type="clip")(folder)


def test_a_part_that_is_not_there_is_not_listed(copy: Callable[..., Path]) -> None:
    """A safety checker that was published as a pickle alone: the download has its configuration only."""
    from diffusers import StableDiffusionPipeline

    out = copy(without_weights)
    assert json.loads((out / "model_index.json").read_text())["safety_checker"] == [None, None]
    assert not (out / "safety_checker").exists()
    assert StableDiffusionPipeline.from_pretrained(out).safety_checker is None


@pytest.mark.parametrize("change", [without_weights, CHECKER])
def test_the_parts_that_are_there(change: Change, family_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(family_folders["sd1"], tmp_path / "model", change)
    assert sorted(complete_parts(folder)) == sorted(
        path.name for path in folder.iterdir() if path.is_dir() and path.name != "safety_checker"
    )
    (folder / "safety_checker").mkdir(exist_ok=True)
    shutil.copy(folder / "text_encoder/model.safetensors", folder / "safety_checker/model.safetensors")
    assert "safety_checker" in complete_parts(folder)
