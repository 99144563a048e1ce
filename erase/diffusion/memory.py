"""Estimate of a job's memory before it starts, and the fastest settings that fit the device.

One step runs on tensors without content, which takes about a second at any size, and every allocation is counted. So the estimate follows
the network's own structure, of any family, and needs no table. No weights are loaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from erase.checkpoints.check.networks import number_of_weights
from erase.checkpoints.folder import FLOW, doubled_by_guidance, is_bare, model_index, weight_files
from erase.checkpoints.safetensors_header import header
from erase.diffusion.counted_passes import FLOAT, Edit, Networks, drawing_bytes, repair_bytes, scoring_bytes
from erase.errors import InputError
from erase.training.optimizers import STATE_BYTES

SLACK = 1.1
"""Factor for the memory that allocators and kernels use beside the tensors."""

UNLIMITED = 1 << 62
"""Free memory where nothing is known of the device."""

LEAST = 2
"""Micro-batch size below which gradient checkpointing is tried first, because GPUs are underused with one image."""


@dataclass(frozen=True)
class Need:
    """Bytes on the device. `repair` and `drawing` are the peaks of different stages, whose parts are never loaded together."""

    repair: int
    drawing: int
    micro_batch: int
    checkpointing: bool
    parts: Mapping[str, int] = field(default_factory=dict)
    """What `repair` is made of, by name."""

    @property
    def peak(self) -> int:
        return max(self.repair, self.drawing)


@dataclass(frozen=True)
class Question:
    """What the estimate depends on. `batch` is this process's part, `side` that of the latents; settings that are None are chosen.

    Without an optimizer there are no gradients. `copies` of the weights in scope are in memory beside everything else. Repair draws
    `preview` images at once, in float32, for which the other parts of the pipeline are in memory beside the UNet.

    With a `rank`, factors of the weights in scope are trained. `frozen` is the dtype of weights that are not trained, `scored` the scope of
    those that are scored before, with `scores` numbers in float32 for each; only with factors does that decide the peak. Whoever `relearns`
    moves these. The weights may be spread over the devices of several `processes`.
    """

    folder: Path
    scope: str
    optimizer: str | None
    batch: int
    dtype: torch.dtype
    device: str
    sampling_batch: int
    side: int
    micro_batch: int | None = None
    checkpointing: bool | None = None
    copies: float = 0.0
    preview: int = 0
    rank: int | None = None
    frozen: torch.dtype = torch.float32
    scored: str | None = None
    scores: float = 1.0
    relearns: bool = False
    processes: int = 1

    @property
    def edit(self) -> Edit:
        """Which weights are trained."""
        return Edit(self.scope, self.rank, self.frozen)


def plan(question: Question, free: int) -> tuple[Need, str]:
    """The fastest settings that need at most `free` bytes, and a sentence that explains them.

    First whole batches, then smaller micro-batches, which cost a GPU little; then gradient checkpointing, which costs another forward
    pass. Settings of the user stay. InputError, with the need, where not even the last fits, unless the user set both.
    """
    drawing, preview = int(_drawing_peak(question) * SLACK), _preview_peak(question)
    tried: list[Need] = []
    for micro, checkpointing in _candidates(question):
        parts = _repair_peak(question, micro, checkpointing, preview)
        total = sum(parts.values())
        parts |= {"allocator": int(total * SLACK) - total}
        tried.append(Need(int(total * SLACK), drawing, micro, checkpointing, {name: size for name, size in parts.items() if size}))
        if tried[-1].repair <= free:
            break
    first, chosen = tried[0], tried[-1]
    if chosen.repair > free and None in (question.micro_batch, question.checkpointing):
        raise InputError(
            f"repair needs about {gigabytes(chosen.repair)} even at {_how(chosen, question)}, and {gigabytes(free)} are free on "
            f"{question.device}; give a smaller --scope, --optimizer adafactor or sgd, or another --device"
        )
    sentence = f"about {gigabytes(chosen.peak)} at most" + (f", {gigabytes(free)} free" if free < UNLIMITED else "")
    sentence += f"; repair: {_how(chosen, question)}" if question.optimizer else ""
    if max(chosen.peak, chosen.repair) > free:
        sentence += "; this may not fit"
    if chosen is not first:
        sentence += f" (the quicker way needs {gigabytes(first.repair)})"
    return chosen, sentence


def free_bytes(device: str) -> int:
    """Free memory of the device: on a GPU what no process has allocated, on the host what is available without swapping."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    if device.startswith("mps"):
        return int(torch.mps.recommended_max_memory())
    import psutil

    limit = Path("/sys/fs/cgroup/memory.max")
    bound = limit.read_text(encoding="ascii").strip() if limit.exists() else "max"
    used = psutil.Process().memory_info().rss
    return min(int(psutil.virtual_memory().available), int(bound) - used if bound.isdigit() else UNLIMITED)


