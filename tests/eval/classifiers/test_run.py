"""The loop over methods and seeds: what has its line is not done again, a kill costs nothing, and a method that diverges stops nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import nn

from erase.classifiers.forget_sets import Case
from erase.classifiers.networks import build_network
from erase.classifiers.saved_networks import read_facts, read_network, write_network
from erase.errors import InputError
from erase.methods import CLASSIFIER_METHODS
from erase.training.meters import Clock
from eval.classifiers.measure import measurement, report_of
from eval.classifiers.options import ABLATION, ADDED, DEFAULTS, Classify, candidates, entries
from eval.classifiers.predictions import accuracy, logits
from eval.classifiers.report import sentences
from eval.classifiers.run import export_model, model_path, networks, results, unlearn_all
from eval.classifiers.tuning_grids import GRIDS, SETTINGS

QUICK: dict[str, Any] = {"dataset": "digits", "train_samples": 60, "epochs": 4, "seeds": 1}
FINE = "fine_tune:epochs=1"


def weigh(network: nn.Module, case: Case) -> dict[str, Any]:
    """A measure that says which network it saw."""
    total = sum(float(weight.detach().double().abs().sum()) for weight in network.parameters())
    return {"weighs": total, "forget": len(case.forget), "retain_accuracy": accuracy(logits(network, case.training), case.training.y)}


def job(folder: Path, **values: Any) -> Classify:
    return Classify(**{**QUICK, "output": str(folder), **values})


def known(folder: Path) -> dict[tuple[str, int, int], dict[str, Any]]:
    return {(line["label"], line["seed"], line["request"]): line for line in results(folder)}


def test_every_row_of_every_seed_once_and_more_rows_and_seeds_later(tmp_path: Path) -> None:
    unlearn_all(job(tmp_path / "run"), entries([FINE]), weigh)
    first = known(tmp_path / "run")
    assert list(first) == [("original", 0, 0), ("retrain", 0, 0), (FINE, 0, 0)]
    assert {line["forget"] for line in first.values()} == {6}
    assert len({line["weighs"] for line in first.values()}) == 3
    assert all(line["work"] > 0 and line["peak_bytes"] > 0 for line in first.values())
    unlearn_all(job(tmp_path / "run", seeds=2), entries([FINE, "gradient_ascent"]), weigh)
    both = known(tmp_path / "run")
    assert len(results(tmp_path / "run")) == len(both) == 8
    assert {key: both[key] for key in first} == first  # nothing was done again
    other = unlearn_all(job(tmp_path / "other", seeds=2), entries(["gradient_ascent", FINE]), weigh)
    assert {key: line["weighs"] for key, line in known(other).items()} == {key: line["weighs"] for key, line in both.items()}


class Stop(Exception):
    pass


def test_training_goes_on_where_it_was_killed_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = unlearn_all(job(tmp_path / "whole"), [], weigh)
    monkeypatch.setattr("erase.classifiers.saved_networks.SAVE_EVERY", 0.0)

    def kill(event: Any) -> None:
        if event.stage.startswith("train") and event.done == 5:
            raise Stop

    with pytest.raises(Stop):
        unlearn_all(job(tmp_path / "killed"), [], weigh, kill)
    assert [path.name for path in (tmp_path / "killed" / "models").iterdir()] == ["original-0.checkpoint"]
    seen: list[int] = []
    killed = unlearn_all(
        job(tmp_path / "killed"), [], weigh, lambda e: seen.append(e.done) if e.stage == "train original, seed 0" else None
    )
    assert seen[0] == 5
    assert [line["weighs"] for line in results(killed)] == [line["weighs"] for line in results(whole)]
    assert not list((killed / "models").glob("*.checkpoint"))


@pytest.mark.usefixtures("any_rate")
def test_a_method_that_diverges_has_its_line_and_the_others_go_on(tmp_path: Path) -> None:
    folder = unlearn_all(job(tmp_path), entries(["gradient_ascent:learning_rate=1e12,epochs=9", FINE]), weigh)
    lost = next(line for line in results(folder) if line["method"] == "gradient_ascent")
    assert "gradient_ascent" in lost["diverged"]
    assert "is not finite at step" in lost["diverged"]
    assert "weighs" in known(folder)[(FINE, 0, 0)]


def test_requests_one_after_another_go_on_from_the_method_s_own_network(tmp_path: Path) -> None:
    folder = unlearn_all(job(tmp_path / "two", forget=("class:3", "random:10%")), entries([FINE]), weigh)
    lines = known(folder)
    assert lines[(FINE, 0, 1)]["forget"] == lines[(FINE, 0, 0)]["forget"] + 6 == lines[("retrain", 0, 1)]["forget"]
    alone = unlearn_all(job(tmp_path / "one", forget=("class:3",)), entries([FINE]), weigh)
    assert known(alone)[(FINE, 0, 0)]["weighs"] == lines[(FINE, 0, 0)]["weighs"] != lines[(FINE, 0, 1)]["weighs"]
    assert lines[("retrain", 0, 0)]["weighs"] != lines[("retrain", 0, 1)]["weighs"]


def test_other_options_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    unlearn_all(job(tmp_path), entries([FINE]), weigh)
    with pytest.raises(InputError, match="epochs: 4 there, 5 now"):
        unlearn_all(job(tmp_path, epochs=5), entries([FINE]), weigh)


def test_networks_of_the_first_seed_are_kept_and_exported_with_how_they_came_about(tmp_path: Path) -> None:
    folder = unlearn_all(job(tmp_path, seeds=2), entries([FINE]), weigh)
    assert model_path(folder, FINE, 0, 0).exists()
    assert not model_path(folder, FINE, 1, 0).exists()
    case, found = networks(job(tmp_path), ["original", "retrain", FINE, "salun"], 0)
    assert list(found) == ["original", "retrain", FINE]
    assert {label: weigh(network, case)["weighs"] for label, network in found.items()} == {
        label: line["weighs"] for (label, seed, _), line in known(folder).items() if seed == 0
    }
    out = export_model(job(tmp_path), FINE, tmp_path / "model.safetensors", {"note": "kept"})
    with safe_open(out, framework="pt") as file:
        made = json.loads(file.metadata()["erase-concept"])
    assert (made["method"], made["seed"], made["forget"], made["note"]) == ("fine_tune", 0, ["random:10%"], "kept")
    assert len(made["source_sha256"]) == 64
    with pytest.raises(InputError, match="--export salun"):
        export_model(job(tmp_path), "salun", out, {})


def test_a_network_of_the_user_is_not_trained_again(tmp_path: Path) -> None:
    network = build_network("small", 10, 1, 8, seed=7)
    write_network(tmp_path / "own.safetensors", network, {})
    folder = unlearn_all(job(tmp_path / "run", original=str(tmp_path / "own.safetensors")), entries([FINE]), weigh)
    wanted = sum(float(weight.detach().double().abs().sum()) for weight in network.parameters())
    assert known(folder)[("original", 0, 0)]["weighs"] == wanted
    with pytest.raises(InputError, match="does not fit the network"):
        unlearn_all(job(tmp_path / "b", dataset="shapes", original=str(tmp_path / "own.safetensors")), [], weigh)
    (tmp_path / "own.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="is not a safetensors file"):
        unlearn_all(job(tmp_path / "c", original=str(tmp_path / "own.safetensors")), [], weigh)


def test_a_preset_has_the_values_of_the_share_that_is_forgotten(tmp_path: Path) -> None:
    """20 % of the samples, and a whole class: the line says which cell, and that none was released for this data set."""
    rows = entries(["influence:preset=cifar100,iterations=1", "gradient_ascent:epochs=1"])
    first, second = (unlearn_all(job(tmp_path / name, forget=(name,)), rows, measurement()) for name in ("random:20%", "class:3"))
    lines = [next(line for line in results(folder) if line["method"] == "influence") for folder in (first, second)]
    assert [(line["values"]["strength"], line["cell"], line["released"]) for line in lines] == [(5.0, "20", False), (20.0, "10", False)]
    assert all("cell" not in line for line in results(first) if line["method"] != "influence")
    (told,) = (text for text in sentences(report_of(first)) if "released" in text)
    assert told.endswith("is ours: influence:preset=cifar100,iterations=1.")
    assert "preset cifar100, 20 %" in told


def test_a_run_from_before_an_option_goes_on(tmp_path: Path) -> None:
    """Records of 0.1.0 lack the options that were added since; they stand for the defaults."""
    folder = unlearn_all(job(tmp_path), entries([FINE, "gradient_ascent:epochs=1"]), weigh)
    options = json.loads((folder / "options.json").read_text())
    (folder / "options.json").write_text(json.dumps({name: value for name, value in options.items() if name not in ADDED}))
    lines = results(folder)
    assert "forget_norms" in lines[-1]["values"]
    for line in lines:
        line["values"].pop("forget_norms", None)
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    unlearn_all(job(tmp_path), entries([FINE, "gradient_ascent:epochs=1"]), weigh)
    assert results(folder) == lines
    other = [replace(row, values={**row.values, "forget_norms": "batch"}) for row in entries(["gradient_ascent:epochs=1"])]
    with pytest.raises(InputError, match="contains gradient_ascent:epochs=1 with other options"):
        unlearn_all(job(tmp_path), other, weigh)


def test_the_recipe_of_celeba_on_a_folder(tmp_path: Path) -> None:
    """ResNet-34 from ImageNet's weights, 10 epochs at 1e-3; here smaller, from a file."""
    assert vars(Classify(dataset=str(tmp_path), recipe="celeba").training) == vars(DEFAULTS["celeba"])
    found = DEFAULTS["celeba"]
    assert (found.network, found.weights, found.epochs, found.learning_rate, found.batch) == ("resnet34", "imagenet", 10, 1e-3, 8)
    assert (found.size, found.edge, found.shift, found.cosine) == (224, 256, False, False)
    for name in "abcd":
        for i in range(10):
            (tmp_path / "people" / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20), (60 * "abcd".index(name), 10 * i, 0)).save(tmp_path / "people" / name / f"{i}.png")
    write_network(tmp_path / "given.safetensors", build_network("small", 9, 3, 16, seed=3), {})
    small = {"network": "small", "weights": str(tmp_path / "given.safetensors"), "size": 16, "edge": 18, "epochs": 1, "train_samples": None}
    ours = job(tmp_path / "run", dataset=str(tmp_path / "people"), recipe="celeba", forget=("class:25%",), **small)
    folder = unlearn_all(ours, entries(["influence:iterations=1"], "celeba"), weigh)
    lines = {line["method"]: line for line in results(folder)}
    assert {line["forget"] for line in lines.values()} == {7}
    assert (lines["influence"]["values"]["strength"], lines["influence"]["cell"], lines["influence"]["released"]) == (5.0, "10", False)
    written = json.loads((folder / "options.json").read_text())
    assert (written["learning_rate"], written["edge"], written["cosine"]) == (1e-3, 18, False)


