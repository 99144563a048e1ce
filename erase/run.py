"""The run folder: all that the stages share. It is created, locked, appended to, resumed and listed here.

Knows nothing of models or methods; a stage is a name that is done or not.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import filelock
import torch
from safetensors import SafetensorError

from erase.errors import InputError
from erase.files import write_json, written

RUNS = Path("runs")  # where run folders are made that no --output names
PACKAGES = ("erase-concept", "torch", "diffusers", "transformers", "safetensors")
RECORDS = ("environment", "resumed_in")  # what options.json holds beside the options
SHOWN = 8
_PLACE = re.compile(r"(concept_file|concepts\[\d+\])\.source$")  # the file's content stands beside it
DISK = {
    errno.ENOSPC: "the disk is full; free some space and give the same command again, it goes on where it stopped",
    errno.EDQUOT: "the disk quota is used up; free some space and give the same command again, it goes on where it stopped",
    errno.EFBIG: "the file is larger than may be written here (file system or ulimit); choose a folder elsewhere",
    errno.EACCES: "no permission; choose a folder that you may write to",
    errno.EPERM: "no permission; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose a folder elsewhere",
    errno.ENOTDIR: "a part of this path is a file; choose another folder",
    errno.EEXIST: "a file of this name is in the way; choose another folder",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or forbidden disk into an InputError that names the file (`path` where the system names none)."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK:
            raise
        raise InputError(f"cannot use {error.filename or path}: {DISK[error.errno]}") from error
    except SafetensorError as error:  # its writer hides the errno in the text
        code = re.search(r"os error (\d+)", str(error))
        if code is None or int(code[1]) not in DISK:
            raise
        raise InputError(f"cannot use {path}: {DISK[int(code[1])]}") from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a .jsonl file; a last line that a kill has torn is left out."""
    if not path.exists():
        return []
    records = []
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")  # not splitlines: U+2028 in a prompt is no end of line
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line.decode()) if line.strip() else None
        except ValueError as error:  # bad UTF-8 or bad JSON
            if number == len(lines):
                break
            raise InputError(f"{path}, line {number}: not JSON in UTF-8 ({error}); mend or remove that line") from error
        if record is not None and not isinstance(record, dict):
            raise InputError(f'{path}, line {number}: {line[:40]!r} is not an object; expected {{"name": value, ...}}')
        records += [record] if record is not None else []
    return records


def append_lines(path: Path, records: Iterable[Mapping[str, Any]], sync: bool = False) -> None:
    """Add objects to a .jsonl file; with `sync` they are on the disk, not only with the system, on return."""
    with path.open("a", encoding="utf-8") as file:
        file.write(lines_of(records))
        file.flush()
        if sync:
            os.fsync(file.fileno())


def lines_of(records: Iterable[Mapping[str, Any]]) -> str:
    """The text of a .jsonl file."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def package_version(name: str) -> str:
    """Installed version, without importing the package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def environment(device: str = "cpu") -> dict[str, str]:
    """What the result depends on beside the options: versions, and the device with its thread count."""
    name = f"{device} ({platform.machine()}, {torch.get_num_threads()} threads)"
    if device.startswith("cuda") and torch.cuda.is_available():
        name = f"{device} ({torch.cuda.get_device_name(torch.device(device))})"
    return {**{package: package_version(package) for package in PACKAGES}, "python": platform.python_version(), "device": name}


class Run:
    """One run folder. `Run.open` locks it until `close`; `Run.read` only looks. A context manager."""

    def __init__(self, folder: Path, options: dict[str, Any], lock: filelock.BaseFileLock | None = None) -> None:
        self.folder = folder
        self.options = options
        self._lock = lock

    @classmethod
    def open(cls, folder: Path, options: Mapping[str, Any], overwrite: bool = False, added: Mapping[str, Any] | None = None) -> Run:
        """Create the folder, or resume the run in it if its options are equal (`differences`); one process at a time."""
        wanted = json.loads(json.dumps(dict(options), default=os.fspath))
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _refuse_foreign(folder)
            lock = _locked(folder)
            try:
                _refuse_foreign(folder)
                if overwrite:
                    _clear(folder, wanted)
                for left in list(folder.rglob(".*.part")):  # a killed process left them: the lock is ours, so nobody writes them
                    _remove(left)
                _settle(folder, wanted, added or {})
            except BaseException:
                lock.release()
                raise
        return cls(folder, wanted, lock)

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Look at a run, also while another process works on it."""
        record = _record(folder)
        if record is None:
            raise InputError(f"{folder} is not a run folder (it has no options.json of ours); `erase-concept --output` makes one")
        return cls(folder, {key: value for key, value in record.items() if key not in RECORDS})

    def close(self) -> None:
        """Let others work on the folder."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def forget_images(self) -> Path:
        return self.folder / "images" / "forget"

    @property
    def retain_images(self) -> Path:
        return self.folder / "images" / "retain"

    @property
    def anchor_images(self) -> Path:
        return self.folder / "images" / "anchor"

    @property
    def latents(self) -> Path:
        return self.folder / "latents.safetensors"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    @property
    def stats(self) -> Path:
        return self.folder / "stats.jsonl"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def report(self) -> Path:
        return self.folder / "report.json"

    @property
    def comparison(self) -> Path:
        return self.folder / "comparison.png"

    def samples(self, which: str) -> Path:
        """Pictures of the evaluation prompts; `which` is "before" or "after"."""
        return self.folder / "samples" / which

    def stages(self) -> dict[str, dict[str, Any]]:
        """Completed stages and what was noted about each (seconds, ...)."""
        path = self.folder / "stages.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def done(self, stage: str) -> bool:
        """Whether a stage's output is there and complete."""
        return stage in self.stages()

    def complete(self, stage: str, **facts: Any) -> None:
        """Note that a stage's output is complete; call it after the output has its final name."""
        with disk_errors(self.folder):
            write_json(self.folder / "stages.json", {**self.stages(), stage: facts})

    def steps(self) -> list[dict[str, Any]]:
        """The repair steps so far."""
        return read_lines(self.stats)

    def append_step(self, record: Mapping[str, Any]) -> None:
        """Add a repair step; it outlives a kill of this process."""
        with disk_errors(self.stats):
            append_lines(self.stats, [record])

    def truncate_steps(self, step: int) -> None:
        """On resume: keep the steps up to and including number `step`, the checkpoint's; drop later and torn ones."""
        kept = [record for record in self.steps() if record["step"] <= step]
        with disk_errors(self.stats), written(self.stats) as part:
            part.write_text(lines_of(kept), encoding="utf-8")


