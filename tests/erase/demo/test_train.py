"""The training script starts again where it stopped, and never shows the concept that it is to leave out."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from erase.demo import judge_path, pipeline_path
from erase.demo.networks import build_tokenizer
from erase.demo.scenes.judge import load_scene_judge
from erase.demo.shapes.train import main, pictures, train
from erase.demo.training.loop import PLANS, Course, Plan, fit


def regression(folder: Path, stop_at: int | None = None) -> Tensor:
    torch.manual_seed(0)
    network = nn.Linear(3, 1)

    def loss(step: int, generator: torch.Generator) -> Tensor:
        if step == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(8, 3, generator=generator)
        return (network(x) - x.sum(1, keepdim=True)).pow(2).mean()

    fit(Course("line", 12, 0.05, every=4), network, loss, folder, seed=1, device="cpu")
    return network.weight.detach().clone()


def test_a_stopped_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = regression(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        regression(tmp_path / "stopped", stop_at=6)
    assert torch.equal(regression(tmp_path / "stopped"), whole)


def test_the_gold_standards_data_never_shows_the_concept(tmp_path: Path) -> None:
    drawn, scenes = pictures(Plan(pictures=500, without="star"), tmp_path)
    assert drawn.shape == (500, 3, 64, 64)
    assert {scene.shape for scene in scenes} == {"circle", "ring", "square", "diamond", "triangle", "cross", "heart"}


def test_the_tokens_are_learned_once_and_keep_their_numbers(tmp_path: Path) -> None:
    first = build_tokenizer(tmp_path)
    (tmp_path / "vocab.json").write_text((tmp_path / "vocab.json").read_text())
    assert build_tokenizer(tmp_path).get_vocab() == first.get_vocab()
    assert all(len(first(word).input_ids) == 3 for word in ("star", "striped", "purple"))
    assert build_tokenizer(pipeline_path() / "tokenizer").get_vocab().keys() == first.get_vocab().keys()


def test_every_process_learns_the_same_tokens(tmp_path: Path) -> None:
    build_tokenizer(tmp_path / "here")
    code = "import sys, pathlib; from erase.demo.networks import build_tokenizer; build_tokenizer(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there")], check=True, capture_output=True)
    for name in ("vocab.json", "merges.txt"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


def test_polishing_goes_on_from_finished_weights_and_takes_their_tokens_along(tmp_path: Path) -> None:
    plan = Plan(pictures=500, dots_steps=1)
    folder = train(plan, tmp_path, judge_path().parent, polish=True)
    for part, file in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        before, after = (load_file(root / "pipeline" / part / f"{file}.safetensors") for root in (judge_path().parent, folder))
        assert before.keys() == after.keys()
        assert any(not torch.equal(before[name], after[name]) for name in before)
        assert all(torch.allclose(before[name].float(), after[name].float(), atol=2e-2) for name in before)
    assert (folder / "pipeline" / "tokenizer" / "vocab.json").read_text() == (pipeline_path() / "tokenizer" / "vocab.json").read_text()
    assert json.loads((folder / "pipeline" / "vae" / "config.json").read_text()).get("_name_or_path", "") == ""


def tiny_scenes(folder: Path, stop_at: int | None = None) -> Path:
    """The training of scenes in small, stopped where its UNet has done `stop_at` steps."""
    plan = replace(PLANS["scenes"], pictures=500, judge_steps=1, unet_steps=4)
    if stop_at is None:
        return train(plan, folder, judge_path().parent)
    with pytest.MonkeyPatch.context() as patch:

        def stopped(course: Course, network: nn.Module, loss: Any, *rest: Any) -> None:
            fit(replace(course, every=1), network, stopping(loss, stop_at), *rest)

        patch.setattr("erase.demo.scenes.train.fit", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(plan, folder, judge_path().parent)
    return train(plan, folder, judge_path().parent)


def stopping(loss: Any, at: int) -> Any:
    def until(step: int, generator: torch.Generator) -> Tensor:
        if step == at:
            raise KeyboardInterrupt
        return loss(step, generator)

    return until


def test_scenes_are_trained_by_the_same_script_and_go_on_where_they_were_stopped(tmp_path: Path) -> None:
    whole, stopped = tiny_scenes(tmp_path / "whole"), tiny_scenes(tmp_path / "stopped", stop_at=3)
    for file in ("unet/diffusion_pytorch_model", "text_encoder/model", "vae/diffusion_pytorch_model"):
        first, second = (load_file(root / "pipeline" / f"{file}.safetensors") for root in (whole, stopped))
        assert all(torch.equal(first[name], second[name]) for name in first)
    demo = load_file(pipeline_path() / "vae" / "diffusion_pytorch_model.safetensors")
    own = load_file(whole / "pipeline" / "vae" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(own[name], tensor) for name, tensor in demo.items())  # the autoencoder is the demo's
    assert load_scene_judge(whole / "judge.safetensors").look(torch.zeros(1, 3, 64, 64)) is not None
    assert json.loads((whole / "plan.json").read_text())["world"] == "scenes"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--world", "scenes", "--without", "cross"], "nothing in scenes is cross"),
        (["--world", "scenes", "--without", "star"], "give those of a demo without it with --base"),
        (["--polish"], "give their folder with --base"),
    ],
)
def test_mistakes_are_said_in_a_line(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--output", str(tmp_path), *words])
    assert said in capsys.readouterr().err
