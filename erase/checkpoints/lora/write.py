"""Write what an erased model differs in from its original as a small file: LoRA with kohya's or diffusers' names, or the difference itself.

Layers are read, decomposed and dropped one after another, so that neither model is in memory whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from erase.checkpoints.folder import read_provenance
from erase.checkpoints.lora import RANK
from erase.checkpoints.lora.difference import Change, changes, exact_difference, part_tensors
from erase.checkpoints.lora.factors import Factors, Pair, factorise, padded, rank_for, scaled, stacked_pairs
from erase.checkpoints.lora.facts import COUNT, facts_of, network_facts
from erase.checkpoints.lora.names import check_known, difference_name, diffusers_prefix, family_of, kohya_name, layers_of
from erase.checkpoints.safetensors_file import LazyTensor, write_lazy
from erase.checkpoints.transformer.names import LAYERS, Layer, in_order
from erase.errors import InputError
from erase.files.disk import disk_errors

DTYPES = {"float16": torch.float16, "float32": torch.float32}
Show = Callable[[int, int], None]


@dataclass(frozen=True)
class Form:
    """What to write: a format of LORA_FORMATS, a rank or how much of the norm (per cent) each layer keeps, dtype, and where to compute."""

    name: str
    rank: int | None = None
    keep: float | None = None
    dtype: str = "source"
    device: str = "cpu"


@dataclass(frozen=True)
class Kept:
    """A layer of the file: its rank, the Frobenius norm of its change, and how much of that the file has, in per cent."""

    layer: str
    rank: int | None
    norm: float
    kept: float


@dataclass(frozen=True)
class Written:
    """A written file: its layers, weights that the format has no place for, and the share of the change's norm that it has."""

    path: Path
    form: str
    family: str
    layers: list[Kept]
    left_out: list[str]
    kept: float
    inexact: int = 0

    def record(self) -> dict[str, object]:
        """For the report."""
        rows = [{"layer": row.layer, "rank": row.rank, "norm": row.norm, "kept": row.kept} for row in self.layers]
        facts = {"file": self.path.name, "bytes": self.path.stat().st_size, "format": self.form, "family": self.family, "kept": self.kept}
        return {**facts, "inexact_entries": self.inexact, "left_out": self.left_out, "layers": rows}


@dataclass
class _Sum:
    """Squared norms, summed in float64."""

    energy: float = 0.0
    kept: float = 0.0
    rows: list[Kept] = field(default_factory=list)

    def add(self, layer: str, rank: int | None, energy: float, kept: float) -> None:
        self.energy, self.kept = self.energy + energy, self.kept + kept
        self.rows.append(Kept(layer, rank, energy**0.5, 100 * (kept / energy) ** 0.5 if energy else 100.0))

    @property
    def share(self) -> float:
        return 100 * (self.kept / self.energy) ** 0.5 if self.energy else 100.0


@dataclass(frozen=True)
class _Work:
    """What all layers of a file have in common."""

    original: Path
    erased: Path
    out: Path
    form: Form
    family: str
    layers: Sequence[Layer]
    changed: Mapping[str, Change]
    tensors: Mapping[str, LazyTensor]
    show: Show

    def touched(self, kind: str) -> list[Layer]:
        """The layers whose weight, or bias, has changed."""
        return [layer for layer in self.layers if any(f"{part}.{kind}" in self.changed for part in layer.parts)]

    def matrix(self, layer: Layer) -> Tensor:
        """The change of a layer's weight as the file has it, float32: parts one below the other, zeros for those that did not change."""
        names = [f"{part}.weight" for part in layer.parts]
        zeros = (torch.zeros(self.tensors[name].shape) for name in names)
        parts = [self.changed[name].difference() if name in self.changed else zero for name, zero in zip(names, zeros, strict=True)]
        return in_order(torch.cat(parts) if len(parts) > 1 else parts[0], layer).flatten(1).to(self.form.device)

    def energy(self, name: str) -> float:
        """The squared norm of a weight's change."""
        return float(self.changed[name].difference().double().square().sum())

    def facts(self, layers: int) -> dict[str, str]:
        return {**facts_of(self.original, self.erased, self.family, self.form.name), COUNT: str(layers)}


