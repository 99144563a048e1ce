"""A model learns a concept again: from exactly itself, the same every time, and more with every step."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from erase.diffusion import open_model
from erase.errors import Diverged, InputError
from erase.files import sha256
from erase.images import make_images
from erase.pipeline import Job, erase_concept
from erase.run import Run
from eval.options import Relearning
from eval.relearning import has_relearned, named_prompts, place, relearn

SETTINGS = Relearning(relearn=6, relearn_count=4, relearn_rate=1e-3, relearn_batch=2)


@pytest.fixture(scope="module")
def run(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    counts = {"forget_count": 4, "retain_count": 4, "evaluate_count": 4, "sampling_steps": 2, "sampling_batch": 4, "device": "cpu"}
    job = Job(("star",), str(tiny_pipeline), output=str(tmp_path_factory.mktemp("runs") / "star"), **counts)
    return Run.read(erase_concept(job, {"steps": 1, "batch": 2, "sensitivity_batches": 1}))


def hashes(run: Run) -> dict[str, str]:
    return {path.relative_to(run.folder).as_posix(): sha256(path) for path in sorted((run.folder / "relearn").rglob("*.png"))}


def test_checkpoints_double_and_end_with_the_last_step() -> None:
    assert Relearning(relearn=80).checkpoints() == [0, 5, 10, 20, 40, 80]
    assert Relearning(relearn=100).checkpoints() == [0, 5, 10, 20, 40, 80, 100]
    assert Relearning(relearn=3).checkpoints() == [0, 3]
    with pytest.raises(InputError, match="--relearn-rate is 0"):
        Relearning(relearn_rate=0.0)


def test_it_starts_from_the_model_itself_changes_it_and_is_the_same_again(run: Run) -> None:
    relearn(run, run.model, run.forget_images, SETTINGS)
    first = hashes(run)
    assert len(first) == 3 * 4
    for i in range(4):  # nothing learned: the picture that the erased model drew
        assert first[f"relearn/00000/{i:05d}.png"] == sha256(run.samples("after") / f"{i:05d}.png")
    assert all(first[f"relearn/00006/{i:05d}.png"] != first[f"relearn/00000/{i:05d}.png"] for i in range(4))
    assert has_relearned(run.folder, SETTINGS)
    weights = sha256(run.model / "unet" / "diffusion_pytorch_model.safetensors")
    for name in ("relearn.json", "00006/00002.png"):
        (run.folder / "relearn" / name).unlink()
    assert not has_relearned(run.folder, SETTINGS)
    relearn(run, run.model, run.forget_images, SETTINGS)
    assert hashes(run) == first
    assert sha256(run.model / "unet" / "diffusion_pytorch_model.safetensors") == weights


def test_other_settings_begin_anew_and_what_is_done_is_not_done_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Relearning(relearn=2, relearn_count=2, relearn_rate=1e-3, relearn_batch=2)
    relearn(run, run.model, run.forget_images, other)
    assert sorted(hashes(run)) == [f"relearn/{step:05d}/{i:05d}.png" for step in (0, 2) for i in range(2)]
    monkeypatch.setattr("eval.relearning.make_images", lambda *given: pytest.fail("drawn again"))
    relearn(run, run.model, run.forget_images, other)


def test_it_draws_with_the_scheduler_of_the_runs_images(run: Run) -> None:
    """An evaluation under a protocol may have been drawn with another scheduler than the model's own."""
    short = Relearning(relearn=1, relearn_count=2, relearn_rate=1e-3, relearn_batch=2)
    relearn(run, run.model, run.forget_images, short)
    first = hashes(run)
    (run.folder / "relearn" / "relearn.json").unlink()
    shutil.rmtree(place(run.folder, 0))
    sampling = {**run.options["sampling"], "scheduler": "LMSDiscreteScheduler"}
    relearn(Run(run.folder, {**run.options, "sampling": sampling}), run.model, run.forget_images, short)
    sample = open_model(run.model).sampler(2, float(sampling["guidance"]), "LMSDiscreteScheduler")
    rows = named_prompts(run.folder, 2)
    alone = make_images(run.folder / "alone", [r["text"] for r in rows], [r["seed"] for r in rows], sample, 4)
    assert [image.sha256 for image in alone] == [hashes(run)[f"relearn/00000/{i:05d}.png"] for i in range(2)]
    assert all(hashes(run)[f"relearn/00000/{i:05d}.png"] != first[f"relearn/00000/{i:05d}.png"] for i in range(2))


@pytest.mark.usefixtures("any_rate")
def test_a_loss_that_is_not_finite_ends_it(run: Run) -> None:
    with pytest.raises(Diverged, match="the loss of relearning is not finite"):
        relearn(run, run.model, run.forget_images, Relearning(relearn=9, relearn_count=1, relearn_rate=1e30, relearn_batch=2))
    assert not (place(run.folder, 9) / "manifest.jsonl").exists()
