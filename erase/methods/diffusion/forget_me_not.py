"""Forget-Me-Not (Zhang et al., CVPR-W 2024): take the attention away from the concept's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from erase.errors import InputError
from erase.methods.base import DiffusionMethod, Presets
from erase.methods.requirements import Requirements, optimizer_option
from erase.options import option
from erase.scope import SCOPES
from erase.training.learning_rates import rate_of, rate_option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from erase.diffusion.batches import DiffusionBatch
    from erase.task import Loss, Step, Task


@dataclass(frozen=True)
class ForgetMeNot(DiffusionMethod):
    """Minimise the Euclidean norm of all cross-attention probabilities at the concept's tokens, while images of it are denoised.

    The norm is over layers, heads and pixels of an image, divided by the root of their number. What the network predicts has no part in
    it. A retain loss is an option that the method does not have: alone it starves the word, whatever else reads the same weights.
    """

    scope: str = option("cross-attention", f"weights that may be changed: {', '.join(SCOPES)} or re:PATTERN")
    end_token: bool = option(False, "also the attention to the first end of text, which sums up the prompt")
    retain_weight: float = option(1.0, "weight of the training loss on retain images; 0: none are drawn", low=0.0)
    forget_weight: float = option(1.0, "weight of the attention to the concept", above=0.0)
    steps: int = option(60, "training steps", low=0)
    batch: int = option(16, "forget images per step, and as many retain images", low=1)
    optimizer: str = optimizer_option("adamw")
    learning_rate: float | None = rate_option(1e-3)

    presets: ClassVar[Presets] = {
        "balanced": {},
        "paper": {"scope": "full", "retain_weight": 0.0, "batch": 1, "steps": 35, "learning_rate": 2e-6},
    }

    @property
    def requirements(self) -> Requirements:
        return Requirements(
            steps=self.steps,
            scope=self.scope,
            batch=self.batch,
            optimizer=self.optimizer,
            images=("forget", "retain") if self.retain_weight else ("forget",),
            passes=2 if self.retain_weight else 1,
            attention_maps=True,
            token_marks=True,
        )

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; a Step after each optimizer step."""
        from erase.training.optimizers import OptimizerConfig
        from erase.training.two_loss_loop import Side, tune

        def retain_loss(network: nn.Module, batch: DiffusionBatch) -> Tensor:
            return self.retain_weight * task.loss(network, batch)

        def forget_loss(network: nn.Module, batch: DiffusionBatch) -> Tensor:
            return self.forget_weight * attention_to_concept(network, batch, task.loss, self.end_token)

        retain = Side(retain_loss, task.retain) if self.retain_weight else None
        optimizer = OptimizerConfig(self.optimizer, rate_of(self, task.weights))
        yield from tune(task, self.steps, retain, Side(forget_loss, task.forget), optimizer=optimizer, resume=resume)


def attention_to_concept(network: nn.Module, batch: DiffusionBatch, loss: Loss[DiffusionBatch], end_token: bool) -> Tensor:
    """The root mean square of the attention probabilities at the concept's tokens, of each image, averaged over images."""
    import torch

    from erase.diffusion.batches import diffusion_batch

    marks = diffusion_batch(batch).marks
    if marks is None:
        raise InputError("the batches do not say which tokens are the concept's: the method has to require token_marks")
    with attention(network) as calls:
        loss(network, batch)
    columns = (marks == 1) | (marks == 2) if end_token else marks == 1
    total, count = torch.zeros(len(marks), device=marks.device), torch.zeros(len(marks), device=marks.device)
    for call in calls:
        probabilities = call.probabilities()
        named = probabilities * columns[:, None, None]
        total = total + named.square().sum(dim=(1, 2, 3))
        count = count + probabilities.shape[1] * probabilities.shape[2] * columns.sum(dim=1)
    return (total / count.clamp(min=1)).clamp(min=1e-20).sqrt().mean()


@dataclass(frozen=True)
class Attention:
    """The queries and keys (n, positions, heads x width) of one call of a layer."""

    queries: Tensor
    keys: Tensor
    heads: int
    scale: float

    def probabilities(self) -> Tensor:
        """(n, heads, pixels, tokens), with gradients; computed here, so that the layer may use a fused kernel that never forms them."""
        q, k = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2).float() for part in (self.queries, self.keys))
        probabilities: Tensor = (self.scale * q @ k.transpose(-1, -2)).softmax(dim=-1)
        return probabilities


@contextmanager
def attention(network: nn.Module) -> Iterator[list[Attention]]:
    """Within, every cross-attention layer that is called adds its queries and keys."""
    layers = [layer for name, layer in network.named_modules() if name.endswith("attn2")]
    if not layers:
        raise InputError(f"attention maps are those of cross-attention, and {type(network).__name__} has none; choose another method")
    calls: list[Attention] = []
    handles = [handle for layer in layers for handle in _watch(layer, calls)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _watch(layer: Any, calls: list[Attention]) -> list[Any]:
    """Hooks that compute nothing, so that a layer which is checkpointed is the same when it is computed again."""
    queries: list[Tensor] = []

    def take_query(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        queries[:] = [output]

    def take_key(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append(Attention(queries.pop(), output, layer.heads, layer.scale))

    return [layer.to_q.register_forward_hook(take_query), layer.to_k.register_forward_hook(take_key)]