def gigabytes(count: int) -> str:
    """A number of bytes as text, such as 1.5 GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _candidates(question: Question) -> Iterator[tuple[int, bool]]:
    """Micro-batch sizes, and whether with gradient checkpointing, from the fastest to the smallest."""
    sizes = [question.micro_batch or question.batch]
    while question.micro_batch is None and sizes[-1] > 1:
        sizes.append((sizes[-1] + 1) // 2)
    if question.checkpointing is None:
        yield from ((size, False) for size in sizes if size >= LEAST or size == sizes[0])
    yield from ((size, question.checkpointing is not False) for size in sizes)


def _how(need: Need, question: Question) -> str:
    whole = need.micro_batch >= question.batch
    at_once = f"{question.batch} images at once" if whole else f"{need.micro_batch} of {question.batch} images at once"
    return at_once + (" with gradient checkpointing" if need.checkpointing else "")


# --- peaks ----------------------------------------------------------------------------------------------------------


def _repair_peak(question: Question, micro: int, checkpointing: bool, preview: tuple[int, int]) -> dict[str, int]:
    """Weights, the optimizer's state, and the worst of these moments: in the second backward pass, at the update, or at a preview.

    With factors also when the weights that they belong to are scored. In bytes, by what they are for.
    """
    drawing, parts = preview
    networks = Networks.of(question.folder, question.side)
    images = micro if question.optimizer is not None else 0
    counts = repair_bytes(networks, question.edit, images, question.dtype, checkpointing)
    weights = counts.held(question.processes, question.scored is not None or question.relearns)
    trained, held = counts.trained, {"weights": weights, "other parts": parts}
    if question.optimizer is None:
        return held | {"copies": int(trained * question.copies), "edit": max(trained, drawing)}
    state, temporary = STATE_BYTES[question.optimizer]
    # The fused kernel, which is used on CUDA, has no temporaries.
    temporary = 0 if question.device.startswith("cuda") else temporary
    updating = trained * 2 + trained // FLOAT * temporary
    copies = question.copies * trained + 2 * counts.base * question.relearns  # of weights that have factors a copy and a gradient
    repair = held | {"optimizer": trained // FLOAT * state, "copies": int(copies)}
    moments = {"gradients and activations": trained + counts.passing, "update": updating, "preview": drawing}
    worst = max(moments, key=lambda name: moments[name])
    repair |= {worst: moments[worst]}
    if not counts.base or question.scored is None:
        return repair
    number, passing = scoring_bytes(networks, question.edit, question.scored, images, question.dtype, checkpointing)
    scoring = held | {"scores and mask": int(number * (FLOAT * question.scores + 1)), "gradients and activations": passing}
    return max(repair, scoring, key=lambda sizes: sum(sizes.values()))


def _preview_peak(question: Question) -> tuple[int, int]:
    """Bytes that drawing a preview takes at its peak, and bytes of the parts that stay beside the UNet; 0 without one."""
    if not question.preview:
        return 0, 0
    drawing, _, others = _drawing_bytes(question, question.preview)
    return drawing // FLOAT * question.frozen.itemsize, others // FLOAT * question.frozen.itemsize


def _drawing_peak(question: Question) -> int:
    """All parts, and the peak of drawing; counted in float32 and scaled to the dtype.

    Where prompts are embedded first, the text encoders alone, or the parts that draw, whichever is more.
    """
    drawing, own, others = _drawing_bytes(question, question.sampling_batch)
    if model_index(question.folder)["_class_name"] in FLOW:
        text = FLOAT * _text_weights(question.folder)
        return max(text, drawing + own + others - text) // FLOAT * question.dtype.itemsize
    return (drawing + own + others) // FLOAT * question.dtype.itemsize


def _drawing_bytes(question: Question, batch: int) -> tuple[int, int, int]:
    """In float32: the larger of a denoising step with guidance and of decoding, the weights of the UNet, and those of the other parts."""
    passes = 2 if doubled_by_guidance(question.folder) else 1
    peak, own, decoder = drawing_bytes(Networks.of(question.folder, question.side), batch, passes)
    return peak, own, decoder + FLOAT * _text_weights(question.folder)


def _text_weights(folder: Path) -> int:
    """Number of weights of the text encoders, from the headers of their files; where there are none, from their configurations."""
    parts = [name for name in ("text_encoder", "text_encoder_2", "text_encoder_3") if (folder / name).is_dir()]
    if is_bare(folder):
        return sum(number_of_weights(folder, part) for part in parts)
    files = [path for part in parts for path in weight_files(folder / part).values() if path.suffix == ".safetensors"]
    entries = [entry for path in files for name, entry in header(path)[0].items() if name != "__metadata__"]
    return sum(math.prod(entry["shape"]) for entry in entries)
