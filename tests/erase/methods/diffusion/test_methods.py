"""Each method for diffusion does what its paper says on a case worked by hand, and the whole job on a tiny pipeline."""

from __future__ import annotations

import json
import shutil
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline_runs import Stop, _often, alike, erased, job, stop_at  # noqa: F401 (a fixture)
from safetensors.torch import load_file
from tiny_pipeline import build
from torch import Tensor
from toys import Product, copied, regression, same

from erase.concepts import prompts_folder
from erase.demo import pipeline_path
from erase.diffusion import Conditioning, DiffusionBatch, StableDiffusion, TaskConfig, denoising_target, diffusion_task
from erase.diffusion.batches import required_anchor
from erase.diffusion.latents import ImageLatents, Latents
from erase.diffusion.memory import SLACK, Question, plan
from erase.errors import InputError
from erase.images import read_images
from erase.methods import METHODS, DiffusionMethod, Requirements, make_method
from erase.methods.diffusion.erasediff import EraseDiff, constrained, gained, scrambled
from erase.methods.diffusion.guided_target import turned
from erase.methods.diffusion.munba import bargained
from erase.methods.diffusion.uce import UCE, shared
from erase.pipeline import Job, erase_concept
from erase.pipeline.disk import disk_need
from erase.pipeline.estimate import estimate
from erase.pipeline.resolve import resolve_job
from erase.run import Run
from erase.scope import in_scope, open_scope
from erase.task import Step, Task, generator
from erase.training.micro_batches import pieces
from erase.training.optimizers import OptimizerConfig, gradient_of
from erase.training.two_loss_loop import Moment, Side, products, tune, weighted

OTHERS = ("scissorhands", "retrain", "sld", "hirm", "few_shot", "adv_unlearn")  # they have their own tests
OURS = [name for name in METHODS if name not in OTHERS]
SHORT: dict[str, dict[str, Any]] = {
    "salun": {"saliency_batches": 2},
    "uce": {},
    "concept_prune": {"fraction": 0.1, "batches": 2, "batch": 2},
    "erasediff": {"inner_steps": 2},
    "orthograd": {"samples": 2},
    "selective_amnesia": {"fisher_images": 2, "fisher_timesteps": 2},
}
ONE_SHOT = ("uce", "concept_prune")


FEW = {"evaluate_count": 1, "sampling_steps": 1, "sampling_batch": 8}


def short(name: str) -> dict[str, Any]:
    """A method's options for a run of seconds."""
    common = {} if name in ONE_SHOT else {"steps": 4, "batch": 2, "learning_rate": 1e-3}
    return {**common, **SHORT.get(name, {})}


# --- the whole job --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of every method, never interrupted."""
    root = tmp_path_factory.mktemp("methods")
    return {name: erase_concept(job(tiny_pipeline, root / name, method=name, **FEW), short(name)) for name in OURS}


@pytest.mark.parametrize("name", OURS)
def test_it_finishes_and_changes_weights_in_its_scope_and_no_others(name: str, runs: dict[str, Path], tiny_pipeline: Path) -> None:
    before = load_file(tiny_pipeline / "unet" / "diffusion_pytorch_model.safetensors")
    after = erased(runs[name])
    inside = set(in_scope(StableDiffusion(tiny_pipeline).network(), make_method(name).requirements.scope))
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert changed <= inside
    run = Run.read(runs[name])
    assert [line["step"] for line in run.steps()] == list(range(1, make_method(name, **short(name)).requirements.steps + 1))
    assert all(map(run.done, ("images", "before", "latents", "erase", "export", "after")))


@pytest.mark.parametrize("name", ["uce", "erasediff", "concept_ablation"])
def test_a_job_stopped_anywhere_goes_on_to_the_same_bits(name: str, runs: dict[str, Path], tiny_pipeline: Path, tmp_path: Path) -> None:
    this = job(tiny_pipeline, tmp_path / "run", method=name, **FEW)
    for stage, done in (("latents", 0), ("erase", 1 if name == "uce" else 3)):
        with pytest.raises(Stop):
            erase_concept(this, short(name), stop_at(stage, done))
    assert alike(erase_concept(this, short(name)), runs[name])


