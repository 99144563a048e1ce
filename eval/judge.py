"""The detector of the embedded world: what shape, colour and style each picture shows. The only file that touches the judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from erase.demo import judge_path
from erase.demo.judge import load_judge
from erase.demo.world import DOMAINS, SIZE
from erase.files import sha256
from erase.images import load_pixels
from erase.run import package_version
from erase.task import InputError

LABELS = {domain: list(members) for domain, members in DOMAINS.items()}
CHUNK = 64  # pictures in memory at a time


def judge_pictures(
    paths: Sequence[Path], weights: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> dict[str, list[str]]:
    """Domain -> what each picture shows; of another size than 64 pixels: its middle square, resized. `weights`: not the shipped ones."""
    judge = load_judge(_there(weights))
    found: dict[str, list[str]] = {domain: [] for domain in DOMAINS}
    for start in range(0, len(paths), CHUNK):
        if progress is not None:
            progress(start, len(paths))
        for domain, names in judge.name(load_pixels(paths[start : start + CHUNK], SIZE)).items():
            found[domain] += names
    if progress is not None:
        progress(len(paths), len(paths))
    return found


def facts(weights: Path | None = None) -> dict[str, Any]:
    """The detector's part of a protocol."""
    path = _there(weights)
    return {
        "detector": {"name": "judge", "version": package_version("erase-concept"), "sha256": sha256(path), "size": SIZE},
        "threshold": None,  # it always says the most likely label
        "labels": LABELS,
        "counted": "pictures",
    }


def _there(weights: Path | None) -> Path:
    path = weights or judge_path()
    if not path.is_file():
        raise InputError(f"the judge's weights {path} are not there; install the package again")
    return path
