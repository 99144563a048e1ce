"""How an image was drawn, as text inside its PNG file: the chunk `parameters` that A1111's "PNG Info" and tools after it read.

a red star
Negative prompt: blurry
Steps: 25, Sampler: DDIM, CFG scale: 4.0, Seed: 41, Size: 64x64, Model hash: 0123456789, Model: demo
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from erase.images.samplers import SAMPLERS

KEYWORD = "parameters"
HEADER = 8 + 25  # bytes of a PNG file's signature and of its first chunk, which must stay the first


@dataclass(frozen=True)
class Parameters:
    """What drew an image. `sampler` is a class of diffusers, `size` is in pixels a side; `model_hash` may be empty.

    `index`: which image of its set it is, where its noise depends on that beside the seed.
    """

    prompt: str
    seed: int
    steps: int
    sampler: str
    guidance: float
    size: int
    model: str
    model_hash: str = ""
    negative: str = ""
    index: int | None = None

    def text(self) -> str:
        """The three parts, the negative prompt only where there is one."""
        values = {
            "Steps": self.steps,
            "Sampler": SAMPLERS.get(self.sampler, self.sampler),
            "CFG scale": float(self.guidance),
            "Seed": self.seed,
            "Batch pos": "" if self.index is None else self.index,
            "Size": f"{self.size}x{self.size}",
            "Model hash": self.model_hash,
            "Model": _plain(self.model),
        }
        last = ", ".join(f"{name}: {value}" for name, value in values.items() if value != "")
        return "\n".join([self.prompt, *([f"Negative prompt: {self.negative}"] if self.negative else []), last])


def with_parameters(png: bytes, text: str) -> bytes:
    """The same PNG with the text in it. Nothing else changes, so the same image and text are the same bytes."""
    try:
        body = b"tEXt" + KEYWORD.encode() + b"\0" + text.encode("latin-1")
    except UnicodeEncodeError:
        body = b"iTXt" + KEYWORD.encode() + b"\0\0\0\0\0" + text.encode("utf-8")  # not compressed, no language
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:HEADER] + chunk + png[HEADER:]


def _plain(name: str) -> str:
    """A name without what separates values, which would end it."""
    return " ".join(name.replace(",", " ").replace(":", " ").split())
