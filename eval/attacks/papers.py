"""The attacks that carry a paper's name with the counts, lengths and strengths that it publishes: `--attacks paper`.

Each attacks every prompt of the run once, from the prompt's own seed and guidance where the run is an evaluation of published prompts.
The searches stay greedy coordinate descent; docs/attacks.md names what else differs.
"""

from __future__ import annotations

from typing import Any

from eval.attacks.text.direction import Direction
from eval.attacks.text.hard_prompt import HardPrompt
from eval.attacks.text.inversion import Inversion
from eval.attacks.text.prefix import Prefix

RING: dict[str, Any] = {"strengths": (3.0,), "steps": 3000, "candidates": 200, "named": True, "mean": True}

PAPER: dict[str, Any] = {
    "prefix-paper": Prefix(words=5, steps=40, rounds=50, plain=True),
    "hard-prompt-paper": HardPrompt(words=16, steps=3000, every=50),
    "direction-paper-16": Direction(words=16, **RING),
    "direction-paper-38": Direction(words=38, **RING),
    "direction-paper-77": Direction(words=75, **RING),  # 77 tokens with those of beginning and end
    "inversion-paper": Inversion(vectors=1, steps=(5000,), batch=16, rate=8e-2),  # 5e-3 times batch 4 and 4 accumulated
}
