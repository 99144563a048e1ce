"""The judge of `scenes`: a small convolutional network that lists the things in a 64 x 64 picture: what, which colour, where.

A heat map has a peak at each thing's middle (Zhou et al. 2019, "Objects as points"); shape and colour are read there. It is
trained on renders (and what the autoencoder makes of them), never on pictures of the diffusion model that it judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erase.demo.scenes.world import COLOURS, SHAPES, Thing

GRID = 16  # cells a side
CELL = 4  # pixels a side
THRESHOLD = 0.4
APART = 5  # cells: two peaks are nowhere nearer, since no two things touch
SPREAD = 1.0  # cells: standard deviation of a peak in training
FAR = 4.0  # pixels between where a thing is and where it was found


@dataclass(frozen=True)
class Found:
    """A detected thing, x and y in pixels from the upper left corner."""

    shape: str
    colour: str
    x: float
    y: float
    score: float


class SceneJudge(nn.Module):
    """Input: (n, 3, 64, 64) in [-1, 1]; output: (n, 1 + shapes + colours, 16, 16) logits of heat, shape and colour."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.near = nn.Sequential(_layer(3, width, 5, 2), _layer(width, 2 * width, 3, 2))
        self.far = nn.Sequential(_layer(2 * width, 4 * width, 3, 2), _layer(4 * width, 4 * width), _layer(4 * width, 4 * width))
        self.both = nn.Sequential(_layer(6 * width, 3 * width), nn.Conv2d(3 * width, 1 + len(SHAPES) + len(COLOURS), 1))
        nn.init.constant_(self.both[-1].get_parameter("bias")[:1], -3.0)  # nearly all cells are not the middle of anything

    def forward(self, pictures: Tensor) -> Tensor:
        near = self.near(pictures)
        far = F.interpolate(self.far(near), scale_factor=2.0)
        maps: Tensor = self.both(torch.cat([near, far], 1))
        return maps

    @torch.no_grad()
    def look(self, pictures: Tensor, batch: int = 128) -> list[list[Found]]:
        """The things in each picture, the most certain first."""
        return [things for part in pictures.split(batch) for things in decode(self(part))]


def _layer(a: int, b: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, kernel, stride, kernel // 2), nn.GroupNorm(8, b), nn.SiLU())


def decode(maps: Tensor) -> list[list[Found]]:
    """Logits as `SceneJudge` gives them -> the things: peaks of the heat map, none within two cells of a higher one."""
    heat = maps[:, 0].sigmoid()
    peak = (F.max_pool2d(heat[:, None], APART, 1, APART // 2)[:, 0] == heat) & (heat > THRESHOLD)
    shapes, colours = (part.argmax(1) for part in maps[:, 1:].split([len(SHAPES), len(COLOURS)], 1))
    things: list[list[Found]] = [[] for _ in maps]
    for i, row, column in peak.nonzero().tolist():
        shape, colour = (names[int(index[i, row, column])] for names, index in ((SHAPES, shapes), (COLOURS, colours)))
        x, y = ((at + 0.5) * CELL for at in (column, row))
        things[i].append(Found(shape, colour, x, y, float(heat[i, row, column])))
    return [sorted(image, key=lambda thing: -thing.score) for image in things]


def targets(things: Sequence[Sequence[Thing]]) -> tuple[Tensor, Tensor]:
    """The judge's targets: heat (n, 16, 16), 1 at each middle; and shape and colour there, (n, 2, 16, 16), else -1."""
    heat, what = torch.zeros(len(things), GRID, GRID), torch.full((len(things), 2, GRID, GRID), -1)
    rows, columns = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
    for i, scene in enumerate(things):
        for thing in scene:
            row, column = int(thing.y // CELL), int(thing.x // CELL)
            squared = (rows - row) ** 2 + (columns - column) ** 2
            heat[i] = torch.maximum(heat[i], torch.exp(-squared / (2 * SPREAD**2)))
            what[i, :, squared <= 1] = torch.tensor([[SHAPES.index(thing.shape)], [COLOURS.index(thing.colour)]])
    return heat, what


def judging_loss(maps: Tensor, heat: Tensor, what: Tensor) -> Tensor:
    """The focal loss of heat maps (a middle is 1, its neighbours count the less the nearer they are), and cross-entropy there."""
    middle = heat == 1
    p = maps[:, 0].sigmoid().clamp(1e-4, 1 - 1e-4)
    hit = -((1 - p) ** 2 * p.log())[middle].sum()
    miss = -((1 - heat) ** 4 * p**2 * (1 - p).log())[~middle].sum()
    logits = maps[:, 1:].split([len(SHAPES), len(COLOURS)], 1)
    named = [F.cross_entropy(part, what[:, k], ignore_index=-1, label_smoothing=0.02) for k, part in enumerate(logits)]
    return (hit + miss) / middle.sum().clamp(min=1) + torch.stack(named).sum()


def exactly(detected: Sequence[Found], things: Sequence[Thing]) -> bool:
    """Whether these are the things of a scene, no more and no less, each near where it is."""
    left = list(detected)
    for thing in things:
        near = [
            one for one in left
            if (one.shape, one.colour) == (thing.shape, thing.colour) and max(abs(one.x - thing.x), abs(one.y - thing.y)) <= FAR
        ]  # fmt: skip
        if not near:
            return False
        left.remove(near[0])
    return not left


def load_scene_judge(path: Path) -> SceneJudge:
    """Read the judge's weights (safetensors)."""
    from safetensors.torch import load_file

    judge = SceneJudge()
    judge.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return judge.eval()