@pytest.mark.parametrize("name", OURS)
def test_a_snapshot_goes_on_to_the_same_bits_and_a_second_run_is_the_same(name: str, tiny_pipeline: Path) -> None:
    method = make_method(name, **short(name))

    def fresh() -> Task:
        required = method.requirements
        kinds: dict[str, Any] = {f"{kind}_predictions": True for kind in required.predictions}
        return tiny_task(tiny_pipeline, required.scope, forget_rounds=4, random_anchors=required.unlearn == "random", **kinds)

    ends = []
    for stops in (False, False, True):
        task, half = fresh(), None
        for step in method(task):
            if stops and step.step == max(1, method.requirements.steps // 2):
                half = step.snapshot()
                break
        if half is not None:
            task = fresh()
            rest = [step.step for step in method(task, half)]
            assert rest == list(range(int(half["step"]) + 1, method.requirements.steps + 1))
        ends.append(copied(task.network))
    assert same(ends[0], ends[1])
    assert same(ends[0], ends[2])
    assert not same(ends[0], copied(fresh().network))


@pytest.mark.parametrize("name", OURS)
def test_only_the_pictures_that_a_method_looks_at_are_drawn(name: str, runs: dict[str, Path]) -> None:
    wants = make_method(name, **short(name)).requirements
    there = {folder for folder in ("forget", "retain", "anchor") if (runs[name] / "images" / folder).exists()}
    assert there == {*wants.images, *(["anchor"] if wants.anchor_images else [])}
    assert {"concept_ablation": {"anchor"}, "uce": set(), "esd": {"forget"}, "fine_tune": {"retain"}}.get(name, there) == there


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("preset", ["paper"])
def test_the_papers_values_are_a_preset(name: str, preset: str) -> None:
    assert make_method(name, preset) != make_method(name)


@pytest.mark.parametrize("name", METHODS)
def test_no_option_has_the_name_of_one_of_the_jobs(name: str) -> None:
    assert not {item.name for item in fields(METHODS[name])} & {item.name for item in fields(Job)}


@pytest.mark.parametrize("name", ["esd", "uce", "erasediff"])
def test_what_it_costs_is_known_before(name: str, tiny_pipeline: Path, tmp_path: Path) -> None:
    found = estimate(job(tiny_pipeline, tmp_path / "run", method=name), short(name))
    assert found.memory_bytes > 0
    plain = disk_need(tiny_pipeline, job(tiny_pipeline, tmp_path / "run"), make_method("scissorhands", steps=4).requirements)
    pictures = {"esd": (4 + 10) / (4 + 6 + 4 + 10), "uce": 10 / (4 + 6 + 4 + 10), "erasediff": (4 + 6 + 10) / (4 + 6 + 4 + 10)}[name]
    wants = make_method(name, **short(name)).requirements
    mine = disk_need(tiny_pipeline, job(tiny_pipeline, tmp_path / "run"), wants)
    assert 0.8 * pictures < mine["images"] / plain["images"] < 1.2 * pictures + 0.3
    assert sum(mine.values()) == found.disk_bytes
    assert not (tmp_path / "run").exists()


def test_memory_counts_what_a_method_holds() -> None:
    """Copies of the weights in scope come on top; without gradients there are the weights and their edited copies alone."""
    folder, free = pipeline_path(), 10**12
    base = Question(folder, "cross-attention", "adam", 8, torch.float32, "cpu", 4, 8)
    weights = 4 * sum(w.numel() for w in in_scope(StableDiffusion(folder).network(), "cross-attention").values())
    plain, copies, none = (plan(q, free)[0].repair / SLACK for q in (base, replace(base, copies=2.0), replace(base, optimizer=None)))
    assert copies - plain == pytest.approx(2 * weights, rel=1e-3)
    everything = 4 * sum(w.numel() for w in StableDiffusion(folder).network().parameters())
    assert none == pytest.approx(everything + weights, rel=1e-3)
    assert "images at once" not in plan(replace(base, optimizer=None), free)[1]


def test_micro_batches_change_no_step_beyond_rounding(tiny_pipeline: Path) -> None:
    for name in ("munba", "erasediff", "salun"):
        ends = []
        for micro in (None, 1):
            task = tiny_task(tiny_pipeline, "cross-attention", forget_rounds=3, anchor_predictions=True)
            task.micro_batch = micro
            list(make_method(name, **{**short(name), "steps": 2}, optimizer="sgd")(task))
            ends.append(torch.cat([w.detach().flatten() for w in task.weights.values()]))
        torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-5)


# --- what methods share ---------------------------------------------------------------------------------------------


def made_up() -> Latents:
    """Random latents and texts: forget prompt 1 with the anchors 2 and 3, retain prompts 4 and 5, the empty one 0."""
    source = generator("latents")
    return Latents(
        forget=ImageLatents(torch.randn(6, 4, 8, 8, generator=source), torch.full((6,), 1), torch.tensor([[2, 3]]).expand(6, 2)),
        retain=ImageLatents(torch.randn(8, 4, 8, 8, generator=source), 4 + torch.arange(8) % 2, torch.zeros(8, 0, dtype=torch.int64)),
        text=torch.randn(6, 32, 16, generator=source),
        marks=torch.tensor([0, 0, 1, 2] + 28 * [0], dtype=torch.int8).expand(6, 32),
    )


def tiny_task(folder: Path, scope: str = "full", **options: Any) -> Task:
    model = StableDiffusion(folder)
    unet = model.network()
    return diffusion_task(unet, model.objective(), made_up(), open_scope(unet, scope), TaskConfig(batch=2, **options))


def one_weight(a: float = 2.0, b: float = 3.0) -> Task:
    """y = b relu(a x): forget x = 1 -> y = 0, retain x = 2 -> y = 10. At a = 2, b = 3 all gradients are whole numbers."""
    network = Product(a, b)
    forget = {"x": torch.tensor([[1.0]]), "y": torch.tensor([[0.0]])}
    retain = {"x": torch.tensor([[2.0]]), "y": torch.tensor([[10.0]])}
    return Task(network, lambda i: forget, lambda i: retain, regression, regression, dict(network.named_parameters()))


