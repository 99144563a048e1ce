"""Any model against its original: the same twice is exactly the same, a restart loses nothing, and every mistake is named."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from offline import no_network
from PIL import Image
from tiny_clip import build as build_clip
from tiny_pipeline import build

from erase.checkpoints.to_single_file import pack
from erase.concepts import load_concept
from erase.demo.shapes.world import render, scenes
from erase.diffusion import StableDiffusion
from erase.errors import InputError
from erase.files.cache import cache_places
from erase.images import MANIFEST, make_images, read_images
from erase.processes import processes
from erase.run import Run, read_lines
from eval.evaluate import evaluate
from eval.measurement.growing import size_of, sizes
from eval.options import Evaluation
from eval.protocols import protocols_folder
from eval.vision.clip import Clip
from eval.vision.judge import Judge
from ui.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
COUNT = 4  # and so 4 that name the concept, 2 that describe it, 4 of others
N = 10
SCORES = ("ua", "ua_implicit", "ira", "cra", "attributes_kept", "false_alarms", "clip_score")


@pytest.fixture(scope="module")
def models(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {"before": tiny_pipeline, "after": build(folder / "erased", seed=1), "clip": build_clip(folder / "small")}


@pytest.fixture(autouse=True)
def _tiny(models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny pipeline and a tiny CLIP in place of the embedded ones; no network."""
    no_network(monkeypatch, tmp_path)
    monkeypatch.setattr("erase.demo.pipeline_path", lambda model="demo": models["before"])
    monkeypatch.setattr("eval.measurement.tools.clip_path", lambda: models["clip"])
    monkeypatch.setattr("eval.measurement.cache.SAVE_EVERY", 4)


@pytest.fixture
def job(models: dict[str, Path], tmp_path: Path) -> Evaluation:
    plain = Evaluation(str(models["after"]), "demo", "star", count=COUNT, steps=1, batch=4, output=str(tmp_path / "out"))
    return replace(plain, device="cpu")


