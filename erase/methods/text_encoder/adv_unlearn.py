"""AdvUnlearn (Zhang et al., NeurIPS 2024): the text encoder is trained against the prefix that an attacker would put before the prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from erase.methods.base import DiffusionMethod, Presets
from erase.methods.diffusion.guided_target import turned
from erase.methods.requirements import Requirements, optimizer_option
from erase.options import option
from erase.training.learning_rates import rate_of, rate_option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from erase.diffusion.batches import DiffusionBatch
    from erase.diffusion.text_network import TextEncoders
    from erase.task import Loss, Step, Task


@dataclass(frozen=True)
class AdvUnlearn(DiffusionMethod):
    """Minimise  ||e(x_t, [d; c]) - [e0(x_t) - eta (e0(x_t, c) - e0(x_t))]||^2 + w ||e(x_r, c_r) - e0(x_r, c_r)||^2  over the text encoder.

    d is one token embedding before the prompt, searched anew in every step: it makes the network predict what the original predicts for
    the concept. The UNet is frozen.
    """

    scope: str = option("full", "weights of the text encoder that may be changed: full, attention, feed-forward or re:PATTERN")
    strength: float = option(
        1.0, "eta: distance of the target from the unconditional prediction, away from the prediction for the concept", low=0.0
    )
    retain_weight: float = option(1.0, "w: weight of what is predicted for retain prompts, as the original predicts it", low=0.0)
    attack_steps: int = option(3, "steps of the search for d; 0: no attack", low=0)
    attack_rate: float = option(0.1, "learning rate of the search, as a share of the size of token embeddings", above=0.0)
    warmup: int = option(20, "steps without an attack", low=0)
    steps: int = option(100, "training steps", low=0)
    batch: int = option(8, "forget images per step, and as many retain images", low=1)
    optimizer: str = optimizer_option()
    learning_rate: float | None = rate_option(4e-4)

    presets: ClassVar[Presets] = {
        "balanced": {},
        # the search: 30 steps of Adam at 1e-3, where token embeddings are about 0.01 in size
        "paper": {"retain_weight": 0.3, "attack_steps": 30, "warmup": 200, "steps": 1000, "batch": 1, "learning_rate": 1e-5},
    }

    @property
    def requirements(self) -> Requirements:
        attacked = self.attack_steps * max(self.steps - self.warmup, 0) / max(self.steps, 1)
        return Requirements(
            steps=self.steps,
            scope=self.scope,
            batch=self.batch,
            optimizer=self.optimizer,
            passes=2 + attacked,
            predictions=("concept", "empty"),
            retain_target="original",
            part="text-encoder",
        )

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; a Step after each optimizer step."""
        from erase.training.optimizers import OptimizerConfig
        from erase.training.two_loss_loop import Side, tune

        def numbered(number: int) -> DiffusionBatch:
            batch = turned(task.forget(number), self.strength)
            return batch if number < self.warmup else replace(batch, search_from="prompt")

        def forget_loss(network: nn.Module, batch: DiffusionBatch) -> Tensor:
            if batch.search_from is None or not self.attack_steps:
                return task.loss(network, batch)
            prefix = searched(network, batch, task.loss, self.attack_steps, self.attack_rate)
            with prefixed(text_encoders(network), prefix):
                return task.loss(network, with_room(batch, text_encoders(network)))

        def retain_loss(network: nn.Module, batch: DiffusionBatch) -> Tensor:
            return self.retain_weight * task.loss(network, batch)

        optimizer = OptimizerConfig(self.optimizer, rate_of(self, task.weights))
        retain = Side(retain_loss, task.retain) if self.retain_weight else None
        yield from tune(task, self.steps, retain, Side(forget_loss, numbered), optimizer=optimizer, resume=resume)


def searched(network: nn.Module, batch: DiffusionBatch, loss: Loss[DiffusionBatch], steps: int, rate: float) -> dict[str, Tensor]:
    """For each text encoder the embedding of a token before the prompts of a batch (n, width), under which the network predicts what the
    original predicts for the concept. For each image it starts at a vocabulary entry of its own, by its timestep, and takes signed steps.
    """
    import torch

    encoders = text_encoders(network)
    aimed, tables = with_room(batch.with_target(batch.concept_prediction, "concept"), encoders), encoders.token_embeddings()
    entries = (7919 * batch.timesteps.double()).long()
    prefix = {name: table.weight.detach()[entries % len(table.weight)].clone() for name, table in tables.items()}
    size = {name: rate * float(table.weight.detach().square().mean().sqrt()) for name, table in tables.items()}
    for _ in range(steps):
        with torch.enable_grad():
            leaves = {name: value.requires_grad_(True) for name, value in prefix.items()}
            with prefixed(encoders, leaves):
                gradients = torch.autograd.grad(loss(network, aimed), list(leaves.values()))
        prefix = {name: (value - size[name] * g.sign()).detach() for (name, value), g in zip(leaves.items(), gradients, strict=True)}
    return prefix


def with_room(batch: DiffusionBatch, network: TextEncoders) -> DiffusionBatch:
    """The batch with a token more after the first of every prompt; the last of each is lost."""
    import torch

    moved = [torch.cat([ids[:, :1], ids[:, :-1]], dim=1) for ids in network.split(batch.prompt.text)]
    return batch.with_text(torch.cat(moved, dim=1))


def prefixed(network: TextEncoders, prefix: Mapping[str, Tensor]) -> ExitStack:
    """Within, the second token of every prompt has these embeddings (n, width), in each text encoder."""
    import torch

    hooks = ExitStack()
    for name, table in network.token_embeddings().items():

        def swap(module: nn.Module, inputs: Any, output: Tensor, name: str = name) -> Tensor:
            return torch.cat([output[:, :1], prefix[name][:, None].to(output), output[:, 2:]], dim=1)

        hooks.callback(table.register_forward_hook(swap).remove)
    return hooks


def text_encoders(network: nn.Module) -> TextEncoders:
    """The network itself, which is the text encoders of a model."""
    from erase.diffusion.text_network import TextEncoders

    assert isinstance(network, TextEncoders)
    return network