PLAIN = OptimizerConfig("sgd", 0.01, momentum=0.0)


def both(task: Task) -> tuple[list[Tensor], list[Tensor]]:
    retain, forget = task.retain(0), task.forget(0)
    return (
        gradient_of(task.loss, task.network, task.weights, retain, 1)[1],
        gradient_of(task.unlearn, task.network, task.weights, forget, 1)[1],
    )


def test_one_step_of_the_weighted_loop_on_paper() -> None:
    """L_r = (2ab - 10)^2 and U = (ab)^2: at (2, 3) g_r = (24, 16) and g_u = (36, 24)."""
    task = one_weight()
    [step] = list(tune(task, 1, Side(task.loss, task.retain), Side(task.unlearn, task.forget), weighted(2.0), optimizer=PLAIN))
    assert (step.retain_loss, step.unlearn_loss) == (4.0, 36.0)
    assert step.cosine == pytest.approx(1.0)
    assert task.network.a.item() == pytest.approx(2 - 0.01 * (24 + 72))
    assert task.network.b.item() == pytest.approx(3 - 0.01 * (16 + 48))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adafactor", "sgd"])
def test_what_the_mask_leaves_out_stays_bit_for_bit(optimizer: str) -> None:
    task = one_weight()
    mask = {"a": torch.tensor([[True]]), "b": torch.tensor([[False]])}
    list(tune(task, 3, Side(task.loss, task.retain), None, mask=mask, optimizer=OptimizerConfig(optimizer, 0.01)))
    assert task.network.a.item() != 2.0
    assert task.network.b.item() == 3.0


def test_a_side_that_is_missing_counts_as_nothing() -> None:
    task = one_weight()
    [step] = list(tune(task, 1, None, Side(task.unlearn, task.forget), optimizer=PLAIN))
    assert (step.retain_loss, step.unlearn_loss, step.cosine) == (0.0, 36.0, 0.0)
    assert task.network.a.item() == pytest.approx(2 - 0.01 * 36)


def test_batches_of_another_kind_of_task_are_refused_in_a_line() -> None:
    with pytest.raises(InputError, match=r"text-to-image models, and the batches of this task are not those of a diffusion model$"):
        list(make_method("esd", steps=1)(one_weight()))


def test_what_was_not_prepared_is_named(tiny_pipeline: Path) -> None:
    task = tiny_task(tiny_pipeline, "cross-attention")
    with pytest.raises(InputError, match="the batches carry no prediction 'empty'"):
        list(make_method("esd", steps=1)(task))
    undrawn = replace(made_up(), retain=replace(made_up().retain, latents=torch.empty(0)))
    unet = task.network
    task = diffusion_task(unet, StableDiffusion(tiny_pipeline).objective(), undrawn, task.weights, TaskConfig(2))
    with pytest.raises(InputError, match="no retain images were drawn"):
        task.retain(0)
    assert task.forget(0).noisy.shape == (2, 4, 8, 8)


def test_texts_are_the_prompts_once_each_beside_what_takes_their_place(tiny_pipeline: Path) -> None:
    text, found = made_up().text, tiny_task(tiny_pipeline, "cross-attention").texts
    assert torch.equal(found["forget"], text[[1, 1]])
    assert torch.equal(found["anchor"], text[[2, 3]])
    assert torch.equal(found["retain"], text[[4, 5]])
    assert torch.equal(found["empty"], text[:1])


# --- SalUn (Fan et al. 2024, Eqs. 3 and 7) ----------------------------------------------------------------------------


def test_salun_moves_the_weights_with_the_largest_gradients_and_no_others(tiny_pipeline: Path) -> None:
    task = tiny_task(tiny_pipeline, "cross-attention", forget_rounds=3, anchor_predictions=True)
    method = make_method("salun", scope="cross-attention", fraction=0.1, saliency_batches=3, steps=3, batch=2)
    total = [
        sum(g) for g in zip(*(gradient_of(task.loss, task.network, task.weights, task.forget(i), 2)[1] for i in range(3)), strict=True)
    ]
    flat = torch.cat([t.abs().flatten() for t in total])
    least = flat.topk(round(0.1 * len(flat))).values[-1]
    before = copied(task.network)
    list(method(task))
    for (name, weight), g in zip(task.weights.items(), total, strict=True):
        moved = weight.detach() != before[name]
        assert not (moved & (g.abs() < least)).any()
        assert moved.sum() >= 0.99 * (g.abs() >= least).sum()  # a gradient may be 0 by chance


def test_salun_with_all_weights_and_a_random_prompt_is_random_label(tiny_pipeline: Path) -> None:
    ends = []
    for name, values in (("salun", {"fraction": 1.0, "unlearn": "random"}), ("random_label", {})):
        method = make_method(name, **values, scope="cross-attention", steps=2, batch=2, forget_weight=1.5, learning_rate=1e-3)
        paired = {"forget_rounds": 10, "anchor_predictions": True}
        task = tiny_task(tiny_pipeline, "cross-attention", **paired, random_anchors=method.requirements.unlearn == "random")
        list(method(task))
        ends.append(copied(task.network))
    assert same(*ends)


