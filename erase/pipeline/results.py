"""What the stage `erase` leaves in the run folder: the changed weights, the factors of a run with --lora-rank, and layers.json."""

from __future__ import annotations

from torch import Tensor

from erase.checkpoints.folder import edited_part, weight_files
from erase.checkpoints.lora.low_rank import merged
from erase.checkpoints.lora_file import write_lora
from erase.checkpoints.parts import by_part
from erase.checkpoints.safetensors_header import open_tensors
from erase.diffusion import DiffusionBatch
from erase.files import read_object, write_json, write_tensors
from erase.pipeline.session import Session
from erase.task import Task


def values_of(task: Task[DiffusionBatch]) -> dict[str, Tensor]:
    """The weights as they are now, on the CPU; those that were trained through factors with these added.

    Where the network is spread over several processes, all of them must call this.
    """
    return dict(merged(task.network, task.base)) if task.base else {name: weight.detach().cpu() for name, weight in task.weights.items()}


def write_weights(work: Session, task: Task[DiffusionBatch], weights: dict[str, Tensor]) -> None:
    """layers.json, lora.safetensors with --lora-rank, and last weights.safetensors: the weights that have changed, float32."""
    write_layers(work, task, weights)
    if (rank := work.job.lora_rank) is not None:
        write_lora(work.run.folder, edited_part(work.folder).name, rank, task.weights, task.replaced)
    write_tensors(work.run.folder / "weights.safetensors", weights)


def write_layers(work: Session, task: Task[DiffusionBatch], weights: dict[str, Tensor] | None = None) -> None:
    """layers.json: for each weight tensor its mean sensitivity, the share trimmed, and of the values `weights` how far they have moved."""
    path = work.run.folder / "layers.json"
    known = {row["name"]: row for row in read_object(path)["weights"]} if path.exists() else {}
    rows = {name: {"name": name, "numel": w.numel(), **task.layers.get(name, known.get(name, {}))} for name, w in task.scored.items()}
    for part, names in by_part(work.folder, rows).items() if weights else ():
        for file in weight_files(work.folder / part).values():
            if file.suffix != ".safetensors":
                continue
            with open_tensors(file) as originals:
                for stored in sorted(names.keys() & set(originals.keys())):
                    name = names[stored]
                    original, now = originals.get_tensor(stored).float(), (weights or {})[name].float()
                    rows[name]["moved"] = float((now - original).norm() / original.norm().clamp(min=1e-12))
    write_json(path, {"weights": list(rows.values())})
