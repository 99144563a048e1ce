"""The whole job on a tiny random pipeline: complete, exact, stopped anywhere and gone on with, and never vague about a mistake."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pipeline_runs import COUNTS, METHOD, Stop, _often, alike, erased, job, results, stop_at  # noqa: F401 (a fixture)
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_pipeline import build
from toys import same

from erase.checkpoints.folder import read_provenance
from erase.errors import Diverged, InputError
from erase.images import read_images
from erase.methods.unreproduced import of_diffusion
from erase.pipeline import Event, Job, anchor, erase_concept, erasing, tasks
from erase.pipeline.job import EVALUATED, STAGES
from erase.pipeline.plan import read_plan
from erase.pipeline.resolve import resolve_job
from erase.run import Run, read_lines
from erase.scope import SCOPES
from erase.task import generator

Edit = Callable[[Path], None]


@pytest.fixture(scope="module")
def told() -> list[Event]:
    return []


@pytest.fixture(scope="module")
def finished(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory, told: list[Event]) -> Path:
    """A run from beginning to end, never interrupted."""
    return erase_concept(job(tiny_pipeline, tmp_path_factory.mktemp("runs") / "star"), METHOD, told.append)


# --- the whole job --------------------------------------------------------------------------------------------------


def test_the_run_folder_holds_all_that_was_promised(finished: Path) -> None:
    found = {p.relative_to(finished).as_posix() for p in finished.rglob("*") if p.is_file() and p.name != ".lock"}
    numbers = {"images/forget": 4, "images/retain": 6, "images/anchor": 4, "samples/before": 10, "samples/after": 10}
    pictures = {f"{folder}/{i:05d}.png" for folder, count in numbers.items() for i in range(count)}
    files = {"options.json", "stages.json", "stats.jsonl", "latents.safetensors", "weights.safetensors", "samples/prompts.jsonl"}
    files |= {"layers.json", "plan.json"}
    files |= {f"{folder}/manifest.jsonl" for folder in numbers}
    assert {name for name in found if not name.startswith("model/")} == pictures | files
    assert {"model/model_index.json", "model/README.md", "model/unet/diffusion_pytorch_model.safetensors"} <= found
    run = Run.read(finished)
    assert set(STAGES) <= set(run.stages())
    assert all(run.stages()[stage]["seconds"] >= 0 for stage in STAGES)
    assert [line["step"] for line in run.steps()] == [1, 2, 3, 4]
    assert set(run.steps()[0]) == {"step", "retain_loss", "unlearn_loss", "cosine", "coefficient", "projected", "seconds", "micro_batch"}


def test_options_record_what_the_result_depends_on(finished: Path, tiny_pipeline: Path) -> None:
    options = Run.read(finished).options
    assert (options["concept"], options["model"], options["method"], options["preset"]) == (
        "star", str(tiny_pipeline), "scissorhands", "balanced",
    )  # fmt: skip
    assert options["seed"] == 0
    assert options["device"] != "auto"
    assert options["guidance"] == 4.0  # what None stood for
    assert options["method_options"]["steps"] == 4
    assert options["concept_file"]["anchors"] == ["cross"]  # the first of the file's
    assert options["sampling"] == {"scheduler": "EulerAncestralDiscreteScheduler", "steps": 2, "guidance": 4.0, "size": 64, "batch": 4}
    unet, vae = (f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae"))
    assert set(options["weights"]) == {unet, vae, "text_encoder/model.safetensors"}


def test_the_samples_are_of_the_same_prompts_and_seeds_in_three_roles(finished: Path) -> None:
    rows = read_lines(finished / "samples" / "prompts.jsonl")
    assert [row["role"] for row in rows] == ["evaluate"] * 4 + ["implicit"] * 2 + ["evaluate-retain"] * 4
    assert all("star" in row["text"] for row in rows[:4])
    assert not any("star" in row["text"] for row in rows[4:])
    for which in ("before", "after"):
        assert [(p.prompt, p.seed) for p in read_images(finished / "samples" / which)] == [(row["text"], row["seed"]) for row in rows]
    trained = {p.prompt for role in ("forget", "retain") for p in read_images(finished / "images" / role)}
    assert not trained & {row["text"] for row in rows}


def test_progress_is_told_stage_by_stage(finished: Path, told: list[Event]) -> None:
    ended = [event.stage for event in told if event.note]
    assert ended == ["memory", "disk", *STAGES]
    steps = [event for event in told if event.step is not None]
    assert [(event.stage, event.done, event.total, event.step.step) for event in steps] == [("erase", i, 4, i) for i in range(1, 5)]
    assert {"images: forget", "images: retain", "predictions"} <= {event.stage for event in told}
    assert all(event.done <= event.total for event in told)


def test_the_model_loads_without_us_and_draws_the_pictures_after(finished: Path) -> None:
    from diffusers import StableDiffusionPipeline

    plain = StableDiffusionPipeline.from_pretrained(finished / "model", safety_checker=None)
    rows = read_lines(finished / "samples" / "prompts.jsonl")[:4]
    sources = [generator(row["seed"], "picture", i) for i, row in enumerate(rows)]
    drawn = plain([row["text"] for row in rows], num_inference_steps=2, guidance_scale=4.0, generator=sources).images
    for i, image in enumerate(drawn):
        assert np.array_equal(np.array(image), np.array(Image.open(finished / "samples" / "after" / f"{i:05d}.png")))


def test_only_weights_in_scope_differ_from_the_source_and_all_of_them_do(finished: Path, tiny_pipeline: Path) -> None:
    source = load_file(tiny_pipeline / "unet" / "diffusion_pytorch_model.safetensors")
    out = erased(finished)
    assert out.keys() == source.keys()
    differ = {name for name in source if not torch.equal(source[name], out[name])}
    assert differ == {name for name in source if re.search(SCOPES["cross-attention"], name)}
    assert {name: t.dtype for name, t in out.items()} == {name: t.dtype for name, t in source.items()}
    for part in ("text_encoder/model.safetensors", "vae/diffusion_pytorch_model.safetensors"):
        assert (finished / "model" / part).read_bytes() == (tiny_pipeline / part).read_bytes()
    made = read_provenance(finished / "model")
    assert (made["concept"], made["method"], made["preset"], made["seed"]) == ("star", "scissorhands", "balanced", "0")
    assert str(tiny_pipeline) not in json.dumps(made)


def test_a_second_call_does_nothing(finished: Path, tiny_pipeline: Path) -> None:
    times = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.name != ".lock"}
    notes: list[Event] = []
    assert erase_concept(job(tiny_pipeline, finished), METHOD, notes.append) == finished
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.name != ".lock"} == times
    assert [(event.stage, event.note) for event in notes] == [(stage, "done before") for stage in STAGES]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_lower_precision_the_job_is_done_too_and_the_model_keeps_the_dtype_of_its_source(
    tiny_pipeline: Path, tmp_path: Path, dtype: str
) -> None:
    run = erase_concept(job(tiny_pipeline, tmp_path / "run", dtype=dtype, evaluate_count=1), METHOD)
    assert {t.dtype for t in erased(run).values()} == {torch.float32}
    assert all(t.isfinite().all() for t in erased(run).values())
    source = load_file(tiny_pipeline / "unet" / "diffusion_pytorch_model.safetensors")
    differ = {name for name, t in erased(run).items() if not torch.equal(t, source[name])}
    assert differ == {name for name in source if re.search(SCOPES["cross-attention"], name)}


def test_a_source_in_half_precision_comes_out_in_half_precision(tiny_pipeline: Path, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    whole = StableDiffusionPipeline.from_pretrained(tiny_pipeline, safety_checker=None, requires_safety_checker=False)
    whole.to(dtype=torch.float16).save_pretrained(tmp_path / "half")
    run = erase_concept(job(tmp_path / "half", tmp_path / "run", evaluate_count=1), METHOD)
    source = load_file(tmp_path / "half" / "unet" / "diffusion_pytorch_model.safetensors")
    assert {t.dtype for t in erased(run).values()} == {torch.float16}
    differ = {name for name, t in erased(run).items() if not torch.equal(t, source[name])}
    assert differ
    assert all(re.search(SCOPES["cross-attention"], name) for name in differ)
    plain = StableDiffusionPipeline.from_pretrained(run / "model", safety_checker=None)
    assert len(plain("a star", num_inference_steps=1).images) == 1


# --- the seed -------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits_twice_and_checkpoints_change_none(finished: Path, tiny_pipeline: Path, tmp_path: Path) -> None:
    assert alike(erase_concept(job(tiny_pipeline, tmp_path / "again"), METHOD), finished)


def test_another_seed_gives_other_weights_and_pictures(finished: Path, tiny_pipeline: Path, tmp_path: Path) -> None:
    other = erase_concept(job(tiny_pipeline, tmp_path / "other", seed=1), METHOD)
    assert not same(erased(other), erased(finished))
    one, two = results(finished), results(other)
    assert one.keys() == two.keys()
    assert not [name for name in one if name.endswith(".png") and one[name] == two[name]]


# --- stopped and gone on with ---------------------------------------------------------------------------------------

POINTS = [
    ("images", 0),
    ("images: forget", 0),
    ("images: retain", 4),
    ("before", 4),
    ("latents", 0),
    ("latents", 4),
    ("predictions", 1),
    ("erase", 1),
    ("erase", 3),
    ("erase", 4),
    ("export", 0),
    ("after", 4),
]


@pytest.mark.parametrize(("stage", "done"), POINTS)
def test_a_run_stopped_anywhere_goes_on_to_the_same_bits(
    finished: Path, tiny_pipeline: Path, tmp_path: Path, stage: str, done: int
) -> None:
    this = job(tiny_pipeline, tmp_path / "run")
    with pytest.raises(Stop):
        erase_concept(this, METHOD, stop_at(stage, done))
    assert alike(erase_concept(this, METHOD), finished)
    assert [line["step"] for line in Run.read(tmp_path / "run").steps()] == [1, 2, 3, 4]


def test_going_on_repeats_only_what_came_after_the_last_checkpoint(finished: Path, tiny_pipeline: Path, tmp_path: Path) -> None:
    this = job(tiny_pipeline, tmp_path / "run")
    with pytest.raises(Stop):
        erase_concept(this, METHOD, stop_at("erase", 3))
    told: list[Event] = []
    erase_concept(this, METHOD, told.append)
    assert [event.step.step for event in told if event.step] == [3, 4]
    assert [event.stage for event in told if event.note == "done before"] == ["images", "before", "latents"]

    def record(run: Path) -> list[dict[str, Any]]:
        return [{**line, "seconds": None} for line in Run.read(run).steps()]

    assert record(tmp_path / "run") == record(finished)


KILLED = """
import os, signal, sys
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel  # once, and not in every child
from transformers import CLIPTextModel, CLIPTokenizer
import erase.checkpoints.export
from erase.pipeline import Job, erase_concept
from erase.pipeline import erasing

