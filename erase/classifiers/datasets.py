"""Labelled images: data sets by name or folder, with a fixed split into training, validation and test samples.

Everything is in memory, as uint8 where the source is uint8; a batch is float32 in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from erase.errors import InputError
from erase.images import image_files, open_picture
from erase.images.reading import COMMON
from erase.task import Batch, generator
from erase.torchvision_compat import torchvision

PUBLISHED = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "svhn": "SVHN"}
NAMES = ("digits", "shapes", *PUBLISHED)
FILES = {
    "cifar10": ("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "cifar100": ("cifar-100-python", "cifar-100-python.tar.gz"),
    "svhn": ("train_32x32.mat", "test_32x32.mat"),
}
"""What torchvision keeps of a data set, in the folder of its name for all; of CIFAR the second is the first, packed."""
PARTS = ("train", "val", "test")
REMEDY = 'pip install "erase-concept[classify]"'
SHAPES_COUNTS = (800, 400, 1200)
"""Training, validation and test samples of `shapes`: 20, 10 and 30 per class."""


@dataclass(frozen=True)
class Samples:
    """Images (n, channels, height, width), uint8 or float in [-1, 1]; their classes (n,) int64; and an id for each."""

    x: Tensor
    y: Tensor
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: Tensor) -> Samples:
        """The samples in these rows (int64), in this order."""
        return Samples(self.x[rows], self.y[rows], tuple(self.ids[row] for row in rows.tolist()))

    def batch(self, rows: Tensor) -> Batch:
        """x as float32 in [-1, 1] and y, of these rows."""
        x = self.x[rows]
        return {"x": x.float() / 127.5 - 1 if x.dtype == torch.uint8 else x.float(), "y": self.y[rows]}

    def to(self, device: str) -> Samples:
        """The same on a device."""
        return replace(self, x=self.x.to(device), y=self.y.to(device))

    def all(self) -> Batch:
        """Every sample in one batch."""
        return self.batch(torch.arange(len(self)))


@dataclass(frozen=True)
class Data:
    """A data set: samples for training, for choosing settings and for reporting, and the names of the classes."""

    name: str
    train: Samples
    validation: Samples
    test: Samples
    classes: tuple[str, ...]

    @property
    def channels(self) -> int:
        return int(self.train.x.shape[1])

    @property
    def size(self) -> int:
        """Height of an image in pixels."""
        return int(self.train.x.shape[2])

    def to(self, device: str) -> Data:
        """The same on a device."""
        return replace(self, train=self.train.to(device), validation=self.validation.to(device), test=self.test.to(device))


def crop_and_mirror(x: Tensor, random: torch.Generator) -> Tensor:
    """Shift each image by up to an eighth of its side, with a black border, and mirror half of them (as for CIFAR)."""
    n, _, height, width = x.shape
    reach = max(1, height // 8)
    shifts = torch.randint(0, 2 * reach + 1, (n, 2), generator=random).to(x.device)
    flips = (torch.rand(n, generator=random) < 0.5).to(x.device)
    padded = torch.nn.functional.pad(x, [reach] * 4, value=-1.0)
    columns = torch.arange(width, device=x.device).expand(n, width)
    columns = torch.where(flips[:, None], columns.flip(1), columns) + shifts[:, 1:]
    rows = torch.arange(height, device=x.device) + shifts[:, :1]
    return padded[torch.arange(n, device=x.device)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def mirror(x: Tensor, random: torch.Generator) -> Tensor:
    """Mirror half of the images."""
    flips = (torch.rand(len(x), generator=random) < 0.5).to(x.device)
    return torch.where(flips[:, None, None, None], x.flip(3), x)


def load_data(name: str, folder: Path | None = None, train_samples: int | None = None, size: int = 64, edge: int | None = None) -> Data:
    """One of NAMES, or a folder of class folders, optionally inside train/, test/ and val/.

    Splits do not depend on any seed, so that nothing is ever tuned on samples that are reported. `folder` is where torchvision
    keeps its files; missing files are downloaded. `train_samples`: use that many training samples, with the same share of each
    class. `size`: images of a folder are cropped to the central square and resized to this many pixels; with `edge` they are resized
    until their shorter side has that many pixels, and then cropped.
    """
    if name == "digits":
        data = _digits()
    elif name == "shapes":
        data = _shapes()
    elif name in PUBLISHED:
        data = _published(name, folder or Path("data"))
    elif Path(name).is_dir():
        data = _folder(Path(name), size, edge or size)
    else:
        raise InputError(f"--dataset {name!r} is neither {', '.join(NAMES)} nor a folder; give a name, or a folder of class folders")
    if train_samples is None:
        return data
    if not 0 < train_samples <= len(data.train):
        raise InputError(f"--train-samples is {train_samples}; {name} has {len(data.train)} training samples: give 1 to that many")
    return replace(data, train=data.train[few(data.train.y, train_samples)])


def few(y: Tensor, count: int) -> Tensor:
    """`count` rows, with the same share of each class up to rounding, in the order of the rows."""
    order = torch.randperm(len(y), generator=generator("few"))
    # The position of each sample within its class, as a share of the class: the lowest shares are a stratified draw.
    position = torch.zeros(len(y), dtype=torch.float64)
    for label in y.unique().tolist():
        members = order[y[order] == label]
        position[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
    return torch.argsort(position + 1e-9 * order.argsort(), stable=True)[:count].sort().values


def _split(x: Tensor, y: Tensor, ids: Sequence[str], name: str, classes: Sequence[str], test: int, validation: int) -> Data:
    """Split off `test` and `validation` samples, always the same ones."""
    order = torch.randperm(len(y), generator=generator("split", name))
    whole = Samples(x, y, tuple(ids))
    rows = order[:test], order[test : test + validation], order[test + validation :]
    test_samples, validation_samples, train = (whole[part.sort().values] for part in rows)
    return Data(name, train, validation_samples, test_samples, tuple(classes))


def _digits() -> Data:
    """1,797 handwritten digits of 8 by 8 pixels (Alpaydin and Kaynak 1998), included in scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError(f"the data set digits comes with scikit-learn, which is not installed: {REMEDY}") from error
    digits: Any = load_digits()
    x = torch.from_numpy(digits.images).float()[:, None] / 8 - 1
    return _split(x, torch.from_numpy(digits.target).long(), [str(i) for i in range(len(x))], "digits", list("0123456789"), 600, 300)


