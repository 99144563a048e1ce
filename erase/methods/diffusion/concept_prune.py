"""ConceptPrune (Chavhan et al., ICLR 2025): remove the weights of feed-forward layers that the concept's prompt excites; no training."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from erase.errors import InputError
from erase.methods.base import DiffusionMethod, Kinds, Presets
from erase.methods.requirements import Requirements, one_anchor_option
from erase.options import option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from erase.diffusion.batches import DiffusionBatch
    from erase.task import Step, Task


@dataclass(frozen=True)
class ConceptPrune(DiffusionMethod):
    """Score S = |W| n of the second linear layer of every feed-forward block, n the norm of each of its inputs; prune where S is large.

    Transformers have such a block for the image and one for the text; both count. Networks that keep little there forget little.

    Inputs are those of noisy images under the concept's prompt and under the anchor's: an entry is pruned if it is among the largest
    `fraction` of its row under the first, and larger than under the second, in any of `windows` ranges of the noisiest timesteps.
    """

    fraction: float = option(0.02, "share of each row that is pruned in a window: the entries of largest score", above=0.0, high=1.0)
    windows: int = option(10, "ranges of timesteps in each of which entries are chosen; all of their choices are pruned", low=1)
    forget_timesteps: str = option("0.8-1", "LOW-HIGH: range of the timesteps, as shares of the noise schedule: the first denoising steps")
    initialisation: str = option(
        "zero",
        "new values of pruned entries: zero; uniform or normal, as layers are initialised, for zeros show where something was removed",
        choices=("zero", "uniform", "normal"),
    )
    one_anchor: bool = one_anchor_option()
    batches: int = option(4, "forget batches on which inputs are measured", low=1)
    batch: int = option(16, "forget images per batch", low=1)

    presets: ClassVar[Presets] = {"balanced": {}, "paper": {"batches": 12}}
    kinds: ClassVar[Kinds] = {"paper": {"style": {"fraction": 0.01}}}
    edits: ClassVar[str] = "the second linear layer of feed-forward blocks"

    @property
    def scope(self) -> str:
        return r"re:\bff(_context)?\.net\.2\.weight$"

    @property
    def requirements(self) -> Requirements:
        return Requirements(
            scope=self.scope,
            edits=self.edits,
            batch=self.batch,
            optimizer=None,
            passes=0,
            images=("forget",),
            unlearn="anchor",
            one_anchor=self.one_anchor,
            forget_timesteps=self.forget_timesteps,
            sensitivity_batches=self.batches,
        )

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Prune `task.network` in place: one Step, whose unlearning loss is the negated training loss of the first forget batch."""
        import torch

        from erase.task import Step, generator
        from erase.training.micro_batches import count, pieces
        from erase.training.state import TrainingState
        from erase.trim import reinitialise

        state = TrainingState(task.network, task.weights)
        if resume is not None:
            state.load_state_dict(resume)
            return
        start = time.perf_counter()
        concept, base = input_norms(task, self.batches, self.windows)
        masks = {name: chosen(weight.detach(), concept[name], base[name], self.fraction) for name, weight in task.weights.items()}
        for name, mask in masks.items():
            task.layers[name] = {"sensitivity": float(concept[name].mean()), "trimmed": float(mask.float().mean())}
        reinitialise(task.weights, masks, self.initialisation, generator(task.seed, "trim"))
        batch = task.forget(0)
        with torch.no_grad():
            parts = [share * task.loss(task.network, piece) for share, piece in pieces(batch, task.micro_batch or count(batch))]
        after = -torch.stack(parts).sum()
        task.average([after])
        state.step = 1
        yield Step.plain(1, 0.0, float(after), time.perf_counter() - start, snapshot=state.state_dict)


def input_norms(task: Task[DiffusionBatch], batches: int, windows: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weight -> norm of each of its inputs (windows, inputs), under the prompts of forget batches and under those of their anchors.

    Every position's input is scaled to length 1 first. Window i has the images of the i-th highest timesteps, all windows as many.
    """
    import torch

    from erase.diffusion.batches import diffusion_batch, required_anchor
    from erase.training.micro_batches import count, pieces

    drawn = [diffusion_batch(task.forget(i)) for i in range(batches)]
    order = torch.cat([batch.timesteps for batch in drawn]).argsort(descending=True, stable=True)
    window = torch.empty_like(order)
    window[order] = torch.arange(len(order), device=order.device) * windows // len(order)
    norms: list[dict[str, Tensor]] = []
    for prompts in ([batch.prompt for batch in drawn], [required_anchor(batch) for batch in drawn]):
        squares = {name: torch.zeros(windows, weight.shape[1], device=weight.device) for name, weight in task.weights.items()}
        first = 0
        for batch, prompt in zip(drawn, prompts, strict=True):
            for _, piece in pieces(replace(batch, prompt=prompt), task.micro_batch or count(batch)):
                with torch.no_grad(), _inputs(task.network, task.weights) as measured:
                    task.loss(task.network, piece)
                rows = window[first : first + count(piece)]
                first += count(piece)
                for name, values in measured.items():
                    squares[name].index_add_(0, rows, values)
        task.average(list(squares.values()))
        norms.append({name: square.sqrt() for name, square in squares.items()})
    return norms[0], norms[1]


@contextmanager
def _inputs(network: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Within, the dictionary takes for each weight's layer the squares of its scaled inputs, summed over positions (n, inputs)."""
    from torch.nn.functional import normalize

    squares: dict[str, Tensor] = {}

    def hook(name: str) -> object:
        def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            rows = normalize(inputs[0].detach().float(), dim=-1)
            squares[name] = rows.square().flatten(1, -2).sum(dim=1)

        return network.get_submodule(name.removesuffix(".weight")).register_forward_pre_hook(keep)

    handles = [hook(name) for name in weights]
    try:
        yield squares
    finally:
        for handle in handles:
            handle.remove()  # type: ignore[attr-defined]


def chosen(weight: Tensor, concept: Tensor, base: Tensor, fraction: float) -> Tensor:
    """True where an entry of a matrix (outputs, inputs) is pruned, from the norms (windows, inputs) of its inputs.

    In one window: the k largest of |W| n of each row that are larger than with the base's norms. InputError where k is 0.
    """
    import torch

    k = round(fraction * weight.shape[1])
    if not k:
        message = f"--fraction {fraction} prunes none of the {weight.shape[1]} entries of a row; give a larger share"
        raise InputError(message, option="fraction")
    mask = torch.zeros_like(weight, dtype=torch.bool)
    for named, plain in zip(concept, base, strict=True):
        top = torch.zeros_like(mask).scatter_(1, (weight.abs() * named).topk(k, dim=1).indices, True)
        mask |= top & (named > plain)
    return mask
