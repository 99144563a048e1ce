"""Is the folder given with --data the one that a table needs? Looked at before anything is downloaded or trained."""

from __future__ import annotations

from pathlib import Path

from erase.classifiers.datasets import FILES
from erase.errors import InputError
from erase.files import user_path
from erase.methods.classifiers.released import CELEBA
from eval.bench.paper.items import Cell, Item


def check_data(item: Item, data: str | None) -> None:
    """InputError for a folder that cannot be that of the table, or that is missing where nothing can be downloaded.

    An empty folder, one that does not exist, and one that has another of the data sets may be downloaded into; one of other files is
    most likely a mistake.
    """
    for cell in item.cells:
        if cell.dataset == CELEBA:
            if data is None:
                raise InputError(f"--data is missing; {item.name} needs {item.needs}", option="data")
            _check_people(item, cell, user_path(data))
        elif data is not None:
            _check_published(item, cell, user_path(data))


def _check_published(item: Item, cell: Cell, folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--data {folder} is a file and no folder; {item.name} needs {item.needs}", option="data")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not names or names & {name for files in FILES.values() for name in files}:
        return
    expected, here = " or ".join(FILES[cell.dataset]), ", ".join(sorted(names)[:2])
    if folder.name in {name for files in FILES.values() for name in files}:
        remedy = f"give the folder above it: --data {folder.parent}"
    else:
        remedy = f"give the folder that has {expected}, or an empty one to download into"
    raise InputError(f"--data {folder} has {here}, and {item.name} needs {item.needs}; {remedy}", option="data")


def _check_people(item: Item, cell: Cell, folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"--data {folder} is no folder; {item.name} needs {item.needs}", option="data")
    part = folder / "train" if (folder / "train").is_dir() else folder
    count = sum(path.is_dir() and not path.name.startswith(".") for path in part.iterdir())
    if count != cell.classes:
        raise InputError(
            f"--data {folder} has {count} folder{'s' * (count != 1)} of people, and {item.name} needs {cell.classes}: {item.needs}; other "
            "people are compared by `erase-concept classify --preset celeba --dataset FOLDER --forget class:10%`",
            option="data",
        )
