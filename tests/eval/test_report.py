"""A run folder of renders, whose true measures are known, gives exactly those, with all that is needed to repeat them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import eval.vision.judge as eval_judge
from erase.concepts import load_concept, prompts
from erase.demo import clip_path
from erase.demo.shapes.judge import Judge
from erase.demo.shapes.world import DOMAINS, Scene, render, sample_scene
from erase.errors import InputError
from erase.files import sha256, write_tensors
from erase.images import make_images, open_picture
from erase.run import Run, lines_of, package_version, read_lines
from eval.rendering.blur import blurred
from eval.report import evaluate_locked, evaluate_run, table
from eval.vision.clip import FILES
from eval.vision.detector import most_likely
from eval.vision.judge import LABELS, facts

COUNTS = {"evaluate": 8, "implicit": 4, "evaluate-retain": 12}
DISTANCES = [f"{kind}_{clip_path().name}_64" for kind in ("frechet", "kernel")]
METRICS = ("ua", "ua_implicit", "ira", "cra", "attributes_kept")
SAMPLING = {"scheduler": "DDIMScheduler", "steps": 25, "guidance": 4.0, "size": 64, "batch": 8}


def rows() -> list[dict[str, Any]]:
    asked = [prompt for role, count in COUNTS.items() for prompt in prompts(load_concept("star"), role, count)]
    return [{"index": i, "text": p.text, "role": p.role, "attributes": dict(p.attributes), "seed": 7} for i, p in enumerate(asked)]


def other(domain: str, name: str) -> str:
    return next(member for member in DOMAINS[domain] if member not in (name, "star"))


def scenes() -> dict[str, list[Scene]]:
    """What was drawn: before, exactly as asked; after, with the mistakes that the test below counts."""
    asked = [{k: v for k, v in row["attributes"].items() if k in (*DOMAINS, "background")} for row in rows()]
    before = [sample_scene(np.random.default_rng(i), **attributes) for i, attributes in enumerate(asked)]
    after = list(before)
    for i in (*range(6), 8):  # six of the eight that name it, one of the four that describe it
        after[i] = replace(after[i], shape="cross")
    after[6] = replace(after[6], shape="diamond", colour=other("colour", after[6].colour))
    after[12] = replace(after[12], shape=other("shape", after[12].shape))
    after[13] = replace(after[13], style=other("style", after[13].style))
    return {"before": before, "after": after}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A judge that has learned these very pictures by heart: what it says of them is the truth."""
    torch.manual_seed(0)
    shown = [scene for part in scenes().values() for scene in part]
    pixels = torch.from_numpy(np.stack([render(scene) for scene in shown])).permute(0, 3, 1, 2).float() / 127.5 - 1
    truth = {d: torch.tensor([DOMAINS[d].index(scene.attribute(d)) for scene in shown]) for d in DOMAINS}
    judge = Judge()
    optimizer = torch.optim.Adam(judge.parameters(), lr=2e-3)
    for _ in range(200):
        loss = torch.stack([F.cross_entropy(logits, truth[d]) for d, logits in judge(pixels).items()]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.05:
            break
    assert loss < 0.05
    path = tmp_path_factory.mktemp("judge") / "judge.safetensors"
    write_tensors(path, judge.state_dict())
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "star"
    options = {"concept": "star", "model": "demo", "method": "scissorhands", "preset": "balanced", "seed": 0}
    with Run.open(folder, {**options, "concept_file": asdict(load_concept("star")), "sampling": SAMPLING}) as run:
        for which, drawn in scenes().items():
            pictures = iter([Image.fromarray(render(scene)) for scene in drawn])
            make_images(run.samples(which), [r["text"] for r in rows()], 7, lambda texts, _, p=pictures: [next(p) for _ in texts], 8)
        (folder / "samples" / "prompts.jsonl").write_text(lines_of(rows()))
        run.complete("before", seconds=1.5, peak_bytes=1000)
        run.complete("erase", seconds=30.25, peak_bytes=3000)
        run.complete("note")
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def values(numbers: dict[str, Any]) -> dict[str, float]:
    return {name: numbers[name]["value"] for name in METRICS}


def test_the_numbers_are_the_true_ones(folder: Path, weights: Path) -> None:
    report = evaluate_run(folder, weights=weights)
    assert values(report["before"]) == {"ua": 0, "ua_implicit": 0, "ira": 100, "cra": 100, "attributes_kept": 100}
    assert report["before"]["became"] == {"star": 8}
    expected = {"ua": 7 / 8, "ua_implicit": 1 / 4, "ira": 11 / 12, "cra": 11.5 / 12, "attributes_kept": 11.5 / 12}
    assert values(report["after"]) == pytest.approx({name: 100 * value for name, value in expected.items()}, abs=1e-3)
    assert report["after"]["became"] == {"cross": 6, "diamond": 1, "star": 1}
    assert [report["after"][name]["n"] for name in METRICS] == [8, 4, 12, 12, 12]
    for numbers in (report["before"], report["after"]):
        assert all(numbers[name]["low"] <= numbers[name]["value"] <= numbers[name]["high"] for name in METRICS)


def test_the_report_holds_all_that_a_repetition_needs(folder: Path, weights: Path) -> None:
    report = evaluate_run(folder, weights=weights)
    assert json.loads((folder / "report.json").read_text()) == report
    assert list(report) == ["concept", "model", "method", "preset", "protocol", "before", "after", "paired", "seconds", "peak_bytes"]
    protocol = report["protocol"]
    assert protocol["detector"] == {"name": "judge", "version": protocol["detector"]["version"], "sha256": sha256(weights), "size": 64}
    assert protocol["threshold"] is None
    assert protocol["labels"] == {domain: list(members) for domain, members in DOMAINS.items()}
    assert protocol["counted"] == "pictures"
    prompts_file = {"file": "samples/prompts.jsonl", "sha256": sha256(folder / "samples" / "prompts.jsonl"), "roles": COUNTS}
    assert protocol["prompts"] == prompts_file | {"from": "concept"}
    assert protocol["reference"] == {"pictures": "original"}
    assert protocol["clip"] == protocol["extractor"]
    assert protocol["extractor"]["name"] == clip_path().name
    assert protocol["extractor"]["sha256"] == sha256(clip_path() / FILES[1])
    assert [drift["name"] for drift in protocol["drift"]] == ["ssim"]
    assert set(protocol["interval"]) == {"metrics", "paired", "frechet", "kernel"}
    assert protocol["seeds"] == [7]
    sampling = {name: protocol[name] for name in ("sampler", "steps", "guidance", "size", "batch")}
    assert sampling == {"sampler": "DDIMScheduler", "steps": 25, "guidance": 4.0, "size": 64, "batch": 8}
    assert protocol["versions"]["sampling"][0]["torch"] == protocol["versions"]["evaluation"]["torch"] == package_version("torch")
    assert report["seconds"] == {"before": 1.5, "erase": 30.25}
    assert report["peak_bytes"] == 3000


def test_twice_the_same_bytes_and_the_progress_is_complete(folder: Path, weights: Path) -> None:
    told: list[tuple[int, int]] = []
    evaluate_run(folder, lambda done, total: told.append((done, total)), weights)
    first = [(folder / name).read_bytes() for name in ("report.json", "comparison.png")]
    evaluate_run(folder, weights=weights)
    assert [(folder / name).read_bytes() for name in ("report.json", "comparison.png")] == first
    assert told[0] == (0, 48)
    assert told[-1] == (48, 48)


def test_a_model_compared_with_itself_has_not_changed(folder: Path, weights: Path) -> None:
    shutil.rmtree(folder / "samples" / "after")
    shutil.copytree(folder / "samples" / "before", folder / "samples" / "after")
    report = evaluate_run(folder, weights=weights)
    assert report["before"] == {name: report["after"][name] for name in report["before"]}
    assert report["after"]["ssim"]["value"] == 1
    assert [report["after"][name]["value"] for name in DISTANCES] == [0, 0]
    assert all(p["difference"] == 0 and p["p"] == 1 for p in report["paired"].values())


def test_the_table_is_aligned_and_says_what_the_report_says(folder: Path, weights: Path) -> None:
    text = table(evaluate_run(folder, weights=weights))
    lines = text.splitlines()
    assert lines[0] == '"star" erased from demo with scissorhands (balanced)'
    assert len({len(line) for line in lines[1:-2]}) == 1
    assert [line.split()[0] for line in lines[2:-2]] == [*METRICS, "false_alarms", "clip_score", "ssim", *DISTANCES]
    assert "87.5 [" in lines[2]
    assert lines[-2] == "prompts that name it now show: cross 6, diamond 1, star 1"
    assert re.fullmatch(r"Is “star” gone\? [A-Z].*\. Is the rest kept\? [A-Z].*\. Does it hold against attacks\? Not tried\.", lines[-1])
    assert max(map(len, lines)) <= 120


def test_what_a_published_preset_does_otherwise_is_in_report_table_and_page(folder: Path, weights: Path) -> None:
    edit_options(folder, lambda record: record.update(preset="reference"))
    Run.read(folder).complete("score", seconds=1.0, differs=["the script ranks all; here matrices"])
    report = evaluate_run(folder, weights=weights)
    assert report["differs"] == ["the script ranks all; here matrices"]
    assert "differs from the publication of scissorhands: the script ranks all; here matrices" in table(report).splitlines()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "The preset reference differs from its publication: the script ranks all; here matrices." in page


def edit_options(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads((folder / "options.json").read_text())
    change(record)
    (folder / "options.json").write_text(json.dumps(record))


def drop_picture(folder: Path, listed: bool) -> None:
    (folder / "samples" / "after" / "00023.png").unlink()
    manifest = folder / "samples" / "after" / "manifest.jsonl"
    if not listed:
        manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))


