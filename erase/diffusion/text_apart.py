"""Drawing without text encoders in memory: prompts are embedded first, and the encoders leave the device before the network is used.

T5 of Stable Diffusion 3 and FLUX has 4.8 billion weights, as many as a card may have left beside the transformer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_text_encoders(pipeline: Any) -> Iterator[None]:
    """Within, the pipeline has no text encoders: it computes where the parts are that it has."""
    encoders = {name: part for name, part in pipeline.components.items() if name.startswith("text_encoder")}
    try:
        for name in encoders:
            setattr(pipeline, name, None)
        yield
    finally:
        for name, part in encoders.items():
            setattr(pipeline, name, part)
