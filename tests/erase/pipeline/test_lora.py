"""A job with --lora-rank: stopped and resumed, read by diffusers, and the same with every method that descends a gradient."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from pipeline_runs import METHOD, Stop, _often, alike, job, stop_at  # noqa: F401 (a fixture)
from safetensors.torch import load_file, save_file
from tiny_pipeline import build_stable_diffusion_3

from erase.checkpoints.lora_file import read_lora
from erase.diffusion import open_model
from erase.errors import InputError
from erase.files import read_object
from erase.methods import METHODS, make_method
from erase.pipeline import erase_concept
from erase.run import Run
from erase.scope import in_scope
from erase.task import generator

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
SMALL = {"size": 64, "device": "cpu", "lora_rank": 4}
REFUSED = dict.fromkeys(("uce", "concept_prune", "sld", "retrain"), "takes no gradient steps") | {"salun": "trains single entries"}


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion 3.5 in small, its transformer in bfloat16."""
    folder = build_stable_diffusion_3(tmp_path_factory.mktemp("sd3") / "model")
    save_file({name: tensor.bfloat16() for name, tensor in load_file(folder / WEIGHTS).items()}, folder / WEIGHTS)
    return folder


def test_a_killed_run_resumes_to_the_bit_and_its_files_make_up_its_model(half: Path, tmp_path: Path) -> None:
    given = job(half, tmp_path / "run", dtype="bfloat16", **SMALL)
    values = {**METHOD, "fraction": 0.05}
    with pytest.raises(Stop):
        erase_concept(given, values, stop_at("erase", 3))
    held = load_file(tmp_path / "run" / "checkpoint.safetensors")
    assert {name.partition("/")[0] for name in held} == {"weight", "buffer", "state", "step", "micro_batch", "replaced"}
    assert all(".lora_" in name for name in held if name.startswith(("weight/", "state/")))
    run = erase_concept(given, values)
    assert alike(run, erase_concept(job(half, tmp_path / "whole", dtype="bfloat16", **SMALL), values))

    lora, changed, before = read_lora(run), load_file(run / "weights.safetensors"), load_file(half / WEIGHTS)
    assert lora is not None
    assert (lora.part, lora.rank, lora.alpha) == ("transformer", 4, 4.0)
    assert Run.read(run).options["lora"] == {"rank": 4, "alpha": 4}
    assert changed.keys() == {f"{module}.weight" for module in lora.factors}
    assert changed.keys() == {name for name, w in in_scope(open_model(half).network(), "cross-attention").items() if w.ndim == 2}
    assert lora.trimmed
    for name, weight in changed.items():
        expected = before[name].clone()
        if name in lora.trimmed:
            lora.trimmed[name].write_into(expected)
        assert torch.allclose(weight, expected.float() + lora.factors[name.removesuffix(".weight")].difference(), atol=1e-6)
    after = load_file(run / "model" / WEIGHTS)
    assert all(torch.equal(after[name], changed[name].bfloat16() if name in changed else before[name]) for name in before)
    moved = {row["name"] for row in read_object(run / "layers.json")["weights"] if row["moved"] > 0}
    assert changed.keys() - moved == {"transformer_blocks.1.attn.add_q_proj.weight"}, "the last block throws its text away"


def test_diffusers_reads_the_file_as_the_difference_of_a_run_without_trimming(half: Path, tmp_path: Path) -> None:
    run = erase_concept(job(half, tmp_path / "run", **SMALL), {**METHOD, "trimming": False, "scope": "full", "layers": 3})
    assert not (run / "trimmed.safetensors").exists()
    pipeline: Any = StableDiffusion3Pipeline.from_pretrained(half, torch_dtype=torch.float32, text_encoder_3=None, tokenizer_3=None)
    pipeline.load_lora_weights(run / "lora.safetensors")
    ours, inputs = open_model(half).network(), {
        "hidden_states": torch.randn(1, 16, 8, 8, generator=generator(0)), "timestep": torch.tensor([500.0]),
        "encoder_hidden_states": torch.randn(1, 9, 48, generator=generator(1)), "pooled_projections": torch.ones(1, 32),
    }  # fmt: skip
    with torch.no_grad():
        original = ours(**inputs).sample
        ours.load_state_dict(load_file(run / "weights.safetensors"), strict=False)
        assert not torch.allclose(ours(**inputs).sample, original, atol=1e-5), "there was something to learn"
        torch.testing.assert_close(pipeline.transformer(**inputs).sample, ours(**inputs).sample, rtol=1e-4, atol=1e-5)
    record = read_object(run / "layers.json")["weights"]
    assert len({row["name"] for row in record if row["moved"] > 0}) <= 3, "three layers alone were trained"


OPTIONS: dict[str, dict[str, Any]] = {
    "scissorhands": {"relapse": 1, "guard": 0.1, "project_update": True, "cross_attention_rate": 2.0, "sensitivity_batches": 1},
    "erasediff": {"inner_steps": 1},
    "orthograd": {"samples": 1},
    "selective_amnesia": {"fisher_images": 1, "fisher_timesteps": 1},
}


@pytest.mark.parametrize("name", [name for name in METHODS if name not in REFUSED and make_method(name).requirements.part is None])
def test_methods_that_descend_a_gradient_train_factors_of_a_unet(name: str, tiny_pipeline: Path, tmp_path: Path) -> None:
    values = {"steps": 1, "batch": 2, **OPTIONS.get(name, {})}
    run = erase_concept(job(tiny_pipeline, tmp_path / "run", method=name, evaluate_count=1, sampling_steps=1, lora_rank=2), values)
    lora = read_lora(run)
    assert lora is not None
    assert lora.part == "unet"
    assert any(factors.up.count_nonzero() for factors in lora.factors.values())


def test_text_encoders_have_no_factors(half: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--lora-rank factorises the UNet or transformer"):
        erase_concept(job(half, tmp_path / "run", part="text-encoder", **SMALL))


@pytest.mark.parametrize("name", REFUSED)
def test_methods_that_cannot_say_why(name: str, half: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=f"--lora-rank 4 does not go with --method {name}, which {REFUSED[name]}.*; leave it out"
    ) as caught:
        erase_concept(job(half, tmp_path / "run", method=name, **SMALL))
    assert caught.value.option == "lora_rank"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("scope", "rank", "message"),
    [("re:norm_added", 4, "names none"), ("text-stream", 99, "at most 32"), ("full", 0, "expected at least 1")],
)
def test_what_does_not_fit_is_refused_before_anything_is_drawn(scope: str, rank: int, message: str, half: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        erase_concept(job(half, tmp_path / "run", size=64, device="cpu", lora_rank=rank), {**METHOD, "scope": scope})
    assert not (tmp_path / "run" / "images").exists()


def test_a_run_without_factors_has_none_and_a_file_that_is_cut_is_refused(half: Path, tmp_path: Path) -> None:
    assert read_lora(tmp_path) is None
    run = Path(shutil.copytree(tmp_path, tmp_path / "run"))
    save_file({"transformer.a.lora_A.weight": torch.ones(1, 1)}, run / "lora.safetensors")
    with pytest.raises(InputError, match="does not name the rank of its factors"):
        read_lora(run)
