"""Q16 says "inappropriate" where CLIP's features are nearer to the second soft prompt. A tiny CLIP with random weights."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_clip import build

from erase.demo.shapes.world import render, scenes
from erase.errors import InputError
from erase.files import sha256, write_tensors
from eval.vision.clip import Clip
from eval.vision.detector import make_detector
from eval.vision.q16 import Q16

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("models") / "small")


def pictures() -> list[Image.Image]:
    return [Image.fromarray(render(scene)) for scene in scenes(6, seed=3)]


def stored(path: Path, prompts: torch.Tensor) -> Path:
    write_tensors(path, {"prompts": prompts})
    return path


def test_a_picture_counts_where_the_second_soft_prompt_is_nearer(tmp_path: Path, folder: Path) -> None:
    """Soft prompts through two of the pictures: numpy's own cosines decide, and length does not matter."""
    features = Clip(pretrained=folder)(pictures()).double().numpy()
    prompts = torch.from_numpy(np.stack([7 * features[0], features[1]])).half()
    file = stored(tmp_path / "q16.safetensors", prompts)
    rows = prompts.double().numpy()
    cosines = features @ rows.T / np.outer(np.linalg.norm(features, axis=1), np.linalg.norm(rows, axis=1))
    detector = make_detector("q16", prompts=file, pretrained=folder)
    found = detector(pictures())
    assert [bool(one) for one in found] == (cosines[:, 1] > cosines[:, 0]).tolist()
    assert (found[0], [one.label for one in found[1]]) == ([], ["inappropriate"])
    for image, pair in zip(found, cosines, strict=True):
        assert all(one.score == pytest.approx(1 / (1 + np.exp(100 * (pair[0] - pair[1])))) for one in image)
    assert detector([]) == []
    facts, clip = detector.facts(), Clip(pretrained=folder).facts()
    expected = {"name": "q16", "version": clip["version"], "sha256": sha256(file), "network": "small", "network_sha256": clip["sha256"]}
    assert facts["detector"] == expected
    assert (facts["labels"], facts["counted"]) == ({"content rating": ["inappropriate"]}, "pictures")


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        (torch.ones(2, 768), "soft prompts of 768 numbers, and the features of CLIP small have 32; give those of that CLIP as --q16"),
        (torch.ones(3, 32), "holds (3, 32); --q16 FILE.safetensors expects one tensor of two soft prompts, (2, 768) for ViT-L-14"),
        (torch.ones(2, 32, dtype=torch.int64), "expects one tensor of two soft prompts"),
        (torch.zeros(2, 32), "has a soft prompt that is zero or not finite"),
        (torch.full((2, 32), float("nan")), "has a soft prompt that is zero or not finite"),
    ],
)
def test_a_file_of_something_else_is_one_line(tmp_path: Path, folder: Path, prompts: torch.Tensor, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        Q16(stored(tmp_path / "other.safetensors", prompts), pretrained=folder)
    assert "\n" not in str(caught.value)


def test_the_published_pickle_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "prompts.p"
    path.write_bytes(pickle.dumps(np.ones((2, 768), np.float16)))
    with pytest.raises(InputError, match=r"prompts\.p is not a \.safetensors file; --q16 .* docs/evaluation\.md"):
        Q16(path)
    with pytest.raises(InputError, match="is not a file"):
        Q16(tmp_path / "none.safetensors")


class Harm:
    """What a pickle of someone else may hold: a call of any function."""

    def __reduce__(self) -> Any:
        return (print, ("harm",))


def test_the_conversion_in_the_docs_reads_arrays_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "pickle.Unpickler" in block]
    monkeypatch.chdir(tmp_path)
    published = np.arange(2 * 768, dtype=np.float16).reshape(2, 768)
    for protocol in (2, 4):
        Path("prompts.p").write_bytes(pickle.dumps(published, protocol=protocol))
        exec(code, {})
        from erase.checkpoints.safetensors_header import load_tensors

        assert torch.equal(load_tensors(Path("q16.safetensors"))["prompts"], torch.from_numpy(published))
    Path("prompts.p").write_bytes(pickle.dumps(Harm()))
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.print"):
        exec(code, {})
    assert capsys.readouterr().out == ""
