"""The command: what it prints, what it returns, and one helpful line for every mistake."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from offline import no_network
from PIL import Image
from safetensors.torch import load_file

import eval.vision.judge
from erase.checkpoints.folder import read_provenance
from erase.checkpoints.safetensors_header import metadata
from erase.checkpoints.to_single_file import pack
from erase.demo.shapes.judge import Judge
from erase.files import sha256, write_tensors
from erase.methods.diffusion.scissorhands import Scissorhands
from erase.pipeline import Event, Job
from erase.pipeline.job import STAGES
from erase.pipeline.plan import make_plan, write_plan
from erase.run import Run, append_lines, read_lines
from erase.task import Step
from ui import cli as commands
from ui.cli.display import Display
from ui.cli.main import COMMANDS, main
from ui.progress import read_progress

ROOT = Path(__file__).resolve().parents[3]
SMALL = shlex.split(
    "--forget-count 4 --retain-count 6 --evaluate-count 4 --sampling-steps 2 --sampling-batch 4"
    " --steps 3 --batch 2 --sensitivity-batches 2 --learning-rate 0.001"
)


@pytest.fixture(scope="module", autouse=True)
def _judge(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A judge that knows nothing, in place of the shipped one, and no network: these tests are about the command."""
    path = tmp_path_factory.mktemp("judge") / "judge.safetensors"
    torch.manual_seed(0)
    write_tensors(path, Judge().state_dict())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eval.vision.judge, "judge_path", lambda: path)
        no_network(patch, path.parent)
        yield


def star(model: Path, output: Path, *more: str) -> list[str]:
    small = list(SMALL)
    for role in ("forget", "retain"):
        if f"--{role}-images" in more:  # their number is given with them
            at = small.index(f"--{role}-count")
            del small[at : at + 2]
    concept = [] if "--concept" in more else ["--concept", "star"]
    return [*concept, "--model", str(model), "--output", str(output), *small, *more]


