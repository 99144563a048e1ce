"""The text encoders as the edited network: the same predictions, gradients that reach them alone, and the whole job on each family."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from pipeline_runs import METHOD, Stop, _often, alike, job, stop_at  # noqa: F401 (a fixture)
from safetensors.torch import load_file
from tiny_pipeline import build_flux, build_stable_diffusion_3
from torch import Tensor

from erase.checkpoints.diff import changed_bytes
from erase.checkpoints.parts import by_part, text_parts
from erase.checkpoints.to_single_file import pack
from erase.diffusion import locate, open_model, predict
from erase.diffusion.batches import Conditioning
from erase.diffusion.text_network import TextEncoders, Tokens
from erase.errors import EmptyScope, InputError
from erase.pipeline import erase_concept
from erase.pipeline.estimate import estimate
from erase.pipeline.resolve import resolve_job
from erase.run import Run
from erase.scope import in_scope, open_scope
from erase.task import generator

PROMPTS = ["a red star", "", "a ring"]
TEXT = "text_encoder/model.safetensors"
UNET = "unet/diffusion_pytorch_model.safetensors"
FEW = {"evaluate_count": 1, "sampling_steps": 1, "sampling_batch": 8}

text_job = partial(job, part="text-encoder", **FEW)


@pytest.fixture(scope="module")
def folders(family_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    sd3 = build_stable_diffusion_3(tmp_path_factory.mktemp("sd3") / "model", t5=True)
    return {**family_folders, "sd3": sd3}


@pytest.fixture(scope="module")
def run(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scissorhands on the text encoder, never interrupted."""
    return erase_concept(text_job(tiny_pipeline, tmp_path_factory.mktemp("text") / "run", preview_every=4), METHOD)