def test_random_labels_are_retain_prompts_drawn_once_for_each_picture(tiny_pipeline: Path) -> None:
    latents = made_up()
    numbers = torch.arange(6.0).reshape(6, 1, 1, 1).expand(6, 4, 8, 8)  # picture i is all i, so that it can be told in the noise
    latents = replace(latents, forget=replace(latents.forget, latents=1000 * numbers))
    unet, objective = StableDiffusion(tiny_pipeline).network(), StableDiffusion(tiny_pipeline).objective()
    weights = open_scope(unet, "cross-attention")
    one, two, other = (diffusion_task(unet, objective, latents, weights, TaskConfig(3, seed, random_anchors=True)) for seed in (0, 0, 1))
    labels: dict[int, set[int]] = {}
    for i in range(8):
        batch = one.forget(i)
        a = objective.scheduler.alphas_cumprod[batch.timesteps]
        shown = (batch.noisy.mean((1, 2, 3)) / a.sqrt() / 1000).round().int().tolist()
        rows = [int((latents.text == said).flatten(1).all(1).nonzero()[0]) for said in batch.anchor.text]
        for picture, row in zip(shown, rows, strict=True):
            labels.setdefault(picture, set()).add(row)
        assert torch.equal(batch.anchor.text, two.forget(i).anchor.text)
    assert labels.keys() == set(range(6))
    assert all(len(rows) == 1 and rows <= {4, 5} for rows in labels.values())
    assert len(set.union(*labels.values())) == 2
    assert any(not torch.equal(one.forget(i).anchor.text, other.forget(i).anchor.text) for i in range(8))


# --- ESD (Gandikota et al. 2023, Eqs. 6 and 7) ------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.0, 1.0, 3.0])
def test_esd_aims_beyond_the_prediction_without_a_prompt_away_from_the_concepts(tiny_pipeline: Path, strength: float) -> None:
    task = tiny_task(tiny_pipeline, "cross-attention", forget_rounds=2, concept_predictions=True, empty_predictions=True)
    untouched, text = StableDiffusion(tiny_pipeline).network(), made_up().text
    list(make_method("esd", steps=2, batch=2, learning_rate=1e-2)(task))  # the network has moved; its targets have not
    batch = task.forget(1)
    with torch.no_grad():
        named = untouched(batch.noisy, batch.timesteps, encoder_hidden_states=text[[1, 1]]).sample
        plain = untouched(batch.noisy, batch.timesteps, encoder_hidden_states=text[[0, 0]]).sample
    assert torch.equal(batch.concept_prediction, named)
    assert torch.equal(batch.empty_prediction, plain)
    torch.testing.assert_close(turned(batch, strength).target, plain - strength * (named - plain))


def test_esd_asks_the_same_of_a_network_that_predicts_velocities(tiny_pipeline: Path) -> None:
    """The noise behind the target in velocities is the target made of the noises."""
    scheduler = StableDiffusion(tiny_pipeline).noise_scheduler()
    as_velocity = type(scheduler).from_config(scheduler.config, prediction_type="v_prediction")
    source = generator("esd")
    t, noisy = torch.tensor([100, 700]), torch.randn(2, 4, 8, 8, generator=source)
    noises = {name: torch.randn(2, 4, 8, 8, generator=source) for name in ("concept", "empty")}
    a = scheduler.alphas_cumprod[t].reshape(-1, 1, 1, 1)

    def velocity(noise: Tensor) -> Tensor:
        return denoising_target(as_velocity, (noisy - (1 - a).sqrt() * noise) / a.sqrt(), noise, t)

    base = DiffusionBatch(noisy, t, noisy, Conditioning(noisy))
    concept, empty = noises["concept"], noises["empty"]
    aimed = turned(replace(base, concept_prediction=concept, empty_prediction=empty), 1.0).target
    inside = turned(replace(base, concept_prediction=velocity(concept), empty_prediction=velocity(empty)), 1.0).target
    torch.testing.assert_close(inside, velocity(aimed), rtol=1e-4, atol=1e-4)


def test_esd_without_strength_learns_the_unconditional_prediction(tiny_pipeline: Path) -> None:
    task = tiny_task(tiny_pipeline, "cross-attention", forget_rounds=4, concept_predictions=True, empty_predictions=True)
    steps = list(make_method("esd", strength=0.0, steps=30, batch=2, learning_rate=3e-3)(task))
    assert steps[-1].unlearn_loss < 0.3 * steps[0].unlearn_loss
    assert all(step.retain_loss == 0 for step in steps)


# --- UCE (Gandikota et al. 2024, Eq. 7) -------------------------------------------------------------------------------


def independent(w: Tensor, c: Tensor, instead: Tensor, kept: Tensor, a: float, b: float, ridge: float) -> Tensor:
    """The same minimiser as one long least-squares problem, row by row of the matrix, by another algorithm."""
    eye = ridge**0.5 * torch.eye(c.shape[1], dtype=c.dtype)
    x = torch.cat([a**0.5 * c, b**0.5 * kept, eye])
    y = torch.cat([a**0.5 * instead @ w.T, b**0.5 * kept @ w.T, eye @ w.T])
    return torch.linalg.lstsq(x, y, driver="gelsd").solution.T