@pytest.fixture(scope="module")
def finished(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "star"
    assert main(star(tiny_pipeline, folder)) == 0
    return folder


# --- the main job ---------------------------------------------------------------------------------------------------


def test_the_command_does_the_job_prints_a_table_and_says_where_everything_is(
    tiny_pipeline: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(star(tiny_pipeline, tmp_path / "run")) == 0
    out, err = capfd.readouterr()
    assert err == ""  # a terminal would see progress; a log file does not want it
    assert out.splitlines()[0] == '"star" erased from pipeline with scissorhands (balanced)'
    for name in ("ua", "ira", "cra"):
        assert any(line.startswith(f"{name} ") for line in out.splitlines())
    for name in ("comparison.png", "report.html", "model"):
        assert str(tmp_path / "run" / name) in out
        assert (tmp_path / "run" / name).exists()
    assert "clip_score not measured: " in out
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert set(STAGES) <= set(report["seconds"])


def test_the_next_command_that_it_suggests_works(
    tiny_pipeline: Path, finished: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(star(tiny_pipeline, finished)) == 0
    line = next(line for line in capfd.readouterr().out.splitlines() if line.startswith("next: "))
    program, *arguments = shlex.split(line.removeprefix("next: "))
    assert program == "erase-concept"
    assert main([*arguments, "--count", "2", "--steps", "2"]) == 0
    assert capfd.readouterr() == ("2 images in pictures\n", "")
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2


def test_json_is_the_report_of_the_contract_and_nothing_else(
    tiny_pipeline: Path, finished: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(star(tiny_pipeline, finished, "--json")) == 0
    out, err = capfd.readouterr()
    assert err == ""
    report = json.loads(out)
    names = ["concept", "model", "method", "preset", "protocol", "before", "after", "paired", "unmeasured", "seconds", "peak_bytes"]
    assert list(report) == names
    assert report == json.loads((finished / "report.json").read_text())
    for which in ("before", "after"):
        for name in ("ua", "ira", "cra"):
            metric = report[which][name]
            assert set(metric) == {"value", "low", "high", "n"}
            assert 0 <= metric["low"] <= metric["value"] <= metric["high"] <= 100


def test_a_fresh_process_is_quiet_too(tiny_pipeline: Path, tmp_path: Path) -> None:
    """Libraries like to speak when they are imported and when they load something."""
    made = subprocess.run(
        [sys.executable, "-m", "erase", *star(tiny_pipeline, tmp_path / "run", "--concept", str(unmeasured(tmp_path)))],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert made.stderr == ""
    assert made.returncode == 0
    assert "ua, ira, cra not measured: " in made.stdout


def unmeasured(folder: Path) -> Path:
    """A concept file of one's own, whose detector lacks its weights."""
    path = folder / "mine.toml"
    path.write_text((ROOT / "prompts" / "star.toml").read_text().replace('"judge"', '"clip"'))
    return path


# --- flags ----------------------------------------------------------------------------------------------------------

OTHER = {  # option -> another value than its default, as it is typed, and as it arrives
    "concepts": ("ring", ("ring",)),
    "model": ("some/model", "some/model"),
    "prediction_type": ("epsilon", "epsilon"),
    "preset": ("paper", "paper"),
    "output": ("here", "here"),
    "device": ("cpu", "cpu"),
    "dtype": ("bfloat16", "bfloat16"),
    "anchor": ("a, b", "a, b"),
    "guidance": ("2.5", 2.5),
    "size": ("16", 16),
    "part": ("text-encoder", "text-encoder"),
    "scope": ("full", "full"),
    "trim_scope": ("full", "full"),
    "rank_over": ("scope", "scope"),
    "fraction": ("0.25", 0.25),
    "initialisation": ("zero", "zero"),
    "unlearn": ("ascent", "ascent"),
    "forget_weight": ("0.25", 0.25),
    "optimizer": ("sgd", "sgd"),
    "learning_rate": ("1e-5", 1e-5),
    "momentum": ("0.5", 0.5),
    "retain_target": ("data", "data"),
    "empty_captions": ("0.5", 0.5),
    "spare": ("divide", "divide"),
    "unnamed": ("0.25", 0.25),
    "redirect": ("2.5", 2.5),
    "cross_attention_rate": ("2.5", 2.5),
    "guard": ("0.25", 0.25),
    "gone": ("0.25", 0.25),
}
NAMES = [item.name for options in (Job, Scissorhands) for item in fields(options) if item.name != "method"]


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_flag_and_what_is_given_arrives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arrived: dict[str, Any] = {}

    def run(job: Job, values: dict[str, Any], as_json: bool) -> int:
        arrived.update({**vars(job), **values})
        return 0

    monkeypatch.setattr("ui.cli.erase._run", run)
    item = next(item for options in (Job, Scissorhands) for item in fields(options) if item.name == name)
    flag, kind = f"--{'concept' if name == 'concepts' else name.replace('_', '-')}", str(item.type).split(" |")[0]
    if kind == "bool":
        given, value = [f"--no-{flag[2:]}" if item.default else flag], not item.default
    else:
        typed, value = OTHER.get(name, ("7", 7 if kind == "int" else "7"))
        given = [flag, typed, *([flag.replace("-image-captions", "-images"), "photos"] if name.endswith("image_captions") else [])]
    assert value != item.default
    assert main([*(["--concept", "star"] if name != "concepts" else []), *given]) == 0
    assert arrived[name] == value
    assert type(arrived[name]) is type(value)


def test_what_is_not_given_is_left_to_the_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    arrived: list[Any] = []
    monkeypatch.setattr("ui.cli.erase._run", lambda *arguments: arrived.append(arguments) or 0)
    assert main(["--concept", "star", "--preset", "paper"]) == 0
    assert arrived == [(Job(("star",), preset="paper"), {}, False)]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_of_every_command_ends_well_and_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*([command] if command else []), "--help"])
    assert ended.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "example" in out
    assert f"erase-concept {command}".strip() in out


def test_a_command_is_a_file_and_a_line_of_the_table() -> None:
    """A file holds a function of its own name; one that no line names would never be called."""
    folder = Path(commands.__file__).parent
    files = [
        path.stem for path in folder.glob("*.py") if re.search(rf"\ndef {path.stem}\(\w+: list\[str\]\) -> int:\n", path.read_text("utf-8"))
    ]
    assert sorted(files) == sorted(["erase", *COMMANDS])


def test_help_of_the_main_job_names_every_option_and_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    for name in [*NAMES, "method"]:
        assert f"--{'concept' if name == 'concepts' else name.replace('_', '-')}" in out
    assert all(command in out for command in COMMANDS)


# --- beside the main job --------------------------------------------------------------------------------------------


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_methods_are_listed_with_presets_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(printed(capsys, "methods", "--json"))
    assert found["scissorhands"]["paper"]["unlearn"] == "ascent"
    text = printed(capsys, "methods")
    assert all(item.name in text for item in fields(Scissorhands))
    assert all(preset in text for preset in found["scissorhands"])


def test_concepts_are_listed_and_one_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(printed(capsys, "concepts", "--json"))
    assert {"star", "red", "striped", "nudity"} <= {row["name"] for row in listed}
    assert all(row["name"] in printed(capsys, "concepts") for row in listed[:2])
    one = json.loads(printed(capsys, "concepts", "star", "--count", "3", "--json"))
    assert {role: len(texts) for role, texts in one.items()} == {
        "forget": 3, "retain": 3, "evaluate": 3, "implicit": 3, "evaluate-retain": 3, "anchors": 3,
    }  # fmt: skip
    text = printed(capsys, "concepts", "star", "--count", "3")
    assert all(line in text for texts in one.values() for line in texts)


def test_of_a_world_of_many_names_the_files_are_listed_and_all_names_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(printed(capsys, "concepts", "--model", "emoji", "--json"))
    assert {row["model"] for row in rows} == {"emoji"}
    assert {"pizza", "hot dog", "Classic Noto", "musical instrument"} <= {row["name"] for row in rows}
    assert len({row["name"] for row in rows}) == len(rows) > 400
    for row in rows[::40]:
        assert "drawing of" in printed(capsys, "concepts", row["name"], "--model", "emoji", "--count", "6")
    assert len(json.loads(printed(capsys, "concepts", "--json"))) < 100


def test_a_finished_run_is_measured_again_to_the_same_numbers(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads((finished / "report.json").read_text())
    assert json.loads(printed(capsys, "evaluate", str(finished), "--json")) == before
    assert '"star" erased from pipeline' in printed(capsys, "evaluate", str(finished))


def test_any_model_is_measured_against_its_original(
    tiny_pipeline: Path, finished: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The run's own model, from other prompts and noise than the run's; by its folder and by the run's."""
    small = ["--count", "2", "--steps", "1", "--device", "cpu"]
    plain = ["evaluate", str(finished / "model"), "--original", str(tiny_pipeline), "--concept", "star", *small]
    capfd.readouterr()
    assert main([*plain, "--output", str(tmp_path / "plain"), "--json"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    report = json.loads(out)
    assert report == json.loads((tmp_path / "plain" / "report.json").read_text())
    assert report["after"]["ua"]["n"] == 2
    assert shlex.split(report["command"]) == ["erase-concept", *plain]
    assert main(["evaluate", str(finished), *small, "--output", str(tmp_path / "run")]) == 0
    out, err = capfd.readouterr()
    assert str(tmp_path / "run" / "report.html") in out
    assert json.loads((tmp_path / "run" / "report.json").read_text())["after"] == report["after"]


def test_the_command_in_a_report_gives_the_report_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for which in ("before", "after"):
        (tmp_path / which).mkdir()
        for i in range(3):
            seed = (which == "after") * 3 + i
            Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / which / f"{i}.png")
    pictures = ["--before", str(tmp_path / "before"), "--after", str(tmp_path / "after")]
    assert main(["evaluate", *pictures, "--concept", "star", "--output", str(tmp_path / "one")]) == 0
    report = json.loads((tmp_path / "one" / "report.json").read_text())
    assert report["after"]["ua"]["n"] == 3
    again = shlex.split(report["command"])[1:]
    assert main([*again, "--output", str(tmp_path / "two")]) == 0
    assert json.loads((tmp_path / "two" / "report.json").read_text()) == report
    assert main(["evaluate", str(tmp_path / "one")]) == 0
    assert json.loads((tmp_path / "one" / "report.json").read_text()) == report
    assert capfd.readouterr().err == ""


def test_runs_are_compared_as_table_json_csv_and_picture(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = shutil.copytree(finished, tmp_path / "other")
    both = [str(finished), str(other)]
    rows = json.loads(printed(capsys, "compare", *both, "--json"))
    assert [row["folder"] for row in rows] == both
    assert all(p["difference"] == 0 for p in rows[1]["against_first"].values())
    assert len(list(csv.DictReader(io.StringIO(printed(capsys, "compare", *both, "--csv"))))) == 2
    table = printed(capsys, "compare", *both, "--scatter", str(tmp_path / "forgetting.svg"))
    assert "other" in table
    assert (tmp_path / "forgetting.svg").read_text().startswith("<svg")


def test_protocols_are_listed_and_one_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(printed(capsys, "protocols", "--json"))
    assert {"demo", "i2p-nudity", "coco-30k", "coco-10k", "unlearncanvas"} <= {row["name"] for row in listed}
    assert all(row["name"] in printed(capsys, "protocols") for row in listed[:2])
    one = json.loads(printed(capsys, "protocols", "i2p-nudity"))
    assert (one["pictures"], one["detector"]["threshold"]) == (4703, 0.6)


def test_pictures_are_not_drawn_into_a_run_a_model_or_a_folder_of_other_files(
    tiny_pipeline: Path, finished: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").touch()
    for folder in (finished, finished / "model", tmp_path):
        before = sorted(folder.iterdir())
        line = refused(["generate", str(tiny_pipeline), "--prompt", "a star", "--output", str(folder)], capfd)
        assert line.startswith(f"erase-concept: --output {folder} ")
        assert line.endswith("; give a new folder\n")
        assert sorted(folder.iterdir()) == before


def test_the_page_does_not_put_its_jobs_into_a_run(finished: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert f"--runs {finished} is a run folder" in refused(["ui", "--runs", str(finished)], capfd)
    assert not (finished / ".ui").exists()


def test_pictures_are_drawn_prompt_by_prompt(tiny_pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["generate", str(tiny_pipeline), "--prompt", "a star", "--prompt", "a ring", "--count", "2", "--steps", "1"]
    assert "4 images" in printed(capsys, *wanted, "--output", str(tmp_path / "out"))
    assert [row["prompt"] for row in read_lines(tmp_path / "out" / "manifest.jsonl")] == ["a star", "a star", "a ring", "a ring"]


# --- the user's mistakes --------------------------------------------------------------------------------------------

Given = Callable[[Path, Path], list[str]]


@pytest.mark.parametrize("form", ["folder", "single-file", "unet"])
def test_a_run_is_exported_in_every_format(form: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / ("out" if form == "folder" else "out.safetensors")
    if form == "single-file":  # its heads are its own
        line = refused(["export", str(finished), "--format", form, "--output", str(out)], capsys)
        assert "does not fit into a single file" in line
        return
    assert f"{form} in {out}" in printed(capsys, "export", str(finished), "--format", form, "--output", str(out))
    facts = read_provenance(out) if form == "folder" else metadata(out)
    assert facts.items() >= read_provenance(finished / "model").items()


def test_the_card_of_a_runs_model_has_its_numbers(finished: Path) -> None:
    text = (finished / "model" / "README.md").read_text()
    assert "## What was measured" in text
    assert json.loads((finished / "report.json").read_text())["protocol"]["prompts"]["sha256"][:12] in text


def test_a_single_file_goes_through_the_whole_command(
    family_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file, run, out = tmp_path / "model.safetensors", tmp_path / "run", tmp_path / "erased.safetensors"
    pack(family_folders["sd1"], file)
    printed(capsys, *star(file, run), "--tokenizer", str(family_folders["sd1"]))
    printed(capsys, "export", str(run), "--format", "single-file", "--dtype", "float16", "--output", str(out))
    there, here = load_file(file), load_file(out)
    assert here.keys() == there.keys()
    changed = {name for name in here if not torch.equal(here[name], there[name].half())}
    assert changed
    assert all("attn2" in name for name in changed), "the scope is cross-attention"
    facts = metadata(out)
    assert (facts["concept"], facts["single_file_sha256"]) == ("star", sha256(file))
    made = printed(
        capsys, "generate", str(out), "--prompt", "a", "--count", "1", "--steps", "1", "--output", str(tmp_path / "drawn"),
        "--tokenizer", str(family_folders["sd1"]),
    )  # fmt: skip
    assert made.startswith("1 images")


def test_what_is_published_has_a_card_with_the_numbers(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hub itself is not to be had here: what its client is asked to do is written down instead."""
    asked: list[tuple[str, dict[str, Any]]] = []
    for name in ("create_repo", "upload_folder", "upload_file"):
        monkeypatch.setattr(huggingface_hub.HfApi, name, lambda _, *a, name=name, **k: asked.append((name, {"args": a, **k})) or "address")
    out = printed(capsys, "export", str(finished), "--output", str(tmp_path / "out"), "--push-to-hub", "me/mine")
    assert "published at address" in out
    assert [name for name, _ in asked] == ["create_repo", "upload_folder", "upload_file"]
    assert asked[0][1]["private"] is True
    assert asked[1][1]["folder_path"] == tmp_path / "out"
    card = asked[2][1]["path_or_fileobj"].decode()
    assert "## What was measured" in card
    assert "Forgotten, when named" in card
    assert "not a proof of absence" in card.lower()


def test_a_hub_that_refuses_is_an_answer(finished: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(finished), "--output", str(tmp_path / "out"), "--push-to-hub", "me/mine"]) == 2
    out, err = capfd.readouterr()
    assert out == f"folder in {tmp_path / 'out'}\n", "what was written stays"
    assert "--push-to-hub me/mine failed" in err
    assert "hf auth login" in err
    assert err.count("\n") == 1
    assert (tmp_path / "out" / "model_index.json").is_file()


def wrong(*arguments: str) -> Given:
    """The whole command on the tiny model with these arguments in addition."""
    return lambda model, tmp: star(model, tmp / "run", *arguments)


def concept_file(change: Callable[[str], str]) -> Given:
    def given(model: Path, tmp: Path) -> list[str]:
        path = tmp / "mine.toml"
        path.write_text(change((ROOT / "prompts" / "star.toml").read_text()))
        return star(model, tmp / "run", "--concept", str(path))

    return given


def family(name: str) -> Given:
    def given(model: Path, tmp: Path) -> list[str]:
        (tmp / "flux").mkdir()
        (tmp / "flux" / "model_index.json").write_text(json.dumps({"_class_name": name}))
        return star(tmp / "flux", tmp / "run")

    return given


def file(name: str, *flags: str) -> Given:
    """A file of this name, given as the model or after these flags."""

    def given(model: Path, tmp: Path) -> list[str]:
        (tmp / name).write_bytes(b"something")
        return star(model, tmp / "run", *(flags or ("--model",)), str(tmp / name))

    return given


def photos(flag: str, damage: Callable[[Path], object], *more: str) -> Given:
    def given(model: Path, tmp: Path) -> list[str]:
        folder = tmp / "photos"
        folder.mkdir()
        for i in range(3):
            Image.fromarray(np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / f"{i}.png")
            (folder / f"{i}.txt").write_text("a ring")
        damage(folder)
        return star(model, tmp / "run", flag, str(folder), *(part.replace("TMP", str(tmp)) for part in more))

    return given


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def truncate(folder: Path) -> None:
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:200])


def other_captions(folder: Path) -> None:
    (folder.parent / "captions.csv").write_text("file,prompt\n0.png,a ring\n1.png,a ring\n7.png,a ring\n")


def below_a_file(model: Path, tmp: Path) -> list[str]:
    (tmp / "file").write_text("in the way")
    return star(model, tmp / "file" / "run")


def foreign_output(model: Path, tmp: Path) -> list[str]:
    (tmp / "holiday.txt").write_text("mine")
    return star(model, tmp, "--overwrite")


MISTAKES: dict[str, tuple[Given, list[str]]] = {
    "unknown model": (wrong("--model", "nowhere"), ["'nowhere'", "demo, scenes, emoji, flow, a diffusers folder, or OWNER/NAME"]),
    "folder without a pipeline": (lambda model, tmp: star(tmp, tmp / "run"), ["no model_index.json", "diffusers folder"]),
    "model family": (family("SanaPipeline"), ["SanaPipeline", "not yet supported", "StableDiffusionPipeline"]),
    "ckpt": (file("model.ckpt"), ["model.ckpt is a pickle", "convert it"]),
    "bin": (file("model.bin"), ["model.bin is a pickle", "convert it"]),
    "one safetensors file": (file("model.safetensors"), ["is not a safetensors file", "download it again"]),
    "concept file with a wrong key": (
        concept_file(lambda text: text.replace("detector =", "detecter =")),
        ["mine.toml", '"detecter"', 'did you mean "detector"', "allowed: name, domain"],
    ),
    "concept file without a key": (concept_file(lambda text: text.replace('domain = "shape"', "")), ["mine.toml", '"domain" is missing']),
    "concept file with an empty prompt": (
        concept_file(lambda text: text.replace('"a {style} {colour} {concept}",', '"",', 1)),
        ["mine.toml", '"forget.prompts"', "none of them empty"],
    ),
    "concept file with a setting that is none": (concept_file(lambda text: text + "\n[settings]\nstep = 5\n"), ["'step'", "'steps'"]),
    "concept file that is not there": (wrong("--concept", "nowhere.toml"), ["nowhere.toml: no such concept file"]),
    "unknown word of the embedded world": (wrong("--concept", "starr"), ['"starr"', 'did you mean "star"']),
    "no concept": (lambda model, tmp: [], ["--concept is missing"]),
    "empty concept": (wrong("--concept", "  "), ["--concept is empty"]),
    "empty prompt": (
        lambda model, tmp: ["generate", str(model), "--prompt", " ", "--output", str(tmp / "run")],
        ["--prompt is empty"],
    ),
    "empty anchor": (wrong("--anchor", "ring,,heart"), ["an anchor is empty"]),
    "anchor that is the concept": (wrong("--anchor", "stars"), ["names the concept itself"]),
    "fraction 0": (wrong("--fraction", "0"), ["--fraction is 0.0", "more than 0"]),
    "fraction 1.5": (wrong("--fraction", "1.5"), ["--fraction is 1.5", "at most 1"]),
    "fraction nan": (wrong("--fraction", "nan"), ["--fraction is nan", "finite"]),
    "fraction in words": (wrong("--fraction", "some"), ["--fraction", "'some'"]),
    "fraction of nothing": (wrong("--fraction", "1e-9"), ["chooses none of", "larger fraction or scope"]),
    "negative lambda": (wrong("--forget-weight", "-0.5"), ["--forget-weight is -0.5", "at least 0"]),
    "no sampling steps": (wrong("--sampling-steps", "0"), ["--sampling-steps is 0", "at least 1"]),
    "unknown choice": (wrong("--optimizer", "lion"), ["--optimizer", "'lion'", "adam"]),
    "unknown method": (wrong("--method", "scissors"), ["--method 'scissors'", "scissorhands"]),
    "unknown preset": (wrong("--preset", "best"), ["--preset 'best'", "balanced, robust, paper, reference"]),
    "unknown scope": (wrong("--scope", "everything"), ["scope 'everything' is unknown", "cross-attention"]),
    "trim scope outside the scope": (wrong("--trim-scope", "self-attention"), ["--trim-scope self-attention", "--scope cross-attention"]),
    "unknown flag": (wrong("--fractoin", "0.1"), ["--fractoin", "--help"]),
    "flag without its value": (lambda model, tmp: ["--concept"], ["--concept", "--help"]),
    "unknown command": (lambda model, tmp: ["erase", "star"], ["'erase' is not a command", "--concept NAME"]),
    "device that is not there": (wrong("--device", "cuda"), ["--device cuda is not available", "--device cpu"]),
    "device that nobody knows": (wrong("--device", "gpu"), ["--device 'gpu' is unknown", "cuda:N"]),
    "empty image folder": (photos("--forget-images", empty), ["photos contains no images", "PNG"]),
    "image folder that is not there": (wrong("--retain-images", "nowhere"), ["nowhere is not there", "folder of images"]),
    "broken picture": (photos("--retain-images", truncate), ["1.png is not a complete image", "replace or remove it"]),
    "captions of other pictures": (
        photos("--retain-images", other_captions, "--retain-image-captions", "TMP/captions.csv"),
        ["captions.csv names images that are not in", "7.png"],
    ),
    "captions without pictures": (file("captions.csv", "--retain-image-captions"), ["--retain-image-captions", "--retain-images"]),
    "output below a file": (below_a_file, ["a part of this path is a file", "another folder"]),
    "output that is no run": (foreign_output, ["holds holiday.txt", "another --output"]),
    "evaluating what is no run": (lambda model, tmp: ["evaluate", str(tmp)], ["does not record its original", "--original"]),
    "evaluating a folder that is missing": (
        lambda model, tmp: ["evaluate", "nowhere"],
        ["nowhere is no file or folder here", "--original"],
    ),
    "evaluating nothing": (lambda model, tmp: ["evaluate"], ["nothing to measure", "--before and --after"]),
    "evaluating a concept that nobody names": (lambda model, tmp: ["evaluate", str(model), "--original", "demo"], ["--concept"]),
    "evaluating pictures against themselves": (
        lambda model, tmp: ["evaluate", "--before", str(tmp), "--after", str(tmp), "--concept", "star"],
        ["are the same folder"],
    ),
    "unknown protocol": (
        lambda model, tmp: ["evaluate", str(model), "--original", "demo", "--concept", "star", "--protocol", "demos"],
        ['"demos" is unknown', 'did you mean "demo"'],
    ),
    "showing an unknown protocol": (lambda model, tmp: ["protocols", "coco"], ['"coco" is unknown', "coco-10k"]),
    "exporting to a name that is no file's": (
        lambda model, tmp: ["export", str(model), "--format", "unet", "--output", str(tmp / "out")],
        ["ends in .safetensors"],
    ),
    "exporting over something": (lambda model, tmp: ["export", str(model), "--output", str(tmp)], ["exists already", "another name"]),
    "publishing what was not erased": (
        lambda model, tmp: ["export", str(model), "--output", str(tmp / "out"), "--push-to-hub", "me/mine"],
        ["holds no erased model"],
    ),
    "public without publishing": (lambda model, tmp: ["export", str(model), "--output", str(tmp / "out"), "--public"], ["--push-to-hub"]),
    "exporting a run without a model": (
        lambda model, tmp: [(tmp / "options.json").write_text("{}") and "export", str(tmp), "--output", str(tmp / "out")],
        ["has no model yet", "resumes"],
    ),
    "comparing what has no report": (lambda model, tmp: ["compare", str(tmp)], ["report.json"]),
    "comparing in two ways at once": (lambda model, tmp: ["compare", str(tmp), "--json", "--csv"], ["--csv", "--json"]),
    "fewer than no prompts": (lambda model, tmp: ["concepts", "star", "--count", "-1"], ["--count", "-1"]),
    "a slip in a concept": (lambda model, tmp: ["--concept", "strr", "--output", str(tmp / "run")], ['did you mean "star"?', "--model"]),
    "a slip in a model": (lambda model, tmp: ["--concept", "star", "--model", "dmo"], ['did you mean "demo"?', "expected demo, scenes"]),
    "a slip in a world of many names": (
        lambda model, tmp: ["concepts", "beer mgu", "--model", "emoji"],
        ['did you mean "beer mug"', "`erase-concept concepts --model emoji`"],
    ),
    "a word that means several things": (lambda model, tmp: ["concepts", "glass", "--model", "emoji"], ["glass of wine", "one of these"]),
    "drawing without a step": (
        lambda model, tmp: ["generate", str(model), "--prompt", "a", "--output", str(tmp / "run"), "--steps", "0"],
        ["--steps is 0", "at least 1"],
    ),
    "drawing with less than no guidance": (
        lambda model, tmp: ["generate", str(model), "--prompt", "a", "--output", str(tmp / "run"), "--guidance", "-1"],
        ["--guidance is -1.0", "at least 0"],
    ),
}


def refused(arguments: list[str], capfd: pytest.CaptureFixture[str], expected: int = 2) -> str:
    """The one line on stderr."""
    capfd.readouterr()
    assert main(arguments) == expected
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert err.startswith("erase-concept: ")
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_with_status_2_and_one_helpful_line(
    tiny_pipeline: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    given, said = MISTAKES[mistake]
    arguments = given(tiny_pipeline, tmp_path)
    there = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    line = refused(arguments, capfd)
    for words in said:
        assert words in line
    assert {p: p.read_bytes() for p in there} == there  # nothing lost


def test_other_options_on_a_run_folder_are_shown(tiny_pipeline: Path, finished: Path, capfd: pytest.CaptureFixture[str]) -> None:
    line = refused(star(tiny_pipeline, finished, "--seed", "7", "--fraction", "0.25"), capfd)
    assert "seed: 0 there, 7 now" in line
    assert "method_options.fraction: 0.005 there, 0.25 now" in line
    assert "another --output, or --overwrite" in line


def test_two_processes_on_one_folder_are_one_too_many(tiny_pipeline: Path, finished: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Run.open(finished, Run.read(finished).options):
        assert "another process is working on" in refused(star(tiny_pipeline, finished), capfd)
    assert main(star(tiny_pipeline, finished)) == 0


def test_a_mistake_in_a_fresh_process_is_one_line_too(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "erase", "--concept", "star", "--model", "nowhere"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (made.returncode, made.stdout, len(made.stderr.splitlines())) == (2, "", 1)


# --- other ends -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("any_rate")
def test_a_loss_that_is_not_finite_ends_with_status_1_and_one_line(
    tiny_pipeline: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = refused(star(tiny_pipeline, tmp_path / "run", "--learning-rate", "1e30"), capfd, expected=1)
    assert "is not finite at step" in line
    assert "smaller --learning-rate" in line


@pytest.mark.parametrize("stage", ["images: retain", "erase", "after"])
def test_ctrl_c_ends_with_status_130_and_the_same_command_goes_on(
    tiny_pipeline: Path, finished: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def interrupt(self: Display, event: Event) -> None:
        if (event.stage, event.done) == (stage, 2 if stage == "erase" else 4):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Display, "__call__", interrupt)
        assert main(star(tiny_pipeline, tmp_path / "run")) == 130
    out, err = capfd.readouterr()
    assert out == ""
    assert "the same command resumes where it was" in err
    assert "Traceback" not in err
    assert main(star(tiny_pipeline, tmp_path / "run")) == 0
    weights = "weights.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (finished / weights).read_bytes()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_every_stage_leaves_one_line_and_repair_shows_its_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with Display() as display:
        for stage in STAGES:
            display(Event(stage, 0, 0))
            for done in (1, 2):
                step = Step(done, 0.25, 0.125, 0.5, 1.0, True, 0.1) if stage == "erase" else None
                display(Event(stage, done, 2, step))
            if stage == "erase":
                assert "2/2" in str(display.bar)
                assert "retain 0.2500 unlearn 0.1250 projected" in str(display.bar)
            display(Event(stage, 1, 1, note="1.5 s"))
    written = terminal.getvalue()
    lines = [line for line in written.split("\n") if line.endswith("1.5 s")]
    assert len(lines) == len(STAGES)
    assert all(any(title in line for line in lines) for title in ("samples of the original", "score, trim, repair", "write the model"))
    assert "1/2" in written


def test_a_run_is_counted_against_its_plan_as_the_page_counts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage in all its parts, also what an earlier start has done, and the share of the whole job."""
    plan = make_plan(("star",), Scissorhands(steps=10).requirements, {"forget": 8, "retain": 6}, {}, 5, 5, 4.0)
    folder = tmp_path / "run"
    with Run.open(folder, {"method": "scissorhands", "method_options": {}}) as run:
        write_plan(folder, plan)
        for images in (run.forget_images, run.retain_images):
            images.mkdir(parents=True)
        monkeypatch.setattr(sys, "stderr", Terminal())
        with Display(libraries=False) as display:
            append_lines(run.forget_images / "manifest.jsonl", [{"file": str(i)} for i in range(8)])
            display(Event("images: retain", 2, 6, folder=folder))
            assert "8/14" in str(display.bar)
            append_lines(run.retain_images / "manifest.jsonl", [{"file": str(i)} for i in range(2)])
            display(Event("images: retain", 2, 6, folder=folder))
            assert "10/14" in str(display.bar)
            progress = read_progress(folder)
            assert progress is not None
            assert progress.share == plan.share({"images": 10 / 14})
            assert f"{progress.share:.0%} of the job" in str(display.bar)
            run.complete("images", seconds=1.0)
            display(Event("predictions", 1, 4, folder=folder))
            assert "predictions of the original" in str(display.bar)
            assert "1/4" in str(display.bar)
        with Display(libraries=False) as display:  # with a pool, the images of a part are linked into the run once they are complete
            shutil.rmtree(run.folder / "images")
            display(Event("images: forget", 8, 8, folder=folder))
            display(Event("images: retain", 3, 6, folder=folder))
            assert "11/14" in str(display.bar)


def test_elsewhere_the_display_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        display(Event("erase", 1, 2))
        display(Event("erase", 1, 1, note="1.5 s"))
    assert capsys.readouterr() == ("", "")