def _shapes() -> Data:
    """The embedded world's shapes and colours: 40 classes, 32 pixels, with a second shape and noise; 20 training samples per class."""
    from erase.demo.shapes.clutter import CLASSES, cluttered

    x, y = cluttered(sum(SHAPES_COUNTS))
    whole = Samples(torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(y), tuple(map(str, range(len(y)))))
    ends = np.cumsum(SHAPES_COUNTS)
    train, validation, test = (whole[torch.arange(end - count, end)] for count, end in zip(SHAPES_COUNTS, ends.tolist(), strict=True))
    return Data("shapes", train, validation, test, CLASSES)


def _published(name: str, folder: Path) -> Data:
    """CIFAR-10, CIFAR-100 or SVHN, whose files torchvision checks by hash; a tenth of the training samples is for validation."""
    train, test = (_fetched(name, folder, part) for part in ("train", "test"))
    x, y, classes = train
    data = _split(x, y, [str(i) for i in range(len(y))], name, classes, 0, len(y) // 10)
    return replace(data, test=Samples(*test[:2], tuple(f"test/{i}" for i in range(len(test[1])))))


def _fetched(name: str, folder: Path, part: str) -> tuple[Tensor, Tensor, list[str]]:
    kind = getattr(torchvision().datasets, PUBLISHED[name])
    which = {"split": part} if name == "svhn" else {"train": part == "train"}
    try:
        try:
            dataset = kind(str(folder), **which)
        except RuntimeError:  # missing or incomplete
            dataset = kind(str(folder), **which, download=True)
    except ImportError as error:
        raise InputError(f"the data set {name} needs {error.name}, which is not installed: {REMEDY}") from error
    except (OSError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        files = (" and " if name == "svhn" else " or ").join(FILES[name])
        raise InputError(
            f"{folder} has no complete {name} ({files}), and it cannot be downloaded ({reason}); put it there, or give the folder that has "
            "it as --data",
            option="data",
        ) from error
    x = torch.from_numpy(np.asarray(dataset.data))
    y = torch.as_tensor(np.asarray(dataset.labels if name == "svhn" else dataset.targets)).long()
    return x if name == "svhn" else x.permute(0, 3, 1, 2).contiguous(), y, list(getattr(dataset, "classes", "0123456789"))


def _folder(folder: Path, size: int, edge: int) -> Data:
    """Images in class folders; without test/ a fifth of each class is for testing, without val/ a tenth of the rest for validation."""
    split = {part: folder / part for part in PARTS if (folder / part).is_dir()}
    if split and "train" not in split:
        raise InputError(f"{folder} has {', '.join(split)} but no train; expected train/CLASS/IMAGE, and optionally test and val")
    classes = sorted(path.name for path in (split.get("train", folder)).iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        raise InputError(f"{split.get('train', folder)} has {len(classes)} class folders; expected at least two, each with its images")
    parts = {part: _read(path, folder, classes, size, edge) for part, path in (split or {"train": folder}).items()}
    train = parts["train"]
    for part, share in (("test", 5), ("val", 10)):
        if part not in parts:
            rows = few(train.y, max(1, len(train) // share))
            remaining = torch.ones(len(train), dtype=torch.bool)
            remaining[rows] = False
            parts[part], train = train[rows], train[remaining.nonzero()[:, 0]]
    return Data(folder.resolve().name, train, parts["val"], parts["test"], tuple(classes))


def _read(part: Path, root: Path, classes: Sequence[str], size: int, edge: int) -> Samples:
    unknown = sorted(path.name for path in part.iterdir() if path.is_dir() and path.name not in classes and not path.name.startswith("."))
    if unknown:
        raise InputError(f"{part} has classes without training samples: {', '.join(unknown[:3])}; add samples or remove the classes")
    images = [(path, label) for label, name in enumerate(classes) if (part / name).is_dir() for path in image_files(part / name)]
    present = {label for _, label in images}
    empty = [name for label, name in enumerate(classes) if label not in present] if part.name not in PARTS[1:] else []
    if empty or not images:
        raise InputError(f"{part} has no images for {', '.join(empty[:3]) or 'any class'}; expected {COMMON}")
    pixels = np.stack([_square(path, size, edge) for path, _ in images])
    ids = tuple(path.relative_to(root).as_posix() for path, _ in images)
    return Samples(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.tensor([label for _, label in images]), ids)


def _square(path: Path, size: int, edge: int) -> Any:
    """The central square of an image whose shorter side has `edge` pixels, (size, size, 3) uint8."""
    from PIL import ImageOps

    start = (edge - size) // 2
    return np.asarray(ImageOps.fit(open_picture(path), (edge, edge)))[start : start + size, start : start + size]