@pytest.mark.parametrize("layers", ["keys and values", "keys", "values"])
def test_uce_is_the_minimiser_that_another_solver_finds(tiny_pipeline: Path, layers: str) -> None:
    method = UCE(layers=layers, forget_weight=2.0, retain_weight=0.5, ridge=0.1)
    task = tiny_task(tiny_pipeline, method.scope)
    before = copied(task.network)
    [step] = list(method(task))
    assert isinstance(step, Step)
    text = made_up().text.double()
    c, instead = text[[1, 1]].reshape(-1, 16), text[[2, 3]].reshape(-1, 16)
    kept = text[[4, 5, 0]].reshape(-1, 16)
    edited = {name for name in before if not torch.equal(before[name], task.network.state_dict()[name])}
    wanted = {"keys": ["k"], "values": ["v"]}.get(layers, ["k", "v"])
    assert edited == {name for name in before if any(name.endswith(f"attn2.to_{x}.weight") for x in wanted)}
    for name in edited:
        expected = independent(before[name].double(), c, instead, kept, 2.0, 0.5, 0.1)
        torch.testing.assert_close(task.network.state_dict()[name].double(), expected, rtol=1e-4, atol=1e-5)


def test_uce_on_paper() -> None:
    """Two words at right angles: the first is read as the second, halfway for equal ridge and weight; the second stays."""
    c, p = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[0.0, 1.0]]).double()
    edit = shared(c, p, p, forget_weight=1.0, retain_weight=1.0, ridge=1.0)
    torch.testing.assert_close(edit @ c[0], torch.tensor([0.5, 0.5]).double())
    torch.testing.assert_close(edit @ p[0], p[0])
    sure = shared(c, p, p, forget_weight=1e6, retain_weight=1.0, ridge=1.0)
    torch.testing.assert_close(sure @ c[0], p[0], atol=1e-5, rtol=0)


def test_uce_refuses_what_it_cannot_edit(tiny_pipeline: Path) -> None:
    with pytest.raises(InputError, match="edits keys and values of cross-attention; this task has no texts"):
        list(UCE()(one_weight()))
    bare = tiny_task(tiny_pipeline, UCE().scope)
    bare.texts = {name: text for name, text in bare.texts.items() if name != "anchor"}
    with pytest.raises(InputError, match="give --anchor WORD or --unlearn empty"):
        list(UCE()(bare))
    wide = tiny_task(tiny_pipeline, "self-attention")
    with pytest.raises(InputError, match=r"read embeddings of width 16; .*attn1"):
        list(UCE()(wide))


def test_uce_reads_the_concept_as_one_anchor_and_not_as_the_mean_of_several(runs: dict[str, Path], tiny_pipeline: Path) -> None:
    assert Run.read(runs["uce"]).options["concept_file"]["anchors"] == ["cross"]
    assert load_file(runs["uce"] / "latents.safetensors").keys() == {"text", "forget/text", "forget/anchors", "retain/text"}


# --- concept ablation (Kumari et al. 2023, Eqs. 5 and 6) --------------------------------------------------------------


@pytest.mark.parametrize("target", ["model", "noise"])
def test_concept_ablation_teaches_the_concepts_prompt_what_the_anchors_pictures_need(tiny_pipeline: Path, target: str) -> None:
    latents = made_up()
    shown = replace(latents, forget=replace(latents.forget, latents=torch.full_like(latents.forget.latents, 9.0)))  # the anchor's own
    model = StableDiffusion(tiny_pipeline)
    unet, untouched = model.network(), model.network()
    config = TaskConfig(2, forget_rounds=2, anchor_predictions=True)
    task = diffusion_task(unet, model.objective(), shown, open_scope(unet, "cross-attention"), config)
    method = make_method("concept_ablation", target=target, steps=1, batch=2)
    batch = task.forget(0)
    with torch.no_grad():
        said = untouched(batch.noisy, batch.timesteps, encoder_hidden_states=batch.prompt.text).sample
        anchor = untouched(batch.noisy, batch.timesteps, encoder_hidden_states=batch.anchor.text).sample
    [step] = list(method(task))
    wanted = anchor if target == "model" else batch.target
    assert step.unlearn_loss == pytest.approx(float((said - wanted).square().mean()), rel=1e-4)
    assert step.retain_loss == pytest.approx(float((anchor - batch.target).square().mean()), rel=1e-4)


def test_concept_ablation_never_sees_the_concept(runs: dict[str, Path]) -> None:
    run = runs["concept_ablation"]
    assert [folder.name for folder in (run / "images").iterdir()] == ["anchor"]
    assert not any("star" in picture.prompt for picture in read_images(run / "images" / "anchor"))
    assert {"instead/latents", "forget/text"} <= load_file(run / "latents.safetensors").keys()


