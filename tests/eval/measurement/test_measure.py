"""Each picture is looked at once, by everything, beside the caller's work; and what is noted is what the tools say by themselves."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_clip import build
from torch import Tensor

from erase.demo.shapes.world import render, scenes
from erase.errors import InputError
from erase.files import write_tensors
from erase.images import Picture, make_images, open_picture
from eval.measurement.measure import Tools, clip_scores, measuring, only_features, read_measurements
from eval.metrics.similarity import Lpips, ssim
from eval.vision.clip import Clip
from eval.vision.detector import Detection
from eval.vision.judge import Judge
from eval.vision.weights import torchvision

N = 10
ROWS = [{"text": f"a red star {i}", "role": "evaluate-retain" if i % 3 else "evaluate"} for i in range(N)]
KEPT = [i for i in range(N) if i % 3]


class Counted:
    """A real tool that notes how many pictures it was shown at a time, and in which thread."""

    def __init__(self, tool: Any) -> None:
        self.tool, self.calls, self.threads = tool, list[int](), set[int]()

    def __call__(self, images: Sequence[Image.Image]) -> Any:
        self.calls.append(len(images))
        self.threads.add(threading.get_ident())
        return self.tool(images)

    def texts(self, prompts: Sequence[str]) -> Tensor:
        return self.tool.texts(prompts)  # type: ignore[no-any-return]

    def facts(self) -> dict[str, Any]:
        return self.tool.facts()  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return Clip(pretrained=build(tmp_path_factory.mktemp("models") / "small"))


def drawn(folder: Path, seed: int) -> list[Picture]:
    images = iter([Image.fromarray(render(scene)) for scene in scenes(N, seed=seed)])
    return make_images(folder, [row["text"] for row in ROWS], 0, lambda texts, _: [next(images) for _ in texts], 4)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Picture]]:
    return {which: drawn(tmp_path_factory.mktemp("sets") / which, seed) for seed, which in enumerate(("before", "after"))}


def measure(
    folder: Path, pictures: Sequence[Picture], tools: Tools, before: Sequence[Path] | None = None, chunk: int = 4, background: bool = False
) -> None:
    with measuring(folder, "after", ROWS, tools, before, background=background) as each:
        for start in range(0, N, chunk):
            each(range(start, min(start + chunk, N)), pictures[start : start + chunk])


def test_what_is_noted_is_what_each_tool_says(tmp_path: Path, sets: dict[str, list[Picture]], clip: Clip) -> None:
    judge = Judge()
    before = [p.path for p in sets["before"]]
    measure(tmp_path, sets["after"], Tools(judge, clip, clip), before)
    part = read_measurements(tmp_path, "after", ROWS, Tools(judge, clip, clip))
    images = [open_picture(p.path) for p in sets["after"]]
    assert [r["index"] for r in part.records] == list(range(N))
    assert [r["sha256"] for r in part.records] == [p.sha256 for p in sets["after"]]
    assert [r["found"] for r in part.records] == [[[d.label, round(d.score, 4)] for d in found] for found in judge(images)]
    expected = clip.score(images, [row["text"] for row in ROWS])
    np.testing.assert_allclose([r["clip_score"] for r in part.records], expected, atol=1e-4)
    for i in range(N):
        assert ("ssim" in part.records[i]) == (i in KEPT)
    pixels = [
        [torch.from_numpy(np.array(open_picture(path))).permute(2, 0, 1) for path in paths]
        for paths in (before, [p.path for p in sets["after"]])
    ]
    drift = ssim(*(torch.stack([part[i] for i in KEPT]) for part in pixels))
    assert [part.records[i]["ssim"] for i in KEPT] == drift.tolist()
    assert drift.max() < 0.999  # there was something to find
    features = clip([images[i] for i in KEPT])
    assert part.moments.n == len(KEPT)
    torch.testing.assert_close(part.sample.compute(), features, rtol=0, atol=1e-4 * float(features.abs().max()))
    torch.testing.assert_close(part.moments.compute().mean, features.double().mean(0), rtol=0, atol=1e-4 * float(features.abs().max()))


def test_beside_the_callers_work_the_same_comes_out(tmp_path: Path, sets: dict[str, list[Picture]], clip: Clip) -> None:
    before = [p.path for p in sets["before"]]
    judge = Counted(Judge())
    tools = Tools(judge, clip, clip)
    measure(tmp_path / "one", sets["after"], tools, before)
    here, judge.threads = judge.threads, set()
    measure(tmp_path / "two", sets["after"], tools, before, background=True)
    assert here == {threading.get_ident()}
    assert judge.threads.isdisjoint(here)
    one, two = (read_measurements(tmp_path / name, "after", ROWS, tools) for name in ("one", "two"))
    assert one.records == two.records
    assert torch.equal(one.moments.outer, two.moments.outer)


def test_a_picture_is_opened_once_and_looked_at_once_by_each_tool(
    tmp_path: Path, sets: dict[str, list[Picture]], clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    monkeypatch.setattr("eval.measurement.measure.open_picture", lambda path: opened.append(path) or open_picture(path))
    judge, shared, other = Counted(Judge()), Counted(clip), Counted(clip)
    measure(tmp_path / "one", sets["after"], Tools(judge, shared, shared, ssim=False))
    assert opened == [p.path for p in sets["after"]]
    assert judge.calls == shared.calls == [4, 4, 2]
    assert judge.threads == {threading.get_ident()}
    measure(tmp_path / "two", sets["after"], Tools(None, None, other, ssim=False))
    assert other.calls == [2, 3, 1]  # only of prompts to keep


def test_what_was_measured_is_not_measured_again(tmp_path: Path, sets: dict[str, list[Picture]], clip: Clip) -> None:
    judge = Counted(Judge())
    for _ in range(2):
        measure(tmp_path, sets["after"], Tools(judge, clip, clip, ssim=False))
    assert sum(judge.calls) == N


def test_what_is_left_after_an_error_is_measured_then(
    tmp_path: Path, sets: dict[str, list[Picture]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eval.measurement.cache.SAVE_EVERY", 4)
    judge = Counted(Judge())
    with pytest.raises(ValueError, match="shorter"):  # of the caller, after the first chunk
        measure(tmp_path, sets["after"][:5], Tools(judge, ssim=False))
    assert sum(judge.calls) == 4
    measure(tmp_path, sets["after"], Tools(judge, ssim=False))
    assert sum(judge.calls) == N
    assert [r["index"] for r in read_measurements(tmp_path, "after", ROWS, Tools(judge)).records] == list(range(N))


def test_an_error_of_a_tool_comes_out_and_nothing_is_noted(tmp_path: Path, sets: dict[str, list[Picture]]) -> None:
    def fails(images: Sequence[Image.Image]) -> list[list[Detection]]:
        raise InputError("mend it")

    broken = Counted(Judge())
    broken.tool = fails
    with pytest.raises(InputError, match="mend it"):
        measure(tmp_path, sets["after"], Tools(broken, ssim=False))
    assert read_measurements(tmp_path, "after", ROWS, Tools(ssim=False)).records == []


def test_a_broken_picture_is_named(tmp_path: Path, clip: Clip) -> None:
    pictures = drawn(tmp_path / "set", 3)
    pictures[5].path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"00005\.png is not a complete image"):
        measure(tmp_path / "measured", pictures, Tools(Judge(), ssim=False))


def test_features_alone_are_measured_of_a_reference_set(tmp_path: Path, sets: dict[str, list[Picture]], clip: Clip) -> None:
    tools = only_features(Tools(Judge(), clip, clip))
    measure(tmp_path, sets["before"], tools)
    part = read_measurements(tmp_path, "after", ROWS, tools)
    assert part.moments.n == len(KEPT)
    assert all(set(record) == {"index", "sha256"} for record in part.records)


def test_lpips_is_measured_beside_ssim_where_it_was_asked_for(tmp_path: Path, sets: dict[str, list[Picture]]) -> None:
    torch.manual_seed(0)
    layers = {name: tensor for name, tensor in torchvision().models.alexnet().state_dict().items() if name.startswith("features.")}
    write_tensors(tmp_path / "alexnet.safetensors", layers)
    tools = Tools(lpips=Lpips(tmp_path / "alexnet.safetensors"))
    measure(tmp_path / "measured", sets["after"], tools, [p.path for p in sets["before"]])
    records = read_measurements(tmp_path / "measured", "after", ROWS, tools).records
    pair = [torch.from_numpy(np.array(open_picture(sets[which][1].path))).permute(2, 0, 1)[None] for which in ("before", "after")]
    assert records[1]["lpips"] == pytest.approx(float(tools.lpips(*pair)[0]))
    assert records[1]["lpips"] > 0
    assert {"ssim", "lpips"} <= records[1].keys()
    assert {"ssim", "lpips"}.isdisjoint(records[0])
    assert [drift["name"] for drift in tools.facts()["drift"]] == ["ssim", "lpips-alex"]


def test_the_tools_say_what_they_are(clip: Clip) -> None:
    judge = Judge()
    facts = Tools(judge, clip, clip).facts()
    assert facts == {**judge.facts(), "clip": clip.facts(), "extractor": clip.facts(), "drift": facts["drift"]}
    assert [drift["name"] for drift in facts["drift"]] == ["ssim"]
    assert Tools(ssim=False).facts() == {}
    assert Tools(ssim=False).dimension is None
    assert Tools(features=clip).dimension == clip.facts()["dimension"] == 32


def test_a_score_is_the_cosine_without_its_negative_half() -> None:
    pictures = torch.tensor([[1.0, 0], [1, 1], [-1, 0], [0, 2]])
    texts = torch.tensor([[3.0, 0], [1, 0], [1, 0], [1, 0]])
    assert clip_scores(pictures, texts).tolist() == pytest.approx([100, 100 / 2**0.5, 0, 0])
