"""Presets do what they say, every option changes something, and Scissorhands trims where it should and forgets."""

from __future__ import annotations

import shutil
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from toys import FORGET, accuracy, classification_task, copied, cross_entropy, points, same

from erase.diffusion import StableDiffusion, TaskConfig, diffusion_task
from erase.diffusion.latents import ImageLatents, Latents
from erase.errors import InputError
from erase.methods import METHODS, make_method
from erase.methods.diffusion.scissorhands import Scissorhands, ascent
from erase.pipeline import Job
from erase.pipeline.drawing import images, latents
from erase.pipeline.erasing import erase
from erase.pipeline.image_sets import prompts_of
from erase.pipeline.resolve import resolve_job
from erase.pipeline.session import Session
from erase.scope import in_scope, open_scope, trimmable
from erase.task import Task, generator

KEPT = tuple(c for c in range(4) if c != FORGET)


def made_up() -> Latents:
    """Random latents and texts, as in the cache of a run."""
    source = generator("latents")
    return Latents(
        forget=ImageLatents(torch.randn(6, 4, 8, 8, generator=source), torch.full((6,), 1), torch.tensor([[2, 3]]).expand(6, 2)),
        retain=ImageLatents(torch.randn(8, 4, 8, 8, generator=source), 4 + torch.arange(8) % 2, torch.zeros(8, 0, dtype=torch.int64)),
        text=torch.randn(6, 32, 16, generator=source),
    )


def tiny_task(folder: Path, scope: str = "full", anchored: int = 0) -> Task:
    model = StableDiffusion(folder)
    unet = model.network()
    config = TaskConfig(2, forget_rounds=anchored, anchor_predictions=True)
    return diffusion_task(unet, model.objective(), made_up(), open_scope(unet, scope), config)


# --- presets --------------------------------------------------------------------------------------------------------

# What others suggest for our step, and neither the paper nor its code has.
OFF: dict[str, Any] = {
    "two_sided": False,
    "per_layer": False,
    "project_update": False,
    "spare": "none",
    "layers": None,
    "forget_timesteps": "0-1",
    "guard": None,
    "gone": None,
    "adversarial": 0,
    "relapse": 0,
    "unnamed": 0.0,
    "redirect": None,
    "one_anchor": False,
    "cosine": False,
    "cross_attention_rate": 1.0,
}

# The table of DESIGN section 3, point by point. 125 steps of 16 are 5 epochs over the 400 pictures of the paper.
TABLE: dict[str, dict[str, Any]] = {
    "paper": {
        "scope": "full",
        "trim_scope": None,  # all of the scope
        "rank_over": "trim-scope",
        "trimming": True,
        "fraction": 0.005,
        "initialisation": "uniform",
        "signed": True,
        "sensitivity_batches": 10,
        "unlearn": "ascent",
        "anchor_pictures": False,
        "retain_target": "data",
        "forget_weight": 0.1,
        "projected": True,
        "steps": 125,
        "batch": 16,
        "optimizer": "adam",
        "learning_rate": 1e-5,
        "momentum": 0.9,
        "first_batch_only": False,
        "retain_captions": None,
        "empty_captions": 0.0,
    },
    "reference": {
        "scope": "full",
        "trim_scope": "decoder-self-attention",
        "rank_over": "scope",
        "trimming": True,
        "fraction": 0.005,  # its sparsity of 0.995 is the share kept
        "initialisation": "uniform",
        "signed": False,
        "sensitivity_batches": 10,
        "unlearn": "anchor",
        "anchor_pictures": False,
        "retain_target": "data",
        "forget_weight": 0.1,
        "projected": False,
        "steps": 125,
        "batch": 16,
        "optimizer": "adam",
        "learning_rate": 1e-5,
        "momentum": 0.9,
        "first_batch_only": True,
        "retain_captions": 1,
        "empty_captions": 0.0,
    },
}


@pytest.mark.parametrize("preset", TABLE)
def test_a_preset_is_exactly_what_the_table_says(preset: str) -> None:
    assert asdict(make_method("scissorhands", preset)) == {**TABLE[preset], **OFF}


def test_balanced_is_the_default_with_an_anchor_many_captions_and_projection_at_every_step() -> None:
    balanced = make_method("scissorhands")
    assert balanced == make_method("scissorhands", "balanced") == Scissorhands()
    assert (balanced.unlearn, balanced.retain_captions, balanced.projected, balanced.first_batch_only) == ("anchor", None, True, False)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_presets_and_they_differ(name: str) -> None:
    presets = list(METHODS[name].presets)  # type: ignore[attr-defined]
    assert presets[:1] == ["balanced"]
    assert len({make_method(name, preset) for preset in presets}) == len(presets)


