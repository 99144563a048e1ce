"""lora.safetensors of a run with --lora-rank: the low-rank factors that repair has trained, and the entries that trimming replaced.

The file has the layout of diffusers, whose `load_lora_weights` reads it: PART is `unet` or `transformer`, MODULE the path of a layer in
that network, and alpha is the rank everywhere.

    PART.MODULE.lora_A.weight    (r, inputs), of a convolution (r, inputs, height, width); kohya's lora_down
    PART.MODULE.lora_B.weight    (outputs, r), of a convolution (outputs, r, 1, 1); kohya's lora_up

A layer of a smaller rank than the run's has factors of its own rank. Trimmed entries of the weights themselves are no part of it: they lie
beside it, in trimmed.safetensors, which is there only where something was trimmed.

    MODULE.weight/places         (n,) int64, flat places in the weight
    MODULE.weight/values         (n,) in the dtype in which the run held the weight

So a weight of the run's model is its original, with the trimmed entries, plus alpha / r times lora_B @ lora_A.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from erase.checkpoints.safetensors_header import load_tensors, metadata
from erase.errors import InputError
from erase.files import write_tensors
from erase.task import Entries

LORA, TRIMMED = "lora.safetensors", "trimmed.safetensors"
METADATA = "lora_adapter_metadata"  # diffusers' own key


@dataclass(frozen=True)
class Factors:
    """The factors of one layer: the change of its weight is `alpha / len(down)` times up @ down."""

    down: Tensor
    """lora_A: (r, inputs), of a convolution (r, inputs, height, width)."""
    up: Tensor
    """lora_B: (outputs, r), of a convolution (outputs, r, 1, 1)."""
    alpha: float

    @property
    def rank(self) -> int:
        return len(self.down)

    def difference(self) -> Tensor:
        """What is added to the weight, in its shape: (outputs, inputs), or (outputs, inputs, height, width)."""
        product = self.up.flatten(1) @ self.down.flatten(1)
        return (self.alpha / self.rank * product).reshape(len(self.up), *self.down.shape[1:])


@dataclass(frozen=True)
class Lora:
    """The result of a run with --lora-rank."""

    part: str
    """The network: `unet` or `transformer`."""
    rank: int
    alpha: float
    factors: dict[str, Factors]
    """Path of a layer in the network -> its factors, float32."""
    trimmed: dict[str, Entries]
    """Name of a weight -> the entries that trimming has replaced, with their new values."""


def write_lora(run: Path, part: str, rank: int, factors: Mapping[str, Tensor], trimmed: Mapping[str, Entries]) -> None:
    """Write the two files into a run folder; `factors` by the names that `erase.checkpoints.lora.low_rank` gives them."""
    if trimmed:
        write_tensors(run / TRIMMED, {f"{name}/{kind}": tensor for name, e in trimmed.items() for kind, tensor in e._asdict().items()}, {})
    modules = [name.removesuffix(".lora_A.weight") for name in factors if name.endswith(".lora_A.weight")]
    own = {module: len(factors[f"{module}.lora_A.weight"]) for module in modules}
    smaller = {f"^{module}": size for module, size in own.items() if size != rank}
    config = {"r": rank, "lora_alpha": rank, "target_modules": modules, "rank_pattern": smaller, "alpha_pattern": smaller}
    # One entry: the format's own writer orders several differently in every process.
    facts = {METADATA: json.dumps({f"{part}.{name}": value for name, value in config.items()}, sort_keys=True)}
    write_tensors(run / LORA, {f"{part}.{name}": tensor.detach().float().cpu().contiguous() for name, tensor in factors.items()}, facts)


def read_lora(run: Path) -> Lora | None:
    """The factors of a finished run; None where the run trained the weights themselves. InputError for a file that is not ours."""
    path = run / LORA
    if not path.exists():
        return None
    tensors, entries = load_tensors(path), load_tensors(run / TRIMMED) if (run / TRIMMED).exists() else {}
    config = json.loads(metadata(path).get(METADATA, "{}"))
    part, _, _ = next(iter(tensors), "").partition(".")
    if f"{part}.r" not in config:
        raise InputError(f"{path} does not name the rank of its factors; run the same command again in another --output")
    alphas, alpha = config[f"{part}.alpha_pattern"], config[f"{part}.lora_alpha"]
    factors = {}
    for name in (key.removesuffix(".lora_A.weight") for key in tensors if key.endswith(".lora_A.weight")):
        module = name.removeprefix(f"{part}.")
        down, up = tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"]
        factors[module] = Factors(down, up, float(alphas.get(f"^{module}", alpha)))
    names = dict.fromkeys(key.rpartition("/")[0] for key in entries)
    trimmed = {name: Entries(entries[f"{name}/places"], entries[f"{name}/values"]) for name in names}
    return Lora(part, int(config[f"{part}.r"]), float(alpha), factors, trimmed)
