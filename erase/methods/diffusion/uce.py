"""UCE (Gandikota et al., WACV 2024): keys and values of cross-attention, edited in closed form; no images, no training.

With `null_space` the edit is that of SPEED (`null_space.py`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from erase.errors import InputError
from erase.methods.base import DiffusionMethod, Presets
from erase.methods.requirements import Requirements
from erase.options import option

if TYPE_CHECKING:
    from torch import Tensor

    from erase.diffusion.batches import DiffusionBatch
    from erase.task import Step, Task

EDITED = {"keys and values": "[kv]", "keys": "k", "values": "v"}


@dataclass(frozen=True)
class UCE(DiffusionMethod):
    """Each W becomes the minimiser of  a sum_i ||W c_i - W0 c*_i||^2 + b sum_j ||W p_j - W0 p_j||^2 + lambda ||W - W0||^2  (its Eq. 7).

    c are the token embeddings of the forget prompts, c* those of the prompts that replace them, p those of the retain prompts and
    the empty prompt. All layers read the same text, so all share one matrix: W = W0 B A^-1 with
    A = lambda I + a sum c c' + b sum p p',  B = lambda I + a sum c* c' + b sum p p'.

    With `null_space` (SPEED) nothing is weighed against the text to preserve: each matrix is edited only in directions in which that
    text has next to nothing, so that b has no effect, and a and lambda weigh the edited text against the size of the edit.
    """

    layers: str = option("keys and values", "projections of the text that are edited", choices=tuple(EDITED))
    unlearn: str = option("anchor", "text that replaces the concept's: the anchor's, or the empty prompt", choices=("anchor", "empty"))
    forget_weight: float = option(40.0, "a: weight of the edited text", low=0.0)
    retain_weight: float = option(1.0, "b: weight of the text to preserve", low=0.0)
    ridge: float = option(0.5, "lambda: weight of each matrix's distance from its original", above=0.0)
    null_space: bool = option(
        False,
        "edit only in directions in which the text to preserve has next to nothing (SPEED); --retain-weight then has no effect",
        added_in="0.1.1",
    )
    null_threshold: float = option(
        0.1,
        "with --null-space: mean square of the text to preserve in a direction, under which that may be edited",
        above=0.0,
        added_in="0.1.1",
    )
    null_copies: int = option(
        10, "with --null-space: noisy copies of each token to preserve that the edit would move", low=0, added_in="0.1.1"
    )

    presets: ClassVar[Presets] = {
        "balanced": {},
        "paper": {"unlearn": "empty", "forget_weight": 1.0},
        "speed": {"null_space": True, "layers": "values", "forget_weight": 1.0, "ridge": 1.0},
    }
    edits: ClassVar[str] = "keys and values of cross-attention"

    @property
    def scope(self) -> str:
        return rf"re:\battn2\.to_{EDITED[self.layers]}\.weight$"

    @property
    def requirements(self) -> Requirements:
        return Requirements(
            scope=self.scope,
            edits=self.edits,
            optimizer=None,
            passes=0,
            images=(),
            unlearn=self.unlearn,
            one_anchor=True,  # least squares would map the concept to the mean of several anchors, which is none of them
        )

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Edit `task.network` in place: one Step. The run record has the retain error as retain loss, the edit's as unlearning loss."""
        from erase.task import Step
        from erase.training.state import TrainingState

        state = TrainingState(task.network, task.weights)
        if resume is not None:
            state.load_state_dict(resume)
            return
        start = time.perf_counter()
        forget, target, retain = self.words(task)
        edited, width = self.editor(task, forget, target, retain), forget.shape[1]
        retain_error, forget_error = 0.0, 0.0
        for name, weight in task.weights.items():
            if re.search(self.scope[3:], name) is None or weight.shape[1] != width:
                raise InputError(f"uce edits {self.edits}, which read embeddings of width {width}; {name} is {tuple(weight.shape)}")
            before = weight.detach().double().cpu()
            after = edited(name, before)
            forget_error += float(((forget - target) @ before.T).square().mean())
            retain_error += float((retain @ (after - before).T).square().mean())
            weight.data.copy_(after)
        n, seconds = len(task.weights), time.perf_counter() - start
        state.step = 1
        yield Step.plain(1, retain_error / n, forget_error / n, seconds, snapshot=state.state_dict)

    def editor(self, task: Task[DiffusionBatch], forget: Tensor, target: Tensor, retain: Tensor) -> Callable[[str, Tensor], Tensor]:
        """What makes of a matrix, by its name, the edited one."""
        if not self.null_space:
            edit = shared(forget, target, retain, self.forget_weight, self.retain_weight, self.ridge)
            return lambda name, weight: weight @ edit
        from erase.methods.diffusion.null_space import NullSpace

        texts = {name: text.double().cpu() for name, text in task.texts.items()}
        numbers = {"forget_weight": self.forget_weight, "ridge": self.ridge, "threshold": self.null_threshold, "copies": self.null_copies}
        return NullSpace.of_texts(texts, target.reshape(texts["forget"].shape), **numbers, seed=task.seed).edited

    def words(self, task: Task[DiffusionBatch]) -> tuple[Tensor, Tensor, Tensor]:
        """Token embeddings (n, width) in float64: forget prompts, their replacements token by token, retain prompts."""
        import torch

        texts = {name: text.double().cpu() for name, text in task.texts.items()}
        if "forget" not in texts:
            raise InputError(f"uce edits {self.edits}; this task has no texts, so its network is not a text-to-image model")
        if self.unlearn == "anchor" and "anchor" not in texts:
            raise InputError(
                "uce replaces the concept's text by the anchor's, and there is no anchor; give --anchor WORD or --unlearn empty",
                option="anchor",
            )
        forget = texts["forget"]
        target = texts["anchor"] if self.unlearn == "anchor" else texts["empty"].expand_as(forget)
        retain = torch.cat([texts["retain"], texts["empty"]])
        flat = [text.reshape(-1, text.shape[-1]) for text in (forget, target, retain)]
        return flat[0], flat[1], flat[2]


def shared(forget: Tensor, target: Tensor, retain: Tensor, forget_weight: float, retain_weight: float, ridge: float) -> Tensor:
    """B A^-1, by which every W0 is multiplied."""
    import torch

    preserved = ridge * torch.eye(forget.shape[1], dtype=forget.dtype) + retain_weight * retain.T @ retain
    a = preserved + forget_weight * forget.T @ forget
    b = preserved + forget_weight * target.T @ forget
    edit: Tensor = torch.linalg.solve(a, b.T).T  # A is symmetric
    return edit
