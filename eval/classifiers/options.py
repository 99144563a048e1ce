"""The job of `erase-concept classify`: data, network, training, and which methods with which options. Options only, no work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.methods import CLASSIFIER_METHODS
from erase.methods.spec import BALANCED, RETRAIN, Entry
from erase.methods.spec import entries as rows_of
from erase.options import check, option
from eval.classifiers.tuning_grids import GRIDS

# Of each data set: the network, how original and retrained network are trained (the paper's settings for the published
# ones), and the size of a batch.
SMALL = {"network": "small", "epochs": 60, "learning_rate": 0.05, "batch": 32, "augment": False}
PAPER = {"network": "resnet18", "learning_rate": 0.1, "batch": 256, "augment": True}
DEFAULTS: dict[str, dict[str, Any]] = {
    "digits": SMALL,
    "shapes": SMALL,
    "cifar10": {**PAPER, "epochs": 182},
    "cifar100": {**PAPER, "epochs": 160},
    "svhn": {**PAPER, "epochs": 50, "augment": False},
    "folder": {**PAPER, "network": "resnet34", "epochs": 60, "batch": 64},
}
TUNING_SEED, TUNING_SEEDS = 1000, 2  # never those of a table
ABLATION = tuple(  # Table 3 of the paper
    f"scissorhands:initialisation={how},projected={projected}"
    for how in ("uniform", "normal", "zero", "one")
    for projected in ("true", "false")
)


@dataclass(frozen=True)
class Classify:
    """What to learn, what to forget, and how it is measured. None: the data set's own default."""

    dataset: str = option(
        "digits", "digits, shapes, cifar10, cifar100, svhn, or a folder of class folders (also in train/, val/ and test/)"
    )
    data: str = option("data", "folder in which torchvision keeps cifar10, cifar100 and svhn; fetched to there if need be")
    train_samples: int | None = option(None, "train on that many samples only, each class by its share", low=2)
    size: int = option(64, "pixels a side of the pictures of a folder", low=8)
    network: str | None = option(
        None, "small, resnet18, resnet34, resnet50, vgg16, vit, or your own as module:function or file.py:function"
    )
    original: str | None = option(
        None, ".safetensors file with the weights of the network as it was trained; by default it is trained here"
    )
    seeds: int = option(5, "how often everything is repeated, from training on", low=1)
    first_seed: int = option(0, "the first of these seeds", low=0)
    epochs: int | None = option(None, "epochs of the original's training and of retraining", low=1)
    learning_rate: float | None = option(None, "first learning rate of that training, falling along a cosine", above=0.0)
    weight_decay: float = option(5e-4, "weight decay of that training", low=0.0)
    batch: int | None = option(None, "samples a step", low=2)
    augment: bool | None = option(None, "mirror and shift the pictures in training and unlearning")
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps")
    relearn: int = option(0, "epochs for which each unlearned network learns the forget set again; 0: it is not tried", low=0)
    relearn_rate: float = option(1e-3, "learning rate of relearning", above=0.0)
    references: int = option(0, "reference networks a seed, for the membership inference RMIA; 0: only the paper's", low=0)
    output: str | None = option(None, "folder of the run; by default runs/classify-<data set>-<n>")
    overwrite: bool = option(False, "start anew in a folder that holds another run")
    forget: tuple[str, ...] = ("random:10%",)
    on: str = "test"  # or validation: what stands in for the test samples

    def __post_init__(self) -> None:
        check(self)
        if self.references == 1:
            raise InputError("--references is 1; expected 0, or at least 2: each sample has to be new to one of them")
        if self.original is not None and not Path(self.original).is_file():
            raise InputError(f"--original {self.original} is not there; expected a .safetensors file")

    def filled(self) -> dict[str, Any]:
        """Every option that the results depend on, defaults of the data set filled in."""
        own = DEFAULTS.get(self.dataset, DEFAULTS["folder"])
        aside = ("output", "overwrite", "seeds", "first_seed")
        values = {name: value for name, value in asdict(self).items() if name not in aside}
        return {name: own.get(name) if value is None else value for name, value in values.items()}


def entries(texts: Sequence[str], preset: str = BALANCED) -> list[Entry]:
    """`all`, `NAME`, or `NAME:option=value,option=value` (also `preset=NAME`), each once; retraining is left out, it is always there.

    `preset` is for rows that name none, where their method has it.
    """
    found = {made.label: made for made in rows_of(texts, CLASSIFIER_METHODS, preset) if made.method != RETRAIN}
    return list(found.values())


def tried(entry: Entry) -> list[Entry]:
    """What --tune tries in place of a row: the method's settings in GRIDS; options that the row itself gives stay."""
    grid = GRIDS.get(entry.method, ({},))
    found = {}
    for values in grid:
        given = {**values, **entry.values}
        options = ",".join(f"{name}={value}" for name, value in given.items())
        label = f"{entry.method}:{options}" if options else entry.method
        found[options] = replace(entry, label=label, values=given)
    return list(found.values())