# --- EraseDiff (Wu et al. 2024) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("eta", "sign"), [(0.0, 1), (0.5, 1), (0.5, -1), (2.0, -1)])
def test_erasediff_takes_the_nearest_direction_along_which_the_constraint_falls_fast_enough(eta: float, sign: int) -> None:
    """On paper: of all g with <g, g_u> >= a = eta ||g_u||^2 the one nearest to g_r."""
    g_r, g_u = [torch.tensor([sign * 3.0, 1.0])], [torch.tensor([2.0, 0.0])]
    task = one_weight()
    made = constrained(task, task.unlearn, eta, 0, 0.1, [g_r[0].clone()], g_u, Moment(0, {}, 1, torch.zeros(())))
    a = eta * 4
    assert made.coefficient.item() == pytest.approx(max(0.0, (a - sign * 6.0) / 4))
    [g] = made.gradient
    assert float(g @ g_u[0]) >= a - 1e-5
    assert g.tolist() == pytest.approx([max(sign * 3.0, a / 2), 1.0])


def test_erasediff_knows_how_far_forgetting_could_still_get_and_puts_the_weights_back() -> None:
    """U = (ab)^2 at (2, 3): one inner step of 0.01 along g_u = (36, 24) leads to (1.64, 2.76)."""
    task = one_weight()
    g_r, g_u = both(task)
    assert [g.item() for g in g_u] == [36.0, 24.0]
    moment = Moment(0, task.forget(0), 1, torch.tensor(36.0))
    q = 36 - (1.64 * 2.76) ** 2
    assert gained(task, task.unlearn, 1, 0.01, g_u, moment).item() == pytest.approx(q, rel=1e-5)
    assert (task.network.a.item(), task.network.b.item()) == (2.0, 3.0)
    made = constrained(task, task.unlearn, 100.0, 1, 0.01, g_r, g_u, moment)
    assert made.coefficient.item() == pytest.approx(
        (100 * q - 1248) / 1872, rel=1e-4
    )  # <g_r, g_u> = 24*36 + 16*24, ||g_u||^2 = 36^2 + 24^2
    assert gained(task, task.unlearn, 1, 0.01, g_u, replace(moment, loss=torch.tensor(1.0))).item() == 0.0  # steps that overshoot


def test_a_fixed_lambda_adds_so_many_unlearning_gradients() -> None:
    """The released code's: its constraint's gradient is that of the unlearning loss, so inner steps change nothing and are not taken."""
    fixed, task = EraseDiff(multiplier=3.0, inner_steps=2, steps=1, learning_rate=1e-3, optimizer="sgd"), one_weight()
    (g_ra, _), (g_ua, _) = ([g.item() for g in gradients] for gradients in both(task))
    (step,) = fixed(task)
    assert (step.coefficient, fixed.requirements.passes) == (pytest.approx(3.0), 2)
    assert task.network.a.item() == pytest.approx(2 - 1e-3 * (g_ra + 3 * g_ua), rel=1e-5)


def test_erasediff_without_anything_to_forget_only_retains() -> None:
    g_r = [torch.tensor([1.0, 2.0])]
    made = constrained(one_weight(), regression, 1.0, 0, 0.1, [g_r[0].clone()], [torch.zeros(2)], Moment(0, {}, 1, torch.zeros(())))
    assert made.coefficient.item() == 0
    assert torch.equal(made.gradient[0], g_r[0])


def test_the_noise_of_erasediff_is_uniform_and_of_the_batch_alone(tiny_pipeline: Path) -> None:
    task = tiny_task(tiny_pipeline, "cross-attention")
    one, two = scrambled(task), scrambled(task)
    assert torch.equal(one(3).target, two(3).target)
    assert not torch.equal(one(3).target, one(4).target)
    assert 0 <= float(one(0).target.min()) < float(one(0).target.max()) <= 1
    assert torch.equal(one(3).noisy, task.forget(3).noisy)


# --- MUNBa (Wu and Harandi 2025, Theorem 2.6) -------------------------------------------------------------------------


