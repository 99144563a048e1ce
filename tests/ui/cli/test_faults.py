"""What breaks outside of us ends in one line that says what happened and what to do, and costs no work that is done."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from erase.checkpoints.folder import check_model_folder
from erase.errors import InputError
from erase.files import write_json
from erase.pipeline.estimate import estimate
from erase.pipeline.job import Job
from ui.cli.main import main

ARGUMENTS = ["--concept", "star", "--forget-count", "2", "--retain-count", "2", "--evaluate-count", "2", "--sampling-steps", "1"]


@pytest.fixture
def folder(tiny_pipeline: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_pipeline, tmp_path / "model"))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_torn_download_is_named_before_anything_is_made(
    part: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (weights,) = (folder / part).glob("*.safetensors")
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    assert main([*ARGUMENTS, "--model", str(folder), "--output", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{weights} is incomplete: {len(data) // 2} bytes, and its header announces {len(data)}; download it again" in line
    assert not (tmp_path / "run").exists()
    weights.write_bytes(data[:4])
    with pytest.raises(InputError, match="is not a safetensors file"):
        check_model_folder(folder)


def test_a_shard_that_is_not_there_is_named(folder: Path) -> None:
    (weights,) = (folder / "unet").glob("*.safetensors")
    weights.rename(folder / "unet" / "diffusion_pytorch_model-00001-of-00002.safetensors")
    index = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    files = {"a": "diffusion_pytorch_model-00001-of-00002.safetensors", "b": "diffusion_pytorch_model-00002-of-00002.safetensors"}
    write_json(index, {"metadata": {}, "weight_map": files})
    with pytest.raises(InputError, match=r"lacks diffusion_pytorch_model-00002-of-00002.*, which .* lists; download the model again"):
        check_model_folder(folder)
    index.write_text("[]")
    with pytest.raises(InputError, match=r"index\.json holds a list; expected a JSON object"):
        check_model_folder(folder)
    for content in ({}, {"weight_map": ["a"]}, {"weight_map": {"a": 1}}, {"weight_map": {"a": "../../elsewhere.safetensors"}}):
        write_json(index, content)
        with pytest.raises(InputError, match="is not an index of shards"):
            check_model_folder(folder)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore"), "out of memory (CUDA out of memory. Tried to"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), "--micro-batch 1 --checkpointing"),
        (
            RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be"),
            "the GPU failed (CUDA error: an",
        ),
    ],
)
def test_a_device_that_fails_is_told_in_one_line(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> int:
        raise error

    monkeypatch.setattr("ui.cli.erase._run", fails)
    assert main(ARGUMENTS) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert "the same command resumes where it stopped" in line


def test_other_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> int:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr("ui.cli.erase._run", fails)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        main(ARGUMENTS)


def test_a_type_that_the_device_lacks_is_told(monkeypatch: pytest.MonkeyPatch, tiny_pipeline: Path) -> None:
    """No device here lacks one: its answer is put in the mouth of a convolution."""
    from erase.diffusion import open_model

    def lacks(*_: object) -> None:
        raise RuntimeError("\"slow_conv2d_cpu\" not implemented for 'Half'")

    monkeypatch.setattr(torch.nn.functional, "conv2d", lacks)
    with pytest.raises(InputError, match=r"device cpu does not support --dtype float16 .*; give --dtype bfloat16 or float32"):
        open_model(tiny_pipeline, dtype="float16")


def test_an_estimate_makes_nothing_and_says_what_would_not_fit(
    tiny_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["estimate", *ARGUMENTS, "--model", str(tiny_pipeline), "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["memory_bytes"] > 0
    assert found["disk_bytes"] > 0
    assert "free" in found["disk"]
    assert not list(tmp_path.iterdir())
    few, many = (Job(concepts=("star",), model=str(tiny_pipeline), device="cpu", forget_count=n, retain_count=2) for n in (10, 20_000))
    assert estimate(many).disk_bytes > 100 * estimate(few).disk_bytes
    monkeypatch.setattr("erase.pipeline.session.free_bytes", lambda device: 1000)
    assert "repair needs about" in estimate(few).memory