def inputs(channels: int, time_ids: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    noisy = torch.randn(3, channels, 8, 8, generator=generator("text network"))
    return noisy, torch.tensor([10, 500, 900]), None if time_ids is None else time_ids.expand(3, -1)


# --- predictions and gradients ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "sd3"])
def test_predictions_are_those_of_the_network_behind_and_gradients_reach_the_text_encoders_alone(
    family: str, folders: dict[str, Path]
) -> None:
    model = open_model(folders[family])
    network, tokens = TextEncoders(open_model(folders[family])), Tokens(model)
    noisy, t, time_ids = inputs(16 if family == "sd3" else 4, tokens.time_ids())
    read = Conditioning(tokens.embed(PROMPTS), tokens.pool(PROMPTS), time_ids)
    assert not read.text.is_floating_point()
    with torch.no_grad():
        plain = predict(model.network(), noisy, t, model.conditioning(PROMPTS, "cpu"), torch.float32)
        torch.testing.assert_close(predict(network, noisy, t, read, torch.float32), plain, rtol=1e-4, atol=1e-5)
    weights = open_scope(network, "full")
    predict(network, noisy, t, read, torch.float32).square().mean().backward()
    assert {name.partition(".")[0] for name in weights} == set(text_parts(folders[family]))
    moved = {name.partition(".")[0] for name, weight in weights.items() if weight.grad is not None and weight.grad.abs().max() > 0}
    assert moved == set(text_parts(folders[family]))
    assert all(weight.grad is None for weight in network.model.edited.parameters())
    if family == "sd3":
        assert all(weight.grad is None for weight in network.model.pipeline.text_encoder_3.parameters())


def test_scopes_have_their_meaning_in_a_text_encoder(tiny_pipeline: Path) -> None:
    network = TextEncoders(open_model(tiny_pipeline))
    names = {scope: set(in_scope(network, scope)) for scope in ("full", "attention", "feed-forward", r"re:\.layers\.0\.")}
    everything = {name for name, _ in network.named_parameters()}
    assert everything - names["full"] == {n for n in everything if "token_embedding" in n or "position_embedding" in n}
    assert all(".self_attn." in name for name in names["attention"])
    assert all(".mlp." in name for name in names["feed-forward"])
    assert names["attention"] | names["feed-forward"] < names[r"re:\.layers\.0\."] < names["full"]
    with pytest.raises(EmptyScope, match="'cross-attention' matches no weight of TextEncoders"):
        in_scope(network, "cross-attention")


# --- the whole job --------------------------------------------------------------------------------------------------


def test_the_text_encoder_is_changed_in_scope_and_the_unet_is_not(run: Path, tiny_pipeline: Path) -> None:
    unets, texts = ([load_file(folder / part) for folder in (tiny_pipeline, run / "model")] for part in (UNET, TEXT))
    assert all(torch.equal(unets[0][name], unets[1][name]) for name in unets[0])
    changed = {name for name, tensor in texts[0].items() if not torch.equal(tensor, texts[1][name])}
    named = by_part(tiny_pipeline, (f"text_encoder.{name}" for name in texts[0]))
    assert set(named) == {"text_encoder"}
    assert changed
    assert not any("embedding" in name for name in changed)
    assert changed_bytes(tiny_pipeline, run / "model") == sum(4 * texts[0][name].numel() for name in changed)
    record = Run.read(run).options
    assert (record["part"], record["method_options"]["scope"]) == ("text-encoder", "full")
    rows = json.loads((run / "layers.json").read_text())["weights"]
    assert {row["name"].partition(".")[0] for row in rows} == {"text_encoder"}
    assert any(row["moved"] > 0 and row.get("trimmed") for row in rows)
    assert sorted(path.name for path in (run / "preview").glob("*.png")) == ["00000-0.png", "00000-1.png", "00004-0.png", "00004-1.png"]
    card = (run / "model" / "README.md").read_text()
    assert "removed from the weights of the text encoder" in card
    assert "including the UNet and the autoencoder, are those of the source" in card


def test_the_exported_model_reads_prompts_as_the_run_does_and_so_does_its_single_file(folders: dict[str, Path], tmp_path: Path) -> None:
    values = {"steps": 1, "batch": 2, "learning_rate": 1e-3}
    run = erase_concept(text_job(folders["sd1"], tmp_path / "run", method="munba", forget_count=2, retain_count=2), values)
    before, after = (StableDiffusionPipeline.from_pretrained(run / "model"), open_model(run / "model"))
    ids = before.tokenizer(PROMPTS, padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        torch.testing.assert_close(before.text_encoder(ids)[0], after.embed(PROMPTS))
    assert not torch.allclose(after.embed(PROMPTS), open_model(folders["sd1"]).embed(PROMPTS), atol=1e-4)
    single = pack(run / "model", tmp_path / "model.safetensors")
    again = open_model(locate(str(single), str(run / "model" / "tokenizer")))
    torch.testing.assert_close(again.embed(PROMPTS), after.embed(PROMPTS))
    with pytest.raises(
        InputError, match=r"^--format unet leaves out text_encoder, which is what this run changed; give --format single-file$"
    ):
        pack(run / "model", tmp_path / "unet.safetensors", "unet")


def test_a_job_stopped_in_the_middle_goes_on_to_the_same_bits(run: Path, tiny_pipeline: Path, tmp_path: Path) -> None:
    this = text_job(tiny_pipeline, tmp_path / "run", preview_every=4)
    with pytest.raises(Stop):
        erase_concept(this, METHOD, stop_at("erase", 3))
    assert alike(erase_concept(this, METHOD), run)


@pytest.mark.parametrize(("family", "method"), [("sd2", "esd"), ("sdxl", "selective_amnesia"), ("sd3", "concept_ablation")])
def test_every_family_and_kind_of_loss_works(family: str, method: str, folders: dict[str, Path], tmp_path: Path) -> None:
    values: dict[str, Any] = {"steps": 1, "batch": 2, "learning_rate": 1e-3}
    values |= {"fisher_images": 1, "fisher_timesteps": 1} if method == "selective_amnesia" else {}
    folder = folders[family]
    done = erase_concept(text_job(folder, tmp_path / "run", method=method, forget_count=2, retain_count=2), values)
    assert changed_bytes(folder, done / "model") > 0
    for part in text_parts(folder):
        [path] = (done / "model" / part).glob("*.safetensors")
        before, after = load_file(folder / part / path.name), load_file(path)
        assert any(not torch.equal(before[name], after[name]) for name in before), part


def test_memory_and_time_are_known_before(tiny_pipeline: Path, tmp_path: Path) -> None:
    found = estimate(text_job(tiny_pipeline, tmp_path / "run"), METHOD)
    assert found.memory_bytes > 0


@pytest.mark.parametrize(
    ("method", "values", "said"),
    [
        ("uce", {}, "--method uce edits keys and values of cross-attention, and the network of this model has none; choose another method"),
        (
            "forget_me_not",
            {},
            "--method forget_me_not reads the maps of a UNet's cross-attention, and --part text-encoder has none; choose",
        ),
        ("retrain", {}, "--part text-encoder is edited, and --method retrain edits nothing; leave one out"),
        ("esd", {"scope": "cross-attention"}, "scope 'cross-attention' matches no weight of the text encoders, as 'text_encoder."),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line_before_anything_is_drawn(
    method: str, values: dict[str, Any], said: str, tiny_pipeline: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        erase_concept(text_job(tiny_pipeline, tmp_path / "run", method=method), values)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "images").exists()


def test_flux_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"^--part text-encoder edits the encoders of CLIP, and FLUX reads its text from T5; leave it out$"
    ):
        resolve_job(text_job(build_flux(tmp_path / "model"), tmp_path / "run"))
