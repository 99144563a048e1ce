"""Methods of the text encoder: what each trains on, by hand or by another computation, and the whole job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline_runs import job
from torch import Tensor

from erase.checkpoints.diff import changed_bytes
from erase.diffusion import TaskConfig, diffusion_task, open_model
from erase.diffusion.latents import ImageLatents, Latents
from erase.diffusion.text_network import TextEncoders, Tokens
from erase.diffusion.token_marks import marks_of
from erase.errors import InputError
from erase.methods import make_method
from erase.methods.text_encoder.adv_unlearn import prefixed, searched, with_room
from erase.methods.text_encoder.few_shot import chosen_weights
from erase.methods.text_encoder.hirm import attended, distance, rows
from erase.pipeline import erase_concept
from erase.pipeline.resolve import resolve_job
from erase.run import Run
from erase.scope import in_scope, open_scope
from erase.task import Task, generator

PROMPTS = ["", "a red star", "a red ring", "a blue circle", "a green cross"]
FEW = {"evaluate_count": 1, "sampling_steps": 1, "sampling_batch": 8, "forget_count": 2, "retain_count": 2}
SHORT: dict[str, dict[str, Any]] = {
    "hirm": {"steps": 2},
    "few_shot": {"steps": 2, "batch": 2},
    "adv_unlearn": {"steps": 3, "batch": 2, "warmup": 1, "attack_steps": 2},
}


def task_of(folder: Path, scope: str = "full", **options: Any) -> Task:
    """Forget prompt 1 with the anchor 2, retain prompts 3 and 4, as token ids."""
    network, source = TextEncoders(open_model(folder)), generator("text methods")
    tokens = Tokens(network.model)
    latents = Latents(
        forget=ImageLatents(torch.randn(3, 4, 8, 8, generator=source), torch.full((3,), 1), torch.full((3, 1), 2)),
        retain=ImageLatents(torch.randn(4, 4, 8, 8, generator=source), 3 + torch.arange(4) % 2, torch.zeros(4, 0, dtype=torch.int64)),
        text=tokens.embed(PROMPTS),
        time_ids=tokens.time_ids(),
        marks=marks_of(tokens.coders()[0][0], PROMPTS, ["star"]),
    )
    return diffusion_task(network, network.model.objective(), latents, open_scope(network, scope), TaskConfig(batch=2, **options))


@pytest.mark.parametrize("name", SHORT)
def test_the_job_edits_the_text_encoder_without_being_told_to(name: str, tiny_pipeline: Path, tmp_path: Path) -> None:
    run = erase_concept(job(tiny_pipeline, tmp_path / "run", method=name, **FEW), {**SHORT[name], "learning_rate": 1e-3})
    assert Run.read(run).options["part"] == "text-encoder"
    assert changed_bytes(tiny_pipeline, run / "model") > 0
    unet = "unet/diffusion_pytorch_model.safetensors"
    changed = [row["name"] for row in json.loads((run / "layers.json").read_text())["weights"] if row["moved"]]
    assert changed
    assert all(name.startswith("text_encoder.") for name in changed)
    assert (run / "model" / unet).stat().st_size > 0
    wants = make_method(name, **SHORT[name]).requirements.images
    assert {folder for folder in ("forget", "retain") if (run / "images" / folder).exists()} == set(wants)


@pytest.mark.parametrize("name", SHORT)
def test_a_snapshot_goes_on_to_the_same_bits(name: str, tiny_pipeline: Path) -> None:
    method = make_method(name, **{**SHORT[name], "steps": 3}, learning_rate=1e-3)
    ends = []
    for stops in (False, True):
        options = {f"{kind}_predictions": True for kind in method.requirements.predictions}
        fresh = lambda options=options: task_of(tiny_pipeline, method.scope, forget_rounds=3 if options else 0, **options)  # noqa: E731
        task, half = fresh(), None
        for step in method(task):
            if stops and step.step == 2:
                half = step.snapshot()
                break
        if half is not None:
            task = fresh()
            assert [step.step for step in method(task, half)] == [3]
        ends.append({name: weight.detach().clone() for name, weight in task.network.named_parameters()})
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


# --- HiRM -------------------------------------------------------------------------------------------------------------


def test_the_states_are_the_output_of_attention_in_the_last_layer_that_is_read(family_folders: dict[str, Path]) -> None:
    for family, last in (("sd1", -1), ("sdxl", -2)):
        network = TextEncoders(open_model(family_folders[family]))
        ids, seen = Tokens(network.model).embed(PROMPTS), []
        found = attended(network, ids)
        assert set(found) == {name for name, _ in network.named_children()}
        for (name, encoder), own in zip(network.named_children(), network.split(ids), strict=True):
            layer = getattr(encoder, "text_model", encoder).encoder.layers[last]
            handle = layer.self_attn.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output[0]))
            with torch.no_grad():
                encoder(own)
            handle.remove()
            torch.testing.assert_close(found[name], seen[-1], rtol=1e-4, atol=1e-5)


def test_the_distance_is_the_mean_square_over_the_concepts_tokens_alone(tiny_pipeline: Path) -> None:
    task = task_of(tiny_pipeline)
    ids, marks = task.texts["forget"], task.texts["marks"] == 1
    assert marks.sum() == 1  # "star"
    states = attended(task.network, ids)["text_encoder"]
    target = torch.zeros_like(states)
    batch = rows(ids, marks, {"text_encoder": target}, 4)(0)
    assert float(distance(task.network, batch).detach()) == pytest.approx(float(states[marks].square().mean()), rel=1e-5)


def test_directions_are_as_long_as_asked_and_the_same_for_every_prompt(tiny_pipeline: Path) -> None:
    task = task_of(tiny_pipeline)
    [made] = make_method("hirm", target="random", length=7.0).directions(task).values()
    torch.testing.assert_close(made.norm(dim=-1), torch.full(made.shape[:2], 7.0))
    assert torch.equal(made[0], made[-1])


def test_training_brings_the_concepts_token_to_the_anchors_and_keeps_the_rest(tiny_pipeline: Path) -> None:
    method = make_method("hirm", target="anchor", steps=40, learning_rate=3e-3)
    task = task_of(tiny_pipeline, method.scope)
    before = {name: weight.detach().clone() for name, weight in task.network.named_parameters()}
    steps = list(method(task))
    assert steps[-1].unlearn_loss < 0.5 * steps[0].unlearn_loss
    moved = {name for name, weight in task.network.named_parameters() if not torch.equal(weight, before[name])}
    assert moved <= set(in_scope(task.network, method.scope))
    assert all(".layers.0." in name for name in moved)


def test_hirm_without_an_anchor_or_text_encoders_says_what_it_needs(tiny_pipeline: Path) -> None:
    task = task_of(tiny_pipeline)
    task.texts = {name: text for name, text in task.texts.items() if name != "anchor"}
    with pytest.raises(InputError, match=r"there is none; give --anchor WORD or --target random$"):
        list(make_method("hirm", target="anchor", steps=1)(task))
    task.network = torch.nn.Linear(1, 1)
    with pytest.raises(InputError, match=r"^hirm edits text encoders, and this network is a Linear$"):
        list(make_method("hirm", target="anchor", steps=1)(task))


# --- few shots ----------------------------------------------------------------------------------------------------------


def test_few_shot_trains_all_mlps_and_the_last_attention(family_folders: dict[str, Path]) -> None:
    network = TextEncoders(open_model(family_folders["sdxl"]))
    chosen = chosen_weights(in_scope(network, "full"))
    for part in ("text_encoder", "text_encoder_2"):
        mine = {name for name in chosen if name.startswith(f"{part}.")}
        assert {name.split(".layers.")[1][0] for name in mine if ".mlp." in name} == {"0", "1"}
        assert {name.split(".layers.")[1][0] for name in mine if ".self_attn." in name} == {"1"}
        assert all(".mlp." in name or ".self_attn." in name for name in mine)


def test_few_shot_ascends_on_the_same_images_in_every_step(tiny_pipeline: Path) -> None:
    task = task_of(tiny_pipeline, first_batch_only=True)
    steps = list(make_method("few_shot", steps=6, batch=2, retain_weight=0.0, learning_rate=3e-3)(task))
    assert steps[-1].unlearn_loss < steps[0].unlearn_loss < 0


# --- AdvUnlearn ---------------------------------------------------------------------------------------------------------


def test_a_prefix_is_a_token_more_before_the_prompt(tiny_pipeline: Path) -> None:
    """With a word's own embedding as the prefix the text is that of the prompt with this word before it."""
    task = task_of(tiny_pipeline, forget_rounds=1, concept_predictions=True)
    network, batch = task.network, task.forget(0)
    tokenizer, encoder = network.model.coders()[0]
    word = tokenizer("blue", add_special_tokens=False).input_ids[0]
    prefix = {"text_encoder": encoder.get_input_embeddings().weight[word].detach().expand(len(batch), -1)}
    with prefixed(network, prefix), torch.no_grad():
        found = network.conditioning(with_room(batch, network).prompt.text).text
    torch.testing.assert_close(found, network.model.embed(["blue a red star"] * len(batch)))
    assert not encoder.get_input_embeddings()._forward_hooks


