"""Inception features: what FID and KID compare, with torch-fidelity's weights in torchmetrics' network.

The only file that touches torch-fidelity. Knows no distances. One of the two files that import torchmetrics.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from erase.errors import InputError
from erase.run import package_version
from eval.vision.weights import REMEDY, read_weights, torchvision

DIMENSION = 2048
OPTION = "--inception FILE"
CHUNK = 32  # pictures the network sees at a time


class Inception:
    """Features as torchmetrics' FrechetInceptionDistance(feature=2048) computes them: uint8 images, its own resize to 299.

    Weights: `weights`, as torch-fidelity publishes them or as .safetensors, else torch.hub's copy, else downloaded. Only the
    published ones are "inception" in a protocol: a Fréchet distance over any others is not an FID.
    """

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        source, network = _libraries()
        read = read_weights(source.URL_INCEPTION_V3, weights, OPTION)
        self._network = _built(network, read.tensors, weights).to(device)
        self._device = device
        self._facts = {
            "name": "inception" if read.published else "own-inception",
            "version": f"torchmetrics {package_version('torchmetrics')}, torch-fidelity {package_version('torch-fidelity')}",
            "sha256": read.sha256,
            "dimension": DIMENSION,
            "resize": "299 x 299, bilinear, antialiased",
        }

    @torch.no_grad()
    def __call__(self, images: Sequence[Image.Image]) -> Tensor:
        """RGB images of any sizes, any number -> (n, 2048) float32 on the CPU; an image's row does not depend on the others."""
        features = torch.empty(len(images), DIMENSION)
        for rows in _alike(images):
            pixels = np.stack([np.asarray(images[i].convert("RGB")) for i in rows])
            features[rows] = self._network(torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self._device)).float().cpu()
        return features

    def facts(self) -> dict[str, Any]:
        """The protocol's part."""
        return dict(self._facts)


def _alike(images: Sequence[Image.Image]) -> list[list[int]]:
    """Indexes of pictures of one size, at most CHUNK together: the network resizes whole batches."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for i, image in enumerate(images):
        sizes.setdefault(image.size, []).append(i)
    return [rows[start : start + CHUNK] for rows in sizes.values() for start in range(0, len(rows), CHUNK)]


def _libraries() -> tuple[Any, Any]:
    """torch-fidelity's module of the network, which says where its weights are, and torchmetrics' version of the network."""
    torchvision()  # torchmetrics imports it whole
    try:
        from torch_fidelity import feature_extractor_inceptionv3
        from torchmetrics.image.fid import NoTrainInceptionV3
    except ImportError as error:
        missing = error.name or str(error)
        raise InputError(f"FID needs torchmetrics and torch-fidelity, and {missing} is not installed; {REMEDY}") from error
    return feature_extractor_inceptionv3, NoTrainInceptionV3


def _built(network: Any, tensors: dict[str, Tensor], weights: Path | None) -> nn.Module:
    """The network with these weights. It can only load a file by itself, so it is given one in memory."""
    file = io.BytesIO()
    torch.save(tensors, file)
    file.seek(0)
    try:
        built: nn.Module = network("inception-v3-compat", [str(DIMENSION)], file)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{weights} does not hold the weights of torch-fidelity's Inception ({reason}); give those as {OPTION}") from error
    return built