def write_small(
    original: Path, erased: Path, out: Path, form: Form, *, trained: Path | None = None,
    factors: Mapping[str, Pair] | None = None, show: Show = lambda done, total: None,
) -> Written:  # fmt: skip
    """Write `erased` as an addition to `original`, whole or not at all; `out` must not exist.

    `trained` are the weights of a run in float32, from which factors are more exact than from a rounded model; `factors` those that the
    run trained itself (layer of diffusers -> up, down), which are written as they are. InputError where nothing was changed.
    """
    if out.exists():
        raise InputError(f"--output {out} exists already; give another name", option="output")
    if out.suffix.lower() != ".safetensors":
        raise InputError(f"--output {out} is one file in this format; expected a name that ends in .safetensors", option="output")
    if edited := read_provenance(erased).get("edited"):
        problem = f"--format {form.name} leaves out {edited}, which is what was changed in {erased}"
        raise InputError(f"{problem}; give --format folder or single-file", option="format")
    family, tensors = family_of(original), part_tensors(original)
    changed = changes(original, erased, None if form.name == "difference" else trained)
    if not changed:
        raise InputError(f"{erased} has the weights of {original}, so there is nothing to write; give the erased model", option="model")
    layers = layers_of(family, tensors)
    check_known(layers, changed, erased)
    if form.name == "diffusers-lora":
        layers = [Layer(part, (part,)) for layer in layers for part in layer.parts]
    work = _Work(original, erased, out, form, family, layers, changed, tensors, show)
    with disk_errors(out, resumes=False):
        return _write_difference(work) if form.name == "difference" else _write_lora(work, factors or {})


# --- LoRA ---------------------------------------------------------------------------------------------------------------


def _write_lora(work: _Work, factors: Mapping[str, Pair]) -> Written:
    fits = [layer for layer in work.touched("weight") if len(work.tensors[f"{layer.parts[0]}.weight"].shape) in (2, 4)]
    total, written = _Sum(), dict[str, Tensor]()
    own = {layer.original: pair for layer in fits if (pair := _own_factors(layer, factors, work.tensors)) is not None}
    uniform = work.form.name == "diffusers-lora" or work.family in LAYERS  # loaders read one rank, or one alpha, for all layers
    ranks = {name: pair[0].shape[1] for name, pair in own.items()} | _ranks(work, [x for x in fits if x.original not in own], uniform)
    alpha, dtype = max(ranks.values(), default=1), DTYPES.get(work.form.dtype) or _own_dtype(work.changed)
    for done, layer in enumerate(fits):
        work.show(done, len(fits))
        matrix = work.matrix(layer)
        if layer.original in own:
            up, down = own[layer.original]
            energy, rest = (float(m.double().square().sum()) for m in (matrix, matrix - (up @ down).to(matrix.device)))
            result = Factors(up, down, energy, max(energy - rest, 0.0))  # the run may also have trimmed entries
        else:
            result = factorise(matrix, ranks[layer.original])
        rank = result.up.shape[1]
        total.add(layer.original, rank, result.energy, result.kept)
        pair = padded(result[:2], alpha) if uniform else scaled(result[:2], rank / alpha)
        written |= {name: _at_hand(name, tensor).cast(dtype).load() for name, tensor in _keys(work, layer, pair).items()}
        if work.form.name == "lora":
            written[f"{kohya_name(layer)}.alpha"] = torch.tensor(float(alpha))
    work.show(len(fits), len(fits))
    left_out = sorted(work.changed.keys() - {f"{part}.weight" for layer in fits for part in layer.parts})
    for name in left_out:
        total.add(name, None, work.energy(name), 0.0)
    facts = work.facts(len(fits)) | network_facts({row.layer: row.rank for row in total.rows if row.rank}, alpha, written)
    write_lazy(work.out, {name: _at_hand(name, tensor) for name, tensor in written.items()}, facts)
    return Written(work.out, work.form.name, work.family, total.rows, left_out, total.share)


