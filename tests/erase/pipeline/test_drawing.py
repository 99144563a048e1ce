"""Drawing when the machine is short of something: memory, numbers that a half-precision autoencoder cannot hold, room on the card."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from erase.diffusion import StableDiffusion, open_model
from erase.errors import InputError
from erase.images import load_pixels
from erase.pipeline import erase_concept
from erase.pipeline.job import Job
from erase.run import read_lines
from erase.task import generator

PROMPTS = ["a red star", "a ring", "a blue square", "a cross", "a green star"]


def arrays(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.array(image) for image in images]).astype(int)


def sources() -> list[torch.Generator]:
    return [generator(7, i) for i in range(len(PROMPTS))]


def test_out_of_memory_draws_the_same_pictures_in_smaller_batches(tiny_pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = StableDiffusion(tiny_pipeline)
    sample = model.sampler(2, 3.0)
    whole = arrays(sample(PROMPTS, sources()))
    asked, draw = [], model._draw

    def limited(prompts: list[str], generators: list[torch.Generator], *how: float) -> list[Image.Image]:
        asked.append(len(prompts))
        made = draw(prompts, generators, *how)  # its noise is spent by the time memory runs out
        if len(prompts) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return made

    monkeypatch.setattr(model, "_draw", limited)
    assert np.abs(arrays(sample(PROMPTS, sources())) - whole).max() <= 1
    assert asked == [5, 2, 3, 1, 2]
    monkeypatch.setattr(model, "_draw", lambda *given: (_ for _ in ()).throw(torch.OutOfMemoryError("out of memory")))
    with pytest.raises(torch.OutOfMemoryError):
        sample(PROMPTS, sources())


def overflowing(model: StableDiffusion, factor: float = 2e5) -> None:
    """Makes a first layer's output larger than float16 holds; norms behind it take that back."""
    for half in (model.pipeline.vae.decoder, model.pipeline.vae.encoder):
        half.conv_in.weight.data *= factor
        half.conv_in.bias.data *= factor


def test_an_autoencoder_that_overflows_in_half_precision_works_in_float32(tiny_pipeline: Path) -> None:
    """Without it the pictures are black: what is not a number becomes 0."""
    full, half = open_model(tiny_pipeline), open_model(tiny_pipeline, dtype="float16")
    for model in (full, half):
        overflowing(model)
    pixels = torch.rand(2, 3, 64, 64, generator=generator("pixels")) * 2 - 1
    latents = half.pipeline.vae.encode(pixels.half()).latent_dist.mean
    assert not latents.isfinite().all(), "there was something to mend"
    with pytest.warns(UserWarning, match="overflows in torch.float16: it runs in float32"):
        encoded = half.encode(pixels)
    torch.testing.assert_close(encoded, full.encode(pixels), rtol=1e-2, atol=1e-2)
    half.free()
    overflowing(half)
    with pytest.warns(UserWarning, match="runs in float32"):
        drawn = arrays(half.sampler(2, 3.0)(PROMPTS, sources()))
    assert drawn.std() > 0
    assert np.abs(drawn - arrays(full.sampler(2, 3.0)(PROMPTS, sources()))).mean() < 8


def test_half_precision_draws_what_the_pipeline_itself_would(tiny_pipeline: Path) -> None:
    """Decoding apart from the pipeline, to look at it, changes no picture beyond the rounding of bfloat16 (1/256 of the range)."""
    model = open_model(tiny_pipeline, dtype="bfloat16")
    ours = arrays(model.sampler(2, 3.0)(PROMPTS, sources()))
    plain = model.pipeline(PROMPTS, num_inference_steps=2, guidance_scale=3.0, generator=sources()).images
    assert np.abs(ours - arrays(plain)).max() <= 2


def test_a_network_that_overflows_is_named(tiny_pipeline: Path) -> None:
    model = open_model(tiny_pipeline, dtype="float16")
    model.pipeline.unet.conv_out.bias.data.fill_(float("inf"))
    with pytest.raises(InputError, match=r"the network overflows in torch.float16 .*--dtype bfloat16 or float32"):
        model.sampler(1, 2.0)(PROMPTS, sources())


