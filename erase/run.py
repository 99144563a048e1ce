"""The run folder, which all stages share: created, locked, appended to, resumed and listed.

A stage is a name that is done or not; models and methods are the business of the stages.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.files import read_object, write_json, written
from erase.files.disk import disk_errors
from erase.files.leftovers import in_use, remove_leftovers
from erase.files.locks import LOCK, OWNER, Lock, lock_folder
from erase.files.reading import RECORD_BYTES, read_objects
from erase.files.schema import LINES, RUN_OPTIONS, Record, Schema, check_schema
from erase.options import MODELS, differences, flat

RUNS = Path("runs")  # the parent of run folders that are created without --output
PACKAGES = ("erase-concept", "torch", "diffusers", "transformers", "safetensors")
RECORDS = ("environment", "resumed_in")  # what options.json holds beside the options
LISTED = 8  # differences that an error message lists


def read_lines(path: Path, schema: Schema = LINES) -> list[dict[str, Any]]:
    """The objects of a .jsonl file, without a last line that a killed process left incomplete."""
    try:
        return [record for _, record in read_objects(path, RECORD_BYTES, torn=True, schema=schema)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def append_lines(path: Path, records: Iterable[Mapping[str, Any]], sync: bool = False) -> None:
    """Add objects to a .jsonl file; with `sync` they are on the disk when this returns, not only in the system's buffers."""
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
    import torch

    cuda = device.startswith("cuda") and torch.cuda.is_available()
    about = torch.cuda.get_device_name(torch.device(device)) if cuda else f"{platform.machine()}, {torch.get_num_threads()} threads"
    return {**{name: package_version(name) for name in PACKAGES}, "python": platform.python_version(), "device": f"{device} ({about})"}


class _Path:
    """A file or folder of a run."""

    def __init__(self, *parts: str) -> None:
        self.parts = parts

    def __get__(self, run: Run, owner: type[Run]) -> Path:
        return run.folder.joinpath(*self.parts)


class Run:
    """One run folder. `Run.open` locks it until `close`; `Run.read` reads it without a lock. A context manager."""

    forget_images = _Path("images", "forget")
    retain_images = _Path("images", "retain")
    anchor_images = _Path("images", "anchor")
    latents = _Path("latents.safetensors")
    checkpoint = _Path("checkpoint.safetensors")
    stats = _Path("stats.jsonl")
    model = _Path("model")
    report = _Path("report.json")
    comparison = _Path("comparison.png")

    def __init__(self, folder: Path, options: dict[str, Any], lock: Lock | None = None) -> None:
        self.folder, self.options, self._lock = folder, options, lock

    @classmethod
    def open(cls, folder: Path, options: Mapping[str, Any], overwrite: bool = False, added: Mapping[str, Any] | None = None) -> Run:
        """Create the folder, or resume the run in it if its options are equal (`differences`); one process at a time.

        A folder in which no work was done yet, for lack of data, say, takes other options too.
        """
        requested = json.loads(json.dumps(dict(options), default=os.fspath))
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _refuse_foreign(folder)
            lock = locked(folder)
            try:
                _refuse_foreign(folder)
                _refuse_other_kind(folder, requested)
                if overwrite:
                    _clear(folder, requested)
                remove_leftovers(folder.parent)  # of an export, for instance
                for part in list(_torn_files(folder)):
                    _remove(part)
                _settle(folder, requested, added or {})
            except BaseException:
                lock.release()
                raise
        return cls(folder, requested, lock)

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Read a run, also while another process works on it."""
        record = _record(folder)
        if record is None:
            raise InputError(f"{folder} is not a run folder (it has no options.json of ours); `erase-concept --output` creates one")
        check_schema(record, RUN_OPTIONS, str(folder / "options.json"))
        options = Record(((key, value) for key, value in record.items() if key not in RECORDS), str(folder / "options.json"))
        return cls(folder, options)

    def close(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def samples(self, which: str) -> Path:
        """Images of the evaluation prompts; `which` is "before" or "after"."""
        return self.folder / "samples" / which

    def stages(self) -> dict[str, dict[str, Any]]:
        """Completed stages and the facts recorded of each (seconds, ...)."""
        path = self.folder / "stages.json"
        return read_object(path, {...: dict}) if path.exists() else {}

    def done(self, stage: str) -> bool:
        """Whether a stage's output is complete."""
        return stage in self.stages()

    def complete(self, stage: str, **facts: Any) -> None:
        """Record that a stage's output is complete; call it after the output has its final name."""
        with disk_errors(self.folder):
            write_json(self.folder / "stages.json", {**self.stages(), stage: facts})

    def steps(self) -> list[dict[str, Any]]:
        """The repair steps so far."""
        return read_lines(self.stats)

    def append_step(self, record: Mapping[str, Any]) -> None:
        """Add a repair step; it survives a kill of this process."""
        with disk_errors(self.stats):
            append_lines(self.stats, [record])

    def truncate_steps(self, step: int) -> None:
        """On resume: keep the steps up to and including number `step`, the checkpoint's; drop later and incomplete ones."""
        records = [record for record in self.steps() if record["step"] <= step]
        with disk_errors(self.stats), written(self.stats) as part:
            part.write_text(lines_of(records), encoding="utf-8")


def recorded_options(folder: Path) -> dict[str, Any]:
    """The options of the run in a folder; empty where there is none."""
    return {key: value for key, value in (_record(folder) or {}).items() if key not in RECORDS}


