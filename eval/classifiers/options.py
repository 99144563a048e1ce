"""Options of `erase-concept classify`: data, network, training, and which methods with which options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from erase.classifiers import IMAGENET
from erase.errors import InputError
from erase.methods import CLASSIFIER_METHODS
from erase.methods.classifiers.released import CELEBA
from erase.methods.spec import BALANCED, RETRAIN, Entry
from erase.methods.spec import entries as rows_of
from erase.options import SIDE, check, option
from eval.classifiers.tuning_grids import GRIDS


@dataclass(frozen=True)
class Training:
    """The network of a data set, and how the original and the retrained networks are trained."""

    network: str
    epochs: int
    learning_rate: float
    batch: int
    augment: bool
    shift: bool = True
    size: int = 64
    edge: int | None = None
    weights: str | None = None
    cosine: bool = True


SMALL = Training("small", 60, 0.05, 32, augment=False)
DEFAULTS: dict[str, Training] = {
    "digits": SMALL,
    "shapes": SMALL,
    "cifar10": Training("resnet18", 182, 0.1, 256, augment=True),
    "cifar100": Training("resnet18", 160, 0.1, 256, augment=True),
    "svhn": Training("resnet18", 50, 0.1, 256, augment=False),
    "folder": Training("resnet34", 60, 0.1, 64, augment=True),
    CELEBA: Training("resnet34", 10, 1e-3, 8, augment=True, shift=False, size=224, edge=256, weights=IMAGENET, cosine=False),
}
"""Data set -> training; for the published data sets the paper's settings. CelebAMask-HQ is a folder: `--recipe celeba`."""

ADDED = {"recipe": None, "shift": True, "edge": None, "weights": None, "cosine": True}
"""Options that are younger than some runs: what a record without them stands for."""

RECIPES = tuple(DEFAULTS)

TUNING_SEED, TUNING_SEEDS = 1000, 2
"""First seed and number of seeds of tuning, which no table uses."""

ABLATION = tuple(  # Table 3 of the paper
    f"scissorhands:initialisation={how},projected={projected}"
    for how in ("uniform", "normal", "zero", "one")
    for projected in ("true", "false")
)


@dataclass(frozen=True)
class Classify:
    """What to train, what to forget, and how it is measured. None: the default of the data set."""

    dataset: str = option(
        "digits", "digits, shapes, cifar10, cifar100, svhn, or a folder of class folders (also in train/, val/ and test/)"
    )
    data: str = option("data", "folder in which torchvision keeps cifar10, cifar100 and svhn; missing files are downloaded")
    train_samples: int | None = option(
        None, "number of training samples, with the same share of each class; by default all", low=2, high=10**9
    )
    recipe: str | None = option(
        None, "how the original is trained, by default as usual for --dataset; celeba also comes with --preset celeba", choices=RECIPES
    )
    size: int | None = option(None, "width and height in pixels of the images of a folder, by default 64", low=8, high=SIDE)
    edge: int | None = option(
        None, "pixels of the shorter side to which these are resized before they are cropped to --size", low=8, high=SIDE
    )
    network: str | None = option(
        None, "small, resnet18, resnet34, resnet50, vgg16, vit, or your own as module:function or file.py:function"
    )
    weights: str | None = option(
        None,
        "weights that training starts from: imagenet (torchvision's for resnet18, resnet34, resnet50 and vgg16, downloaded once), or a "
        ".safetensors file of such; images are then normalised as for ImageNet. By default random weights",
    )
    original: str | None = option(None, ".safetensors file with the weights of the original network; by default it is trained here")
    seeds: int = option(5, "number of seeds; each repeats everything, training included", low=1)
    first_seed: int = option(0, "first seed", low=0)
    epochs: int | None = option(None, "epochs of training the original and of retraining", low=1)
    learning_rate: float | None = option(None, "initial learning rate of that training", above=0.0)
    cosine: bool | None = option(None, "decay that learning rate to zero with a cosine schedule")
    weight_decay: float = option(5e-4, "weight decay of that training", low=0.0)
    batch: int | None = option(None, "batch size", low=2)
    augment: bool | None = option(None, "mirror and shift the images in training and unlearning")
    shift: bool | None = option(None, "shift them too; otherwise they are only mirrored")
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps")
    relearn: int = option(0, "epochs of relearning the forget set with each unlearned network; 0: no relearning", low=0)
    relearn_rate: float = option(1e-3, "learning rate of relearning", above=0.0)
    references: int = option(0, "reference networks per seed for the membership inference RMIA; 0: no RMIA", low=0)
    output: str | None = option(None, "folder of the run; by default runs/classify-<data set>-<n>")
    overwrite: bool = option(False, "start from scratch in a folder that contains another run")
    forget: tuple[str, ...] = ("random:10%",)
    on: str = "test"  # or "validation", whose samples then replace the test samples

    def __post_init__(self) -> None:
        check(self)
        if self.references == 1:
            message = "--references is 1; expected 0, or at least 2: each sample must be unseen by at least one of them"
            raise InputError(message, option="references")
        if self.original is not None and not Path(self.original).is_file():
            raise InputError(f"--original {self.original} does not exist; expected a .safetensors file", option="original")
        if (edge := self.training.edge) is not None and edge < self.training.size:
            raise InputError(f"--edge is {edge}; expected at least --size, {self.training.size}: images are cropped to it", option="edge")

    @property
    def training(self) -> Training:
        """Network and training, with the defaults of the data set."""
        own = DEFAULTS.get(self.recipe or self.dataset, DEFAULTS["folder"])
        chosen = {item.name: getattr(self, item.name) for item in fields(Training)}
        return replace(own, **{name: value for name, value in chosen.items() if value is not None})

    def record(self) -> dict[str, Any]:
        """Every option that the results depend on, with the defaults of the data set, for options.json."""
        without = ("output", "overwrite", "seeds", "first_seed")
        values = {**asdict(self), **asdict(self.training)}
        return {name: value for name, value in values.items() if name not in without}


def entries(texts: Sequence[str], preset: str = BALANCED) -> list[Entry]:
    """`all`, `NAME`, or `NAME:option=value,option=value` (also `preset=NAME`), each once; without retraining, which every table has.

    `preset` is for rows that name none, if their method has it.
    """
    by_label = {row.label: row for row in rows_of(texts, CLASSIFIER_METHODS, preset) if row.method != RETRAIN}
    return list(by_label.values())


def candidates(entry: Entry) -> list[Entry]:
    """The rows that --tune tries in place of a row: the method's settings in GRIDS; options of the row itself stay."""
    rows = {}
    for setting in GRIDS.get(entry.method, ({},)):
        values = {**setting, **entry.values}
        options = ",".join(f"{name}={value}" for name, value in values.items())
        label = f"{entry.method}:{options}" if options else entry.method
        rows[options] = replace(entry, label=label, values=values)
    return list(rows.values())