def test_parts_are_on_the_device_only_where_they_are_needed(tiny_pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no card here: where each part is told to go is written down."""
    model = StableDiffusion(tiny_pipeline)
    there: dict[str, str] = {}
    for part in model.PARTS:
        module = getattr(model.pipeline, part)
        monkeypatch.setattr(module, "to", lambda place, part=part, module=module: there.update({part: place}) or module)
    model.device = "cuda:7"
    monkeypatch.setattr(model, "_give_back", lambda: None)
    for needed, work in (
        ({"text_encoder"}, lambda: model.place("text_encoder")),
        ({"vae"}, lambda: model.place("vae")),
        ({"unet", "vae", "text_encoder"}, lambda: model.place(*model.PARTS)),
    ):
        work()
        assert {part for part, place in there.items() if place == "cuda:7"} == needed
    monkeypatch.undo()
    model.device = "cpu"
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(model, "place", lambda *parts: asked.append(parts))
    model.embed(["a"])
    model.encode(torch.zeros(1, 3, 64, 64))
    assert asked == [("text_encoder",), ("vae",)]


def test_pictures_of_another_size(tiny_pipeline: Path, tmp_path: Path) -> None:
    """--size reaches drawing, the cache of latents and the second drawing."""
    small = {"forget_count": 2, "retain_count": 2, "evaluate_count": 2, "sampling_steps": 1, "sampling_batch": 2}
    job = Job(concepts=("star",), model=str(tiny_pipeline), output=str(tmp_path / "run"), device="cpu", size=48, **small)
    run = erase_concept(job, {"steps": 1, "batch": 2, "sensitivity_batches": 1})
    for folder in ("images/forget", "samples/before", "samples/after"):
        assert Image.open(run / folder / "00000.png").size == (48, 48)
    assert load_pixels([run / "images/forget/00000.png"], 48).shape == (1, 3, 48, 48)
    assert json.loads((run / "options.json").read_text())["sampling"]["size"] == 48
    with pytest.raises(InputError, match="--size is 50; expected a multiple of 8, as 48 or 56"):
        Job(concepts=("star",), size=50)


def test_previews_are_drawn_beside_the_run_and_change_nothing(tiny_pipeline: Path, tmp_path: Path) -> None:
    small = {"forget_count": 4, "retain_count": 4, "evaluate_count": 2, "sampling_steps": 1, "sampling_batch": 4}
    runs = []
    for every in (0, 2):
        output = str(tmp_path / str(every))
        job = Job(concepts=("star",), model=str(tiny_pipeline), output=output, device="cpu", preview_every=every, **small)
        runs.append(erase_concept(job, {"steps": 5, "batch": 2, "sensitivity_batches": 1, "learning_rate": 0.05}))
    assert (runs[0] / "weights.safetensors").read_bytes() == (runs[1] / "weights.safetensors").read_bytes()
    assert not (runs[0] / "preview").exists()
    found = sorted(path.name for path in (runs[1] / "preview").glob("*.png"))
    assert found == [f"{step:05d}-{i}.png" for step in (0, 2, 4, 5) for i in (0, 1)]
    assert len(read_lines(runs[1] / "preview" / "prompts.jsonl")) == 2
    first, last = (np.array(Image.open(runs[1] / "preview" / f"{step:05d}-0.png")).astype(int) for step in (0, 5))
    assert np.abs(first - last).max() > 0, "the network has changed"


def test_layers_say_where_the_concept_was_trimmed_and_moved(tiny_pipeline: Path, tmp_path: Path) -> None:
    small = {"forget_count": 4, "retain_count": 4, "evaluate_count": 2, "sampling_steps": 1, "sampling_batch": 4}
    job = Job(concepts=("star",), model=str(tiny_pipeline), output=str(tmp_path / "run"), device="cpu", **small)
    run = erase_concept(job, {"steps": 2, "batch": 2, "sensitivity_batches": 1, "fraction": 0.1})
    rows = json.loads((run / "layers.json").read_text())["weights"]
    trimmed = [row for row in rows if "trimmed" in row]
    share = sum(row["trimmed"] * row["numel"] for row in trimmed) / sum(row["numel"] for row in trimmed)
    assert share == pytest.approx(0.1, abs=1e-3)
    assert all(row["moved"] > 0 for row in rows if row["numel"] > 64)
    assert all(row["sensitivity"] >= 0 for row in trimmed)