def test_images_are_not_cropped_beyond_their_edge() -> None:
    with pytest.raises(InputError, match="--edge is 32; expected at least --size, 64"):
        Classify(edge=32)


def test_rows_in_words() -> None:
    assert [entry.label for entry in entries(["all"])] == [name for name in CLASSIFIER_METHODS if name != "retrain"]
    (one,) = entries(["scissorhands:fraction=0.1,projected=false,initialisation=zero,trim-scope=None", "retrain"])
    assert one.values == {"fraction": 0.1, "projected": False, "initialisation": "zero", "trim_scope": None}
    made = one.make()
    assert (made.fraction, made.projected, made.initialisation) == (0.1, False, "zero")
    assert [entries(["scissorhands:preset=cifar100"])[0].make().fraction] == [
        CLASSIFIER_METHODS["scissorhands"].presets["cifar100"]["fraction"]
    ]
    assert len({json.dumps(vars(entry.make()), sort_keys=True) for entry in entries(ABLATION)}) == 8
    assert [entry.preset for entry in entries(["salun", "influence", "salun:preset=balanced"], "cifar10")][::2] == ["cifar10", "balanced"]
    assert {entry.preset for entry in entries(["all"], "digits")} == {"balanced"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("esd", "--methods 'esd' is a method for text-to-image models, not for classifiers"),
        ("salun:fraction", "'fraction' is not an option=value"),
        ("salun:fraction=much", "fraction is 'much'; expected float"),
        ("scissorhands:projected=perhaps", "expected true or false"),
        ("salun:speed=3", "salun has no option 'speed'"),
        ("salun:fraction=2", "--fraction is 2.0; expected at most 1"),
    ],
)
def test_rows_that_cannot_be_read(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        entries([text])


def test_every_method_is_tuned_on_equally_many_settings_its_default_among_them() -> None:
    for entry in entries(["all"]):
        settings = candidates(entry)
        assert len(settings) == SETTINGS, entry.label
        made = [vars(one.make()) for one in settings]
        assert vars(CLASSIFIER_METHODS[entry.method]()) in made, entry.label
        assert len({json.dumps(one, sort_keys=True) for one in made}) == SETTINGS
    assert set(GRIDS) == set(CLASSIFIER_METHODS) - {"retrain"}


def test_data_sets_have_their_own_defaults() -> None:
    assert Classify(dataset="cifar100").record()["epochs"] == DEFAULTS["cifar100"].epochs == 160
    assert Classify(dataset="cifar100", epochs=3).training.epochs == 3
    assert Classify(dataset="some/folder").record()["network"] == "resnet34"
    with pytest.raises(InputError, match="--references is 1"):
        Classify(references=1)


def test_facts_are_kept_beside_a_network(tmp_path: Path) -> None:
    first, second = (build_network("small", 3, 1, 8, seed) for seed in (0, 1))
    write_network(tmp_path / "a.safetensors", first, {"seconds": 1.5})
    read_network(tmp_path / "a.safetensors", second)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True))
    assert read_facts(tmp_path / "a.safetensors") == {"seconds": 1.5}


def test_the_clock_counts_what_was_before_a_stop() -> None:
    clock = Clock("cpu", {"seconds": 100.0, "work": 50.0})
    sum(i * i for i in range(100_000))
    read = clock.read()
    assert read["seconds"] > 100
    assert read["work"] > 50


def test_memory_is_that_within() -> None:
    """In a process of its own: in this one an allocator may have kept that much from another test."""
    code = """
import torch
from erase.training.meters import Memory
with Memory("cpu") as small:
    pass
with Memory("cpu") as large:
    torch.ones(40_000_000)
with Memory("cpu") as after:
    pass
print(large.peak - small.peak, after.peak - small.peak)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    large, after = map(int, done.stdout.split())
    assert large > 100e6
    assert after < 60e6
