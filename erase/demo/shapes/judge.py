"""The judge: a small convolutional network that says which shape, colour and style a 64 x 64 picture shows.

It is the detector of the embedded world. It is trained on renders (and what the autoencoder makes of them), never on
pictures of the diffusion model that it judges.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from erase.demo.shapes.world import DOMAINS


class Judge(nn.Module):
    """One trunk, one linear head a domain. Input: (n, 3, 64, 64) in [-1, 1]; output: domain -> (n, members) logits."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        channels = [3, width, 2 * width, 3 * width, 4 * width]
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(pairwise(channels)):
            layers += [nn.Conv2d(a, b, 5 if i == 0 else 3, stride=2, padding=2 if i == 0 else 1), nn.GroupNorm(8, b), nn.SiLU()]
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * channels[-1], 128), nn.SiLU())
        self.heads = nn.ModuleDict({domain: nn.Linear(128, len(members)) for domain, members in DOMAINS.items()})

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        features = self.trunk(pictures)
        return {domain: head(features) for domain, head in self.heads.items()}

    @torch.no_grad()
    def name(self, pictures: Tensor, batch: int = 256) -> dict[str, list[str]]:
        """Domain -> the name of what each image shows."""
        names: dict[str, list[str]] = {domain: [] for domain in DOMAINS}
        for part in pictures.split(batch):
            for domain, logits in self(part).items():
                names[domain] += [DOMAINS[domain][i] for i in logits.argmax(1).tolist()]
        return names


def load_judge(path: Path) -> Judge:
    """Read the judge's weights (safetensors)."""
    from safetensors.torch import load_file

    judge = Judge()
    judge.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return judge.eval()
