"""A rehearsal of a table: the same code on scikit-learn's digits, with a small network and a part of the epochs."""

from __future__ import annotations

from torch import nn

WIDTHS = (16, 32, 32, 64)


def network(classes: int, channels: int) -> nn.Module:
    """Four convolutions and a linear head, with the names that the layers of a ResNet have (layer1 to layer4, fc)."""
    layers = []
    for number, (before, width) in enumerate(zip((channels, *WIDTHS), WIDTHS, strict=False), 1):
        stride = 2 if number == 3 else 1
        layers.append(
            (f"layer{number}", nn.Sequential(nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()))
        )
    built = nn.Sequential()
    for name, layer in (*layers, ("pool", nn.AdaptiveAvgPool2d(1)), ("flat", nn.Flatten()), ("fc", nn.Linear(WIDTHS[-1], classes))):
        built.add_module(name, layer)
    return built
