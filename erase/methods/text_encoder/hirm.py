"""HiRM: the first layer of the text encoder is trained until the last reads the concept's words as something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from erase.errors import InputError
from erase.methods.base import DiffusionMethod, Kinds, Presets
from erase.methods.requirements import Requirements, optimizer_option
from erase.options import option
from erase.training.learning_rates import rate_of, rate_option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from erase.diffusion.batches import DiffusionBatch
    from erase.diffusion.text_network import TextEncoders
    from erase.task import Batch, Batches, Step, Task


@dataclass(frozen=True)
class HiRM(DiffusionMethod):
    """Minimise the squared distance of h, the output of the last attention layer at the concept's tokens, from a target.

    The target is a random direction for each position, c long (HiRM-R), or what the anchor's prompt has there (HiRM-S). Only the text
    encoder is used, without its UNet, so that it takes seconds. The retain term, which the method does not have, keeps h of retain
    prompts at every token.
    """

    scope: str = option(r"re:\.layers\.0\.", "weights of the text encoder that may be changed: by default those of its first layer")
    target: str = option(
        "random", "what the concept's tokens shall be read as: a random direction, or what the anchor has", choices=("random", "anchor")
    )
    length: float = option(5.0, "c: length of the random direction", above=0.0)
    retain_weight: float = option(1.0, "weight of the distance of retain prompts from what they were; not part of the method", low=0.0)
    steps: int = option(40, "training steps", low=0)
    batch: int = option(16, "prompts of the concept per step, and as many to retain", low=1)
    optimizer: str = optimizer_option("adamw")
    learning_rate: float | None = rate_option(2e-3)

    presets: ClassVar[Presets] = {
        "balanced": {},
        "paper": {"length": 500.0, "retain_weight": 0.0, "steps": 25, "learning_rate": 5e-5},
    }
    kinds: ClassVar[Kinds] = {"paper": {"style": {"steps": 40}, "nudity": {"steps": 50, "learning_rate": 1e-4}}}

    @property
    def requirements(self) -> Requirements:
        return Requirements(
            steps=self.steps,
            scope=self.scope,
            batch=self.batch,
            optimizer=self.optimizer,
            passes=0.1,
            images=(),
            unlearn="anchor" if self.target == "anchor" else "none",
            one_anchor=True,
            part="text-encoder",
            token_marks=True,
        )

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; also on resume it must be the original. A Step after each optimizer step."""
        from dataclasses import replace

        from erase.training.optimizers import OptimizerConfig
        from erase.training.two_loss_loop import Side, tune, weighted

        network, words = text_encoders(task.network), task.texts
        if self.target == "anchor" and "anchor" not in words:
            raise InputError(
                "hirm reads the concept as its anchor, and there is none; give --anchor WORD or --target random", option="anchor"
            )
        keep = words["marks"] == 1
        other = attended(network, words["anchor"]) if self.target == "anchor" else self.directions(task)
        forget = rows(words["forget"], keep, other, self.batch)
        everything = keep.new_ones(len(words["retain"]), keep.shape[1])
        retain = rows(words["retain"], everything, attended(network, words["retain"]), self.batch)

        def retain_loss(network: nn.Module, batch: Batch) -> Tensor:
            return self.retain_weight * distance(network, batch)

        plain: Any = replace(task, micro_batch=None)
        kept = Side(retain_loss, retain) if self.retain_weight else None
        optimizer = OptimizerConfig(self.optimizer, rate_of(self, task.weights))
        yield from tune(plain, self.steps, kept, Side(distance, forget), weighted(1.0), optimizer=optimizer, resume=resume)

    def directions(self, task: Task[DiffusionBatch]) -> dict[str, Tensor]:
        """For each text encoder a random direction of every position, the same for all prompts of the concept (n, tokens, width)."""
        import torch

        from erase.task import generator

        directions = {}
        for name, states in attended(text_encoders(task.network), task.texts["forget"]).items():
            drawn = torch.randn(states.shape[1:], generator=generator(task.seed, "direction", name))
            directions[name] = (self.length * drawn / drawn.norm(dim=-1, keepdim=True)).expand(states.shape)
        return directions


def text_encoders(network: nn.Module) -> TextEncoders:
    """The network itself; InputError where it is not the text encoders of a model."""
    from erase.diffusion.text_network import TextEncoders

    if not isinstance(network, TextEncoders):
        raise InputError(f"hirm edits text encoders, and this network is a {type(network).__name__}")
    return network


def rows(ids: Tensor, keep: Tensor, targets: Mapping[str, Tensor], size: int) -> Batches[Batch]:
    """Batches of `size` prompts, one after another: their ids, the tokens that count and the target of each text encoder."""

    def batch(number: int) -> Batch:
        chosen = [(number * size + i) % len(ids) for i in range(min(size, len(ids)))]
        return {"ids": ids[chosen], "keep": keep[chosen], **{f"target/{name}": target[chosen] for name, target in targets.items()}}

    return batch


def distance(network: nn.Module, batch: Batch) -> Tensor:
    """The mean square of h minus its target, over the tokens that count, summed over text encoders."""
    import torch

    total = torch.zeros(())
    for name, states in _states(text_encoders(network), batch["ids"]).items():
        keep = batch["keep"].to(states)
        square = (states - batch[f"target/{name}"].to(states)).square().mean(dim=-1)
        total = total.to(states) + (square * keep).sum() / keep.sum().clamp(min=1)
    return total


def attended(network: TextEncoders, ids: Tensor) -> dict[str, Tensor]:
    """h of prompts (n, tokens, width) for each text encoder, on the CPU."""
    import torch

    with torch.no_grad():
        chunks = [_states(network, chunk) for chunk in ids.split(64)]
    return {name: torch.cat([chunk[name].cpu() for chunk in chunks]) for name in chunks[0]}


def _states(network: TextEncoders, ids: Tensor) -> dict[str, Tensor]:
    """h of each text encoder, with gradients: the output of attention in the last layer that the network behind reads."""
    states: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for name, layer in network.last_layers().items():

            def keep(module: nn.Module, inputs: object, output: Any, name: str = name) -> None:
                states[name] = (output[0] if isinstance(output, tuple) else output).float()

            hooks.callback(layer.self_attn.register_forward_hook(keep).remove)
        network.conditioning(ids)
    return states
