"""Safe latent diffusion: a step on paper, the same images as a pipeline that is guided by hand, and a run that changes no weights."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from shutil import copytree

import pytest
import torch
from PIL import ImageChops
from pipeline_runs import job
from tiny_pipeline import build_stable_diffusion_3

from erase.checkpoints.diff import changed_bytes
from erase.checkpoints.folder import GUIDANCE, weight_hashes
from erase.checkpoints.to_single_file import pack
from erase.diffusion import open_model
from erase.diffusion.safe_guidance import Momentum, SafeGuidance
from erase.errors import InputError
from erase.methods import METHODS, make_method
from erase.pipeline import erase_concept
from erase.run import Run
from erase.task import generator

STRONG = SafeGuidance("a red star", warmup=0, scale=5000.0, threshold=10.0, momentum=0.5, decay=0.7)


def test_two_steps_on_paper() -> None:
    """e_0 = 1, e_c = (2, 3.0), e_S = (2.5, 2.9): only the first is under the threshold 0, with m = min(1, 0.8 |e_c - e_S|) = 0.4."""
    memory, guidance = Momentum(), SafeGuidance("x", 1, 0.8, 0.0, 0.5, 0.7)
    e0, ec, es = torch.ones(1, 2), torch.tensor([[2.0, 3.0]]), torch.tensor([[2.5, 2.9]])
    assert memory(guidance, e0, ec, es).tolist() == [[0.0, 0.0]]  # warming up
    torch.testing.assert_close(memory.v, torch.tensor([[0.3 * 0.4 * 1.5, 0.0]]))
    torch.testing.assert_close(memory(guidance, e0, ec, es), torch.tensor([[0.6 + 0.5 * 0.18, 0.0]]))


@pytest.mark.parametrize("family", ["sd1", "sdxl", "sd3"])
def test_the_third_prediction_is_that_under_the_text(family: str, family_folders: dict[str, Path], tmp_path: Path) -> None:
    """Where e_c - g is e_0, guidance has nothing left: m = 1 for the prompt's own text without momentum makes the image of no prompt."""
    source = build_stable_diffusion_3(tmp_path / "sd3") if family == "sd3" else family_folders[family]
    folder = copytree(source, tmp_path / "model")

    def draw(prompt: str, guidance: SafeGuidance | None) -> object:
        (folder / GUIDANCE).unlink(missing_ok=True)
        if guidance is not None:
            (folder / GUIDANCE).write_text(json.dumps(asdict(guidance)))
        return open_model(folder).sampler(2, 3.0, size=64)([prompt], [generator("x")])[0]

    plain, off = draw("a red star", None), draw("a red star", replace(STRONG, warmup=9))
    assert ImageChops.difference(plain, off).getbbox() is None  # type: ignore[arg-type]
    other = replace(STRONG, text="a blue ring", scale=1e9, momentum=0.0)  # m = 1 wherever the predictions differ at all
    guided, again = draw("a red star", other), draw("a red star", other)
    assert ImageChops.difference(guided, again).getbbox() is None  # type: ignore[arg-type]
    assert ImageChops.difference(guided, plain).getbbox() is not None  # type: ignore[arg-type]
    none = draw("a red star", replace(other, threshold=-10.0))  # no difference is under it: m = 0
    assert ImageChops.difference(none, plain).getbbox() is None  # type: ignore[arg-type]


def test_a_run_has_the_originals_weights_and_says_so(tiny_pipeline: Path, tmp_path: Path) -> None:
    run = erase_concept(job(tiny_pipeline, tmp_path / "run", method="sld", evaluate_count=1, guidance=3.0))
    assert GUIDANCE in weight_hashes(run / "model")
    assert changed_bytes(tiny_pipeline, run / "model") == 0
    record = json.loads((run / "model" / GUIDANCE).read_text())
    assert "star" in record["text"]
    assert record == asdict(make_method("sld").guidance(tuple(Run.read(run).options["concept_file"]["words"])))
    card = (run / "model" / "README.md").read_text()
    assert "Nothing was erased here" in card
    assert "was removed" not in card
    assert not (run / "images").exists()
    before, after = ((run / "samples" / which / "00000.png").read_bytes() for which in ("before", "after"))
    assert before != after
    with pytest.raises(
        InputError, match="has the original's weights and is only guided while it draws, so nothing is erased; export another run"
    ):
        pack(run / "model", tmp_path / "out", "folder")


def test_without_guidance_there_is_nothing_to_change(tiny_pipeline: Path, tmp_path: Path) -> None:
    folder = copytree(tiny_pipeline, tmp_path / "model")
    (folder / GUIDANCE).write_text(json.dumps(asdict(STRONG)))
    with pytest.raises(InputError, match=r"^sld changes classifier-free guidance, and --guidance 1 is none; give a scale above 1"):
        open_model(folder).sampler(1, 1.0)(["a star"], [generator("x")])


@pytest.mark.parametrize("name", METHODS)
def test_no_other_method_guides(name: str) -> None:
    assert (make_method(name).guidance(("star",)) is not None) == (name == "sld")
