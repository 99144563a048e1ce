"""Grad-CAM (Selvaraju et al. 2017) of several networks on the same samples, as one sheet (Fig. 1 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from erase.classifiers.datasets import Samples
from erase.errors import InputError
from erase.files import written
from erase.files.disk import disk_errors
from erase.training.modes import evaluated

SIDE, GAP, GUTTER, HEAD = 96, 6, 130, 40  # pixels: cell, gap between cells, names on the left, headings
COLUMNS_PER_SET = 4  # samples of each set
INK, MUTED = "#1f2328", "#59636e"


@dataclass(frozen=True)
class Column:
    """One sample (row of `samples`) under a heading such as "forget" or "retain"."""

    heading: str
    row: int


def gradcam(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Maps (n, height, width) in [0, 1]: how much each position of the last convolution contributes to the logit of class y.

    Channels of that layer are weighted with the mean gradient of the logit, summed, and clamped at 0; each map is normalised to
    its largest value and resized to x. InputError for a network without a convolution over more than one position.
    """
    outputs: list[Tensor] = []
    layer = _last_convolution(network, x)
    handle = layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    try:
        with evaluated(network), torch.enable_grad():
            # x requires a gradient so that the layer's output has one, even where the weights are frozen.
            logits = network(x.detach().requires_grad_(True))
            (gradient,) = torch.autograd.grad(logits.gather(1, y[:, None]).sum(), outputs[-1])
    finally:
        handle.remove()
    maps = (gradient.mean(dim=(2, 3), keepdim=True) * outputs[-1]).sum(1, keepdim=True).relu()
    maps = F.interpolate(maps.detach(), size=x.shape[2:], mode="bilinear")[:, 0]
    return maps / maps.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)


def sheet(path: Path, networks: Mapping[str, nn.Module], samples: Samples, columns: Sequence[Column]) -> None:
    """Write a PNG: the samples in the first row, then one row per network with its maps over the samples."""
    b = samples.batch(torch.tensor([column.row for column in columns]))
    images = [_enlarged(x) for x in b["x"].cpu()]
    size = (GUTTER + len(columns) * (SIDE + GAP), HEAD + (len(networks) + 1) * (SIDE + GAP))
    canvas = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for i, (column, sample) in enumerate(zip(columns, images, strict=True)):
        left = GUTTER + i * (SIDE + GAP)
        pen.text((left + SIDE // 2, HEAD // 2), column.heading, INK, font, anchor="mm")
        canvas.paste(sample, (left, HEAD))
    for k, (name, network) in enumerate(networks.items(), 1):
        top = HEAD + k * (SIDE + GAP)
        pen.text((4, top + SIDE // 2), name, MUTED, font, anchor="lm")
        device = next(network.parameters()).device
        maps = gradcam(network, b["x"].to(device), b["y"].to(device)).cpu()
        for i, (sample, heat) in enumerate(zip(images, maps, strict=True)):
            canvas.paste(_overlaid(sample, heat), (GUTTER + i * (SIDE + GAP), top))
    with disk_errors(path), written(path) as part:
        canvas.save(part, "PNG")


def _last_convolution(network: nn.Module, x: Tensor) -> nn.Module:
    visited: list[nn.Module] = []

    def visit(module: nn.Module, inputs: object, output: Tensor) -> None:
        if output.shape[2] * output.shape[3] > 1:
            visited.append(module)

    handles = [module.register_forward_hook(visit) for module in network.modules() if isinstance(module, nn.Conv2d)]
    try:
        with evaluated(network), torch.no_grad():
            network(x[:1])
    finally:
        for handle in handles:
            handle.remove()
    if not visited:
        raise InputError(f"Grad-CAM needs a convolution over more than one position, and {type(network).__name__} has none")
    return visited[-1]


def _enlarged(x: Tensor) -> Image.Image:
    """(channels, height, width) in [-1, 1], enlarged."""
    pixels = ((x[:3] if len(x) >= 3 else x[:1].expand(3, -1, -1)) * 127.5 + 127.5).clamp(0, 255)
    array = np.ascontiguousarray(pixels.permute(1, 2, 0).round().to(torch.uint8).numpy())
    return Image.fromarray(array).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def _overlaid(image: Image.Image, heat_map: Tensor) -> Image.Image:
    """The map over the image, from blue (no contribution to the class) through yellow to red."""
    heat = np.asarray(Image.fromarray((heat_map.numpy() * 255).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) / 255
    stops = np.array([[36, 52, 148], [64, 170, 170], [250, 220, 60], [200, 30, 30]], dtype=float)
    position = heat * (len(stops) - 1)
    low = np.minimum(position.astype(int), len(stops) - 2)
    share = (position - low)[..., None]
    colour = stops[low] * (1 - share) + stops[low + 1] * share
    grey = np.asarray(image.convert("L").convert("RGB"), dtype=float)
    return Image.fromarray((0.5 * colour + 0.5 * grey).round().astype(np.uint8))
