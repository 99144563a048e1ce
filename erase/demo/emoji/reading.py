"""A first course for the text encoder: to read object, style and background off a caption, and to know what it looks like.

Through a UNet's loss alone a text encoder learns hundreds of names slowly. The text encoder of a real pipeline comes with this from
elsewhere: CLIP's was trained beside pictures, so what looks alike has similar states. Here a linear head gives the main components of
the picture's latents (`sketches`). The heads are thrown away afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
SKETCH = 128  # components: 88 % of the variance of the latents of all pairs
SKETCH_WEIGHT, NAMES_WEIGHT = 2.0, 0.3  # of the two losses


class Reader(nn.Module):
    """The text encoder, and on the state of its last token a linear head for each domain and one for the sketch."""

    def __init__(self, text_encoder: Any, width: int) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.heads = nn.ModuleDict({domain: nn.Linear(width, len(members)) for domain, members in MEMBERS.items()})
        self.sketch = nn.Linear(width, SKETCH)

    def forward(self, tokens: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """(n, tokens) -> domain -> (n, members) logits, and (n, SKETCH) components."""
        state = self.text_encoder(tokens)[1]
        return {domain: head(state) for domain, head in self.heads.items()}, self.sketch(state)


def sketches(latents: Tensor) -> Tensor:
    """(n, 6, 16, 16) latents of plain pictures -> (n, SKETCH): their principal components, of variance one on the whole."""
    flat = latents.double().flatten(1)
    flat = flat - flat.mean(0)
    left, values, _ = torch.linalg.svd(flat, full_matrices=False)
    found = (left * values)[:, :SKETCH]
    return F.pad(found / found.std().clamp(min=1e-12), (0, SKETCH - found.shape[1])).float()


def looks(choices: Sequence[tuple[str, str]], latents: Tensor) -> dict[tuple[int, int], Tensor]:
    """(object, style) of each of `choices`, as their numbers, -> (SKETCH,). `latents` are those of their plain pictures."""
    objects, styles = MEMBERS["object"], MEMBERS["style"]
    numbers = [(objects.index(slug), styles.index(style)) for slug, style in choices]
    return dict(zip(numbers, sketches(latents), strict=True))


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


def reading_loss(read: dict[str, Tensor], sketched: Tensor, labels: dict[str, Tensor], looks: Mapping[tuple[int, int], Tensor]) -> Tensor:
    """Cross-entropy of what the captions say, and the squared error of the sketch where they tell object and style.

    `looks`: (object, style) as their numbers -> (SKETCH,).
    """
    losses = [F.cross_entropy(logits, labels[domain].to(logits.device), ignore_index=SILENT) for domain, logits in read.items()]
    told = [row for row, pair in enumerate(_pairs(labels)) if SILENT not in pair]
    wanted = torch.stack([looks[_pairs(labels)[row]] for row in told]) if told else sketched.new_zeros(0, SKETCH)
    error = (sketched[told] - wanted.to(sketched.device)).pow(2).sum() / (SKETCH * max(1, len(told)))
    return NAMES_WEIGHT * torch.stack(losses).sum() + SKETCH_WEIGHT * error


def _pairs(labels: dict[str, Tensor]) -> list[tuple[int, int]]:
    return list(zip(labels["object"].tolist(), labels["style"].tolist(), strict=True))


def sample(choices: list[tuple[str, str]], count: int, generator: torch.Generator) -> tuple[list[str], dict[str, Tensor]]:
    """Captions and labels of random scenes."""
    rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    return captioned([world.sample_scene(rng, choices) for _ in range(count)], rng)