def test_the_search_makes_the_network_predict_the_concept_more_nearly(tiny_pipeline: Path) -> None:
    task = task_of(tiny_pipeline, forget_rounds=1, concept_predictions=True)
    batch = task.forget(0)
    aimed = with_room(batch.with_target(batch.concept_prediction, "concept"), task.network)

    def reached(steps: int) -> float:
        prefix = searched(task.network, batch, task.loss, steps, 0.3)
        with prefixed(task.network, prefix), torch.no_grad():
            return float(task.loss(task.network, aimed))

    assert reached(8) < reached(0)
    one = searched(task.network, batch, task.loss, 2, 0.3)["text_encoder"]
    parts = [searched(task.network, part, task.loss, 2, 0.3)["text_encoder"] for part in batch.split(1)]
    torch.testing.assert_close(one, torch.cat(parts))


def test_a_step_descends_under_the_prefix_that_was_found(tiny_pipeline: Path) -> None:
    from erase.methods.diffusion.guided_target import turned

    method = make_method("adv_unlearn", steps=1, warmup=0, attack_steps=2, batch=2, retain_weight=0.0)
    task = task_of(tiny_pipeline, forget_rounds=1, concept_predictions=True, empty_predictions=True)
    batch = turned(task.forget(0), 1.0)
    prefix = searched(task.network, batch, task.loss, 2, method.attack_rate)
    with prefixed(task.network, prefix), torch.no_grad():
        expected: Tensor = task.loss(task.network, with_room(batch, task.network))
    [step] = method(task)
    assert step.unlearn_loss == pytest.approx(float(expected), rel=1e-5)


def test_a_method_of_the_text_encoder_names_its_part(tiny_pipeline: Path) -> None:
    assert resolve_job(job(tiny_pipeline, Path("unused"), method="hirm")).job.part == "text-encoder"
    assert resolve_job(job(tiny_pipeline, Path("unused"), method="hirm", part="text-encoder")).method == make_method("hirm")
