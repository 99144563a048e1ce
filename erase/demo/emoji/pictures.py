"""Draw scenes of the emoji world: glyphs placed on plain backgrounds, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from erase.demo.emoji import data, world
from erase.demo.emoji.world import RGB, SIZE, STYLES, Scene

ORDER = {slug: row for row, slug in enumerate(world.OBJECTS)}


@cache
def glyphs() -> Tensor:
    """(objects, styles, 4, 96, 96) uint8, read once from the user's cache."""
    return torch.from_numpy(data.load()).permute(0, 1, 4, 2, 3)


def placement(scenes: Sequence[Scene]) -> Tensor:
    """(n, 2, 3): for each scene, the affine map from the picture's coordinates to the glyph's, both in [-1, 1]."""
    size, x, y, angle, mirror = torch.tensor(
        [[s.size, s.x, s.y, s.angle, -1.0 if s.mirrored else 1.0] for s in scenes], dtype=torch.float64
    ).unbind(1)
    scale, turn = SIZE / size, torch.deg2rad(angle)
    x, y = 2 * x / SIZE - 1, 2 * y / SIZE - 1
    cos, sin = scale * torch.cos(turn), scale * torch.sin(turn)
    across = torch.stack([cos, sin, -(cos * x + sin * y)], 1) * mirror[:, None]
    down = torch.stack([-sin, cos, sin * x - cos * y], 1)
    return torch.stack([across, down], 1).float()


def compose(drawings: Tensor, scenes: Sequence[Scene], device: str = "cpu") -> Tensor:
    """Place `drawings`, (n, 4, 96, 96) uint8 RGBA, as the scenes say: (n, 3, 64, 64) in [-1, 1]."""
    source = drawings.to(device).float() / 255
    source = torch.cat([source[:, :3] * source[:, 3:], source[:, 3:]], 1)  # premultiplied, or edges take the colour of nothing
    grid = F.affine_grid(placement(scenes).to(device), [len(scenes), 4, SIZE, SIZE], align_corners=False)
    placed = F.grid_sample(source, grid, align_corners=False)
    behind = torch.tensor([RGB[scene.background] for scene in scenes], device=device)[:, :, None, None] / 255
    return (placed[:, :3] + (1 - placed[:, 3:]) * behind) * 2 - 1


def draw(scenes: Sequence[Scene], device: str = "cpu") -> Tensor:
    """(n, 3, 64, 64) in [-1, 1]."""
    rows = torch.tensor([ORDER[scene.object] for scene in scenes])
    columns = torch.tensor([STYLES.index(scene.style) for scene in scenes])
    return compose(glyphs()[rows, columns], scenes, device)


def render(scene: Scene) -> NDArray[np.uint8]:
    """One scene as (64, 64, 3) uint8."""
    pixels: NDArray[np.uint8] = ((draw([scene])[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    return pixels
