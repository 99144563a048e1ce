"""Similarity of an image before and after the erasure, for prompts to keep: SSIM and LPIPS of the same prompt and seed.

Images are compared one pair at a time, so that the value of a pair does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from erase.checkpoints.safetensors_header import load_tensors
from erase.errors import InputError
from erase.files import sha256
from erase.run import package_version

ALEXNET = "alexnet-owt-7be5be79.pth"  # torchvision publishes it under its own hash
SMALLEST_SSIM, SMALLEST_LPIPS = 11, 32  # pixels: the window of SSIM; less leaves nothing after AlexNet's pooling


def ssim(before: Tensor, after: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) of uint8 images (n, 3, h, w): (n,) float64, 1 where they are identical.

    Gaussian window of 1.5 pixels, K 0.01 and 0.03, range 255, in RGB, borders reflected. InputError for different numbers or
    sizes of images, or images smaller than the window.
    """
    _same_shape(before, after, SMALLEST_SSIM)
    measure = library().functional.image.structural_similarity_index_measure
    return _each(before, after, lambda x, y: measure(x, y, data_range=255.0), same=1.0)


class Lpips:
    """Perceptual distance on AlexNet features (Zhang et al. 2018), with torchmetrics' linear layers; a callable like `ssim`.

    Needs torchvision's AlexNet weights: `weights`, as published or as .safetensors, else torch.hub's copy.
    """

    def __init__(self, weights: Path | None = None) -> None:
        self.path = weights or Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET
        self.net = _lpips_network(_alexnet(self.path))

    def __call__(self, before: Tensor, after: Tensor) -> Tensor:
        """uint8 images (n, 3, h, w) -> (n,) float64, 0 where they are identical."""
        _same_shape(before, after, SMALLEST_LPIPS)
        return _each(before, after, lambda x, y: self.net(x / 127.5 - 1, y / 127.5 - 1), same=0.0)

    def facts(self) -> dict[str, Any]:
        """Name, version and settings, for the protocol of a report."""
        return {"name": "lpips-alex", "version": package_version("torchmetrics"), "sha256": sha256(self.path)}


def ssim_facts() -> dict[str, Any]:
    """Name, version and settings, for the protocol of a report."""
    return {"name": "ssim", "version": package_version("torchmetrics"), "window": 11, "sigma": 1.5, "range": 255}


def _each(before: Tensor, after: Tensor, measure: Callable[[Tensor, Tensor], Tensor], same: float) -> Tensor:
    """`measure` of one pair at a time in float32; identical images have exactly the value `same`."""
    with torch.no_grad():
        values = [same if x.equal(y) else float(measure(x[None].float(), y[None].float())) for x, y in zip(before, after, strict=True)]
    return torch.tensor(values, dtype=torch.float64)


def _same_shape(before: Tensor, after: Tensor, smallest: int) -> None:
    for images in (before, after):
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"expected uint8 images (n, 3, h, w); got {images.dtype} {tuple(images.shape)}")
    if before.shape != after.shape:
        first, second = (f"{len(p)} of {p.shape[3]} x {p.shape[2]} pixels" for p in (before, after))
        raise InputError(f"before and after cannot be compared: {first} and {second}; give images of the same prompts, seeds and size")
    if min(before.shape[2:]) < smallest:
        size = f"{before.shape[3]} x {before.shape[2]}"
        raise InputError(f"images of {size} pixels are too small to compare; expected at least {smallest} on each side")


def library() -> Any:
    """torchmetrics; InputError where it is not installed."""
    from eval.vision.weights import torchvision

    torchvision()  # torchmetrics imports all of it
    try:
        import torchmetrics
    except ImportError as error:
        raise InputError('torchmetrics is not installed; install it with pip install "erase-concept[eval]"') from error
    return torchmetrics


def _lpips_network(features: dict[str, Tensor]) -> nn.Module:
    """torchmetrics' network with these AlexNet weights. Its public class can only download them, hence its private one."""
    library()
    from torchmetrics.functional.image.lpips import _LPIPS

    network: nn.Module = _LPIPS(pretrained=True, net="alex", pnet_rand=True)
    backbone = network.get_submodule("net")
    # its slices number their layers like torchvision
    names = {f"features.{name.split('.', 1)[1]}": name for name in backbone.state_dict()}
    absent = [name for name in names if name not in features]
    if absent:
        raise InputError(f"the AlexNet weights have no {absent[0]}; expected those of torchvision's alexnet")
    backbone.load_state_dict({name: features[published] for published, name in names.items()})
    return network.eval().requires_grad_(False)


def _alexnet(path: Path) -> dict[str, Tensor]:
    """AlexNet's weights by torchvision's names. A .pth is a pickle, so only the published one is opened."""
    if not path.is_file():
        raise InputError(f"AlexNet's weights for LPIPS are not at {path}; put torchvision's {ALEXNET} there, or name it with --lpips FILE")
    if path.suffix == ".safetensors":
        return load_tensors(path)
    if not sha256(path).startswith(ALEXNET.split("-")[-1].removesuffix(".pth")):
        raise InputError(f"{path} is not torchvision's {ALEXNET} (its hash differs); replace it, or give a .safetensors file")
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights
