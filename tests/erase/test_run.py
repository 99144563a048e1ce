"""The run folder: one process at a time, resumes with equal options, says what differs, deletes nothing foreign."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from safetensors import SafetensorError

from erase.errors import InputError
from erase.files.disk import disk_errors
from erase.options import differences
from erase.run import Run, list_runs, next_run_folder

OPTIONS = {
    "concept": "star",
    "learning_rate": 0.0001,
    "seeds": (0, 1),
    "anchor": {"prompts": ["a cross"], "weight": 1.0},
    "output": Path("a/b"),
}
ROOT = Path(__file__).resolve().parents[2]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def begun(folder: Path, options: Mapping[str, object]) -> None:
    """A run whose first stage is done."""
    with Run.open(folder, options) as run:
        run.complete("images")


def test_options_and_environment_are_recorded(tmp_path: Path) -> None:
    with Run.open(tmp_path / "deep" / "run", OPTIONS) as run:
        record = json.loads((run.folder / "options.json").read_text())
    assert record["learning_rate"] == 0.0001
    assert record["seeds"] == [0, 1]
    assert set(record["environment"]) == {"erase-concept", "torch", "diffusers", "transformers", "safetensors", "python", "device"}


def test_the_same_options_resume(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", OPTIONS) as run:
        assert not run.done("images")
        run.complete("images", seconds=1.5, pictures=8)
        run.append_step({"step": 1})
    before = tree(tmp_path / "run")
    with Run.open(tmp_path / "run", dict(reversed(OPTIONS.items()))) as run:
        assert run.done("images")
        assert not run.done("latents")
        assert run.stages() == {"images": {"seconds": 1.5, "pictures": 8}}
        run.complete("latents")
        assert list(run.stages()) == ["images", "latents"]
        run.folder.joinpath("stages.json").write_bytes(before["stages.json"])
    assert tree(tmp_path / "run") == before


def test_other_options_are_shown_and_refused(tmp_path: Path) -> None:
    begun(tmp_path / "run", OPTIONS)
    before = tree(tmp_path / "run")
    now = {**OPTIONS, "learning_rate": 0.0002, "anchor": {"prompts": ["a cross", "a ring"], "weight": 1.0}, "steps": 5}
    with pytest.raises(InputError) as raised:
        Run.open(tmp_path / "run", now)
    text = str(raised.value)
    assert "learning_rate: 0.0001 there, 0.0002 now" in text
    assert 'anchor.prompts[1]: absent there, "a ring" now' in text
    assert "steps: absent there, 5 now" in text
    assert "concept" not in text.split("options:")[1]
    assert "another --output, or --overwrite" in text
    assert "\n" not in text
    assert tree(tmp_path / "run") == before
    Run.open(tmp_path / "run", OPTIONS).close()


def test_a_folder_without_work_takes_other_options(tmp_path: Path) -> None:
    """A command that ended for lack of data does not keep the folder from the one that has it."""
    Run.open(tmp_path, {**OPTIONS, "kind": "bench"}).close()
    (tmp_path / "plan.json").write_text("{}")
    begun(tmp_path, {"concept": "ring"})
    assert dict(Run.read(tmp_path).options) == {"concept": "ring"}
    with pytest.raises(InputError, match='concept: "ring" there, "star" now'):
        Run.open(tmp_path, OPTIONS)


@pytest.mark.parametrize(("there", "now"), [({"a": []}, {}), ({"a": None}, {}), ({"a": {}}, {"a": []}), ({"a": [1]}, {"a": 1})])
def test_no_difference_goes_unsaid(there: dict[str, object], now: dict[str, object]) -> None:
    assert differences(there, now)
    assert not differences(there, there)


def test_a_checkout_may_move_and_a_concept_may_not_change(tmp_path: Path) -> None:
    def options(place: str, prompt: str) -> dict[str, object]:
        file = {"source": f"{place}/star.toml", "forget": [prompt]}
        return {"concept_file": file, "concepts": [file, file]}

    begun(tmp_path, options("/there", "a star"))
    Run.open(tmp_path, options("/here", "a star")).close()
    with pytest.raises(InputError, match=r"concept_file.forget\[0\]: \"a star\" there"):
        Run.open(tmp_path, options("/there", "a sun"))
    assert differences({"method": {"source": "a"}}, {"method": {"source": "b"}})


def test_many_differences_are_cut_short(tmp_path: Path) -> None:
    begun(tmp_path, {"prompts": [str(i) for i in range(300)]})
    with pytest.raises(InputError, match="and 292 more") as raised:
        Run.open(tmp_path, {"prompts": [f"{i} " + 99 * "x" for i in range(300)]})
    assert len(str(raised.value)) < 1500


def test_another_environment_resumes_and_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Run.open(tmp_path, OPTIONS).close()
    monkeypatch.setattr("erase.run.package_version", lambda name: "9.9")
    for _ in range(2):
        Run.open(tmp_path, OPTIONS).close()
    record = json.loads((tmp_path / "options.json").read_text())
    assert record["environment"]["torch"] != "9.9"
    assert [there["torch"] for there in record["resumed_in"]] == ["9.9"]


def test_a_second_open_is_refused_until_the_first_closes(tmp_path: Path) -> None:
    with Run.open(tmp_path, OPTIONS):
        for overwrite in (False, True):
            with pytest.raises(InputError, match="another process is working on"):
                Run.open(tmp_path, OPTIONS, overwrite=overwrite)
        assert Run.read(tmp_path).options["concept"] == "star"
    Run.open(tmp_path, OPTIONS).close()


def test_two_processes_and_a_killed_one(tmp_path: Path) -> None:
    opened = "import sys, pathlib; from erase.run import Run; run = Run.open(pathlib.Path(sys.argv[1]), {'a': 1})"
    code = f"{opened}; print('in', flush=True); input()"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"in\n"
        with pytest.raises(InputError, match="another process is working on"):
            Run.open(tmp_path, {"a": 1})
        other.kill()
    Run.open(tmp_path, {"a": 1}).close()


def test_overwrite_starts_anew(tmp_path: Path) -> None:
    with Run.open(tmp_path, OPTIONS) as run:
        run.complete("images")
        run.forget_images.mkdir(parents=True)
        (run.forget_images / "00000.png").write_bytes(b"x")
    with Run.open(tmp_path, {**OPTIONS, "concept": "ring"}, overwrite=True) as run:
        assert set(tree(tmp_path)) == {"options.json"}
        assert not run.done("images")
        assert Run.read(tmp_path).options["concept"] == "ring"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("options", [None, "{}", "[1", '{"environment": "mine"}'])
def test_a_foreign_folder_is_never_touched(tmp_path: Path, overwrite: bool, options: str | None) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    if options is not None:
        (tmp_path / "options.json").write_text(options)
    before = tree(tmp_path)
    with pytest.raises(InputError, match="is not a run folder but holds"):
        Run.open(tmp_path, OPTIONS, overwrite=overwrite)
    assert tree(tmp_path) == before
    assert not (tmp_path / ".lock").exists()


def test_overwrite_never_deletes_its_own_input(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", OPTIONS) as run:
        run.model.mkdir()
    with pytest.raises(InputError, match=r"--overwrite would delete .*model, which model reads"):
        Run.open(tmp_path / "run", {**OPTIONS, "model": str(run.model)}, overwrite=True)
    assert run.model.is_dir()


def test_overwrite_leaves_the_target_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(b"x")
    with Run.open(tmp_path / "run", OPTIONS) as run:
        (run.folder / "images").symlink_to(tmp_path / "data")
    Run.open(tmp_path / "run", OPTIONS, overwrite=True).close()
    assert (tmp_path / "data" / "a.png").exists()
    assert not (tmp_path / "run" / "images").exists()


@pytest.mark.parametrize("last", ["model", "images", "stats.jsonl"])
def test_a_kill_during_overwrite_leaves_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    with Run.open(tmp_path, OPTIONS) as run:
        run.complete("images")
        run.append_step({"step": 1})
        run.model.mkdir()
        run.forget_images.mkdir(parents=True)
    import erase.run

    remove = erase.run._remove

    def killed(path: Path) -> None:
        if path.name == last:
            raise KeyboardInterrupt
        remove(path)

    with monkeypatch.context() as patch:
        patch.setattr(erase.run, "_remove", killed)
        with pytest.raises(KeyboardInterrupt):
            Run.open(tmp_path, {"a": 1}, overwrite=True)
    assert Run.read(tmp_path).options["concept"] == "star"
    assert Run.read(tmp_path).stages() == {}
    Run.open(tmp_path, {"a": 1}, overwrite=True).close()


def test_a_run_killed_at_birth_or_in_writing_goes_on(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".options.json.77.part").write_text('{"conc')
    with Run.open(tmp_path, OPTIONS) as run:
        (run.folder / ".model.77.part" / "unet").mkdir(parents=True)
        (run.folder / "images").mkdir()
        (run.folder / "images" / ".0.png.77.part").touch()
    Run.open(tmp_path, OPTIONS).close()
    assert not list(tmp_path.rglob("*.part"))


def test_steps_survive_a_torn_line_and_truncate_to_the_checkpoint(tmp_path: Path) -> None:
    with Run.open(tmp_path, OPTIONS) as run:
        assert run.steps() == []
        for step in range(1, 6):
            run.append_step({"step": step, "retain_loss": step / 3})
        whole = run.stats.read_bytes()
        run.stats.write_bytes(whole[:-5])
        assert [s["step"] for s in run.steps()] == [1, 2, 3, 4]
        run.truncate_steps(3)
        for step in (4, 5):
            run.append_step({"step": step, "retain_loss": step / 3})
        assert run.stats.read_bytes() == whole
        run.truncate_steps(0)
        assert run.steps() == []


def test_a_broken_middle_line_is_not_skipped(tmp_path: Path) -> None:
    with Run.open(tmp_path, OPTIONS) as run:
        run.stats.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
        with pytest.raises(InputError, match=r"stats\.jsonl, line 2: not JSON"):
            run.steps()


def test_paths_are_those_of_the_contract(tmp_path: Path) -> None:
    run = Run(tmp_path, {})
    paths = [run.forget_images, run.retain_images, run.latents, run.stats, run.model, run.samples("before"), run.report, run.comparison]
    expected = "images/forget images/retain latents.safetensors stats.jsonl model samples/before report.json comparison.png"
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == expected.split()


def test_runs_are_listed_and_numbered(tmp_path: Path) -> None:
    def new() -> Path:
        return next_run_folder(tmp_path, "Van Gogh style!", "CompVis/stable-diffusion-v1.4", "scissorhands")

    assert list_runs(tmp_path / "none") == []
    assert new().name == "van-gogh-style-stable-diffusion-v1.4-scissorhands-1"
    for _ in range(11):
        Run.open(new(), OPTIONS).close()
    (tmp_path / "not-a-run").mkdir()
    assert [path.name.rsplit("-")[-1] for path in list_runs(tmp_path)] == [str(n) for n in range(1, 12)]
    shutil.rmtree(list_runs(tmp_path)[0])
    assert new().name.endswith("-12"), "a number is not used again while later ones are there"


@pytest.mark.parametrize("concept", ["../../etc", "x" * 500, "星" * 200, "???", "a/b\\c", ".hidden", ""])
def test_any_concept_makes_one_plain_folder_name(tmp_path: Path, concept: str) -> None:
    folder = next_run_folder(tmp_path, concept, "/somewhere/model/", "scissorhands")
    assert folder.parent == tmp_path
    assert not folder.name.startswith(".")
    folder.mkdir()


@pytest.mark.parametrize(
    ("code", "says"),
    [(errno.ENOSPC, "disk is full; free"), (errno.EACCES, "no permission"), (errno.EROFS, "read-only"), (errno.EDQUOT, "quota")],
)
def test_disk_errors_name_file_and_remedy(code: int, says: str) -> None:
    with pytest.raises(InputError, match=f"cannot use some/file: .*{says}"), disk_errors(Path("some")):
        raise OSError(code, "whatever", "some/file")
    with pytest.raises(InputError, match=f"cannot use some: .*{says}"), disk_errors(Path("some")):
        raise SafetensorError(f"Error while serializing: I/O error: whatever (os error {code})")


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        (tmp_path / "none").read_text()
    with pytest.raises(SafetensorError), disk_errors(tmp_path):
        raise SafetensorError("header too large")


def test_a_full_disk_and_a_file_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(InputError, match="choose another folder"):
            Run.open(folder, OPTIONS)

    def full(path: Path, *_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(InputError, match="the disk is full"):
            Run.open(tmp_path / "run", OPTIONS)
    Run.open(tmp_path / "run", OPTIONS).close()


def test_a_folder_with_a_lock_of_its_own_is_left_alone(tmp_path: Path) -> None:
    """An attack writes into attacks/ of a run, under its own lock, while the run itself is resumed or overwritten."""
    Run.open(tmp_path / "run", OPTIONS).close()
    with Run.open(tmp_path / "run" / "attacks", {"kind": "attacks"}) as attack:
        part = attack.folder / "searches" / ".found.json.77.part"
        part.parent.mkdir()
        part.touch()
        Run.open(tmp_path / "run", OPTIONS).close()
        assert part.exists()
        with pytest.raises(InputError, match=r"another process is working on .*attacks; wait"):
            Run.open(tmp_path / "run", OPTIONS, overwrite=True)
        assert part.exists()
    Run.open(tmp_path / "run", OPTIONS, overwrite=True).close()
    assert not attack.folder.exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_no_command_overwrites_the_folder_of_another_one(overwrite: bool, tmp_path: Path) -> None:
    """`evaluate --output RUN --overwrite` would delete an erased model."""
    with Run.open(tmp_path / "run", OPTIONS) as run:
        run.complete("erase")
    for here, requested in ((tmp_path / "run", {**OPTIONS, "kind": "evaluation"}), (tmp_path / "attack", OPTIONS)):
        if here.name == "attack":
            begun(here, {"kind": "attacks"})
        with pytest.raises(InputError, match=r"holds a run of another command \(kind: .* there, .* now\); give another --output$"):
            Run.open(here, requested, overwrite)
    assert Run.read(tmp_path / "run").done("erase")
    Run.open(tmp_path / "attack", {"kind": "attacks"}, overwrite=overwrite).close()


def test_reading_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a run folder"):
        Run.read(tmp_path)