def _ranks(work: _Work, layers: Sequence[Layer], uniform: bool) -> dict[str, int]:
    """The rank of each layer: as requested, or the smallest that keeps the requested share of its norm."""
    if work.form.keep is None:
        return {layer.original: work.form.rank or RANK for layer in layers}
    ranks = {layer.original: max(rank_for(work.matrix(layer), work.form.keep), 1) for layer in layers}
    return dict.fromkeys(ranks, max(ranks.values())) if uniform and ranks else ranks


def _own_factors(layer: Layer, factors: Mapping[str, Pair], tensors: Mapping[str, LazyTensor]) -> Pair | None:
    """The factors that a run trained, of a layer that may join several; None where it trained none of it."""
    pairs = [factors.get(part) for part in layer.parts]
    if all(pair is None for pair in pairs):
        return None
    up, down = stacked_pairs(pairs, [tensors[f"{part}.weight"].shape[0] for part in layer.parts])
    return in_order(up, layer), down


def _keys(work: _Work, layer: Layer, pair: Pair) -> dict[str, Tensor]:
    """The two factors of one layer: matrices, or kernels where the layer is a convolution."""
    up, down = pair
    shape = work.tensors[f"{layer.parts[0]}.weight"].shape
    if len(shape) == 4:
        up, down = up[:, :, None, None], down.unflatten(1, shape[1:])
    if work.form.name == "lora":
        name, ends = kohya_name(layer), (".lora_down", ".lora_up")
    else:
        prefix = diffusers_prefix(work.original)
        name, ends = prefix + layer.parts[0], (".lora.down", ".lora.up") if prefix == "unet." else (".lora_A", ".lora_B")
    return {f"{name}{ends[0]}.weight": down.contiguous(), f"{name}{ends[1]}.weight": up.contiguous()}


def _own_dtype(changed: Mapping[str, Change]) -> torch.dtype:
    """float32 for an original in float32, else float16, in which every program reads factors."""
    return torch.float32 if any(change.before.dtype == torch.float32 for change in changed.values()) else torch.float16


def _at_hand(name: str, tensor: Tensor) -> LazyTensor:
    return LazyTensor(name, tensor.dtype, tuple(tensor.shape), lambda: tensor)


# --- the difference -----------------------------------------------------------------------------------------------------


def _write_difference(work: _Work) -> Written:
    total, wrong = _Sum(), list[int]()
    dtype = DTYPES.get(work.form.dtype, torch.float32)
    touched = [(layer, kind) for kind in ("weight", "bias") for layer in work.touched(kind)]

    def entry(layer: Layer, kind: str) -> LazyTensor:
        names = [f"{part}.{kind}" for part in layer.parts]
        shape = (sum(work.tensors[name].shape[0] for name in names), *work.tensors[names[0]].shape[1:])

        def load() -> Tensor:
            work.show(len(total.rows), len(touched))
            parts = [_exact(work, name, wrong) for name in names]
            whole = in_order(torch.cat(parts) if len(parts) > 1 else parts[0], layer)
            energy = float(whole.double().square().sum())
            total.add(f"{layer.original}.{kind}", None, energy, energy)
            return whole

        return LazyTensor(names[0], torch.float32, shape, load).cast(dtype)

    entries = {difference_name(layer, kind): entry(layer, kind) for layer, kind in touched}
    write_lazy(work.out, entries, work.facts(len({name.removesuffix("_b") for name in entries})))
    work.show(len(touched), len(touched))
    return Written(work.out, work.form.name, work.family, total.rows, [], 100.0, sum(wrong))


def _exact(work: _Work, name: str, wrong: list[int]) -> Tensor:
    """A weight's difference, zeros where it did not change; counts entries that it does not reproduce."""
    if name not in work.changed:
        return torch.zeros(work.tensors[name].shape)
    difference, inexact = exact_difference(work.changed[name].before.load(), work.changed[name].after.load())
    wrong.append(inexact)
    return difference