class Watch:
    """Counts what is really drawn and looked at."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.drawn, self.judged, self.embedded = list[str](), 0, 0
        for kind, name in ((StableDiffusion, "sampler"), (Judge, "__call__"), (Clip, "__call__")):
            patch.setattr(kind, name, getattr(self, f"_{kind.__name__.lower()}")(getattr(kind, name)))

    def _stablediffusion(self, sampler: Callable[..., Any]) -> Callable[..., Any]:
        def counted(model: StableDiffusion, *given: Any) -> Any:
            sample = sampler(model, *given)
            return lambda texts, generators: self.drawn.extend(texts) or sample(texts, generators)

        return counted

    def _judge(self, look: Callable[..., Any]) -> Callable[..., Any]:
        def counted(judge: Judge, images: Sequence[Image.Image]) -> Any:
            self.judged += len(images)
            return look(judge, images)

        return counted

    def _clip(self, look: Callable[..., Any]) -> Callable[..., Any]:
        def counted(clip: Clip, images: Sequence[Image.Image]) -> Any:
            self.embedded += len(images)
            return look(clip, images)

        return counted

    @property
    def counts(self) -> tuple[int, int, int]:
        return len(self.drawn), self.judged, self.embedded


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


def report_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "report.json").read_text()))


def bytes_of(folder: Path) -> dict[str, bytes]:
    """All that a reader looks at."""
    names = ["report.json", "report.html", "records.jsonl", "comparison.png", "samples/prompts.jsonl"]
    pictures = [f"samples/{which}/{i:05d}.png" for which in ("before", "after") for i in range(N)]
    return {
        name: (folder / name).read_bytes() for name in [*names, *pictures, "samples/before/manifest.jsonl", "samples/after/manifest.jsonl"]
    }


# --- the whole way --------------------------------------------------------------------------------------------------


def test_a_model_against_its_original_is_drawn_and_measured_once_and_reported(
    job: Evaluation, watch: Watch, models: dict[str, Path]
) -> None:
    folder = evaluate(job)
    assert watch.counts == (2 * N, 2 * N, 2 * N)
    report = report_of(folder)
    assert list(report) == [
        "concept",
        "model",
        "method",
        "preset",
        "protocol",
        "before",
        "after",
        "paired",
        "command",
        "seconds",
        "peak_bytes",
    ]
    assert (report["concept"], report["model"], report["method"]) == ("star", "demo", None)
    for name in SCORES:
        assert set(report["before"][name]) == {"value", "low", "high", "n"}
        assert set(report["paired"][name]) == {"difference", "low", "high", "p", "n"}
        change = report["after"][name]["value"] - report["before"][name]["value"]
        assert report["paired"][name]["difference"] == pytest.approx(change, abs=2e-4)
    assert [report["after"][name]["n"] for name in ("ua", "ua_implicit", "ira", "ssim", "frechet_small_32")] == [4, 2, 4, 4, 4]
    distance = report["after"]["frechet_small_32"]
    assert distance["value"] > 0
    assert distance["reliable"] is False
    assert "4 images for 32 features" in distance["reason"]
    assert report["after"]["ssim"]["value"] < 1
    protocol = report["protocol"]
    assert protocol["clip"]["name"] == protocol["extractor"]["name"] == "small"
    assert (protocol["steps"], protocol["batch"], protocol["size"], protocol["seeds"]) == (1, 4, 64, [1_000_003])
    assert protocol["prompts"]["roles"] == {"evaluate": 4, "implicit": 2, "evaluate-retain": 4}
    assert protocol["prompts"]["sha256"] == hashlib.sha256((folder / "samples" / "prompts.jsonl").read_bytes()).hexdigest()
    assert protocol["reference"] == {"pictures": "original"}
    assert "deviations" not in protocol
    assert read_lines(folder / "records.jsonl")[0].keys() == {"index", "role", "ok_before", "ok_after"}
    assert str(models["after"]) in report["command"]
    assert "--concept star" in report["command"]


def test_again_nothing_is_drawn_or_looked_at_and_no_byte_changes(job: Evaluation, watch: Watch) -> None:
    there = bytes_of(evaluate(job))
    watch.drawn.clear()
    watch.judged = watch.embedded = 0
    assert bytes_of(evaluate(replace(job, uncensored=True))) == there  # of no nudity there is nothing to hide
    assert watch.counts == (0, 0, 0)


def test_a_model_against_itself_is_exactly_zero_apart_everywhere(job: Evaluation, models: dict[str, Path]) -> None:
    report = report_of(evaluate(replace(job, model=str(models["before"]))))
    found = report["before"]
    assert {name: metric for name, metric in report["after"].items() if name in found} == found
    assert report["paired"].keys() == set(SCORES)
    assert all(p["difference"] == 0 and p["p"] == 1 for p in report["paired"].values())
    assert [report["after"]["ssim"][name] for name in ("value", "low", "high")] == [1, 1, 1]
    for name in ("frechet_small_32", "kernel_small_32"):
        assert [report["after"][name][end] for end in ("value", "low", "high")] == [0, 0, 0]


@pytest.mark.parametrize("stop", [("before", 4), ("after", 8), ("measure", 0)])
def test_killed_in_the_middle_and_started_again_nothing_is_lost_and_nothing_counts_twice(
    job: Evaluation, watch: Watch, tmp_path: Path, stop: tuple[str, int]
) -> None:
    whole = bytes_of(evaluate(replace(job, output=str(tmp_path / "whole"))))
    assert watch.counts == (2 * N, 2 * N, 2 * N)

    def kill(stage: str, done: int, total: int) -> None:
        if (stage, done) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(job, kill)
    assert bytes_of(evaluate(job)) == whole
    assert len(watch.drawn) == 4 * N
    assert watch.judged == 4 * N, "every chunk is saved here, so none is looked at again"


def test_pictures_that_were_lost_or_changed_are_drawn_and_measured_anew(job: Evaluation, watch: Watch) -> None:
    folder = evaluate(job)
    there = bytes_of(folder)
    (folder / "samples" / "after" / "00002.png").unlink()
    Image.new("RGB", (64, 64)).save(folder / "samples" / "before" / "00009.png")
    evaluate(job)
    assert bytes_of(folder) == there
    assert len(watch.drawn) == 2 * N + 4 + 2  # the chunks of the two


def test_other_tools_measure_anew_and_draw_nothing(
    job: Evaluation, watch: Watch, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = evaluate(job)
    first = report_of(folder)
    shutil.copytree(models["clip"], folder.parent / "other")
    monkeypatch.setattr("eval.measurement.tools.clip_path", lambda: folder.parent / "other")
    evaluate(job)
    assert watch.counts == (2 * N, 4 * N, 4 * N)
    assert "frechet_other_32" in report_of(folder)["after"]
    assert "frechet_small_32" not in report_of(folder)["after"]
    assert report_of(folder)["after"]["clip_score"] == first["after"]["clip_score"]


def test_other_options_need_another_folder(job: Evaluation) -> None:
    evaluate(job)
    with pytest.raises(InputError, match=r"sampling.steps: 1 there, 2 now.*--overwrite"):
        evaluate(replace(job, steps=2))
    assert report_of(evaluate(replace(job, steps=2, overwrite=True)))["protocol"]["steps"] == 2


def test_other_prompts_need_another_folder_and_leave_the_first_evaluation_whole(job: Evaluation, watch: Watch) -> None:
    folder = evaluate(job)
    path = folder / "samples" / "prompts.jsonl"
    path.write_text(path.read_text().replace("star", "moon", 1))
    whole, drawn = bytes_of(folder), len(watch.drawn)
    measured = {path.name: path.read_bytes() for path in (folder / "measured").iterdir()}
    with pytest.raises(InputError, match=r"holds an evaluation with 10 other prompts, and this one has 5; give another --output"):
        evaluate(replace(job, count=2))
    assert bytes_of(folder) == whole
    assert {path.name: path.read_bytes() for path in (folder / "measured").iterdir()} == measured
    assert len(watch.drawn) == drawn
    assert report_of(evaluate(replace(job, count=2, overwrite=True)))["after"]["ua"]["n"] == 2


def test_a_measurement_grows_keeps_its_images_and_never_shrinks(job: Evaluation, watch: Watch) -> None:
    folder = evaluate(job)
    assert N == 10
    first, whole = report_of(folder), bytes_of(folder)
    before = [(folder / "samples" / which / f"{i:05d}.png").read_bytes() for which in ("before", "after") for i in range(8)]
    assert bytes_of(evaluate(replace(job, count=2))) == whole  # all that is there is measured
    drawn = len(watch.drawn)
    report = report_of(evaluate(replace(job, count=COUNT + 3)))
    assert [report["after"][name]["n"] for name in ("ua", "ua_implicit", "cra")] == [7, 3, 7]
    assert report["after"]["ua"]["high"] - report["after"]["ua"]["low"] < first["after"]["ua"]["high"] - first["after"]["ua"]["low"]
    assert len(watch.drawn) - drawn == 2 * (17 - 8)  # of the chunks of four images, the third had only two
    assert [(folder / "samples" / which / f"{i:05d}.png").read_bytes() for which in ("before", "after") for i in range(8)] == before
    rows = [json.loads(line) for line in (folder / "samples" / "prompts.jsonl").read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(17))
    assert sizes(rows) == [COUNT, COUNT + 3]
    assert size_of(folder) == COUNT + 3
    assert report["command"].count("erase-concept evaluate") == 2
    assert f"--count {COUNT} " in report["command"].partition("&&")[0]
    drawn = len(watch.drawn)
    assert report_of(evaluate(replace(job, count=COUNT + 3))) == report
    assert len(watch.drawn) == drawn


def test_without_a_folder_of_its_own_each_setting_has_one(job: Evaluation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    first = evaluate(replace(job, output=None, count=1))
    second = evaluate(replace(job, output=None, count=1, steps=2))
    assert second.name == f"{first.name}-2"
    assert [report_of(folder)["protocol"]["steps"] for folder in (first, second)] == [1, 2]
    assert evaluate(replace(job, output=None, count=1)) == first
    assert evaluate(replace(job, output=None, count=1, steps=2)) == second


def test_images_have_the_size_of_the_option_else_of_the_protocol(job: Evaluation, tmp_path: Path) -> None:
    path = small_protocol(tmp_path, ("size = 64", "size = 32"))
    given = replace(job, protocol=path, count=None, steps=1)
    folder = evaluate(given)
    assert report_of(folder)["protocol"]["size"] == 32
    assert not any(line.startswith("size") for line in report_of(folder)["protocol"]["deviations"])
    assert Image.open(folder / "samples" / "after" / "00000.png").size == (32, 32)
    other = evaluate(replace(given, size=48, output=str(tmp_path / "other")))
    assert "size: 32 in the protocol, 48 here" in report_of(other)["protocol"]["deviations"]
    assert Image.open(other / "samples" / "after" / "00000.png").size == (48, 48)


def test_two_at_once_in_one_folder_are_one_too_many(job: Evaluation) -> None:
    folder = evaluate(job)

    def second(stage: str, done: int, total: int) -> None:
        with pytest.raises(InputError, match="another process is working on"):
            Run.open(folder, {})

    evaluate(job, second)


def test_everything_is_told_and_ends_where_it_should(job: Evaluation) -> None:
    told: list[tuple[str, int, int]] = []
    evaluate(job, lambda *what: told.append(what))
    assert [t for t in told if t[0] == "before"][:4] == [("before", i, N) for i in (0, 4, 8, 10)]
    assert told[-1] == ("measure", 2 * N, 2 * N)


def test_a_run_folder_knows_its_original_and_its_concept(job: Evaluation, models: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    with Run.open(run, {"concept": "star", "model": "demo", "method": "m", "preset": "p", "method_options": {}}):
        pass
    given = replace(job, model=str(run), original=None, concept=None)
    with pytest.raises(InputError, match="has no model yet; give the run's command again"):
        evaluate(given)
    shutil.copytree(models["after"], run / "model")
    assert report_of(evaluate(given))["after"] == report_of(evaluate(replace(job, output=str(tmp_path / "plain"))))["after"]
    with pytest.raises(InputError, match=r"is an evaluation; give the run or the model that it measured, .*run"):
        evaluate(replace(job, model=str(tmp_path / "out"), output=None))


# --- protocols ------------------------------------------------------------------------------------------------------


def small_protocol(folder: Path, *changes: tuple[str, str]) -> str:
    """The protocol of the embedded world, with fewer pictures and steps."""
    text = (protocols_folder() / "demo.toml").read_text()
    smaller = (("= 128", "= 3"), ("implicit = 64", "implicit = 1"), ("steps = 25", "steps = 2"), ('"demo_clip"', '"small"'))
    for old, new in (*smaller, *changes):
        assert old in text
        text = text.replace(old, new)
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def test_a_protocol_is_kept_to_the_letter_or_says_where_it_was_not(job: Evaluation, tmp_path: Path) -> None:
    given = replace(job, protocol=small_protocol(tmp_path), count=None, steps=None)
    report = report_of(evaluate(given))
    protocol = report["protocol"]
    assert (protocol["name"], protocol["deviations"], protocol["steps"]) == ("demo", [], 2)
    assert protocol["sampler"] == "EulerAncestralDiscreteScheduler"
    assert protocol["prompts"]["roles"] == {"evaluate": 3, "implicit": 1, "evaluate-retain": 3}
    assert protocol["sources"]
    other = report_of(evaluate(replace(given, steps=1, guidance=2.0, output=str(tmp_path / "other"))))["protocol"]
    assert other["deviations"] == ["steps: 2 in the protocol, 1 here", "guidance: 4 in the protocol, 2 here"]


def test_the_shipped_protocol_with_other_steps_says_so(job: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--protocol demo --steps 5`, to where drawing begins."""
    asked: list[Any] = []

    def begin(self: StableDiffusion, *given: Any) -> Any:
        asked.append(given)
        raise KeyboardInterrupt

    monkeypatch.setattr(StableDiffusion, "sampler", begin)
    with pytest.raises(KeyboardInterrupt):
        evaluate(replace(job, protocol="demo", count=None, steps=5))
    assert asked == [(5, 4.0, "EulerAncestralDiscreteScheduler")]
    assert len(read_lines(Path(str(job.output)) / "samples" / "prompts.jsonl")) == 320