def test_scissorhands_has_its_presets() -> None:
    assert set(METHODS["scissorhands"].presets) == {"balanced", "robust", "paper", "reference"}  # type: ignore[attr-defined]


def test_values_come_on_top_of_the_preset() -> None:
    method = make_method("scissorhands", "paper", steps=7, forget_weight=0.0)
    assert asdict(method) == {**TABLE["paper"], **OFF, "steps": 7, "forget_weight": 0.0}


@pytest.mark.parametrize(
    ("name", "preset", "values", "said"),
    [
        ("scissors", "balanced", {}, "--method 'scissors' is unknown; expected one of scissorhands"),
        ("scissorhands", "best", {}, "--preset 'best' is unknown; scissorhands has balanced, robust, paper, reference"),
        ("scissorhands", "paper", {"fracton": 0.1}, "no option 'fracton', did you mean 'fraction'?"),
        ("scissorhands", "paper", {"zzz": 0.1}, "no option 'zzz'; it has scope, trim_scope"),
        ("scissorhands", "balanced", {"fraction": 0.0}, "--fraction is 0.0; expected more than 0.0"),
        ("scissorhands", "balanced", {"fraction": 1.5}, "--fraction is 1.5; expected at most 1.0"),
        ("scissorhands", "balanced", {"forget_weight": -0.1}, "--forget-weight is -0.1; expected at least 0.0"),
        ("scissorhands", "balanced", {"steps": -1}, "--steps is -1; expected at least 0"),
        ("scissorhands", "balanced", {"learning_rate": 0.0}, "--learning-rate is 0.0; expected more than 0.0"),
        ("scissorhands", "balanced", {"spare": "all"}, "--spare is 'all'; expected one of none, divide, exclude"),
        ("scissorhands", "balanced", {"layers": 0}, "--layers is 0; expected at least 1"),
        ("scissorhands", "balanced", {"guard": 0.0}, "--guard is 0.0; expected more than 0.0"),
        ("scissorhands", "balanced", {"gone": 2.0}, "--gone is 2.0; expected at most 1.0"),
        ("scissorhands", "balanced", {"forget_timesteps": "0.9"}, "--forget-timesteps is '0.9'; expected LOW-HIGH"),
        ("scissorhands", "balanced", {"forget_timesteps": "0.9-0.1"}, "--forget-timesteps is '0.9-0.1'; expected LOW-HIGH"),
        ("scissorhands", "balanced", {"forget_timesteps": "nan-1"}, "--forget-timesteps is 'nan-1'; expected LOW-HIGH"),
        ("scissorhands", "balanced", {"two_sided": True, "project_update": True}, "give one of the two"),
        ("scissorhands", "reference", {"two_sided": True}, "--two-sided is a kind of projection, but --no-projected is given"),
        ("scissorhands", "reference", {"per_layer": True}, "--per-layer is a kind of projection, but --no-projected is given"),
        ("scissorhands", "balanced", {"unlearn": "descent"}, "--unlearn is 'descent'; expected one of anchor, ascent"),
        ("scissorhands", "balanced", {"optimizer": "lion"}, "--optimizer is 'lion'; expected one of adam, adamw, adafactor, sgd"),
    ],
)
def test_a_wrong_name_or_value_is_named_with_what_was_expected(name: str, preset: str, values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        make_method(name, preset, **values)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


# --- every option changes something ---------------------------------------------------------------------------------

BASE = {"steps": 2, "batch": 2, "sensitivity_batches": 2, "fraction": 0.01, "learning_rate": 1e-3}

# option -> what it becomes, and what else must hold for it to matter
CHANGES: dict[str, tuple[Any, dict[str, Any]]] = {
    "scope": ("attention", {}),
    "trim_scope": ("cross-attention-kv", {}),
    "rank_over": ("scope", {"scope": "full", "trim_scope": "cross-attention"}),
    "trimming": (False, {}),
    "fraction": (0.05, {}),
    "initialisation": ("zero", {}),
    "signed": (False, {}),
    "sensitivity_batches": (1, {}),
    "unlearn": ("ascent", {}),
    "anchor_pictures": (False, {}),
    "one_anchor": (False, {}),
    "retain_target": ("data", {}),
    "forget_weight": (3.0, {}),
    "projected": (False, {"unlearn": "ascent", "forget_weight": 0.0}),
    "steps": (1, {}),
    "batch": (3, {}),
    "optimizer": ("sgd", {}),
    "learning_rate": (2e-3, {}),
    "cosine": (True, {}),
    "cross_attention_rate": (2.0, {}),
    "two_sided": (True, {"unlearn": "ascent", "forget_weight": 1.0}),
    "per_layer": (True, {"unlearn": "ascent", "forget_weight": 0.0}),
    "project_update": (True, {"unlearn": "ascent", "forget_weight": 0.0}),
    "spare": ("divide", {}),
    "layers": (3, {}),
    "forget_timesteps": ("0-0.5", {}),
    "unnamed": (0.5, {}),
    "redirect": (2.0, {"unnamed": 1.0}),
    "guard": (0.01, {}),
    "gone": (0.5, {}),
    "adversarial": (1, {}),
    "relapse": (1, {}),
    "momentum": (0.5, {"optimizer": "sgd"}),
    "first_batch_only": (True, {}),
    "retain_captions": (1, {}),
    "empty_captions": (1.0, {}),
}


@pytest.fixture(scope="module")
def cache(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The latents of a run of the tiny model on the concept star."""
    job = Job(("star",), str(tiny_pipeline), output=str(tmp_path_factory.mktemp("base") / "run"), forget_count=4, retain_count=6,
              sampling_steps=1, sampling_batch=6)  # fmt: skip
    with Session.open(resolve_job(job)) as work:
        images(work)
        latents(work)
        return work.run.latents


Outcome = tuple[list[str], dict[str, Tensor], tuple[str, ...]]


@pytest.fixture(scope="module")
def plain() -> dict[str, Outcome]:
    """What runs without the change come to, by their other values: many changes are compared with the same."""
    return {}


def outcome(folder: Path, cache: Path, output: Path, values: dict[str, Any]) -> Outcome:
    """What a run with these options of the method comes to: the retain prompts, the weights after the stage `erase`, and the anchors."""
    job = Job(("star",), str(folder), output=str(output))
    with Session.open(resolve_job(job, {**BASE, **values})) as work:
        shutil.copyfile(cache, work.run.latents)
        erase(work)
        return [p.text for p in prompts_of(work, "retain", 12)], load_file(output / "weights.safetensors"), work.concept.anchors


def test_there_is_a_change_for_every_option() -> None:
    assert list(CHANGES) == [item.name for item in fields(Scissorhands)]


@pytest.mark.parametrize("name", CHANGES)
def test_every_option_changes_something(tiny_pipeline: Path, cache: Path, plain: dict[str, Outcome], tmp_path: Path, name: str) -> None:
    value, also = CHANGES[name]
    assert getattr(make_method("scissorhands", **{**BASE, **also}), name) != value
    if (key := repr(also)) not in plain:
        plain[key] = outcome(tiny_pipeline, cache, tmp_path / "before", also)
    before = plain[key]
    after = outcome(tiny_pipeline, cache, tmp_path / "after", {**also, name: value})
    if name == "retain_captions":
        assert len(set(before[0])) > 6
        assert len(set(after[0])) == 1
        assert len(before[0]) == len(after[0])
    elif name == "one_anchor":  # it decides what is drawn and read, which here is given
        assert before[2] == after[2][:1] != after[2]
    else:
        assert not same(before[1], after[1])


def test_without_a_change_nothing_changes(tiny_pipeline: Path, cache: Path, tmp_path: Path) -> None:
    one, two = (outcome(tiny_pipeline, cache, tmp_path / name, {}) for name in ("one", "two"))
    assert one[0] == two[0]
    assert same(one[1], two[1])


# --- trimming -------------------------------------------------------------------------------------------------------


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, Tensor]:
    """Name -> which entries differ, for tensors where any does."""
    return {name: before[name] != after[name] for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize(
    ("scope", "trim_scope", "inside"),
    [
        ("full", "cross-attention", "cross-attention"),
        ("cross-attention-kv", "cross-attention", "cross-attention-kv"),
        ("full", "full", "full"),
        ("cross-attention", None, "cross-attention"),
    ],
)
def test_only_weights_in_trim_scope_and_in_scope_are_trimmed_and_exactly_the_share(
    tiny_pipeline: Path, scope: str, trim_scope: str | None, inside: str
) -> None:
    task = tiny_task(tiny_pipeline, scope)
    before = copied(task.network)
    mask = Scissorhands(scope=scope, trim_scope=trim_scope, fraction=0.02, sensitivity_batches=2).trim(task)
    allowed = trimmable(in_scope(task.network, inside))
    assert mask.keys() == allowed.keys()
    assert sum(int(m.sum()) for m in mask.values()) == round(0.02 * sum(w.numel() for w in allowed.values()))
    differing = changed(before, copied(task.network))
    assert differing.keys() == {name for name, m in mask.items() if m.any()}
    assert all(torch.equal(differing[name], mask[name]) for name in differing)


def test_a_trim_scope_outside_the_scope_is_refused(tiny_pipeline: Path) -> None:
    task = tiny_task(tiny_pipeline, "cross-attention")
    with pytest.raises(InputError, match="--trim-scope self-attention has no matrices to trim within --scope cross-attention"):
        Scissorhands(trim_scope="self-attention").trim(task)
    biases = r"re:attn2\..*bias$"
    with pytest.raises(InputError, match=r"no matrices to trim .* or --no-trimming"):
        Scissorhands(scope=biases).trim(tiny_task(tiny_pipeline, biases))


def test_reference_ranks_over_everything_and_trims_only_self_attention_of_the_decoder(tiny_pipeline: Path) -> None:
    task = tiny_task(tiny_pipeline)
    ranked = trimmable(dict(task.network.named_parameters()))
    sums = {name: torch.zeros_like(weight) for name, weight in ranked.items()}
    for i in range(10):  # E|g| |w| by hand, over 10 batches
        for name, g in zip(ranked, torch.autograd.grad(task.loss(task.network, task.forget(i)), list(ranked.values())), strict=True):
            sums[name] += g.abs()
    scores = {name: (sums[name] * weight).abs().detach() for name, weight in ranked.items()}
    flat = torch.cat([score.flatten() for score in scores.values()])
    border = flat.topk(round(0.05 * len(flat))).values[-1]
    before = copied(task.network)
    mask = make_method("scissorhands", "reference", fraction=0.05).trim(task)
    assert mask
    assert all(name.startswith("up_blocks.1.attentions.1.") and ".attn1." in name for name in mask)
    chosen = {name: int(m.sum()) for name, m in mask.items()}
    assert sum(chosen.values()) > 0
    for name, count in chosen.items():
        assert count == pytest.approx(int((scores[name] >= border).sum()), abs=2)
    assert changed(before, copied(task.network)).keys() == {name for name, count in chosen.items() if count}


def test_paper_ranks_and_trims_over_the_whole_network(tiny_pipeline: Path) -> None:
    task = tiny_task(tiny_pipeline)
    mask = make_method("scissorhands", "paper").trim(task)
    assert mask.keys() == trimmable(dict(task.network.named_parameters())).keys()
    hit = {name for name, m in mask.items() if m.any()}
    assert {name.split(".")[0] for name in hit} >= {"down_blocks", "up_blocks"}
    assert any("conv" in name for name in hit)
    assert any("attn" in name for name in hit)


def test_the_seed_decides_what_trimmed_weights_become(tiny_pipeline: Path) -> None:
    tasks = [tiny_task(tiny_pipeline, "cross-attention") for _ in range(3)]
    tasks[2].seed = 1
    for task in tasks:
        Scissorhands(sensitivity_batches=1).trim(task)
    assert same(copied(tasks[0].network), copied(tasks[1].network))
    assert not same(copied(tasks[0].network), copied(tasks[2].network))


# --- forgetting -----------------------------------------------------------------------------------------------------


def test_ascent_is_minus_the_loss() -> None:
    task = classification_task()
    batch = task.forget(0)
    assert ascent(task.loss)(task.network, batch).item() == -task.loss(task.network, batch).item()


@pytest.mark.parametrize("options", [{"unlearn": "ascent", "forget_weight": 0.02}, {"unlearn": "anchor", "forget_weight": 0.02}])
def test_the_whole_method_forgets_what_the_toy_knew_and_keeps_the_rest(options: dict[str, Any]) -> None:
    """With `anchor` it descends on the task's own unlearning loss, which for the toy is ascent too."""
    task = classification_task()
    known, kept = points((FORGET,), 900, 400), points(KEPT, 900, 400)
    before = cross_entropy(task.network, known).item()
    assert accuracy(task.network, known) > 0.95
    method = Scissorhands(scope="full", trim_scope="full", fraction=0.1, sensitivity_batches=5, steps=30, learning_rate=0.01, **options)
    assert [step.step for step in method(task)] == list(range(1, 31))
    assert cross_entropy(task.network, known).item() > before + 3
    assert accuracy(task.network, known) < 0.05
    assert accuracy(task.network, kept) > 0.95


def forget_loss(task: Task) -> float:
    with torch.no_grad():
        return sum(task.loss(task.network, task.forget(i)).item() for i in range(100, 104)) / 4


def test_by_ascent_the_forget_loss_of_a_denoiser_grows(tiny_pipeline: Path) -> None:
    task = tiny_task(tiny_pipeline)
    before = forget_loss(task)
    method = make_method("scissorhands", "paper", steps=8, learning_rate=1e-3, forget_weight=1.0, sensitivity_batches=2)
    steps = list(method(task))
    assert forget_loss(task) > 1.02 * before
    assert all(step.unlearn_loss < 0 for step in steps)


def test_towards_an_anchor_the_distance_to_it_shrinks(tiny_pipeline: Path) -> None:
    task = tiny_task(tiny_pipeline, "cross-attention", anchored=4)

    def distance() -> float:
        with torch.no_grad():
            return sum(task.unlearn(task.network, task.forget(i)).item() for i in range(4)) / 4

    before = distance()
    list(Scissorhands(trimming=False, steps=12, batch=2, learning_rate=1e-3, forget_weight=10.0)(task))
    assert distance() < 0.8 * before


def test_a_method_leaves_weights_out_of_scope_alone(tiny_pipeline: Path) -> None:
    task = tiny_task(tiny_pipeline, "cross-attention", anchored=2)
    before = copied(task.network)
    list(Scissorhands(steps=2, sensitivity_batches=2)(task))
    assert changed(before, copied(task.network)).keys() == in_scope(task.network, "cross-attention").keys()


# --- where to cut, and when to stop ---------------------------------------------------------------------------------


def test_only_the_chosen_layers_change_and_all_of_them_is_no_choice(tiny_pipeline: Path) -> None:
    results = {}
    for layers in (None, 2, 28):
        task = tiny_task(tiny_pipeline, "cross-attention", anchored=2)
        assert len({name.rpartition(".")[0] for name in task.weights}) == 28
        before = copied(task.network)
        list(Scissorhands(steps=2, batch=2, sensitivity_batches=2, layers=layers)(task))
        results[layers] = copied(task.network)
        moved = {name.rpartition(".")[0] for name in changed(before, results[layers])}
        assert len(moved) == (layers or 28)
    assert same(results[None], results[28])
    scores = {name.rpartition(".")[0]: row["layer_score"] for name, row in task.layers.items()}
    assert len(scores) == 28
    with pytest.raises(InputError, match="--layers is 29, but the scope has 28 layers"):
        list(Scissorhands(layers=29, sensitivity_batches=1)(tiny_task(tiny_pipeline, "cross-attention")))


def test_with_few_layers_a_stopped_run_goes_on_to_the_same_bits(tiny_pipeline: Path) -> None:
    method = Scissorhands(steps=3, batch=2, sensitivity_batches=2, layers=2)
    whole, first, second = (tiny_task(tiny_pipeline, "cross-attention", anchored=3) for _ in range(3))
    list(method(whole))
    snapshot = next(method(first)).snapshot()
    list(method(second, snapshot))
    assert same(copied(whole.network), copied(second.network))


def test_spared_weights_are_those_that_keeping_leans_on(tiny_pipeline: Path) -> None:
    """By hand: no trimmed weight has a larger sensitivity over retain batches than over forget batches."""
    from erase.sensitivity import connection_sensitivity

    task = tiny_task(tiny_pipeline, "cross-attention")
    weights = trimmable(task.weights)
    forget, retain = (
        connection_sensitivity(task.network, map(batches, range(2)), task.loss, weights) for batches in (task.forget, task.retain)
    )
    plain = Scissorhands(fraction=0.02, sensitivity_batches=2).trim(tiny_task(tiny_pipeline, "cross-attention"))
    assert any(bool((forget[name] < retain[name])[m].any()) for name, m in plain.items())  # there was something to spare
    mask = Scissorhands(fraction=0.02, sensitivity_batches=2, spare="exclude").trim(task)
    assert all(bool((forget[name] >= retain[name])[m].all()) for name, m in mask.items())
    assert sum(int(m.sum()) for m in mask.values()) == sum(int(m.sum()) for m in plain.values())


def test_the_retain_set_is_scored_by_the_data_also_where_repair_imitates(tiny_pipeline: Path) -> None:
    """The original imitates itself without a fault: that loss has no gradient, and would spare nothing."""
    model = StableDiffusion(tiny_pipeline)
    unet = model.network()
    task = diffusion_task(unet, model.objective(), made_up(), open_scope(unet, "cross-attention"), TaskConfig(2, retain_rounds=2))
    assert task.loss(task.network, task.retain(0)).item() < 1e-10
    assert task.retain_data is not None
    assert task.loss(task.network, task.retain_data(0)).item() > 0.1


def test_there_is_no_guard_without_something_held_out() -> None:
    with pytest.raises(InputError, match="--guard and --gone evaluate held-out images, and this task holds none out"):
        next(Scissorhands(scope="full", guard=0.1, steps=1)(classification_task()))
