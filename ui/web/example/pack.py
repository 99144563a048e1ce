"""`python -m ui.web.example.pack RUN`: the archive of the example, of a finished run of an embedded model. Changes nothing in the run."""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from erase.concepts import EMBEDDED
from erase.demo.worlds import KNOWN_MODELS
from erase.errors import InputError
from erase.files import sha256, written
from erase.run import Run
from eval.attacks import ERASED
from ui.web.example.difference import difference
from ui.web.example.unpack import ARCHIVE, DIFFERENCE, FACTS, MODEL

FILES = ("options.json", "report.json", "records.jsonl", "stats.jsonl", "layers.json", "stages.json", "plan.json", "anchor.json")
FOLDERS = ("samples", "attacks")
LEFT_OUT = (".lock", ".tmp")  # by the end of a name
DATE = (2020, 1, 1, 0, 0, 0)  # of every entry: the same run gives the same archive


def pack(run: Path, archive: Path) -> None:
    """Write the archive; InputError for a run that is not finished, or not of an embedded model."""
    model = str(Run.read(run).options.get("model"))
    if model not in EMBEDDED or not (run / "report.json").is_file():
        raise InputError(f"{run} is not a finished run of an embedded model; expected one of {', '.join(EMBEDDED)}")
    base = KNOWN_MODELS[model].pipeline
    differing = [path for path in _files(run / MODEL) if not _equal(path, base / path.relative_to(run / MODEL))]
    facts = {
        "model": model,
        "finished": (run / "report.json").stat().st_mtime,
        "sha256": {path.relative_to(run).as_posix(): sha256(path) for path in differing},
    }
    with written(archive) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        _add(file, FACTS, json.dumps(facts, indent=1).encode())
        for path in _small(run):
            _add(file, path.relative_to(run).as_posix(), path.read_bytes())
        for path in differing:
            name, original = path.relative_to(run).as_posix(), base / path.relative_to(run / MODEL)
            if path.suffix == ".safetensors":
                _add(file, name + DIFFERENCE, difference(original.read_bytes(), path.read_bytes()))
            else:
                _add(file, name, path.read_bytes())


def _small(run: Path) -> Iterator[Path]:
    """What is packed of a run beside its model."""
    yield from (run / name for name in FILES if (run / name).is_file())
    for name in FOLDERS:
        yield from (path for path in _files(run / name) if not path.name.endswith(LEFT_OUT) and _is_shown(path))


def _is_shown(path: Path) -> bool:
    """Whether something shows a file. Of the images that attacks drew these are the erased model's in which the concept came back."""
    if path.suffix != ".png" or "attacks" not in path.parts:
        return True
    attempts = json.loads((path.parent / "record.json").read_text(encoding="utf-8"))["attempts"]
    back = {attempt["picture"] for attempt in attempts if any(look["shows"] for look in attempt["looks"])}
    return ERASED in path.parts and path.name in back


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _equal(path: Path, other: Path) -> bool:
    return other.is_file() and path.read_bytes() == other.read_bytes()


def _add(file: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, DATE)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    file.writestr(entry, data, compresslevel=9)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    pack(parser.parse_args().run, ARCHIVE)
    print(f"{ARCHIVE}: {ARCHIVE.stat().st_size / 2**20:.1f} MiB")