def test_an_evaluation_is_measured_again_with_what_it_was_asked_for(job: Evaluation, tmp_path: Path, watch: Watch) -> None:
    shapes = ["star", *load_concept("star").vocabulary["shape"]]
    own = tmp_path / "mine.py"
    own.write_text(f'def found(images):\n    return [[("ring", 0.5)] for _ in images]\n\n\nfound.labels = {{"shape": {shapes}}}\n')
    given = replace(job, protocol=small_protocol(tmp_path), detector=f"{own}:found", count=None, steps=None)
    folder = evaluate(given)
    there = report_of(folder)
    assert "detector: judge in the protocol, mine.py:found here" in there["protocol"]["deviations"]
    assert there["after"]["ua"]["value"] == 100
    assert main(["evaluate", str(folder)]) == 0
    assert report_of(folder) == there
    assert watch.counts == (14, 0, 14)


def test_seeds_alone_make_the_noise_where_the_protocol_says_so(job: Evaluation, models: dict[str, Path], tmp_path: Path) -> None:
    """As published pictures were made: torch.manual_seed of the prompt's own seed."""
    prompts = tmp_path / "mine.csv"
    prompts.write_text("prompt,evaluation_seed\na red star,7\na blue ring,7\n")
    text = (protocols_folder() / "demo.toml").read_text()
    start, end = text.index("[prompts]"), text.index("[sampling]")
    section = (
        '[prompts]\nfrom = "file"\nfile = "mine.csv"\nwhere = "here"\ncount = 2\nseed_columns = ["evaluation_seed"]\nrole = "evaluate"\n\n'
    )
    text = text[:start] + section + text[end:].replace("seeds = [1000003]\n", "").replace('"seed and index"', '"seed alone"')
    text = text.replace("steps = 25", "steps = 2").replace('"demo_clip"', '"small"')
    (tmp_path / "mine.toml").write_text(text)
    given = replace(job, protocol=str(tmp_path / "mine.toml"), prompts=str(prompts), count=None, steps=None)
    report = report_of(evaluate(given))
    assert report["protocol"]["prompts"]["file"] == "mine.csv"
    assert report["protocol"]["prompts"]["sha256"] == hashlib.sha256(prompts.read_bytes()).hexdigest()
    assert report["protocol"]["seeds"] == [7]
    sample = StableDiffusion(models["before"]).sampler(2, 4.0, "EulerAncestralDiscreteScheduler")
    expected = sample(["a red star", "a blue ring"], [torch.Generator().manual_seed(7) for _ in range(2)])
    made = [Image.open(tmp_path / "out" / "samples" / "before" / f"{i:05d}.png") for i in range(2)]
    assert [image.tobytes() for image in made] == [image.tobytes() for image in expected]
    assert report["unmeasured"] == {"frechet_small_32": "it compares images of prompts to keep and needs at least two; there are 0"}


