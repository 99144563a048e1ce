"""Weights to start training from: torchvision's for ImageNet, or a file of such; and ImageNet's normalisation of the images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from erase.checkpoints.safetensors_header import load_tensors
from erase.classifiers import IMAGENET
from erase.errors import InputError
from erase.torchvision_compat import torchvision

PUBLISHED = {"resnet18": "resnet18", "resnet34": "resnet34", "resnet50": "resnet50", "vgg16": "vgg16_bn"}
"""Network -> torchvision's name of it."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's images from 0 to 1, by channel."""


def start_from(network: nn.Module, weights: str, name: str) -> None:
    """Load weights into a network, all but those of a head for other classes, and let it normalise its images as for ImageNet.

    `weights`: IMAGENET, or a .safetensors file. `name` is that of the network. The normalisation is a hook of the network, so that its
    images run from -1 to 1 as everywhere. InputError: a network without published weights, a file that does not fit, no download.
    """
    state = _published(name) if weights == IMAGENET else _read(Path(weights))
    own = network.state_dict()
    head = next((part for part, module in reversed(list(network.named_modules())) if isinstance(module, nn.Linear)), None)
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    wrong = [key for key in state if key not in fitting and not key.startswith(f"{head}.")]
    missing = [key for key in own if key not in fitting and not key.startswith(f"{head}.") and not key.endswith("num_batches_tracked")]
    if wrong or missing or not fitting:
        first = (wrong or missing or list(own))[0]
        raise InputError(
            f"--weights {weights} does not fit --network {name} ({first}); expected weights of that network, and for a ResNet images of "
            "more than 64 pixels: give --size 224, or other weights",
            option="weights",
        )
    network.load_state_dict({**own, **fitting})
    network.register_forward_pre_hook(normalise)


def normalise(network: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor]:
    """A forward hook: images (n, 3, height, width) from -1 to 1, to mean 0 and deviation 1 over ImageNet in each channel."""
    x = inputs[0]
    mean, deviation = (torch.tensor(values, device=x.device, dtype=x.dtype)[:, None, None] for values in (MEAN, STD))
    return (((x + 1) / 2 - mean) / deviation,)


def _published(name: str) -> Mapping[str, Any]:
    if name not in PUBLISHED:
        raise InputError(f"--weights {IMAGENET} are for {', '.join(PUBLISHED)}, not for {name}; give a .safetensors file", option="weights")
    known = torchvision().models.get_model_weights(PUBLISHED[name]).IMAGENET1K_V1
    try:
        state: Mapping[str, Any] = known.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"torchvision's ImageNet weights of {name} cannot be downloaded ({reason}); put {known.url.rpartition('/')[2]} into "
            f"{Path(torch.hub.get_dir()) / 'checkpoints'}, or give `classify` a .safetensors file of them as --weights",
            option="weights",
        ) from error
    return state


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.exists():
        raise InputError(f"--weights {path} does not exist; expected {IMAGENET} or a .safetensors file", option="weights")
    return load_tensors(path)