def is_run(folder: Path) -> bool:
    """Whether a folder is a run of erase-concept."""
    return _record(folder) is not None


def list_runs(root: Path, accepts: Callable[[Path], bool] = is_run) -> list[Path]:
    """The run folders directly inside `root`, sorted by name with numbers in numeric order.

    `accepts` tells them from others, for those who ask often and remember the answer.
    """
    runs = [path for path in root.iterdir() if path.is_dir() and accepts(path)] if root.is_dir() else []
    return sorted(runs, key=lambda path: [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in path.name.split("-")])


def next_run_folder(root: Path, concept: str, model: str, method: str) -> Path:
    """<concept>-<model>-<method>-<n>, n one more than that of any existing folder."""
    name = "-".join(_slug(part) for part in (concept, re.split(r"[/\\]", model.rstrip("/\\"))[-1], method))
    tails = [path.name.removeprefix(f"{name}-") for path in root.glob(f"{name}-*")]
    return root / f"{name}-{max((int(tail) for tail in tails if tail.isdecimal()), default=0) + 1}"


def _slug(text: str) -> str:
    """Part of a folder name: what the encoding of file names has, which is not always UTF-8."""
    known = text.lower().encode(sys.getfilesystemencoding(), "replace").decode(sys.getfilesystemencoding(), "replace")
    return re.sub(r"[^\w.]+", "-", known)[:32].strip("-._") or "x"


def _record(folder: Path) -> dict[str, Any] | None:
    """options.json, if it is one of erase-concept."""
    try:
        record = read_object(folder / "options.json")
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    environment = record.get("environment")
    return record if isinstance(environment, dict) and "erase-concept" in environment else None


def _refuse_foreign(folder: Path) -> None:
    """InputError for a folder that holds files and is not a run; a lock or a torn options.json alone is a run killed at birth."""
    others = [path.name for path in folder.iterdir() if path.name not in (LOCK, OWNER) and not re.fullmatch(r"\..*\.part", path.name)]
    if others and _record(folder) is None:
        names = ", ".join(sorted(others)[:3])
        raise InputError(f"{folder} is not a run folder but holds {names}{', ...' if len(others) > 3 else ''}; give another --output")


def _begun(folder: Path) -> bool:
    """Whether a run folder has more than what a command writes before its first work."""
    return any(path.name not in (LOCK, OWNER, "options.json", "plan.json") for path in folder.iterdir())


def _refuse_other_kind(folder: Path, requested: Mapping[str, Any]) -> None:
    """InputError for the folder of another command: it would not be made again by what overwrites it."""
    record = _record(folder)
    if record is not None and (kind := record.get("kind")) != requested.get("kind") and _begun(folder):
        kinds = f"kind: {kind or 'erasure'} there, {requested.get('kind') or 'erasure'} now"
        raise InputError(f"{folder} holds a run of another command ({kinds}); give another --output")


def locked(folder: Path) -> Lock:
    """The lock of a run folder, taken. InputError where another process has it."""
    return lock_folder(folder, f"another process is working on {folder}; wait until it ends, or give another --output")


def _torn_files(folder: Path) -> Iterator[Path]:
    """What killed processes left incomplete, except in folders with a lock of their own: another process may be writing there.

    Nor what a living process writes in this folder: an export needs no lock.
    """
    for path in folder.iterdir():
        if re.fullmatch(r"\..*\.part", path.name):
            if not in_use(path):
                yield path
        elif path.is_dir() and not path.is_symlink() and not (path / ".lock").exists():
            yield from _torn_files(path)


def _clear(folder: Path, options: dict[str, Any]) -> None:
    """Empty a run folder: bookkeeping first and options last, so that a kill in between leaves a run that starts again."""
    for name, value in flat(options).items():
        if isinstance(value, str) and value and Path(value).exists() and folder.resolve() in Path(value).resolve().parents:
            raise InputError(f"--overwrite would delete {value}, which {name} reads; give another --output")
    with ExitStack() as held:
        for lock in list(folder.rglob("*/.lock")):  # InputError where another process works there; held, so that none begins meanwhile
            held.callback(locked(lock.parent).release)
        for path in sorted(folder.iterdir(), key=lambda path: {"stages.json": 0, "options.json": 2}.get(path.name, 1)):
            if path.name not in (LOCK, OWNER):
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _settle(folder: Path, requested: dict[str, Any], added: Mapping[str, Any]) -> None:
    """Write options.json, or compare with the recorded one; a changed environment or place of the model is recorded, not refused."""
    here, record = environment(str(requested.get("device", "cpu"))), _record(folder)
    recorded = {key: value for key, value in (record or {}).items() if key not in RECORDS}
    phrases = differences(recorded, requested, added)
    if record is None or (phrases and not _begun(folder)):
        write_json(folder / "options.json", {**requested, "environment": here})
        return
    if phrases:
        text = "; ".join(phrases[:LISTED]) + (f"; and {len(phrases) - LISTED} more" if len(phrases) > LISTED else "")
        raise InputError(f"{folder} holds a run with other options: {text}; give another --output, or --overwrite to start again")
    moved = {name: requested[name] for name in MODELS if name in requested and record.get(name) != requested[name]}
    resumed = record.get("resumed_in", [])
    if [record["environment"], *resumed][-1] != here:
        moved["resumed_in"] = [*resumed, here]
    if moved:
        write_json(folder / "options.json", {**record, **moved})
