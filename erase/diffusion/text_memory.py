"""Memory of editing the text encoders in front of a frozen network: the passes of that network, and the weights that are trained."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from erase.checkpoints.folder import weight_files
from erase.checkpoints.parts import text_parts
from erase.checkpoints.safetensors_header import header
from erase.diffusion.counted_passes import FLOAT
from erase.diffusion.memory import Need, Question, plan
from erase.errors import EmptyScope
from erase.scope import pattern_of
from erase.training.optimizers import STATE_BYTES

FIRST = r"re:^(conv_in|pos_embed\.proj|x_embedder)\."
"""The first layer of a UNet or transformer: with a gradient for it, a pass keeps what it keeps with one for the text."""


def text_plan(question: Question, free: int) -> tuple[Need, str]:
    """As `plan`, for the scope of the question among the weights of the text encoders. EmptyScope where there are none."""
    sizes = text_weights(question.folder)
    pattern = pattern_of(question.scope, text_encoder=True)
    scoped = FLOAT * sum(size for name, size in sizes.items() if pattern.search(name))
    if not scoped:
        raise EmptyScope(
            f"scope {question.scope!r} matches no weight of the text encoders, as {next(iter(sizes), 'none at all')!r}: "
            "give full, attention, feed-forward, or re: and a pattern over parameter names"
        )
    state = sum(STATE_BYTES[question.optimizer]) / FLOAT if question.optimizer else 0
    beside = int(FLOAT * sum(sizes.values()) + scoped * (question.copies + 1 + state))
    need, sentence = plan(replace(question, scope=FIRST, copies=0.0), free - beside)
    return replace(need, repair=need.repair + beside, parts={**need.parts, "text encoders": beside}), sentence


def text_weights(folder: Path) -> dict[str, int]:
    """Name of each weight of the text encoders, as a run has it, and its number of values; from the headers of their files."""
    return {
        f"{part}.{name}": math.prod(entry["shape"])
        for part in text_parts(folder)
        for path in weight_files(folder / part).values()
        if path.suffix == ".safetensors"
        for name, entry in header(path)[0].items()
        if name != "__metadata__"
    }
