"""The embedded world as a hard exercise for classifiers: one large shape, a smaller one beside or under it, noise.

The class is the shape and the colour of the large one. What lies beside it is as random as can be, so a network with few
samples learns its samples by heart, and forgetting them shows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from erase.demo.shapes.world import BACKGROUNDS, COLOURS, RGB, SHAPES, SIZE, STYLES, Scene, render

CLASSES = tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS)
SIDE = 32
AROUND = 1  # smaller shapes
NOISE = 8.0  # standard deviation, of 255


def cluttered(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`count` pictures (count, 32, 32, 3) and their classes, 0 to 39 over and over; picture i depends on (seed, i) alone."""
    pictures = np.stack([picture(seed, i) for i in range(count)])
    return pictures, np.arange(count, dtype=np.int64) % len(CLASSES)


def picture(seed: int, i: int) -> NDArray[np.uint8]:
    """Number i, of class i modulo 40."""
    rng = np.random.default_rng([seed, i])
    label = i % len(CLASSES)
    background = str(rng.choice(BACKGROUNDS))
    canvas = np.tile(np.array(RGB[background], dtype=float), (SIZE, SIZE, 1))
    for _ in range(AROUND):
        canvas = _over(canvas, _scene(rng, str(rng.choice(SHAPES)), str(rng.choice(COLOURS)), background, (7.0, 11.0)))
    canvas = _over(canvas, _scene(rng, SHAPES[label // len(COLOURS)], COLOURS[label % len(COLOURS)], background, (14.0, 20.0)))
    small = canvas.reshape(SIDE, SIZE // SIDE, SIDE, SIZE // SIDE, 3).mean(axis=(1, 3))
    drawn: NDArray[np.uint8] = np.clip(np.round(small + rng.normal(0, NOISE, small.shape)), 0, 255).astype(np.uint8)
    return drawn


def _scene(rng: np.random.Generator, shape: str, colour: str, background: str, radii: tuple[float, float]) -> Scene:
    radius = float(rng.uniform(*radii))
    x, y = (float(rng.uniform(radius, SIZE - radius)) for _ in range(2))
    phase = (float(rng.random()), float(rng.random()))
    style, period, shade = str(rng.choice(STYLES)), float(rng.uniform(6, 12)), float(rng.uniform(0.6, 1.2))
    return Scene(shape, colour, style, background, x, y, radius, period, phase, shade)


def _over(canvas: NDArray[np.floating], scene: Scene) -> NDArray[np.floating]:
    """The scene's shape painted over the canvas."""
    drawn = render(scene, 1).astype(float)
    covered = (drawn != np.array(RGB[scene.background], dtype=float)).any(axis=2, keepdims=True)
    return np.where(covered, drawn, canvas)