@pytest.mark.parametrize("angle", [10.0, 60.0, 90.0, 120.0, 170.0])
def test_munba_is_nashs_solution(angle: float) -> None:
    """K a = 1 / a for the Gram matrix K; and of all directions of its length none has a larger product of gains."""
    turn = torch.deg2rad(torch.tensor(angle, dtype=torch.float64))
    g_r, g_u = torch.tensor([3.0, 0.0], dtype=torch.float64), 0.1 * torch.stack([turn.cos(), turn.sin()])
    made = bargained(1e-12, [g_r.clone()], [g_u])
    [g] = made.gradient
    utilities = torch.stack([g @ g_r, g @ g_u])
    cos = turn.cos()
    a = ((1 - cos) / (1 - cos**2)).sqrt() / torch.stack([g_r.norm(), g_u.norm()])
    torch.testing.assert_close(g, a[0] * g_r + a[1] * g_u, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(utilities, 1 / a, rtol=1e-4, atol=1e-6)
    angles = torch.linspace(0, 2 * torch.pi, 20001, dtype=torch.float64)
    others = g.norm() * torch.stack([angles.cos(), angles.sin()], dim=1)
    gains = torch.stack([others @ g_r, others @ g_u], dim=1)
    best = gains[(gains > 0).all(1)].prod(1).max()
    assert utilities.prod() >= best * (1 - 1e-6)
    assert made.coefficient.item() == pytest.approx(30.0, rel=1e-5)


def test_munba_does_not_ask_what_the_losses_weigh() -> None:
    g_r, g_u = torch.tensor([1.0, 2.0]), torch.tensor([-2.0, 0.5])
    one = bargained(1e-8, [g_r.clone()], [g_u]).gradient[0]
    other = bargained(1e-8, [g_r.clone()], [1000 * g_u]).gradient[0]
    torch.testing.assert_close(one, other)


def test_a_side_without_a_gradient_has_no_say_in_munba() -> None:
    zero, g = torch.zeros(2), torch.tensor([3.0, 4.0])
    torch.testing.assert_close(bargained(1e-8, [zero.clone()], [g]).gradient[0], g / 5)
    torch.testing.assert_close(bargained(1e-8, [g.clone()], [zero]).gradient[0], g / 5)
    assert torch.equal(bargained(1e-8, [zero.clone()], [zero]).gradient[0], zero)


# --- FT, GA -----------------------------------------------------------------------------------------------------------


def test_fine_tuning_is_training_and_ascent_its_opposite_on_paper() -> None:
    """L = (2ab - 10)^2 on retain: g = (24, 16); on forget L = (ab)^2: g = (36, 24)."""
    task = one_weight()
    [step] = list(make_method("fine_tune", steps=1, learning_rate=0.01, optimizer="sgd")(task))
    assert (step.retain_loss, step.unlearn_loss) == (4.0, 0.0)
    assert (task.network.a.item(), task.network.b.item()) == pytest.approx((2 - 0.24, 3 - 0.16))
    task = one_weight()
    [step] = list(make_method("gradient_ascent", steps=1, learning_rate=0.01, optimizer="sgd")(task))
    assert (step.retain_loss, step.unlearn_loss) == (0.0, -36.0)
    assert (task.network.a.item(), task.network.b.item()) == pytest.approx((2 + 0.36, 3 + 0.24))


def test_a_batch_is_split_and_changed_in_all_of_its_parts() -> None:
    numbers = torch.arange(5.0)[:, None]
    anchor = Conditioning(numbers + 10, numbers + 20, numbers + 30)
    batch = DiffusionBatch(
        numbers, torch.arange(5), -numbers, Conditioning(numbers), anchor, unlearn_input=numbers + 40, search_from="anchor"
    )
    parts = list(batch.split(2))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([required_anchor(part).time_ids for part in parts]), numbers + 30)  # type: ignore[list-item]
    assert [part.search_from for part in parts] == ["anchor"] * 3
    assert parts[0].empty_prediction is None
    assert [(share, len(part)) for share, part in pieces(batch, 2)] == [(0.4, 2), (0.4, 2), (0.2, 1)]
    assert [part for _, part in pieces(batch, 5)] == [batch]
    assert batch.to("meta").anchor.pooled.device.type == "meta"  # type: ignore[union-attr]
    assert torch.equal(batch.with_target(numbers + 1, "anchor").target, numbers + 1)
    assert torch.equal(batch.with_text(numbers + 2).prompt.text, numbers + 2)


@pytest.mark.parametrize(("name", "value"), [("noisey", 0), ("anchor_text", 0)])
def test_a_batch_has_no_other_fields(name: str, value: int) -> None:
    batch = DiffusionBatch(torch.zeros(1), torch.zeros(1), torch.zeros(1), Conditioning(torch.zeros(1)))
    with pytest.raises(TypeError, match=name):
        replace(batch, **{name: value})


def test_products_of_gradients_on_paper() -> None:
    dot, one, two = products([torch.tensor([3.0, 4.0])], [torch.tensor([1.0, 0.0])])
    assert (dot.item(), one.item(), two.item()) == (3.0, 5.0, 1.0)


# --- retraining -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as training leaves it, with another tiny pipeline in it."""
    folder = tmp_path_factory.mktemp("gold")
    build(folder / "pipeline", seed=1)
    (folder / "plan.json").write_text(json.dumps({"without": "star"}))
    return folder


