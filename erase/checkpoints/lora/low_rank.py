"""Low-rank factors of weights (LoRA, Hu et al., ICLR 2022): W + (alpha / r) B A, with W frozen. The layers are those of peft.

alpha is the rank, so the product counts in full. A matrix with fewer rows or columns than the rank has factors of its own rank.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from erase.errors import InputError
from erase.processes import gathered
from erase.scope import is_factor
from erase.task import generator

ADAPTER = "default"


def add_factors(network: Any, weights: Mapping[str, nn.Parameter], rank: int, seed: int = 0) -> dict[str, nn.Parameter]:
    """Add factors of the matrices and convolution kernels among `weights` to a network of diffusers, and freeze everything else.

    Returns the factors by name, float32: `MODULE.lora_A.weight` (r, inputs), of a kernel (r, inputs, height, width), drawn from the seed
    and the name; and `MODULE.lora_B.weight` (outputs, r), of a kernel (outputs, r, 1, 1), zero, so that the network computes as before.
    InputError where there is no such weight, and where every one has a rank below `rank`.
    """
    from peft import LoraConfig

    sizes = {module: full_rank(weights[f"{module}.weight"]) for module in _layers(network) if f"{module}.weight" in weights}
    if not sizes:
        problem = "--lora-rank needs matrices or convolution kernels to factorise, and --scope names none"
        raise InputError(f"{problem}; give another --scope, or leave --lora-rank out", option="lora_rank")
    if rank > (most := max(sizes.values())):
        problem = f"--lora-rank {rank} is more than the rank of any weight in --scope"
        raise InputError(f"{problem}, at most {most}; give at most {most}, or leave it out", option="lora_rank")
    smaller = {f"^{re.escape(module)}": size for module, size in sizes.items() if size < rank}
    targets = "|".join(map(re.escape, sizes))  # a list would also match modules that only end like one of these
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=f"({targets})", rank_pattern=smaller, alpha_pattern=smaller)
    with torch.random.fork_rng(devices=[]):
        network.add_adapter(config, ADAPTER)
    network.requires_grad_(False)
    return {name: factor for module in sizes for name, factor in _begin(network.get_submodule(module), module, seed)}


def full_rank(weight: Tensor) -> int:
    """The largest rank of a matrix, or of a kernel with its inputs in one row."""
    return min(len(weight), weight[0].numel())


def _layers(network: nn.Module) -> Iterator[str]:
    """The modules that factors can be added to, by name."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
            yield name


def _begin(layer: Any, module: str, seed: int) -> Iterator[tuple[str, nn.Parameter]]:
    """The two factors of a layer as training begins; drawn on the CPU, so that every device has the same."""
    for letter in "AB":
        part = getattr(layer, f"lora_{letter}")[ADAPTER]
        drawn = torch.zeros(part.weight.shape, dtype=torch.float32)
        if letter == "A":
            nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator(seed, "lora", module))
        part.weight = nn.Parameter(drawn.to(part.weight.device))
        yield f"{module}.lora_{letter}.weight", part.weight


def owners(network: nn.Module, names: Iterable[str]) -> dict[str, nn.Module]:
    """The modules that hold these weights or factors; the one that holds a weight holds its factors, too."""
    modules = {}
    for name in names:
        path, _, last = name.removesuffix(".weight").rpartition(".") if is_factor(name) else (name.rpartition(".")[0], "", "")
        owner = network.get_submodule(path)
        modules[name] = getattr(owner, last) if last else owner
    return modules


@torch.no_grad()
def merged(network: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Each of these weights with the product of its factors added, float32 on the CPU."""
    for name, weight in weights.items():
        layer: Any = network.get_submodule(name.removesuffix(".weight"))
        yield name, gathered(weight.detach()).float().cpu() + layer.get_delta_weight(ADAPTER).float().cpu()
