"""Every measurement runs at its smallest size and says what it promises; what is compared does the same thing.

Nothing here looks at how long anything took.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from diffusion_toys import tensors_of

from erase.project import project
from erase.repair import repair
from erase.training.optimizers import OptimizerConfig
from erase.trim import top_k_mask

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
HOST = {"device", "cpu", "cores", "threads", "load", "torch", "python", "date"}
TIMES = {"wall_seconds", "processor_seconds", "median_wall", "least_processor", "ratio_of_wall_medians"}
FEW = "--forget 3 --retain 3 --batch 2 --steps 1 --warmup 0"

# script -> smallest options, contestants, and the keys that its record has beside the host's facts.
TIMED: dict[str, tuple[str, set[str], set[str]]] = {
    "published_step": (
        FEW,
        {"published", "published-lean", "ours", "ours-default-scope"},
        {"compared", "project_share", "published_parts_seconds", "once"},
    ),
    "latents_cache": (FEW, {"encoded anew", "from the cache"}, {"caching_seconds", "cache_bytes"}),
    "generation": (
        "--count 2 --batch 2 --sampling-steps 1 --repeats 1 --warmup 0",
        {"plain loop", "make_images"},
        {"pictures_per_second", "same_pictures"},
    ),
    "repair_step": ("--batch 1 --steps 1 --warmup 0", {"floor", "floor again", "step"}, {"ratio_of_least_processor", "weights"}),
    "scoring": ("--batch 1 --batches 1 --repeats 1", {"sensitivity", "trimming"}, {"together_seconds", "floor_seconds"}),
    "selection": ("--scores 3000 --tensors 3 --repeats 1", {"histogram", "kthvalue"}, {"times_faster", "extra_bytes", "k"}),
}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A benchmark as a module, found as Python finds it when it is started from the command line."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def run(script: Any, name: str, options: str, tmp_path: Path) -> dict[str, Any]:
    """The record that a script writes, which is what it also prints after its table."""
    path = tmp_path / f"{name}.json"
    script(name).main([*options.split(), "--json", str(path)])
    record: dict[str, Any] = json.loads(path.read_text())
    assert record.keys() >= HOST
    return record


@pytest.mark.parametrize("name", TIMED)
def test_a_measurement_has_its_contestants_and_its_numbers(script, name, tmp_path, capsys):
    options, contestants, keys = TIMED[name]
    record = run(script, name, options, tmp_path)
    assert record.keys() >= TIMES | keys
    assert record["median_wall"].keys() == record["ratio_of_wall_medians"].keys() == contestants
    printed = capsys.readouterr().out
    assert all(way in printed for way in contestants)
    assert json.loads(printed[printed.index("\n{\n") :]) == record


def test_the_step_on_a_card_is_measured_with_its_floor(script, tmp_path):
    options = "--size demo --batches 1 --steps 1 --warmup 1 --matrix 32 --copy 4096 --variants float32 bfloat16+checkpointing+micro1"
    record = run(script, "gpu_step", options, tmp_path)
    assert [point["variant"] for point in record["points"]] == ["float32", "bfloat16+checkpointing+micro1"]
    for point in record["points"]:
        assert point.keys() >= {"operations", "bytes", "floor_seconds", "share_of_matrix_rate", "median_wall", "peak_bytes"}
    assert record["matrix_operations_a_second"].keys() == {"float32", "bfloat16"}


def test_cost_has_a_series_for_weights_and_one_for_pictures(script, tmp_path):
    options = "--channels 32,64 --channel 32,64 --batch 1 --batches 1 --scopes cross-attention --steps 1 --warmup 0"
    record = run(script, "cost", options + " --processes", tmp_path)
    assert record["series"].keys() == {"weights, cross-attention", "pictures, cross-attention"}
    point = record["series"]["weights, cross-attention"]["points"][0]
    assert point.keys() >= {"weights", "weights_in_scope", "batch", "least_processor", "peak_bytes"}
    assert 0 < point["weights_in_scope"] < point["weights"]


@pytest.mark.slow
def test_cost_has_a_series_for_processes(script, tmp_path):
    options = "--channels --batches --channel 32,64 --batch 2 --scopes full --steps 1 --warmup 0 --processes 1 2"
    record = run(script, "cost", options, tmp_path)
    assert [point["processes"] for point in record["series"]["processes, full"]["points"]] == [1, 2]


def test_an_exponent_is_the_power_of_the_growth(script):
    points = [{"x": x, "square": x * x, "same": 7} for x in (1, 2, 4)]
    exponent = script("cost").exponent
    assert exponent(points, "x", "square") == pytest.approx(2)
    assert exponent(points, "x", "same") == pytest.approx(0)
    assert exponent(points[:1], "x", "square") is None


# --- what is compared does the same thing -------------------------------------------------------------------------------


def few(**more: Any) -> argparse.Namespace:
    return argparse.Namespace(batch=2, steps=2, warmup=0, device="cpu", dtype="float32", scope="full", **more)


@pytest.fixture
def measured(script, tmp_path) -> dict[str, Any]:
    """The embedded model, three pictures of each kind, and their cache."""
    model = script("models").open_size("demo")
    given = script("published").Pictures(tmp_path, 3, 3, model.size)
    path = tmp_path / "latents.safetensors"
    given.cache(path, model)
    return {"model": model, "given": given, "latents": path}


def test_both_ways_of_a_step_lead_to_the_same_weights(script, measured):
    """Encoded anew, joined on the host, updated weight by weight: the same pictures and noise, so the same step."""
    model, ours, published = measured["model"], measured["model"].network(), measured["model"].network()
    start = {name: weight.detach().clone() for name, weight in ours.named_parameters()}
    step = script("published").make_published(model, published, measured["given"], 2, lean=True)
    task = script("published_step").make_task(model, ours, measured["latents"], "ours", few())
    rate, weight = script("published").LEARNING_RATE, script("published").FORGET_WEIGHT
    step()
    next(repair(task, 1, optimizer=OptimizerConfig(learning_rate=rate), forget_weight=weight))
    moved = torch.cat([(w - start[name]).flatten() for name, w in ours.named_parameters()])
    apart = torch.cat([(w - v).flatten() for w, v in zip(ours.parameters(), published.parameters(), strict=True)])
    assert moved.abs().max() > 0.5 * rate
    # Adam's first step is the sign of the gradient: where that is near nought, rounding decides.
    assert (apart.abs() > 0.1 * rate).float().mean() < 0.01


def test_images_of_other_weights_are_drawn_anew(script, tmp_path):
    weights, folder = tmp_path / "model" / "unet" / "weights.safetensors", script("host").images_folder
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"before")
    before = folder(tmp_path, tmp_path / "model")
    assert folder(tmp_path, tmp_path / "model") == before, "a run that was interrupted goes on"
    weights.write_bytes(b"after")
    assert folder(tmp_path, tmp_path / "model") != before


def test_joining_on_the_host_is_the_projection_in_closed_form(script):
    random = torch.Generator().manual_seed(0)
    for bend in (-3.0, 3.0):  # against the retaining gradient, where the constraint acts, and along it
        retain = torch.randn(1000, generator=random)
        unlearn = 0.1 * (torch.randn(1000, generator=random) + bend * retain)
        joined = script("published").joined_on_host(retain.clone(), unlearn)
        expected = project([retain.clone()], [unlearn], script("published").FORGET_WEIGHT)
        assert torch.allclose(joined, expected.gradient[0], atol=1e-5)


def test_encoding_anew_gives_what_the_cache_holds(script, measured):
    options, cache = few(), script("latents_cache")
    from erase.diffusion.latents import read_latents

    cached = cache.make_cached(measured["model"], read_latents(measured["latents"]), options)
    fresh = cache.make_fresh(measured["model"], cached, measured["given"], options)
    for number in range(2):
        for which in ("forget", "retain"):
            a, b = getattr(cached, which)(number), getattr(fresh, which)(number)
            first, second = tensors_of(a), tensors_of(b)
            for name in second:
                assert torch.allclose(first[name].float(), second[name].float(), atol=2e-4), name


def test_all_of_the_pictures_are_the_same(script, tmp_path):
    record = run(script, "generation", TIMED["generation"][0], tmp_path)
    assert record["same_pictures"] == record["count"] == 2


@pytest.fixture
def small(script, monkeypatch) -> None:
    """The networks of Stable Diffusion 1.x with few channels: what would run on a card runs here."""
    models = script("models")
    few = {"block_out_channels": (8, 8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4}
    monkeypatch.setattr(models, "UNET", models.UNET | few | {"sample_size": 8, "cross_attention_dim": 16, "attention_head_dim": 2})
    monkeypatch.setattr(models, "VAE", models.VAE | few)
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "projection_dim": 16}
    monkeypatch.setattr(models, "TEXT", models.TEXT | text)


@pytest.mark.usefixtures("small")
def test_what_is_meant_for_a_card_runs_with_random_weights(script, tmp_path):
    generated = run(script, "generation", TIMED["generation"][0] + " --size sd1 --dtype bfloat16", tmp_path)
    assert (generated["side"], generated["scheduler"], "same_pictures" in generated) == (64, "DDIMScheduler", True)
    assert generated["most_levels_apart"] <= 1
    stepped = run(script, "published_step", FEW + " --size sd1 --ways published ours-bfloat16", tmp_path)
    assert stepped["median_wall"].keys() == {"published", "ours-bfloat16"}
    assert run(script, "latents_cache", FEW + " --size sd1 --dtype bfloat16", tmp_path)["cache_bytes"] > 0
    assert run(script, "scoring", TIMED["scoring"][0] + " --size sd1 --dtype bfloat16", tmp_path)["together_seconds"] > 0


# --- the networks and the floor -----------------------------------------------------------------------------------------


def test_the_networks_of_stable_diffusion_have_its_size(script):
    """The published counts of weights: UNet, autoencoder, text encoder."""
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModel

    models = script("models")
    with torch.device("meta"):
        parts = models.build_unet("sd1"), AutoencoderKL(**models.VAE), CLIPTextModel(CLIPTextConfig(**models.TEXT))
    counts = [sum(weight.numel() for weight in part.parameters()) for part in parts]
    assert counts == [859_520_964, 83_653_863, 123_060_480]


def test_the_floor_of_a_layer_is_what_one_counts_by_hand(script):
    """A convolution over the latents, kernel 1: forward 2 n c c h w, and in the backward pass the same for the kernel alone."""

    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = torch.nn.Conv2d(4, 4, 1, bias=False)
            self.config = {"in_channels": 4, "sample_size": 8, "cross_attention_dim": 1, "addition_embed_type": None}
            self.device = torch.device("cpu")

        def forward(self, noisy, timesteps, encoder_hidden_states, return_dict):
            return (self.kernel(noisy),)

    floor = script("floor").count(Layer, "full", 3, 1, torch.float32)
    once = 2 * 3 * 4 * 4 * 8 * 8
    assert floor["operations"] == 2 * 2 * once
    latents = 4 * 3 * 4 * 8 * 8
    assert floor["kept_bytes"] == 3 * latents  # the input, and for the loss what was predicted and what was wanted
    assert floor["bytes"] == 2 * (4 * 3 * 16 + 2 * 3 * latents) + 4 * 10 * 16


def test_the_ways_of_selecting_agree(script):
    scores = script("selection").make_scores(5000, 4, "cpu")
    ours, theirs = top_k_mask(scores, 50), script("selection").by_kthvalue(scores, 50)
    assert all(torch.equal(ours[name], theirs[name]) for name in scores)


def test_aims_are_met_or_missed_by_the_figures_beside_them(script):
    def row(label, ua, kept, **more):
        found = {"ua": ua, "kept": kept, "ira_kept": kept, "cra_kept": kept, **more}
        return {"label": label, "front": label == "scissorhands", **{name: {"mean": value, "std": 0} for name, value in found.items()}}

    ours = row("scissorhands", 99.5, 97, average_gap=2, relearned=40, seconds=50, peak_bytes=9)
    salun = row("salun", 98, 96, average_gap=3, relearned=50, seconds=50, peak_bytes=8)
    broken = row("gradient_ascent", 100, 10, average_gap=60, relearned=0)
    found = script("bench").targets({"methods": [row("original", 0, 100), ours, salun, broken]})
    met = {what: fine for what, fine, _ in found}
    assert met == {
        "ua at least 99": True,
        "ira_kept at least 98": False,
        "cra_kept at least 98": False,
        "worst concept: ua at least 95": True,
        "worst concept: ira_kept at least 93": True,
        "no other is better in both ua and kept": True,
        "nearest to the retrained model": True,
        "least relearned of those that keep within 2 points or more": True,  # the broken one learns nothing, and does not count
        "seconds at most those of salun": True,
        "peak_bytes at most those of salun": False,
    }
    alone = {what: fine for what, fine, _ in script("bench").targets({"methods": [row("scissorhands", 99.5, 99)]})}
    assert alone["nearest to the retrained model"] is None
    assert alone["seconds at most those of salun"] is None
    assert "| missed | 97.00 |" in script("bench").table(found)
    assert script("bench").targets({"methods": [{"label": "scissorhands"}]})[0][1] is False


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_who_answers_rightly_sees_without_error_and_who_answers_nothing_sees_the_noise(kind, script, tmp_path, monkeypatch):
    seen, latents = script("seen"), torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    schedule = DDPMScheduler(prediction_type=kind)

    class Model:
        size = 64

        def __init__(self, right: bool) -> None:
            self.right = right

        def encode(self, pixels: torch.Tensor) -> torch.Tensor:
            return latents

        def embed(self, prompts: list[str]) -> torch.Tensor:
            return torch.zeros(len(prompts), 1, 1)

        def noise_scheduler(self) -> DDPMScheduler:
            return schedule

        def network(self) -> Any:
            def answer(noisy: torch.Tensor, times: torch.Tensor, encoder_hidden_states: torch.Tensor) -> Any:
                share = schedule.alphas_cumprod[times[0]]
                noise = (noisy - share.sqrt() * latents) / (1 - share).sqrt()
                said = noise if kind == "epsilon" else share.sqrt() * noise - (1 - share).sqrt() * latents
                return SimpleNamespace(sample=said if self.right else torch.zeros_like(said))

            return answer

    picture = SimpleNamespace(path=tmp_path / "a.png", prompt="a star")
    monkeypatch.setattr(seen, "read_images", lambda folder: [picture, picture])
    monkeypatch.setattr(seen, "load_pixels", lambda paths, size: None)
    monkeypatch.setattr(seen, "open_model", lambda folder, *rest: Model(folder.name == "right"))
    assert max(seen.errors(Path("right"), tmp_path, 2)) < 1e-8
    wrong = seen.errors(Path("wrong"), tmp_path, 2)
    shares = [float(schedule.alphas_cumprod[t]) for t in seen.TIMESTEPS]
    noise = [(1 - share) / share if kind == "epsilon" else 1 - share for share in shares]  # of latents of variance 1, all that is left
    assert wrong == pytest.approx(noise, rel=0.2)


def test_what_breaks_through_is_counted_over_all_runs_of_an_option(script, tmp_path, monkeypatch):
    ablation = script("ablation")
    shown = {"green": [True, False, False, False], "star": [True, True, True, False]}

    def attacked(folder: Path, label: str) -> Any:
        attempts = [{"index": k, "looks": [{"shows": False}, {"shows": one}]} for k, one in enumerate(shown[folder.name])]
        return SimpleNamespace(attempts={"partial": {"erased": attempts, "original": []}})

    for name, seconds in (("green", 20), ("star", 40)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "stages.json").write_text(json.dumps({"erase": {"seconds": seconds}}))
    monkeypatch.setattr(ablation, "attacked", attacked)
    folders = [tmp_path / name for name in shown]
    found = ablation.attacks_on(folders)
    assert (found["partial"]["value"], found["partial"]["n"]) == (50.0, 8)
    assert ablation.seconds(folders) == 60
    table = ablation.attack_table({"base": found, "steps=50": found}, {"base": 1.0, "steps=50": 0.5})
    assert table.splitlines()[0] == "| with | erasing takes | `partial` |"
    assert table.splitlines()[-1].startswith("| `steps=50` | 0.5 × | 50 [")


def test_a_visitor_raises_the_events_that_the_page_handles(script, tmp_path):
    """Today's page: a click on Draw is answered by the browser at once and drawn by the server; only the latter is an event to raise."""
    pytest.importorskip("gradio")
    from ui.web.context import Page
    from ui.web.drawing.queue import Drawing
    from ui.web.jobs.queue import Jobs
    from ui.web.page import build

    visiting, visitors = script("visiting"), script("visitors")
    with Jobs(tmp_path) as jobs:  # the worker that draws is not started
        blocks = build(Page(tmp_path, jobs, Drawing("cpu"), device="cpu"))
        config = blocks.get_config_file()
        blocks.close(verbose=False)
    (event,) = visiting.handled(config, "click", "draw")
    assert event["backend_fn"]
    assert visiting.handled(config, "load")
    visiting.check_labels(config, event, visitors.comparison("star-1", 1, 1, 4))
    with pytest.raises(RuntimeError, match="the page handles 0 events 'click' of paint; this script needs to follow it"):
        visiting.handled(config, "click", "paint")
    with pytest.raises(RuntimeError, match=r"the page has no one control 'Sentence' that the event reads; it has .*Prompts"):
        visiting.check_labels(config, event, ["Prompts", "Sentence"])
    browser_only = {**config, "dependencies": [{**one, "backend_fn": False} for one in config["dependencies"]]}
    with pytest.raises(RuntimeError, match="handles 0 events 'load' of the page"):
        visiting.handled(browser_only, "load")


def test_every_script_is_measured_here_or_by_hand(script):
    """A new script needs a line above; these are too long, or only share what others use."""
    by_hand = {
        "ablation", "bench", "classify", "demo_quality", "emoji_quality", "erasing",
        "evaluation", "scenes_quality", "seen", "whole_job", "visitors", "kills",
    }  # fmt: skip
    shared = {"host", "models", "fresh", "published", "floor", "visiting", "intact", "classify_tables"}
    assert {path.stem for path in BENCHMARKS.glob("*.py")} == set(TIMED) | {"gpu_step", "cost"} | by_hand | shared