def swap_prompts(folder: Path) -> None:
    changed = [{**row, "text": "another text"} if row["index"] == 3 else row for row in rows()]
    (folder / "samples" / "prompts.jsonl").write_text(lines_of(changed))


def unseen_word(folder: Path) -> None:
    changed = [{**row, "attributes": {"shape": "starfish"}} for row in rows()]
    (folder / "samples" / "prompts.jsonl").write_text(lines_of(changed))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a picture is missing": (lambda f: drop_picture(f, True), "00023.png"),
    "a picture was never made": (lambda f: drop_picture(f, False), "23 images for 24 prompts"),
    "no pictures after": (lambda f: shutil.rmtree(f / "samples" / "after"), "is not there"),
    "a changed picture": (lambda f: Image.new("RGB", (9, 9)).save(f / "samples" / "before" / "00004.png"), "00004.png is not the image"),
    "no prompts": (lambda f: (f / "samples" / "prompts.jsonl").unlink(), "nothing to evaluate"),
    "other prompts": (swap_prompts, "another text"),
    "a line without a role": (lambda f: (f / "samples" / "prompts.jsonl").write_text('{"text": "t"}\n'), "line 1: role"),
    "a word the judge has no label for": (unseen_word, "starfish"),
    "guidance not recorded": (lambda f: edit_options(f, lambda o: o["sampling"].pop("guidance")), "guidance"),
    "not a run": (lambda f: (f / "options.json").unlink(), "not a run folder"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_named_in_one_line_and_no_number_is_written(folder: Path, weights: Path, damage: str) -> None:
    harm, message = DAMAGE[damage]
    harm(folder)
    with pytest.raises(InputError) as caught:
        evaluate_run(folder, weights=weights)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (folder / "report.json").exists()


def test_two_do_not_measure_one_run_at_a_time(folder: Path) -> None:
    """While a job, an evaluation or another measurement works on it, it is refused and nothing is touched; afterwards it goes."""
    before = sorted(folder.rglob("*"))
    with Run.open(folder, Run.read(folder).options):
        with pytest.raises(InputError, match=r"another process is working on .*; wait until it ends"):
            evaluate_locked(folder)
        assert sorted(path for path in folder.rglob("*") if path.name != ".lock") == [path for path in before if path.name != ".lock"]
    assert evaluate_locked(folder)["after"]
    assert evaluate_locked(folder)["after"]  # the lock was given back
    (folder.parent / "none").mkdir()
    with pytest.raises(InputError, match="is not a run folder"):
        evaluate_locked(folder.parent / "none")
    assert not list((folder.parent / "none").iterdir())


def test_without_a_detector_there_is_a_page_that_says_why_and_no_accuracy(folder: Path) -> None:
    edit_options(folder, lambda options: options["concept_file"].update(domain="mood"))
    report = evaluate_run(folder)
    assert set(report["before"]) == {"clip_score"}
    assert set(report["after"]) == {"clip_score", "ssim", *DISTANCES}
    assert "detector" not in report["protocol"]
    why = 'the judge has no labels for the domain "mood"'
    assert why in report["unmeasured"]["ua, ira, cra"]
    *_, reason, verdict = table(report).splitlines()
    assert why in reason
    assert verdict.endswith("Does it hold against attacks? Not tried.")
    assert "mood" in (folder / "report.html").read_text()
    assert (folder / "comparison.png").exists()


def test_every_picture_s_fate_is_noted(folder: Path, weights: Path) -> None:
    report = evaluate_run(folder, weights=weights)
    fates = read_lines(folder / "records.jsonl")
    assert [fate["index"] for fate in fates] == list(range(24))
    named = [fate for fate in fates if fate["role"] == "evaluate"]
    assert 100 * sum(fate["ok_after"] for fate in named) / len(named) == report["after"]["ua"]["value"]
    kept = [fate for fate in fates if fate["role"] == "evaluate-retain"]
    assert [fate["index"] for fate in kept if not fate["ok_after"]] == [12, 13]
    assert all(fate["ok_before"] for fate in kept)


def test_only_what_has_changed_is_looked_at_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    look = eval_judge.Judge.__call__
    monkeypatch.setattr(eval_judge.Judge, "__call__", lambda judge, images: looked.append(len(images)) or look(judge, images))
    first = evaluate_run(folder)
    assert sum(looked) == 48
    assert evaluate_run(folder) == first
    assert sum(looked) == 48
    make_images(folder / "samples" / "after", [r["text"] for r in rows()], 7, never, 8)
    shutil.rmtree(folder / "samples" / "after")
    shutil.copytree(folder / "samples" / "before", folder / "samples" / "after")
    assert evaluate_run(folder)["after"]["ssim"]["value"] == 1
    assert sum(looked) == 96
    shutil.rmtree(folder / "measured")
    evaluate_run(folder)
    assert sum(looked) == 144


def test_lines_that_a_crash_has_lost_are_measured_anew(folder: Path) -> None:
    """The sums were on the disk and the lines were not."""
    first = evaluate_run(folder)
    lines = folder / "measured" / "after.0.jsonl"
    lines.write_text("".join(lines.read_text().splitlines(keepends=True)[:-3]))
    assert evaluate_run(folder) == first


def never(prompts: list[str], generators: list[torch.Generator]) -> list[Image.Image]:
    raise AssertionError("everything was drawn before")


def test_a_run_without_prompts_to_keep_says_which_number_it_lacks(folder: Path, weights: Path) -> None:
    for which in ("before", "after"):
        for i in range(8, 24):
            (folder / "samples" / which / f"{i:05d}.png").unlink()
        manifest = folder / "samples" / which / "manifest.jsonl"
        manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:8]))
    (folder / "samples" / "prompts.jsonl").write_text(lines_of(rows()[:8]))
    report = evaluate_run(folder, weights=weights)
    assert report["after"]["ua"]["n"] == 8
    assert "there are 0" in report["unmeasured"][DISTANCES[0]]
    assert {"clip_score", "ssim", *DISTANCES}.isdisjoint(report["after"])


def test_the_judge_says_what_it_is(folder: Path, weights: Path, tmp_path: Path) -> None:
    assert facts(weights)["detector"]["sha256"] == sha256(weights)
    paths = sorted((folder / "samples" / "before").glob("*.png"))
    found = most_likely(eval_judge.Judge(weights)([open_picture(path) for path in paths]), LABELS)
    assert found["colour"] == [scene.colour for scene in scenes()["before"]]
    with pytest.raises(InputError, match="nowhere"):
        eval_judge.Judge(tmp_path / "nowhere.safetensors")([open_picture(paths[0])])


def test_nudity_is_blurred_on_the_sheet(tmp_path):
    sharp = np.zeros((64, 64, 3), np.uint8)
    sharp[::2] = 255
    Image.fromarray(sharp).save(tmp_path / "lines.png")
    assert np.ptp(np.asarray(blurred(Image.open(tmp_path / "lines.png")))[16:48, 16:48].astype(int)) < 16
