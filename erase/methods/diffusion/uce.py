"""UCE (Gandikota et al., WACV 2024): keys and values of cross-attention, edited in closed form; no pictures, no training."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from erase.errors import InputError
from erase.options import check, option
from erase.task import Step, Task
from erase.training.state import TrainingState

EDITED = {"keys and values": "[kv]", "keys": "k", "values": "v"}


@dataclass(frozen=True)
class UCE:
    """Each W becomes the minimiser of  a sum_i ||W c_i - W0 c*_i||^2 + b sum_j ||W p_j - W0 p_j||^2 + lambda ||W - W0||^2  (its Eq. 7).

    c are the token embeddings of the forget prompts, c* those of what takes their place, p those of the retain prompts and the
    empty one. All layers read the same text, so all share one matrix: W = W0 B A^-1 with
    A = lambda I + a sum c c' + b sum p p',  B = lambda I + a sum c* c' + b sum p p'.
    """

    layers: str = option("keys and values", "which projections of the text are edited", choices=tuple(EDITED))
    unlearn: str = option("anchor", "what the concept's text is read as: the anchor's, or the empty prompt", choices=("anchor", "empty"))
    forget_weight: float = option(40.0, "a: weight of what is edited", low=0.0)
    retain_weight: float = option(1.0, "b: weight of what is to be read as before", low=0.0)
    ridge: float = option(0.5, "lambda: how much every matrix holds on to what it was", above=0.0)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "balanced": {},
        "paper": {"unlearn": "empty", "forget_weight": 1.0},
    }
    edits: ClassVar[str] = "keys and values of cross-attention"
    optimizer: ClassVar[None] = None
    pictures: ClassVar[tuple[str, ...]] = ()
    predictions: ClassVar[tuple[str, ...]] = ()
    one_anchor: ClassVar[bool] = True  # least squares would read the concept as the mean of several, which is none of them
    steps: ClassVar[int] = 1
    passes: ClassVar[int] = 0

    def __post_init__(self) -> None:
        check(self)

    @property
    def scope(self) -> str:
        return rf"re:\battn2\.to_{EDITED[self.layers]}\.weight$"

    def __call__(self, task: Task, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Edit `task.network` in place: one Step."""
        state = TrainingState(task.network, task.weights)
        if resume is not None:
            state.load_state_dict(resume)
            return
        start = time.perf_counter()
        forget, instead, retain = self.words(task)
        edit = shared(forget, instead, retain, self.forget_weight, self.retain_weight, self.ridge)
        lost, added = 0.0, 0.0
        for name, weight in task.weights.items():
            if re.search(self.scope[3:], name) is None or weight.shape[1] != len(edit):
                raise InputError(f"uce edits {self.edits}, which read {len(edit)} numbers a word; {name} is {tuple(weight.shape)}")
            before = weight.detach().double().cpu()
            after = before @ edit
            added += float(((forget - instead) @ before.T).square().mean())
            lost += float((retain @ (after - before).T).square().mean())
            weight.data.copy_(after)
        n = len(task.weights)
        seconds = time.perf_counter() - start
        state.step = 1
        yield Step.plain(1, lost / n, added / n, seconds, snapshot=state.state_dict)

    def words(self, task: Task) -> tuple[Tensor, Tensor, Tensor]:
        """Token embeddings (n, width) in float64: to forget, what takes their place token by token, to retain."""
        texts = {name: text.double().cpu() for name, text in task.texts.items()}
        if "forget" not in texts:
            raise InputError(f"uce edits {self.edits}; this task has no texts, so its network is no text-to-image model")
        if self.unlearn == "anchor" and "anchor" not in texts:
            raise InputError("uce reads the concept as its anchor, and there is none; give --anchor WORD or --unlearn empty")
        forget = texts["forget"]
        instead = texts["anchor"] if self.unlearn == "anchor" else texts["empty"].expand_as(forget)
        retain = torch.cat([texts["retain"], texts["empty"]])
        flat = [text.reshape(-1, text.shape[-1]) for text in (forget, instead, retain)]
        return flat[0], flat[1], flat[2]


def shared(forget: Tensor, instead: Tensor, retain: Tensor, forget_weight: float, retain_weight: float, ridge: float) -> Tensor:
    """B A^-1: what every W0 is multiplied by."""
    kept = ridge * torch.eye(forget.shape[1], dtype=forget.dtype) + retain_weight * retain.T @ retain
    a = kept + forget_weight * forget.T @ forget
    b = kept + forget_weight * instead.T @ forget
    edit: Tensor = torch.linalg.solve(a, b.T).T  # A is symmetric
    return edit
