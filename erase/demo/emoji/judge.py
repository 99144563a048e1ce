"""The judge of the emoji world: which object, in which style, on which background a picture shows.

A small convolutional network that has seen every pair of object and style, those too that the model's training leaves out.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from erase.demo.emoji.world import BACKGROUNDS, OBJECTS, STYLES

MEMBERS: dict[str, tuple[str, ...]] = {"object": tuple(OBJECTS), "style": STYLES, "background": BACKGROUNDS}


class Judge(nn.Module):
    """One trunk, one linear head a domain. Input: (n, 3, 64, 64) in [-1, 1]; output: domain -> (n, members) logits."""

    def __init__(self) -> None:
        super().__init__()
        channels = [3, 32, 64, 128, 192]
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(pairwise(channels)):
            layers += [nn.Conv2d(a, b, 5 if i == 0 else 3, stride=2, padding=2 if i == 0 else 1), nn.GroupNorm(8, b), nn.SiLU()]
            if i in (1, 2):
                layers += [nn.Conv2d(b, b, 3, padding=1), nn.GroupNorm(8, b), nn.SiLU()]
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * channels[-1], 256), nn.SiLU())
        self.heads = nn.ModuleDict({domain: nn.Linear(256, len(members)) for domain, members in MEMBERS.items()})

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        features = self.trunk(pictures)
        return {domain: head(features) for domain, head in self.heads.items()}

    @torch.no_grad()
    def name(self, pictures: Tensor, batch: int = 256) -> dict[str, list[str]]:
        """What each picture shows: domain -> a name a picture."""
        names: dict[str, list[str]] = {domain: [] for domain in MEMBERS}
        for part in pictures.split(batch):
            for domain, logits in self(part).items():
                names[domain] += [MEMBERS[domain][i] for i in logits.argmax(1).tolist()]
        return names


def load_judge(path: Path) -> Judge:
    """Read the judge's weights (safetensors)."""
    from safetensors.torch import load_file

    judge = Judge()
    judge.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return judge.eval()