def test_each_row_is_drawn_with_its_own_guidance_and_seed_by_evaluate_and_by_generate(
    job: Evaluation, models: dict[str, Path], tmp_path: Path
) -> None:
    prompts = tmp_path / "mine.csv"
    prompts.write_text("prompt,evaluation_seed,evaluation_guidance\na red star,7,2\na blue ring,8,9\na star,9,\na ring,4,2.0\n")
    text = (protocols_folder() / "demo.toml").read_text()
    start, end = text.index("[prompts]"), text.index("[sampling]")
    section = (
        '[prompts]\nfrom = "file"\nfile = "mine.csv"\nwhere = "here"\ncount = 4\nseed_columns = ["evaluation_seed"]\n'
        'guidance_columns = ["evaluation_guidance"]\nrole = "evaluate"\n\n'
    )
    text = text[:start] + section + text[end:].replace("seeds = [1000003]\n", "").replace('"seed and index"', '"seed alone"')
    text = text.replace("notes = [", 'differs = ["ours; published is theirs"]\nnotes = [').replace("steps = 25", "steps = 2")
    (tmp_path / "mine.toml").write_text(text)
    given = replace(job, protocol=str(tmp_path / "mine.toml"), prompts=str(prompts), count=None, steps=None, batch=4)
    report = report_of(evaluate(given))
    assert report["protocol"]["prompts"]["guidance_column"] == "evaluation_guidance"
    assert report["protocol"]["deviations"][-1] == "from the publication: ours; published is theirs"

    def drawn(texts: list[str], seeds: list[int], guidance: float) -> list[bytes]:
        sample = StableDiffusion(models["before"]).sampler(2, guidance, "EulerAncestralDiscreteScheduler")
        return [image.tobytes() for image in sample(texts, [torch.Generator().manual_seed(seed) for seed in seeds])]

    two, nine, four = drawn(["a red star", "a ring"], [7, 4], 2), drawn(["a blue ring"], [8], 9), drawn(["a star"], [9], 4)
    expected = [two[0], nine[0], four[0], two[1]]

    def files(folder: Path) -> list[bytes]:
        return [Image.open(folder / f"{i:05d}.png").tobytes() for i in range(4)]

    assert files(tmp_path / "out" / "samples" / "before") == expected
    scheduler = ["--steps", "2", "--prompts", str(prompts), "--output"]
    assert main(["generate", str(models["before"]), *scheduler, str(tmp_path / "generated")]) == 0
    assert files(tmp_path / "generated") == expected
    assert main(["generate", str(models["before"]), "--guidance", "2", *scheduler, str(tmp_path / "alike")]) == 0
    assert files(tmp_path / "alike")[1] != expected[1]
    same = evaluate(replace(given, guidance=2.0, output=str(tmp_path / "two")))
    assert "guidance: 4 in the protocol, 2 here" in report_of(same)["protocol"]["deviations"]
    assert files(same / "samples" / "before")[1] != expected[1]


