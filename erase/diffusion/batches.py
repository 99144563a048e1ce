"""Batches of a diffusion Task: what they hold, and how another question is put to the same pictures."""

from __future__ import annotations

from erase.errors import InputError
from erase.task import Batch, Loss


def asked(batch: Batch, noisy: str = "noisy", said: str = "", target: str = "target") -> Batch:
    """The batch as a training loss reads it, with other inputs: `noisy` names the pictures, `said` begins the names of the text,
    `target` is what should be answered.

    InputError for a batch of another kind of task, or where what is named was not prepared.
    """
    wanted = {"noisy": noisy, "timesteps": "timesteps", "text": f"{said}text", "target": target}
    if "timesteps" not in batch:
        raise InputError(f"this method unlearns in text-to-image models, and the batches of this task hold {', '.join(sorted(batch))}")
    if missing := [name for name in wanted.values() if name not in batch]:
        raise InputError(f"batches hold no {missing[0]!r}: the method has to require it (erase.methods.requirements)")
    beside = {name: batch[key] for name, key in (("pooled", f"{said}pooled"), ("time_ids", "time_ids")) if key in batch}
    return {name: batch[key] for name, key in wanted.items()} | beside


def towards(loss: Loss, noisy: str = "noisy", said: str = "", target: str = "target") -> Loss:
    """A training loss with that other question."""
    return lambda network, batch: loss(network, asked(batch, noisy, said, target))
