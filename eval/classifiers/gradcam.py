"""Where a classifier looks: Grad-CAM (Selvaraju et al. 2017) of several networks on the same samples, as one sheet (Fig. 1)."""

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
from erase.run import disk_errors

SIDE, GAP, GUTTER, HEAD = 96, 6, 130, 40  # of a cell, between cells, for names on the left, for headings
SHOWN = 4  # samples of a kind
INK, MUTED = "#1f2328", "#59636e"


@dataclass(frozen=True)
class Column:
    """One sample (row of `samples`) under a heading such as "forget" or "retain"."""

    heading: str
    row: int


def gradcam(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Maps (n, height, width) in [0, 1]: how much places of the last convolution with more than one place speak for class y.

    Channels of that layer are weighted with the mean gradient of the logit, summed, and cut off below 0; each map is scaled to
    its own largest value and to the size of x. InputError for a network without such a layer.
    """
    kept: dict[str, Tensor] = {}
    layer = _last_convolution(network, x)
    handle = layer.register_forward_hook(lambda module, given, out: kept.update(out=out))
    flags = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        with torch.enable_grad():
            # The gradient is taken by the layer's output, which depends on a weight even where the weights are frozen.
            logits = network(x.detach().requires_grad_(True))
            (gradient,) = torch.autograd.grad(logits.gather(1, y[:, None]).sum(), kept["out"])
    finally:
        handle.remove()
        for module, flag in flags:
            module.training = flag
    maps = (gradient.mean(dim=(2, 3), keepdim=True) * kept["out"]).sum(1, keepdim=True).relu()
    maps = F.interpolate(maps.detach(), size=x.shape[2:], mode="bilinear")[:, 0]
    return maps / maps.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)


def sheet(path: Path, networks: Mapping[str, nn.Module], samples: Samples, columns: Sequence[Column]) -> None:
    """A PNG: the samples in the first row, each network's map over them in the next; below each cell what the network says."""
    b = samples.batch(torch.tensor([column.row for column in columns]))
    pictures = [_picture(x) for x in b["x"].cpu()]
    size = (GUTTER + len(columns) * (SIDE + GAP), HEAD + (len(networks) + 1) * (SIDE + GAP))
    image = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    for i, (column, picture) in enumerate(zip(columns, pictures, strict=True)):
        left = GUTTER + i * (SIDE + GAP)
        pen.text((left + SIDE // 2, HEAD // 2), column.heading, INK, font, anchor="mm")
        image.paste(picture, (left, HEAD))
    for k, (name, network) in enumerate(networks.items(), 1):
        top = HEAD + k * (SIDE + GAP)
        pen.text((4, top + SIDE // 2), name, MUTED, font, anchor="lm")
        device = next(network.parameters()).device
        maps = gradcam(network, b["x"].to(device), b["y"].to(device)).cpu()
        for i, (picture, found) in enumerate(zip(pictures, maps, strict=True)):
            image.paste(_heated(picture, found), (GUTTER + i * (SIDE + GAP), top))
    with disk_errors(path), written(path) as part:
        image.save(part, "PNG")


def _last_convolution(network: nn.Module, x: Tensor) -> nn.Module:
    found: list[nn.Module] = []

    def note(module: nn.Module, given: object, out: Tensor) -> None:
        if out.shape[2] * out.shape[3] > 1:
            found.append(module)

    handles = [module.register_forward_hook(note) for module in network.modules() if isinstance(module, nn.Conv2d)]
    flags = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        with torch.no_grad():
            network(x[:1])
    finally:
        for handle in handles:
            handle.remove()
        for module, flag in flags:
            module.training = flag
    if not found:
        raise InputError(f"Grad-CAM needs a convolution over more than one place, and {type(network).__name__} has none")
    return found[-1]


def _picture(x: Tensor) -> Image.Image:
    """(channels, height, width) in [-1, 1], enlarged."""
    pixels = ((x[:3] if len(x) >= 3 else x[:1].expand(3, -1, -1)) * 127.5 + 127.5).clamp(0, 255)
    array = np.ascontiguousarray(pixels.permute(1, 2, 0).round().to(torch.uint8).numpy())
    return Image.fromarray(array).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def _heated(picture: Image.Image, found: Tensor) -> Image.Image:
    """The map over the picture: blue where nothing speaks for the class, through yellow to red."""
    heat = np.asarray(Image.fromarray((found.numpy() * 255).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) / 255
    stops = np.array([[36, 52, 148], [64, 170, 170], [250, 220, 60], [200, 30, 30]], dtype=float)
    place = heat * (len(stops) - 1)
    low = np.minimum(place.astype(int), len(stops) - 2)
    share = (place - low)[..., None]
    colour = stops[low] * (1 - share) + stops[low + 1] * share
    grey = np.asarray(picture.convert("L").convert("RGB"), dtype=float)
    return Image.fromarray((0.5 * colour + 0.5 * grey).round().astype(np.uint8))
