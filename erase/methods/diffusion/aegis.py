"""AEGIS: ESD against an adversarial prompt and towards an adversarial target, kept near the original where both do not conflict.

After the formulas of the paper alone, on text embeddings instead of token embeddings: a reconstruction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from erase.methods.base import DiffusionMethod, Presets
from erase.methods.requirements import Requirements, optimizer_option
from erase.options import option
from erase.scope import SCOPES
from erase.training.learning_rates import rate_of, rate_option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from erase.diffusion.batches import DiffusionBatch
    from erase.project import Projected
    from erase.task import Step, Task
    from erase.training.two_loss_loop import Moment


@dataclass(frozen=True)
class AEGIS(DiffusionMethod):
    """Minimise  ||e(x_t, c*) - [e0(x_t) - eta (e0(x_t, c') - e0(x_t))]||^2,  without moving further from the original than that takes.

    c* is a text embedding near the prompt's, under which the network predicts the concept again. c' is one under which the original
    predicts both what it predicts for the concept and what the network does. With g_k = w - w0: where <g_e, g_k> < 0, the step leads away
    from the original, and a share omega of that component is removed; omega grows from 0 to `keep` over the steps.
    """

    scope: str = option("cross-attention", f"weights that may be changed: {', '.join(SCOPES)} or re:PATTERN")
    strength: float = option(1.0, "eta: distance of the target from the unconditional prediction, away from that for c'", low=0.0)
    attack_steps: int = option(1, "steps of the search for c*, begun again in each step; 0: c* is the prompt", low=0)
    radius: float = option(0.5, "radius of that search, in tenths of the prompt's embedding", above=0.0)
    target_steps: int = option(1, "steps of the search for c', begun again in each step; 0: c' is the prompt", low=0)
    target_rate: float = option(0.05, "beta: signed step of that search, as a share of the size of the embedding", above=0.0)
    keep: float = option(0.3, "omega at the last step: share of what leads away from the original that is removed", low=0.0, high=1.0)
    steps: int = option(60, "training steps", low=0)
    batch: int = option(16, "forget images per step", low=1)
    optimizer: str = optimizer_option()
    learning_rate: float | None = rate_option(3e-4)

    presets: ClassVar[Presets] = {
        "balanced": {},
        "paper": {"scope": "full", "keep": 1.0, "batch": 1, "steps": 1000, "learning_rate": 1e-5},
    }

    @property
    def requirements(self) -> Requirements:
        return Requirements(
            steps=self.steps,
            scope=self.scope,
            batch=self.batch,
            optimizer=self.optimizer,
            images=("forget",),
            passes=1.0 + self.attack_steps + self.target_steps + 0.3,
            copies=1.0,
            predictions=("concept", "empty"),
        )

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; also on resume it must be the original. A Step after each step, whose coefficient is lambda."""
        from erase.diffusion.batches import required
        from erase.methods.diffusion.adversarial import adversarial_text
        from erase.training.optimizers import OptimizerConfig
        from erase.training.two_loss_loop import Side, tune

        original = [weight.detach().clone() for weight in task.weights.values()]

        def loss(network: nn.Module, batch: DiffusionBatch) -> Tensor:
            concept, empty = required(batch.concept_prediction, "concept"), required(batch.empty_prediction, "empty")
            aimed = self.target(task, original, batch)
            batch = replace(batch, target=empty - self.strength * (aimed - empty))
            if self.attack_steps:
                alone = replace(batch, target=concept, anchor=None)
                text = adversarial_text(network, task.loss, alone, batch.prompt.text, self.attack_steps, self.radius)
                batch = batch.with_text(text)
            return task.loss(network, batch)

        def combine(g_r: Sequence[Tensor], g_u: Sequence[Tensor], moment: Moment[DiffusionBatch]) -> Projected:
            return nearer(list(task.weights.values()), original, g_r, g_u, self.keep * (moment.number + 1) / self.steps)

        optimizer = OptimizerConfig(self.optimizer, rate_of(self, task.weights))
        yield from tune(task, self.steps, None, Side(loss, task.forget), combine, optimizer=optimizer, resume=resume)

    def target(self, task: Task[DiffusionBatch], original: Sequence[Tensor], batch: DiffusionBatch) -> Tensor:
        """e0(x_t, c'), by the original's weights, which are in place while c' is searched."""
        import torch

        from erase.diffusion.batches import required

        concept = required(batch.concept_prediction, "concept")
        if not self.target_steps:
            return concept
        text, rate = batch.prompt.text, self.target_rate * batch.prompt.text.square().mean(dim=(1, 2), keepdim=True).sqrt()
        now = _predicted(task, batch)
        with _in_place(task.weights, original):
            for _ in range(self.target_steps):
                with torch.enable_grad():
                    text = text.detach().requires_grad_(True)
                    there = batch.with_text(text)
                    both = task.loss(task.network, replace(there, target=now)) + task.loss(task.network, replace(there, target=concept))
                    (gradient,) = torch.autograd.grad(both, text)
                text = text.detach() - rate * gradient.sign()
            return _predicted(task, batch.with_text(text))


def _predicted(task: Task[DiffusionBatch], batch: DiffusionBatch) -> Tensor:
    """What the network predicts for a batch."""
    import torch

    from erase.diffusion.prediction import predict

    with torch.no_grad():
        return predict(task.network, batch.noisy, batch.timesteps, batch.prompt, torch.float32)


@contextmanager
def _in_place(weights: Mapping[str, Tensor], values: Sequence[Tensor]) -> Iterator[None]:
    """Within, the weights have these values; restored afterwards."""
    import torch

    before = [weight.detach().clone() for weight in weights.values()]
    try:
        with torch.no_grad():
            for weight, value in zip(weights.values(), values, strict=True):
                weight.copy_(value)
        yield
    finally:
        with torch.no_grad():
            for weight, value in zip(weights.values(), before, strict=True):
                weight.copy_(value)


def nearer(weights: Sequence[Tensor], original: Sequence[Tensor], g_r: Sequence[Tensor], g_u: Sequence[Tensor], share: float) -> Projected:
    """g_u + lambda (w - w0), lambda = -share <g_u, w - w0> / ||w - w0||^2 where that is positive, else 0; g_r is overwritten."""
    import torch

    from erase.project import Projected
    from erase.training.two_loss_loop import products

    away = [weight.detach() - start for weight, start in zip(weights, original, strict=True)]
    dot, norm_k, norm_u = products(away, g_u)
    multiplier = torch.where((dot < 0) & (norm_k > 0), -share * dot / norm_k.square().clamp(min=1e-30), 0.0)
    for r, u, k in zip(g_r, g_u, away, strict=True):
        torch.addcmul(u, k, multiplier.to(k), out=r)
    return Projected(list(g_r), dot, norm_k, norm_u, multiplier)