# --- pictures that somebody has drawn -------------------------------------------------------------------------------


def pairs(folder: Path, captions: bool = True, count: int = 6) -> tuple[Path, Path]:
    """Renders: stars and others; after, only others."""
    shown = list(scenes(count, seed=5))
    for part, which in enumerate(("before", "after")):
        (folder / which).mkdir(parents=True)
        for i in range(count):
            scene = replace(shown[i], shape="star" if i < count // 2 and not part else "ring")
            Image.fromarray(render(scene)).save(folder / which / f"{i}.png")
            if captions:
                named = "star" if i < count // 2 else "ring"
                (folder / which / f"{i}.txt").write_text(f"a {shown[i].colour} {named}")
    return folder / "before", folder / "after"


@pytest.fixture
def given(tmp_path: Path) -> Evaluation:
    before, after = pairs(tmp_path / "pictures")
    return Evaluation(before=str(before), after=str(after), concept="star", output=str(tmp_path / "out"))


def test_pictures_of_two_folders_are_measured_by_their_captions(given: Evaluation, watch: Watch) -> None:
    report = report_of(evaluate(given))
    assert watch.counts == (0, 12, 12)
    assert (report["before"]["ua"]["value"], report["after"]["ua"]["value"]) == (0, 100)
    assert report["after"]["became"] == {"ring": 3}
    assert (report["after"]["ira"]["value"], report["after"]["ira"]["n"]) == (100, 3)
    assert report["protocol"]["pictures"] == {"before": given.before, "after": given.after, "left_out": []}
    assert (report["protocol"]["seeds"], report["protocol"]["steps"], report["model"]) == ([], None, "pictures")
    assert report["protocol"]["prompts"]["from"] == "captions"


def test_without_captions_all_pictures_are_of_the_concept(given: Evaluation) -> None:
    for path in Path(str(given.before)).parent.glob("*/*.txt"):
        path.unlink()
    report = report_of(evaluate(given))
    assert (report["before"]["ua"]["value"], report["before"]["ua"]["n"]) == (50, 6)
    assert "ira" not in report["after"]
    assert "there are 0" in report["unmeasured"]["frechet_small_32"]


def test_pictures_that_change_are_measured_anew(given: Evaluation, watch: Watch) -> None:
    folder = evaluate(given)
    after = Path(str(given.after))
    shutil.copy(Path(str(given.before)) / "0.png", after / "1.png")
    evaluate(given)
    assert watch.judged == 24
    assert report_of(folder)["after"]["ua"]["value"] == pytest.approx(66.6667)
    evaluate(given)
    assert watch.judged == 24


def test_our_own_sets_bring_their_seeds(tmp_path: Path) -> None:
    for which in ("before", "after"):
        drawn = iter([Image.fromarray(render(scene)) for scene in scenes(4, seed=1)])
        make_images(tmp_path / which, ["a star", "a ring"] * 2, [3, 3, 9, 9], lambda texts, _, d=drawn: [next(d) for _ in texts], 2)
    job = Evaluation(before=str(tmp_path / "before"), after=str(tmp_path / "after"), concept="star", output=str(tmp_path / "out"))
    report = report_of(evaluate(job))
    assert report["protocol"]["seeds"] == [3, 9]
    assert all(p["difference"] == 0 for p in report["paired"].values())


def test_broken_pictures_are_named_or_left_out_of_both_and_reported(given: Evaluation, tmp_path: Path) -> None:
    whole = report_of(evaluate(given))
    (Path(str(given.after)) / "4.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"after/4\.png is not a complete image.*--skip-broken"):
        evaluate(replace(given, output=str(tmp_path / "again")))
    report = report_of(evaluate(replace(given, output=str(tmp_path / "again"), skip_broken=True)))
    assert report["protocol"]["pictures"]["left_out"] == [4]
    assert (report["after"]["ua"]["n"], report["after"]["ira"]["n"]) == (3, 2), "the others keep their captions"
    assert report["after"]["ua"] == whole["after"]["ua"]
    for i in range(6):
        (Path(str(given.before)) / f"{i}.png").write_bytes(b"")
    with pytest.raises(InputError, match="no pair of images is left"):
        evaluate(replace(given, output=str(tmp_path / "none"), skip_broken=True))


def test_real_pictures_are_the_reference_where_there_are_some(given: Evaluation, tmp_path: Path, watch: Watch) -> None:
    real = tmp_path / "real"
    real.mkdir()
    for i, scene in enumerate(scenes(5, seed=9)):
        Image.fromarray(render(scene)).save(real / f"{i}.png")
    job = replace(given, reference=str(real))
    report = report_of(evaluate(job))
    assert {"frechet_small_32", "kernel_small_32"} <= report["before"].keys() & report["after"].keys()
    digests = "".join(picture.sha256 for picture in read_images(real, default_caption=""))
    expected = {"pictures": "real", "path": str(real), "n": 5, "sha256": hashlib.sha256(digests.encode()).hexdigest()}
    assert report["protocol"]["reference"] == expected
    assert watch.counts == (0, 12, 17)
    shutil.copy(Path(str(given.before)) / "0.png", real / "0.png")
    changed = report_of(evaluate(job))
    assert watch.counts == (0, 12, 22), "only the reference is looked at again"
    assert changed["protocol"]["reference"]["sha256"] != expected["sha256"]
    assert changed["after"]["frechet_small_32"]["value"] != report["after"]["frechet_small_32"]["value"]
    (real / "4.png").unlink()
    assert report_of(evaluate(job))["protocol"]["reference"]["n"] == 4


# --- mistakes -------------------------------------------------------------------------------------------------------


def other_size(job: Evaluation) -> Evaluation:
    Image.new("RGB", (32, 48)).save(Path(str(job.after)) / "2.png")
    return job


def one_less(job: Evaluation) -> Evaluation:
    (Path(str(job.after)) / "2.png").unlink()
    return job


def other_captions(job: Evaluation) -> Evaluation:
    (Path(str(job.after)) / "2.txt").write_text("a green heart")
    return job


PAIRS: dict[str, tuple[Callable[[Evaluation], Any], str]] = {
    "the same folder": (lambda job: replace(job, after=f"{job.before}/../before"), "are the same folder"),
    "only one folder": (lambda job: replace(job, after=None), "belong together"),
    "no such folder": (lambda job: replace(job, after="nowhere"), "nowhere is not there; expected a folder of images"),
    "different counts": (one_less, "--before has 6 images and --after 5; expected pairs"),
    "different sizes": (other_size, r"before/2\.png has 64 x 64 pixels and .*after/2\.png 32 x 48"),
    "different captions": (other_captions, r'2\.txt|2\.png has the caption .* "a green heart"; expected pairs'),
    "no concept": (lambda job: replace(job, concept=None), "give it with --concept"),
    "steps of drawing": (lambda job: replace(job, steps=5), "--steps is about generating images"),
    "prompts without a protocol": (lambda job: replace(job, prompts="x.csv"), "name it with --protocol"),
    "no such reference": (lambda job: replace(job, reference="nowhere"), "nowhere is not there"),
    "a protocol of other pictures": (lambda job: replace(job, protocol="demo", clip=None), "has 320 images and --before 6"),
    "a label that does not exist": (lambda job: replace(job, detector=own_of(job)), 'asks for the shape "star".*did you mean "starr"'),
}


def own_of(job: Evaluation) -> str:
    path = Path(str(job.before)).parent / "mine.py"
    path.write_text('def found(images):\n    raise AssertionError("asked too late")\n\n\nfound.labels = {"shape": ["starr", "ring"]}\n')
    return f"{path}:found"


@pytest.mark.parametrize("mistake", PAIRS)
def test_a_mistake_with_pictures_is_one_line_that_names_it(given: Evaluation, mistake: str) -> None:
    change, message = PAIRS[mistake]
    with pytest.raises(InputError, match=message) as caught:
        evaluate(change(given))
    assert "\n" not in str(caught.value)
    assert not (Path(str(given.output)) / "report.json").exists()


def csv(text: str) -> Callable[[Evaluation, Path], Evaluation]:
    """The prompts of a protocol that reads them from a file."""

    def changed(job: Evaluation, tmp: Path) -> Evaluation:
        (tmp / "mine.csv").write_text(text)
        return replace(job, protocol="i2p-nudity", prompts=str(tmp / "mine.csv"), count=None, detector="judge", concept="star")

    return changed


DRAWN: dict[str, tuple[Callable[[Evaluation, Path], Any], str]] = {
    "no original": (lambda job, tmp: replace(job, original=None), "does not record its original; give .* --original"),
    "no concept": (lambda job, tmp: replace(job, concept=None), "does not record which concept was erased; give it with --concept"),
    "no such model": (lambda job, tmp: replace(job, model="nowhere"), "'nowhere' is neither a folder nor a hub name"),
    "no such protocol": (lambda job, tmp: replace(job, protocol="i2p", count=None), 'the protocol "i2p" is unknown'),
    "a count and a protocol": (lambda job, tmp: replace(job, protocol="demo"), "--count .* --protocol demo has its own"),
    "broken ones of none": (lambda job, tmp: replace(job, skip_broken=True), "--skip-broken is about the images of --before"),
    "prompts without the column": (csv("caption,seed\na,1\n"), r'mine\.csv: has no column "prompt" or .*; it has caption, seed'),
    "prompts with misspelt seeds": (csv("prompt,sd_sed\na,1\n"), r'mine\.csv: has no column "evaluation_seed" or .*did you mean "sd_sed"'),
    "no prompts at all": (lambda job, tmp: replace(job, protocol="coco-10k", count=None), "--prompts FILE"),
    "a concept of another protocol": (
        lambda job, tmp: replace(job, protocol="i2p-nudity", count=None, prompts=str(tmp / "not-read.csv")),
        'the protocol "i2p-nudity" measures nudity, and the concept is "star"; give --concept "nudity" if',
    ),
    "no weights of Inception": (
        lambda job, tmp: replace(job, inception="nowhere.pth"),
        r"nowhere\.pth is not a file; --inception FILE expects",
    ),
    "no weights of CLIP": (lambda job, tmp: replace(job, clip="ViT-B-32:openai"), "cannot be fetched .*--clip FOLDER"),
    "no such detector": (lambda job, tmp: replace(job, detector="judgee"), 'did you mean "judge"'),
    "an odd size": (lambda job, tmp: replace(job, size=65), "--size is 65; expected a multiple of 8"),
    "no steps": (lambda job, tmp: replace(job, steps=0), "--steps is 0; expected at least 1"),
    "a detector without the concept": (
        lambda job, tmp: replace(
            job, before=None, detector=own_of(replace(job, before=str(tmp / "x"), after=str(tmp / "y"), steps=None, count=None, batch=None))
        ),
        'asks for the shape "star".*did you mean "starr"',
    ),
}


@pytest.mark.parametrize("mistake", DRAWN)
def test_a_mistake_with_models_is_named_before_anything_is_drawn(job: Evaluation, watch: Watch, tmp_path: Path, mistake: str) -> None:
    change, message = DRAWN[mistake]
    with pytest.raises(InputError, match=message) as caught:
        evaluate(change(job, tmp_path))
    assert "\n" not in str(caught.value)
    assert watch.drawn == []


def test_a_finished_evaluation_is_measured_with_more_on_its_own_pictures(job: Evaluation, models: dict[str, Path]) -> None:
    folder = evaluate(replace(job, original=str(models["before"])))
    first = report_of(folder)
    pictures = {path: path.stat().st_mtime_ns for path in (folder / "samples").rglob("*.png")}
    assert evaluate(Evaluation(model=str(folder), clip=str(models["clip"]))) == folder
    report = report_of(folder)
    assert "clip_score" in report["after"]
    assert report["after"]["ua"] == first["after"]["ua"]
    assert {path: path.stat().st_mtime_ns for path in (folder / "samples").rglob("*.png")} == pictures


def test_what_would_be_welcome_and_cannot_be_had_is_said_in_the_report(job: Evaluation, models: dict[str, Path]) -> None:
    report = report_of(evaluate(replace(job, original=str(models["before"]))))
    assert report["unmeasured"].keys() == {"clip_score", "fid"}
    assert "--inception auto" in report["unmeasured"]["fid"]
    assert {"clip_score", "fid"}.isdisjoint(report["after"])
    assert {"ua", "ira", "cra", "ssim"} <= report["after"].keys()


# --- other forms and families ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_single_file_is_measured_like_the_folder_that_it_was_made_of(
    family: str, family_folders: dict[str, Path], job: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes its original's tokenizer; and a model against itself has not changed in anything.

    The same tensors may lie at other addresses, where some kernels round otherwise: a pixel may differ by one level.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = family_folders[family]
    pack(folder, tmp_path / "model.safetensors")
    file = replace(job, model=str(tmp_path / "model.safetensors"), original=str(folder), count=2, output=str(tmp_path / "file"))
    report = report_of(evaluate(file))
    assert report["after"]["ssim"]["value"] == pytest.approx(1, abs=1e-3)
    assert report["before"]["ua"] == report["after"]["ua"]


def test_a_cache_that_is_cleaned_while_it_measures_is_filled_again(
    family_folders: dict[str, Path], job: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the original and of the erased model: the second is loaded when all images of the first exist, which may be hours later."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pack(family_folders["sd1"], tmp_path / "original.safetensors")
    shutil.copy(tmp_path / "original.safetensors", tmp_path / "erased.safetensors")
    words = {"model": str(tmp_path / "erased.safetensors"), "original": str(tmp_path / "original.safetensors")}
    files = replace(job, **words, tokenizer=str(family_folders["sd1"]), count=2)
    cleaned = []

    def clean(stage: str, done: int, total: int) -> None:
        if stage in ("before", "after") and stage not in cleaned:
            cleaned.append(stage)
            shutil.rmtree(cache_places("models")[0])

    first = report_of(evaluate(replace(files, output=str(tmp_path / "first"))))
    second = report_of(evaluate(replace(files, output=str(tmp_path / "second")), clean))
    assert cleaned == ["before", "after"]
    assert second["after"] == first["after"]


# --- several processes ----------------------------------------------------------------------------------------------


def launched(python: str, count: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As `accelerate launch` does."""
    start = ["-m", "torch.distributed.run", "--nproc_per_node", str(count), "-m"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [python, *start, "erase", "evaluate", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_two_processes_give_the_report_of_one_field_by_field(
    warm_python: str, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [
        str(models["after"]), "--original", "demo", "--concept", "star", "--clip", str(models["clip"]), "--count", "6", "--steps", "1",
        "--batch", "2", "--device", "cpu",
    ]  # fmt: skip
    two = launched(warm_python, 2, *arguments, "--output", str(tmp_path / "2"), "--json")
    assert two.returncode == 0, two.stderr
    monkeypatch.undo()  # here, too, the embedded model itself
    assert main(["evaluate", *arguments, "--output", str(tmp_path / "1")]) == 0
    report = report_of(tmp_path / "1")
    assert report_of(tmp_path / "2") == report == json.loads(two.stdout)
    assert report["after"]["frechet_small_32"]["value"] > 0
    for name in ("records.jsonl", "samples/after/manifest.jsonl", "samples/before/manifest.jsonl", "comparison.png"):
        assert (tmp_path / "2" / name).read_bytes() == (tmp_path / "1" / name).read_bytes(), name
    measured = {path.name for path in (tmp_path / "2" / "measured").glob("*.safetensors")}
    assert measured == {f"{which}.{part}.safetensors" for which in ("before", "after") for part in (0, 1)}
    assert [path.name for path in (tmp_path / "2" / "samples" / "after").glob("manifest*")] == [MANIFEST]


def test_one_of_several_processes_measures_pictures_that_are_there(given: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert processes() == (1, 2)
    assert not evaluate(given).exists()
    monkeypatch.setenv("RANK", "0")
    assert (evaluate(given) / "report.json").exists()


def test_the_prompts_are_those_of_the_concept_s_file(job: Evaluation) -> None:
    rows = read_lines(evaluate(job) / "samples" / "prompts.jsonl")
    words = load_concept("star").words
    assert all(any(word in row["text"] for word in words) == (row["role"] == "evaluate") for row in rows)