def test_retraining_hands_over_the_model_that_was_trained_without_the_concept(tiny_pipeline: Path, gold: Path, tmp_path: Path) -> None:
    run = erase_concept(job(tiny_pipeline, tmp_path / "run", method="retrain", evaluate_count=1), {"gold": str(gold)})
    made, given = erased(run), load_file(gold / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors")
    assert same(made, given)
    text = "text_encoder/model.safetensors"
    assert (run / "model" / text).read_bytes() == (gold / "pipeline" / text).read_bytes()
    assert Run.read(run).steps() == []
    assert not (run / "images").exists()
    pictures = [[p.sha256 for p in read_images(run / "samples" / which)] for which in ("before", "after")]
    assert pictures[0] != pictures[1]
    assert erase_concept(job(tiny_pipeline, tmp_path / "run", method="retrain", evaluate_count=1), {"gold": str(gold)}) == run


def test_retraining_says_what_is_missing_and_how_to_make_it(tiny_pipeline: Path, gold: Path, tmp_path: Path) -> None:
    said = {}
    for name, concept, model, values in (
        ("none", "circle", "demo", {}),
        ("real", "star", str(tiny_pipeline), {}),
        ("gone", "star", str(tiny_pipeline), {"gold": str(tmp_path / "no")}),
        ("other", "ring", str(tiny_pipeline), {"gold": str(gold)}),
    ):
        with pytest.raises(InputError) as caught:
            erase_concept(Job((concept,), model, method="retrain", output=str(tmp_path / name)), values)
        said[name] = str(caught.value)
        assert "\n" not in said[name]
        assert not (tmp_path / name).exists()
    assert f"erase.demo.shapes.train --without circle --base {pipeline_path().parent} --output DIR" in said["none"]
    assert "out of reach" in said["real"]
    assert "no does not exist" in said["gone"]
    assert "was trained without 'star', not without 'ring'" in said["other"]
    with pytest.raises(InputError, match="not an edit of a network"):
        make_method("retrain")(one_weight())


# --- a method that does not fit ---------------------------------------------------------------------------------------


def test_uce_on_a_network_without_cross_attention_says_what_it_edits(tiny_pipeline: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_pipeline, folder)
    config = json.loads((folder / "unet" / "config.json").read_text())
    config |= {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2, "mid_block_type": None}
    (folder / "unet" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="--method uce edits keys and values of cross-attention, and the network of this model has none"):
        erase_concept(job(folder, tmp_path / "run", method="uce"))


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (
            "boundary_shrink",
            "--method 'boundary_shrink' is a method for classifiers (`erase-concept classify`), not for text-to-image models",
        ),
        ("esdx", "--method 'esdx' is unknown; expected one of scissorhands, salun, esd"),
    ],
)
def test_a_method_for_another_task_says_which_this_is(method: str, said: str, tiny_pipeline: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        erase_concept(job(tiny_pipeline, tmp_path / "run", method=method))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("method", "given", "said"),
    [
        ("esd", {"anchor": "ring"}, "--anchor 'ring' has no effect with --method esd; leave it out"),
        ("random_label", {"anchor": "ring"}, "--anchor 'ring' has no effect with --method random_label; leave it out"),
        ("esd", {"retain_images": "pictures"}, "--retain-images has no effect with --method esd, which uses no retain images"),
        ("uce", {"forget_images": "pictures"}, "--forget-images has no effect with --method uce"),
    ],
)
def test_an_option_of_the_job_that_would_do_nothing_is_refused(
    method: str, given: dict[str, Any], said: str, tiny_pipeline: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        erase_concept(job(tiny_pipeline, tmp_path / "run", method=method, **given))
    assert said in str(caught.value)


def test_a_concepts_recommendation_reaches_methods_that_have_such_an_option(tiny_pipeline: Path) -> None:
    concept = str(prompts_folder() / "nudity.toml")
    assert resolve_job(Job((concept,), str(tiny_pipeline), method="esd")).requirements.scope == "not-cross-attention"
    assert resolve_job(Job((concept,), str(tiny_pipeline), method="uce")).method == UCE()


# --- the contract -----------------------------------------------------------------------------------------------------


def test_a_method_without_requirements_gets_the_plain_defaults() -> None:
    required = DiffusionMethod().requirements
    assert required == Requirements()
    assert (required.scope, required.batch, required.images, required.predictions) == ("full", 16, ("forget", "retain"), ())
    assert not required.anchor
    assert make_method("scissorhands").requirements.predictions == ("anchor",)
    assert make_method("scissorhands", "paper").requirements.predictions == ()


def test_a_misspelt_requirement_is_an_error_and_none_can_be_changed() -> None:
    with pytest.raises(TypeError, match="retain_captons"):
        Requirements(retain_captons=1)  # type: ignore[call-arg]
    with pytest.raises(FrozenInstanceError):
        Requirements().scope = "head"  # type: ignore[misc]


@pytest.mark.parametrize(("name", "value"), [("images", ("forgotten",)), ("predictions", ("target",))])
def test_a_requirement_that_no_job_can_provide_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"name '{value[0]}' among its {name}; expected some of"):
        Requirements(**{name: value})


@pytest.mark.parametrize("name", METHODS)
def test_requirements_are_those_of_the_options(name: str) -> None:
    """Every option that has the name of a requirement is passed on, so that none is forgotten."""
    method = make_method(name)
    options = {item.name: getattr(method, item.name) for item in fields(method)}
    required = {item.name: getattr(method.requirements, item.name) for item in fields(Requirements)}
    assert {key: required[key] for key in options.keys() & required.keys()} == {
        key: options[key] for key in options.keys() & required.keys()
    }


def test_the_rate_in_the_record_is_that_of_methods_that_have_one() -> None:
    weights = {"w": torch.zeros(4, 4)}
    assert make_method("munba").rate(weights) == 4e-4
    assert make_method("munba", learning_rate=0.25).rate(weights) == 0.25
    assert make_method("uce").rate(weights) is None
    assert make_method("retrain").rate(weights) is None