def list_runs(root: Path) -> list[Path]:
    """The run folders directly inside `root`, by name, numbers in order."""
    runs = [path for path in root.iterdir() if path.is_dir() and _record(path) is not None] if root.is_dir() else []
    return sorted(runs, key=lambda path: [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in path.name.split("-")])


def next_run_folder(root: Path, concept: str, model: str, method: str) -> Path:
    """The first unused <concept>-<model>-<method>-<n>, n counting from 1 and past any that are there."""
    name = "-".join(_slug(part) for part in (concept, re.split(r"[/\\]", model.rstrip("/\\"))[-1], method))
    tails = [path.name.removeprefix(f"{name}-") for path in root.glob(f"{name}-*")]
    return root / f"{name}-{max((int(tail) for tail in tails if tail.isdecimal()), default=0) + 1}"


def _slug(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", text.lower())[:32].strip("-._") or "x"


def _record(folder: Path) -> dict[str, Any] | None:
    """options.json, if it is one of ours."""
    try:
        record = json.loads((folder / "options.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    ours = isinstance(record, dict) and isinstance(record.get("environment"), dict) and "erase-concept" in record["environment"]
    return record if ours else None


def _refuse_foreign(folder: Path) -> None:
    """A folder with anything in it must be a run; a lock or a torn options.json alone is a run killed at birth."""
    others = [path.name for path in folder.iterdir() if path.name != ".lock" and not re.fullmatch(r"\..*\.part", path.name)]
    if others and _record(folder) is None:
        shown = ", ".join(sorted(others)[:3])
        raise InputError(f"{folder} is not a run folder but holds {shown}{', ...' if len(others) > 3 else ''}; give another --output")


def _locked(folder: Path) -> filelock.BaseFileLock:
    lock = filelock.FileLock(folder / ".lock", thread_local=False)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        raise InputError(f"another process is working on {folder}; wait until it ends, or give another --output") from error
    except NotImplementedError as error:
        raise InputError(f"the file system of {folder} has no locks; give an --output on another one") from error
    return lock


def _clear(folder: Path, wanted: dict[str, Any]) -> None:
    """Empty a run folder: bookkeeping first and options last, so that a kill in between leaves a run that starts again."""
    for name, value in flat(wanted).items():
        if isinstance(value, str) and value and Path(value).exists() and folder.resolve() in Path(value).resolve().parents:
            raise InputError(f"--overwrite would delete {value}, which {name} reads; give another --output")
    order = {"stages.json": 0, "options.json": 2}
    for path in sorted(folder.iterdir(), key=lambda path: order.get(path.name, 1)):
        if path.name != ".lock":
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _settle(folder: Path, wanted: dict[str, Any], added: Mapping[str, Any]) -> None:
    """Write options.json, or compare with the one that is there; a changed environment is noted, not refused."""
    here, record = environment(str(wanted.get("device", "cpu"))), _record(folder)
    if record is None:
        write_json(folder / "options.json", {**wanted, "environment": here})
        return
    there = {key: value for key, value in record.items() if key not in RECORDS}
    if found := differences(there, wanted, added):
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        shown = "; ".join(found[:SHOWN])
        raise InputError(f"{folder} holds a run with other options: {shown}{more}; give another --output, or --overwrite to start anew")
    resumed = record.get("resumed_in", [])
    if [record["environment"], *resumed][-1] != here:
        write_json(folder / "options.json", {**record, "resumed_in": [*resumed, here]})


def differences(there: Mapping[str, Any], now: Mapping[str, Any], added: Mapping[str, Any] | None = None) -> list[str]:
    """One phrase for each option that differs: `learning_rate: 0.0001 there, 0.0002 now`. Where a concept file lies is no option.

    `added`: options (as `flat` names them) that are younger than some runs, with their defaults. A record without one counts as
    having the default, so that an earlier run can be resumed.
    """
    new = flat(now)
    old = {name: value for name, value in (added or {}).items() if name in new} | flat(there)
    names = [name for name in {**old, **new} if (name in old, old.get(name)) != (name in new, new.get(name)) and not _PLACE.match(name)]
    return [f"{name}: {_shown(old, name)} there, {_shown(new, name)} now" for name in names]


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested options as {"a.b": ..., "c[0]": ...}."""
    if isinstance(value, Mapping) and value:
        parts = [flat(inner, f"{name}.{key}" if name else str(key)) for key, inner in value.items()]
    elif isinstance(value, list) and value:
        parts = [flat(inner, f"{name}[{i}]") for i, inner in enumerate(value)]
    else:
        return {name: value} if name else {}
    return {key: inner for part in parts for key, inner in part.items()}


def _shown(options: Mapping[str, Any], name: str) -> str:
    text = json.dumps(options[name], ensure_ascii=False) if name in options else "absent"
    return text if len(text) <= 60 else f"{text[:57]}..."
