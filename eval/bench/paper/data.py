"""Is the folder given with --data the one that a table needs? Looked at before anything is downloaded or trained."""

from __future__ import annotations

from pathlib import Path

from erase.errors import InputError
from erase.files import user_path
from erase.methods.classifiers.released import CELEBA
from eval.bench.paper.items import Cell, Item

FILES = {
    "cifar10": ("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "cifar100": ("cifar-100-python", "cifar-100-python.tar.gz"),
    "svhn": ("train_32x32.mat", "test_32x32.mat"),
}
"""What torchvision keeps of a data set, in the folder of its name for all."""


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
        raise InputError(f"--data {folder} is a file; {item.name} needs the folder with {item.needs}", option="data")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if names and not names & {name for files in FILES.values() for name in files}:
        expected = ", ".join(FILES[cell.dataset])
        raise InputError(
            f"--data {folder} has none of the files of {cell.dataset} ({expected}) but {', '.join(sorted(names)[:2])}; {item.name} needs "
            f"{item.needs}: give that folder, or an empty one",
            option="data",
        )


def _check_people(item: Item, cell: Cell, folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"--data {folder} is no folder; {item.name} needs {item.needs}", option="data")
    part = folder / "train" if (folder / "train").is_dir() else folder
    count = sum(path.is_dir() and not path.name.startswith(".") for path in part.iterdir())
    if count != cell.classes:
        raise InputError(
            f"--data {folder} has {count} class folders, and {item.name} needs {cell.classes}: {item.needs}; for other people there is "
            "`erase-concept classify --recipe celeba --dataset FOLDER`",
            option="data",
        )
