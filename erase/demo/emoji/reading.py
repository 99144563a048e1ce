"""A first course for the text encoder: to read object, style and background off a caption.

Through a UNet's loss alone a text encoder learns hundreds of names slowly. The text encoder of a real pipeline comes with this
from elsewhere. The heads are thrown away afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erase.demo.emoji import captions, world
from erase.demo.emoji.world import BACKGROUNDS, OBJECTS, STYLES, Scene

MEMBERS = {"object": tuple(OBJECTS), "style": STYLES, "background": BACKGROUNDS}
SILENT = -1  # the label of what a caption leaves open
TELLING = ("named", "described", "keyword")


class Reader(nn.Module):
    """The text encoder and a linear head a domain, on the state of the last token."""

    def __init__(self, text_encoder: Any, width: int) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.heads = nn.ModuleDict({domain: nn.Linear(width, len(members)) for domain, members in MEMBERS.items()})

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        state = self.text_encoder(tokens)[1]
        return {domain: head(state) for domain, head in self.heads.items()}


def captioned(scenes: Sequence[Scene], rng: np.random.Generator) -> tuple[list[str], dict[str, Tensor]]:
    """A caption for each scene, and the labels of what it says, (n,) a domain."""
    texts, labels = [], {domain: torch.full((len(scenes),), SILENT) for domain in MEMBERS}
    for row, scene in enumerate(scenes):
        how = captions.ways(rng)
        texts.append(captions.phrase(scene, how, captions.wording(rng)))
        for domain, members in MEMBERS.items():
            if how[domain] in TELLING:
                labels[domain][row] = members.index(scene.attribute(domain))
    return texts, labels


def reading_loss(read: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
    """Cross-entropy of what the captions say."""
    losses = [F.cross_entropy(logits, labels[domain].to(logits.device), ignore_index=SILENT) for domain, logits in read.items()]
    return torch.stack(losses).sum()


def sample(choices: list[tuple[str, str]], count: int, generator: torch.Generator) -> tuple[list[str], dict[str, Tensor]]:
    """Captions and labels of random scenes."""
    rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    return captioned([world.sample_scene(rng, choices) for _ in range(count)], rng)