torch.set_num_threads(1)
erasing.CHECKPOINT_EVERY = 2
model, output, counts, method, points = {arguments}
job = Job(("star",), model, output=output, **counts)

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def child(point):
    def show(event):
        if point == (event.stage, event.done) and not event.note:
            die()
    if point == "in the middle of the export":
        erase.checkpoints.export.write_card = die
    try:
        erase_concept(job, method, show)
        os._exit(0)
    finally:
        os._exit(1)

for point in [*points, None]:
    pid = os.fork()
    if pid == 0:
        child(point)
    status = os.waitpid(pid, 0)[1]
    expected = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0 if point is None else os.WIFSIGNALED(status)
    assert expected, (point, status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_killed_in_every_stage_one_after_another_comes_to_the_same_bits(
    finished: Path, tiny_pipeline: Path, tmp_path: Path, warm_python: str
) -> None:
    """SIGKILL: nothing is tidied up, the lock included."""
    points = [("images: retain", 4), ("before", 4), ("latents", 4), ("erase", 3), "in the middle of the export", ("after", 4)]
    arguments = (str(tiny_pipeline), str(tmp_path / "run"), COUNTS, METHOD, points)
    made = subprocess.run(
        [warm_python, "-c", KILLED.replace("{arguments}", repr(arguments))],
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert alike(tmp_path / "run", finished)
    assert not list((tmp_path / "run").rglob(".*.part"))
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    "lost", ["images/forget", "images/anchor", "samples/before", "latents.safetensors", "weights.safetensors", "model", "samples/after"]
)
def test_an_output_that_somebody_removed_is_made_anew(finished: Path, tiny_pipeline: Path, tmp_path: Path, lost: str) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    if (run / lost).is_dir():
        shutil.rmtree(run / lost)
    else:
        (run / lost).unlink()
    erase_concept(job(tiny_pipeline, run), METHOD)
    assert alike(run, finished)


def test_a_full_disk_is_one_clear_line_and_a_run_that_goes_on(
    finished: Path, tiny_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    this = job(tiny_pipeline, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(erasing, "write_tensors", full)
        with pytest.raises(InputError, match=r"checkpoint\.safetensors: the disk is full; free some space"):
            erase_concept(this, METHOD)
    assert alike(erase_concept(this, METHOD), finished)


# --- divergence -----------------------------------------------------------------------------------------------------


def test_a_loss_that_stops_being_finite_leaves_a_run_that_goes_on(
    finished: Path, tiny_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At step 3 a loss is NaN, as a bad machine might have it; the same command goes on from the checkpoint at step 2."""
    build = tasks.diffusion_task

    def faulty(*arguments: Any, **options: Any) -> Any:
        task = build(*arguments, **options)
        third = task.retain(2).noisy
        loss = task.loss
        return replace(task, loss=lambda network, b: loss(network, b) * (float("nan") if torch.equal(b.noisy, third) else 1.0))

    this = job(tiny_pipeline, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "diffusion_task", faulty)
        with pytest.raises(Diverged) as caught:
            erase_concept(this, METHOD)
    assert caught.value.step == 3
    assert "retain loss" in str(caught.value)
    run = Run.read(tmp_path / "run")
    assert [line["step"] for line in run.steps()] == [1, 2]
    assert run.checkpoint.exists()
    assert not run.done("erase")
    assert not (run.folder / "weights.safetensors").exists()
    assert alike(erase_concept(this, METHOD), finished)


@pytest.mark.usefixtures("any_rate")
def test_a_learning_rate_that_is_far_too_large_diverges_again_and_again_at_the_same_step(tiny_pipeline: Path, tmp_path: Path) -> None:
    this, wild = job(tiny_pipeline, tmp_path / "run"), {**METHOD, "learning_rate": 1e30}
    steps = []
    for _ in range(2):
        with pytest.raises(Diverged) as caught:
            erase_concept(this, wild)
        steps.append(caught.value.step)
    assert steps[0] == steps[1] > 1
    assert not (tmp_path / "run" / "model").exists()


# --- another run in the folder --------------------------------------------------------------------------------------


def test_other_options_on_the_same_folder_are_refused_with_the_difference(finished: Path, tiny_pipeline: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.name != ".lock"}
    for other, values, said in (
        ({"seed": 5}, {}, "seed: 0 there, 5 now"),
        ({"retain_count": 7}, {}, "retain_count: 6 there, 7 now"),
        ({}, {"steps": 9}, "method_options.steps: 4 there, 9 now"),
        ({"anchor": "ring"}, {}, 'anchor: null there, "ring" now'),
        ({"concept": "heart"}, {}, 'concept: "star" there, "heart" now'),
    ):
        with pytest.raises(InputError) as caught:
            erase_concept(job(tiny_pipeline, finished, **other), {**METHOD, **values})
        assert said in str(caught.value)
        assert "another --output, or --overwrite" in str(caught.value)
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.name != ".lock"} == before


@pytest.mark.parametrize("output", [True, False], ids=["named", "found"])
def test_a_run_begun_with_an_earlier_versions_default_is_resumed_with_it(
    tiny_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    this = replace(job(tiny_pipeline, tmp_path / "run", evaluate_count=None), **({} if output else {"output": None}))
    for count in (48, None):
        with pytest.raises(Stop):
            erase_concept(replace(this, evaluate_count=count), METHOD, stop_at("images", 0))
    (run,) = [path.parent for path in tmp_path.rglob("options.json")]
    assert Run.read(run).options["evaluate_count"] == 48
    assert read_plan(run).stage("before").total == 48 + 24 + 48
    assert resolve_job(this).job.evaluate_count == EVALUATED


def test_another_count_of_images_is_refused_as_any_other_option(tiny_pipeline: Path, tmp_path: Path) -> None:
    this = job(tiny_pipeline, tmp_path / "run", evaluate_count=None)
    with pytest.raises(Stop):
        erase_concept(replace(this, evaluate_count=47), METHOD, stop_at("before", 0))
    with pytest.raises(InputError, match=f"evaluate_count: 47 there, {EVALUATED} now"):
        erase_concept(this, METHOD)


def test_another_model_under_the_same_name_is_refused(tiny_pipeline: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_pipeline, model)
    with pytest.raises(Stop):
        erase_concept(job(model, tmp_path / "run"), METHOD, stop_at("before", 0))
    shutil.rmtree(model)
    build(model, seed=1)
    with pytest.raises(InputError, match=r"weights\.unet/diffusion_pytorch_model\.safetensors: "):
        erase_concept(job(model, tmp_path / "run"), METHOD)


def test_overwrite_starts_anew_and_leaves_nothing_of_the_other_run(finished: Path, tiny_pipeline: Path, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        erase_concept(job(tiny_pipeline, tmp_path / "run", seed=3, retain_count=8), METHOD, stop_at("erase", 3))
    assert alike(erase_concept(job(tiny_pipeline, tmp_path / "run", overwrite=True), METHOD), finished)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_without_an_output_a_stopped_run_is_gone_on_with_and_new_ones_are_numbered(
    finished: Path, tiny_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    this = replace(job(tiny_pipeline, tmp_path), output=None)
    first, second, third = (Path("runs") / f"star-pipeline-scissorhands-{number}" for number in (1, 2, 3))
    with pytest.raises(Stop):
        erase_concept(this, METHOD, stop_at("latents", 0))
    with pytest.raises(Stop):
        erase_concept(replace(this, seed=9), METHOD, stop_at("images", 0))
    assert second.exists()  # other options, another run
    assert erase_concept(this, METHOD) == first
    assert alike(first, finished)
    with pytest.raises(Stop):
        erase_concept(this, METHOD, stop_at("images", 0))
    assert third.exists()  # the first is finished


# --- presets, anchors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["scissorhands", "salun", "erasediff", "munba", "concept_ablation"])
@pytest.mark.parametrize(("given", "expected"), [(None, ["cross"]), ("ring", ["ring"]), ("ring,circle", ["ring", "circle"])])
def test_whoever_names_several_anchors_means_them_all_and_the_file_s_first_counts_otherwise(
    tiny_pipeline: Path, given: str | None, expected: list[str], method: str
) -> None:
    job = Job(concepts=("star",), model=str(tiny_pipeline), anchor=given, method=method)
    resolved = resolve_job(job)
    assert list(resolved.concept.anchors) == expected
    assert resolved.method.one_anchor == (len(expected) == 1)  # type: ignore[attr-defined]
    assert list(resolve_job(job, {"one_anchor": True}).concept.anchors) == expected[:1]


@pytest.mark.parametrize("preset", ["paper", "reference"])
def test_every_preset_does_the_whole_job(tiny_pipeline: Path, tmp_path: Path, preset: str) -> None:
    values = {"steps": 2, "batch": 2, "sensitivity_batches": 2, "fraction": 0.05}
    run = erase_concept(job(tiny_pipeline, tmp_path / "run", preset=preset, evaluate_count=1), values)
    captions = {p.prompt for p in read_images(run / "images" / "retain")}
    assert len(captions) == (1 if preset == "reference" else 6)
    assert read_provenance(run / "model")["preset"] == preset
    differs = of_diffusion("scissorhands", preset)
    assert len(differs) == (3 if preset == "reference" else 0)
    assert Run.read(run).stages()["score"].get("differs", []) == differs
    assert Run.read(run).options["method_options"]["unlearn"] == ("ascent" if preset == "paper" else "anchor")


def test_ascent_needs_no_anchor_and_looks_for_none(tiny_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchor, "choose_anchors", None)
    run = erase_concept(job(tiny_pipeline, tmp_path / "run", "circle", evaluate_count=1), {**METHOD, "unlearn": "ascent"})
    assert not (run / "anchor.json").exists()
    assert load_file(run / "latents.safetensors")["forget/anchors"].shape == (4, 0)
    assert (run / "model" / "model_index.json").exists()


def test_an_anchor_that_was_found_is_recorded_with_its_reason_and_not_looked_for_again(
    tiny_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    this = job(tiny_pipeline, tmp_path / "run", "circle", evaluate_count=1)
    with pytest.raises(Stop):
        erase_concept(this, METHOD, stop_at("before", 0))
    record = json.loads((tmp_path / "run" / "anchor.json").read_text())
    assert record["anchors"]
    assert record["reason"]
    assert {c["word"] for c in record["candidates"] if c["chosen"]} == set(record["anchors"])
    assert all(c["shows"] == 0 for c in record["candidates"] if c["chosen"])
    assert "circle" not in {c["word"] for c in record["candidates"]}
    monkeypatch.setattr(anchor, "choose_anchors", None)
    erase_concept(this, METHOD)
    texts = json.loads(safetensors_metadata(tmp_path / "run" / "latents.safetensors")["prompts"])
    assert any(word in text.split() for text in texts for word in record["anchors"])
    assert load_file(tmp_path / "run" / "latents.safetensors")["forget/anchors"].shape == (4, 1)


def safetensors_metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


def test_an_anchor_that_is_given_counts_before_that_of_the_concept_file(tiny_pipeline: Path, tmp_path: Path) -> None:
    this = job(tiny_pipeline, tmp_path / "run", anchor="ring, heart", evaluate_count=1)
    with pytest.raises(Stop):
        erase_concept(this, METHOD, stop_at("predictions", 1))
    texts = json.loads(safetensors_metadata(tmp_path / "run" / "latents.safetensors")["prompts"])
    rows = load_file(tmp_path / "run" / "latents.safetensors")
    given = list(zip(rows["forget/text"].tolist(), rows["forget/anchors"].tolist(), strict=True))
    assert {texts[anchor].replace(word, "star") == texts[text] for text, [anchor] in given for word in ("ring", "heart")} == {True, False}
    assert all(texts[text].replace("star", "ring") == texts[a] or texts[text].replace("star", "heart") == texts[a] for text, [a] in given)
    drawn = [p.prompt for p in read_images(tmp_path / "run" / "images" / "anchor")]
    assert drawn == [texts[anchor] for _, [anchor] in given]  # each forget picture has one of its anchor, drawn from the same noise
    with pytest.raises(InputError, match="names the concept itself"):
        erase_concept(job(tiny_pipeline, tmp_path / "other", anchor="star"), METHOD)


# --- the user's own pictures ----------------------------------------------------------------------------------------


def photos(folder: Path, count: int, captions: bool) -> Path:
    """A folder of somebody's pictures, of several sizes and kinds."""
    folder.mkdir()
    rng = np.random.default_rng(count)
    for i in range(count):
        path = folder / f"photo {i}.{'jpg' if i % 2 else 'png'}"
        Image.fromarray(rng.integers(0, 256, (70 + i, 90, 3), dtype=np.uint8)).save(path)
        if captions:
            path.with_suffix(".txt").write_text(f"a red {'ring' if i % 2 else 'square'}")
    return folder


def test_the_users_own_pictures_take_the_place_of_drawn_ones(tiny_pipeline: Path, tmp_path: Path) -> None:
    forget, retain = photos(tmp_path / "forget", 3, False), photos(tmp_path / "retain", 5, True)
    kept = {p: p.read_bytes() for folder in (forget, retain) for p in folder.iterdir()}
    this = job(tiny_pipeline, tmp_path / "run", forget_images=str(forget), retain_images=str(retain), evaluate_count=1)
    run = erase_concept(this, METHOD)
    assert {path.name for path in (run / "images").iterdir()} == {"anchor"}
    tensors = load_file(run / "latents.safetensors")
    texts = json.loads(safetensors_metadata(run / "latents.safetensors")["prompts"])
    assert [texts[row] for row in tensors["retain/text"].tolist()] == [f"a red {'ring' if i % 2 else 'square'}" for i in range(5)]
    assert all("star" in texts[row] for row in tensors["forget/text"].tolist())
    assert tensors["forget/latents"].shape == (3, 4, 8, 8)
    assert {p: p.read_bytes() for folder in (forget, retain) for p in folder.iterdir()} == kept


def test_a_picture_with_a_caption_of_its_own_gets_the_anchors_of_that_caption(tiny_pipeline: Path, tmp_path: Path) -> None:
    forget = photos(tmp_path / "forget", 3, False)
    for i, path in enumerate(sorted(forget.glob("photo*"))):
        path.with_suffix(".txt").write_text(["two blue stars at night", "a Star", "something shining"][i])
    this = job(tiny_pipeline, tmp_path / "run", forget_images=str(forget), evaluate_count=1)
    with pytest.raises(Stop):
        erase_concept(this, METHOD | {"one_anchor": False}, stop_at("predictions", 1))
    tensors = load_file(tmp_path / "run" / "latents.safetensors")
    texts = json.loads(safetensors_metadata(tmp_path / "run" / "latents.safetensors")["prompts"])
    anchors = [[texts[row] for row in rows] for rows in tensors["forget/anchors"].tolist()]
    assert anchors == [["two blue diamond at night"], ["a cross"], ["cross"]]  # blue is the second colour, diamond the second anchor


@pytest.mark.parametrize(
    ("given", "values", "said"),
    [
        ({"forget_images": "pictures", "forget_count": 3}, {}, "--forget-images provides them"),
        ({"retain_images": "pictures", "retain_count": 3}, {}, "--retain-images provides them"),
        ({"anchor": "ring"}, {"unlearn": "ascent"}, "has no effect with --unlearn ascent"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    given: dict[str, Any], values: dict[str, Any], said: str, tiny_pipeline: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        erase_concept(Job(("star",), str(tiny_pipeline), output=str(tmp_path / "run"), **given), values)
    assert not (tmp_path / "run").exists()


def test_a_folder_of_ones_own_for_one_set_leaves_the_other_as_it_was(finished: Path, tiny_pipeline: Path, tmp_path: Path) -> None:
    retain = photos(tmp_path / "retain", 5, False)
    (tmp_path / "captions.csv").write_text("file,prompt\n" + "".join(f"{p.name},a ring\n" for p in sorted(retain.iterdir())))
    this = job(tiny_pipeline, tmp_path / "run", retain_images=str(retain), retain_image_captions=str(tmp_path / "captions.csv"))
    with pytest.raises(Stop):
        erase_concept(this, METHOD, stop_at("predictions", 1))
    drawn = {name: data for name, data in results(finished).items() if name.startswith(("images/forget", "images/anchor"))}
    assert {name: data for name, data in results(tmp_path / "run").items() if name.startswith("images/")} == drawn


def broken(folder: Path) -> None:
    path = folder / "photo 2.png"
    path.write_bytes(path.read_bytes()[:400])


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def one_caption_less(folder: Path) -> None:
    (folder / "photo 1.txt").unlink()


def no_captions(folder: Path) -> None:
    for path in folder.glob("*.txt"):
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (broken, "photo 2.png is not a complete image"),
        (emptied, "retain contains no images"),
        (one_caption_less, "no caption for 1 of 5 images: photo 1.jpg"),
        (no_captions, "retain has no captions"),
    ],
)
def test_a_fault_in_the_users_pictures_is_named_before_any_work_and_can_be_mended(
    tiny_pipeline: Path, tmp_path: Path, damage: Edit, said: str
) -> None:
    retain = photos(tmp_path / "retain", 5, True)
    whole = {p: p.read_bytes() for p in retain.iterdir()}
    damage(retain)
    this = job(tiny_pipeline, tmp_path / "run", retain_images=str(retain), evaluate_count=1)
    with pytest.raises(InputError) as caught:
        erase_concept(this, METHOD)
    assert said in str(caught.value)
    assert not list((tmp_path / "run").rglob("*.png"))  # half an hour of drawing first would be unkind
    for path, data in whole.items():
        path.write_bytes(data)
    assert (erase_concept(this, METHOD) / "model" / "model_index.json").exists()


# --- the guard ------------------------------------------------------------------------------------------------------

GUARDED = {**METHOD, "steps": 24, "unlearn": "ascent", "learning_rate": 0.3, "projected": False}
"""An ascent that no network stands: keeping is soon worse, and so is what is to be forgotten, whatever the last digits of a machine."""


def test_a_guarded_run_goes_back_and_says_so_and_a_killed_one_goes_on_to_the_same_bits(tiny_pipeline: Path, tmp_path: Path) -> None:
    told: list[Event] = []
    guarded = {**GUARDED, "guard": 0.001}
    one = erase_concept(job(tiny_pipeline, tmp_path / "one"), guarded, told.append)
    steps = Run.read(one).steps()
    acted = {line["step"]: line["guard"] for line in steps if "guard" in line}
    assert all("back to step" in text for text in acted.values())
    assert acted
    looked = [line["step"] for line in steps if "held_out_retain_loss" in line]
    assert looked == [n for n in range(1, len(steps) + 1) if n % 5 == 0 or n == GUARDED["steps"]]
    assert [event.note for event in told if event.stage == "erase" and "step" in event.note] == [f"step {n}: {t}" for n, t in acted.items()]
    with pytest.raises(Stop):
        erase_concept(job(tiny_pipeline, tmp_path / "two"), guarded, stop_at("erase", min(acted) + 1))
    two = erase_concept(job(tiny_pipeline, tmp_path / "two"), guarded)
    assert alike(one, two)
    assert [{**line, "seconds": 0} for line in Run.read(two).steps()] == [{**line, "seconds": 0} for line in steps]


def test_a_run_whose_concept_is_gone_stops_there_and_is_finished(tiny_pipeline: Path, tmp_path: Path) -> None:
    run = erase_concept(job(tiny_pipeline, tmp_path / "run"), {**GUARDED, "gone": 0.8})
    steps = Run.read(run).steps()
    assert len(steps) < GUARDED["steps"]
    assert steps[-1]["guard"].startswith("the concept is gone")
    assert steps[-1]["guard"].endswith("stopped")
    assert (run / "model" / "model_index.json").exists()
