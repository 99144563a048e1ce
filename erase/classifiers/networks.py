"""Classifiers by name: torchvision's architectures adapted to small images, or the user's own as `module:function`.

A network maps images in [-1, 1] to logits (n, classes).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from erase.classifiers.pretrained import start_from
from erase.errors import InputError
from erase.task import generator
from erase.torchvision_compat import torchvision

SMALL = 64
"""Image size in pixels up to which a ResNet starts with a small kernel and without pooling, as for CIFAR (He et al. 2016)."""


def build_network(name: str, classes: int, channels: int, size: int, seed: int = 0, weights: str | None = None) -> nn.Module:
    """A network to be trained, whose initial weights depend on the seed alone, or are `weights` (`erase.classifiers.pretrained`).

    `name`: one of NETWORKS, or the user's own as "package.module:function" or "file.py:function", which is called with
    those of classes, channels and size that it accepts. InputError if its output is not (n, classes).
    """
    if name not in NETWORKS and ":" not in name:
        own = 'or your own as "package.module:function" or "file.py:function"'
        raise InputError(f"--network {name!r} is unknown; expected {', '.join(NETWORKS)}, {own}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(seed, "network").initial_seed())
        network = NETWORKS[name](classes, channels, size) if name in NETWORKS else _own(name, classes, channels, size)
        _check(name, network, classes, channels, size)
    if weights is not None:
        start_from(network, weights, name)
    return network


def small(classes: int, channels: int, size: int) -> nn.Module:
    """Three convolutions with batch norms, 32 to 128 channels, average pooling and a linear head: 94 thousand weights.

    For images of 32 pixels and more the first convolution has stride 2.
    """
    widths = (32, 64, 128)
    layers: list[nn.Module] = []
    for i, (before, width) in enumerate(zip((channels, *widths), widths, strict=False)):
        pool = [nn.MaxPool2d(2)] if i < 2 and size >= 8 else []
        stride = 2 if i == 0 and size >= 32 else 1
        layers.append(nn.Sequential(nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), *pool))
    names = [*(f"layer{i + 1}" for i in range(3)), "pool", "flat", "head"]
    modules = [*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes)]
    network = nn.Sequential()
    for part, module in zip(names, modules, strict=True):
        network.add_module(part, module)
    return network


def _resnet(depth: int) -> Callable[[int, int, int], nn.Module]:
    def build(classes: int, channels: int, size: int) -> nn.Module:
        network: nn.Module = getattr(torchvision().models, f"resnet{depth}")(weights=None, num_classes=classes)
        if size <= SMALL:
            network.conv1, network.maxpool = nn.Conv2d(channels, 64, 3, padding=1, bias=False), nn.Identity()
        elif channels != 3:
            network.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        return network

    return build


def _vgg16(classes: int, channels: int, size: int) -> nn.Module:
    if size < 32:
        raise InputError(f"--network vgg16 needs images of at least 32 pixels, and these have {size}; give --network small")
    network: Any = torchvision().models.vgg16_bn(weights=None, num_classes=classes)
    if channels != 3:
        network.features[0] = nn.Conv2d(channels, 64, 3, padding=1)
    if size <= SMALL:  # the head for 7 by 7 positions has 120 million weights, as many as CIFAR has pixels
        network.avgpool, network.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, classes)
    built: nn.Module = network
    return built


def _vit(classes: int, channels: int, size: int) -> nn.Module:
    patch, shape = (16, (12, 12, 768, 3072)) if size > SMALL else (max(1, size // 8), (6, 3, 192, 768))
    if size % patch:
        raise InputError(f"--network vit needs images whose size is a multiple of {patch} pixels, not {size}; give another --size")
    network: nn.Module = torchvision().models.VisionTransformer(size, patch, *shape, num_classes=classes)
    if channels != 3:
        network.conv_proj = nn.Conv2d(channels, shape[2], patch, stride=patch)
    return network


NETWORKS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "small": small,
    "resnet18": _resnet(18),
    "resnet34": _resnet(34),
    "resnet50": _resnet(50),
    "vgg16": _vgg16,
    "vit": _vit,
}


def _own(name: str, classes: int, channels: int, size: int) -> nn.Module:
    """The network that the user's function builds."""
    function = _function(name)
    arguments = {"classes": classes, "channels": channels, "size": size}
    accepted = inspect.signature(function).parameters
    try:
        network = function(**{key: value for key, value in arguments.items() if key in accepted})
    except Exception as error:  # the user's function may fail in any way
        raise InputError(f"--network {name} failed ({type(error).__name__}: {error}); it is called with {', '.join(arguments)}") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"--network {name} returned a {type(network).__name__}; expected a torch.nn.Module")
    return network


def _function(name: str) -> Callable[..., Any]:
    where, _, what = name.rpartition(":")
    try:
        if where.endswith(".py"):
            spec = spec_from_file_location(f"_user_{Path(where).stem}", where)
            if spec is None or spec.loader is None or not Path(where).is_file():
                raise FileNotFoundError(f"{where} does not exist")
            module = module_from_spec(spec)
            sys.modules[spec.name] = module  # its own dataclasses and pickles look it up there
            spec.loader.exec_module(module)
        else:
            module = import_module(where)
        function: Callable[..., Any] = getattr(module, what)
    except Exception as error:  # the user's module may fail in any way
        raise InputError(f"--network {name} cannot be imported ({type(error).__name__}: {error}); expected module:function") from error
    return function


@torch.no_grad()
def _check(name: str, network: nn.Module, classes: int, channels: int, size: int) -> None:
    """InputError unless one image gives one logit per class."""
    network.eval()
    try:
        out = network(torch.zeros(1, channels, size, size))
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--network {name} does not accept images of {channels} x {size} x {size} ({reason}); give another") from error
    network.train()
    shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
    if shape != (1, classes):
        raise InputError(f"--network {name} returns {shape} for one image; expected (1, {classes}), one logit per class")
