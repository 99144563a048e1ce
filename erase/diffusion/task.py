"""Cached latents -> a Task: batches by number, noise and timesteps by seed, the training loss, the loss towards an anchor.

Knows a network that predicts and a forward process; knows no pipeline and no files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erase.diffusion.latents import ImageLatents, Latents
from erase.errors import InputError
from erase.processes import average
from erase.task import Batch, Batches, Loss, Task, generator
from erase.training.micro_batches import count as count_of
from erase.training.micro_batches import pieces

HIDDEN = 3.0
"""Times as much noise as picture, from where on hardly anything of the picture shows. At 1 a colour still does, and came back."""


@dataclass(frozen=True)
class Forgetting:
    """How forget batches are drawn.

    Timesteps lie within `between`, in shares of the noise schedule (0: no noise). A share `unnamed` of the pictures comes without its
    prompt: half of these with none, half with a prompt of the retain set. With `redirect` the answer to a noisy picture of the concept
    is the one that leads to the anchor's picture from the same noise, as far as `redirect` times the noise in it reaches (`aimed`);
    with its name, and where the noise is more than `HIDDEN` times the picture, it stays what the original says under the anchor.
    """

    between: tuple[float, float] = (0.0, 1.0)
    unnamed: float = 0.0
    redirect: float | None = None


def diffusion_task(
    unet: nn.Module,
    scheduler: Any,
    latents: Latents,
    weights: dict[str, nn.Parameter],
    batch: int = 16,
    seed: int = 0,
    anchored: int = 0,
    imitated: int = 0,
    first_batch_only: bool = False,
    empty_captions: float = 0.1,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int, int], None] | None = None,
    share: tuple[int, int] = (0, 1),
    micro_batch: int | None = None,
    predicted: Mapping[str, int] | None = None,
    relabelled: bool = False,
    forgetting: Forgetting = Forgetting(),
) -> Task:
    """A Task from cached latents: batch i's pictures, noise and timesteps depend on (seed, i) alone.

    With `anchored` = n > 0 the original network's predictions for the anchor prompts are computed now, for forget
    batches 0 to n - 1, which then come round again: forgetting needs no second network and no third pass. Where there
    are pictures of the anchors, half of what it looks at (`passed`) comes from them: once the concept gives way, sampling
    passes there, and a network that never saw this prompt with such pictures breaks down on the way. With
    `imitated` = n > 0 the same is done for retain batches, whose target then is what the original network predicts
    instead of the noise itself: the same minimum, where nothing is damaged, without the noise's share in the gradient.
    A share of `empty_captions` of the retain pictures comes without its prompt, so that guidance keeps working.

    `predicted` counts forget batches that come with more of the original's predictions: `concept` of the pictures
    under their own prompt, `empty` without one. With `relabelled` a random retain prompt stands in for each anchor's.

    With `share` = (r, n) this is the r-th of n processes, and its batches are its equal part of each: all draw the same noise
    for the whole batch and keep their rows. InputError where `batch` does not divide. `micro_batch` pictures fit at once.
    """
    own, device, more = _own_rows(batch, share), next(unet.parameters()).device, dict(predicted or {})
    if relabelled:
        latents = _relabelled(latents, seed)
    if anchored and not latents.forget.anchors.shape[1]:
        raise InputError("forgetting towards an anchor needs anchor prompts, and there are none; give --anchor WORD or --unlearn ascent")
    if forgetting.redirect is not None and latents.forget.instead is None:
        raise InputError("redirecting leads to pictures of the anchors, and none were drawn; give --anchor-pictures, or no --redirect")
    draw = _drawer(scheduler, latents, device, own, "empty" in more)
    within = _drawer(scheduler, latents, device, own, "empty" in more, forgetting)
    forget = numbered(latents.forget, batch, (seed, "forget"), within, 0.0, first_batch_only)
    retain = retain_data = numbered(latents.retain, batch, (seed, "retain"), draw, empty_captions, first_batch_only)
    told = _counting(progress, anchored + imitated + sum(more.values()))
    if anchored:
        forget = with_prediction(unet, forget, anchored, "anchor", ("passed", "anchor_"), dtype, told, micro_batch)
    if imitated:
        retain = with_prediction(unet, retain, imitated, "target", ("noisy", ""), dtype, told, micro_batch)
    if forgetting.redirect is not None:
        forget = _redirected(forget)
    for name, n in more.items():
        said = ("noisy", {"concept": "", "empty": "empty_"}[name])
        forget = with_prediction(unet, forget, n, name, said, dtype, told, micro_batch)
    loss, towards_anchor = (denoising_loss(*keys, dtype) for keys in (("noisy", "target"), ("passed", "anchor")))
    texts = texts_of(latents)
    return Task(unet, forget, retain, loss, towards_anchor, weights, seed, average, micro_batch, retain_data=retain_data, texts=texts)


def _own_rows(batch: int, share: tuple[int, int]) -> slice:
    """The rows of a batch that are the r-th of n processes'."""
    rank, parts = share
    if batch % parts:
        raise InputError(f"--batch {batch} cannot be shared equally by {parts} processes; give a multiple of {parts}")
    return slice(rank * batch // parts, (rank + 1) * batch // parts)


def _counting(progress: Callable[[int, int], None] | None, total: int) -> Callable[[], None]:
    """Called once for each batch of predictions, whichever they are."""
    done = count(1)
    return lambda: progress(next(done), total) if progress else None


def denoising_loss(noisy: str, target: str, dtype: torch.dtype) -> Loss:
    """How far what the network sees in `noisy` is from `target`, both names in a batch: the mean square."""

    def loss(network: nn.Module, b: Batch) -> Tensor:
        return F.mse_loss(predict(network, b[noisy], b["timesteps"], b["text"], dtype, added(b)).float(), b[target])

    return loss


def texts_of(latents: Latents) -> dict[str, Tensor]:
    """Text embeddings, each prompt once: of the forget prompts, row by row of what takes their place (`anchor`), to keep, and of none."""
    forget, retain = latents.forget, latents.retain
    found = {"forget": latents.text[forget.text.unique()], "retain": latents.text[retain.text.unique()], "empty": latents.text[:1]}
    if wide := forget.anchors.shape[1]:
        pairs = torch.stack([forget.text[:, None].expand(-1, wide), forget.anchors], dim=-1).reshape(-1, 2).unique(dim=0)
        found |= {"forget": latents.text[pairs[:, 0]], "anchor": latents.text[pairs[:, 1]]}
    return found


def _relabelled(latents: Latents, seed: int) -> Latents:
    """Each forget picture with one prompt of the retain set in place of its anchors', drawn once; there are no pictures of these."""
    pick = torch.randint(len(latents.retain.text), (len(latents.forget.text), 1), generator=generator(seed, "labels"))
    return replace(latents, forget=replace(latents.forget, anchors=latents.retain.text[pick], instead=None))


def predict(
    network: nn.Module, noisy: Tensor, timesteps: Tensor, text: Tensor, dtype: torch.dtype, added: Mapping[str, Tensor] | None = None
) -> Tensor:
    """What the network sees in noisy latents under a prompt; in `dtype` where that is less than float32.

    `added` is what the UNet of SDXL is told beside the text: `text_embeds` (n, width) and `time_ids` (n, 6).
    """
    beside = {} if added is None else {"added_cond_kwargs": dict(added)}
    with torch.autocast(noisy.device.type, dtype, enabled=dtype != torch.float32):
        predicted: Tensor = network(noisy, timesteps, encoder_hidden_states=text, return_dict=False, **beside)[0]
        return predicted


def added(b: Mapping[str, Tensor], which: str = "") -> dict[str, Tensor] | None:
    """What `predict` is told beside the text of a batch, or of its anchors (`which` is "anchor_"); None where there is nothing."""
    return {"text_embeds": b[f"{which}pooled"], "time_ids": b["time_ids"]} if "time_ids" in b else None


def denoising_target(scheduler: Any, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the network is trained to predict: the noise, or the velocity (Salimans and Ho 2022)."""
    kind = scheduler.config.prediction_type
    if kind not in ("epsilon", "v_prediction"):
        raise InputError(f"the scheduler predicts {kind!r}; supported are epsilon and v_prediction")
    target: Tensor = noise if kind == "epsilon" else scheduler.get_velocity(clean, noise, timesteps)
    return target


Draw = Callable[[ImageLatents, Tensor, tuple[object, ...], float], dict[str, Tensor]]


def _drawer(
    scheduler: Any,
    latents: Latents,
    device: torch.device,
    own: slice,
    empty_too: bool = False,
    how: Forgetting = Forgetting(),
) -> Draw:
    end = scheduler.config.num_train_timesteps
    first, last = (round(end * share) for share in how.between)

    def said(rows: Tensor, which: str = "") -> dict[str, Tensor]:
        found = {f"{which}text": latents.text[rows]}
        return found if latents.pooled is None else found | {f"{which}pooled": latents.pooled[rows]}

    def draw(images: ImageLatents, rows: Tensor, key: tuple[object, ...], empty: float) -> dict[str, Tensor]:
        noise_source = generator(*key, "noise")
        clean = images.latents[rows]
        noise = torch.randn(clean.shape, generator=noise_source)
        timesteps = first + torch.randint(end, (len(rows),), generator=noise_source) * (last - first) // end
        silent = torch.rand(len(rows), generator=noise_source) < empty
        text_rows = images.text[rows].masked_fill(silent, 0)
        text_rows, named = _unnamed(text_rows, latents.retain.text, how.unnamed, key)
        target = denoising_target(scheduler, clean, noise, timesteps)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        made = {"noisy": noisy, "timesteps": timesteps, "target": target, **said(text_rows)}
        if latents.time_ids is not None:
            made["time_ids"] = latents.time_ids.expand(len(rows), -1)
        if images.anchors.shape[1]:
            turn = torch.randint(images.anchors.shape[1], (len(rows), 1), generator=noise_source)
            made |= said(images.anchors[rows].gather(1, turn)[:, 0], "anchor_")
            made["passed"] = noisy
        if images.instead is not None:
            given = (torch.rand(len(rows), generator=noise_source) < 0.5) & named
            there = scheduler.add_noise(images.instead[rows], noise, timesteps)
            made["passed"] = torch.where(_as_pictures(given), there, noisy)
            if how.redirect is not None:
                # What is hidden can only be guessed: the original's answer under the anchor is that, without the chance of one picture.
                hidden = scheduler.alphas_cumprod[timesteps] * (1 + HIDDEN**2) < 1
                made["redirected"] = ~given & ~(hidden & named)
                made["aim"] = aimed(scheduler, clean, images.instead[rows], noise, timesteps, how.redirect)
        if empty_too:
            made |= said(torch.zeros_like(text_rows), "empty_")
        return {name: tensor[own].to(device) for name, tensor in made.items()}

    return draw


def _unnamed(text_rows: Tensor, others: Tensor, share: float, key: tuple[object, ...]) -> tuple[Tensor, Tensor]:
    """The rows of `text` with a share of them replaced, by none and by one of `others` in equal parts; and which were not."""
    if not share:
        return text_rows, torch.ones(len(text_rows), dtype=torch.bool)
    source = generator(*key, "unnamed")
    lot = torch.rand(len(text_rows), generator=source)
    other = others[torch.randint(len(others), (len(text_rows),), generator=source)]
    text_rows = torch.where(lot < share, other, text_rows).masked_fill(lot < share / 2, 0)
    return text_rows, lot >= share


def aimed(scheduler: Any, clean: Tensor, instead: Tensor, noise: Tensor, timesteps: Tensor, reach: float) -> Tensor:
    """The answer to noisy `clean` that leads towards `instead`, as far as `reach` times the noise in it.

    With x_t = a x + s e, x' = x + min(1, reach s / a) (instead - x) is what the network is to see behind the noise, and
    e' = (x_t - a x') / s the noise, or the velocity that goes with both.
    """
    keep = _as_pictures(scheduler.alphas_cumprod[timesteps].sqrt())
    spoil = (1 - keep**2).sqrt()
    seen = clean + (reach * spoil / keep).clamp_max(1.0) * (instead - clean)
    behind = noise + keep * (clean - seen) / spoil
    return denoising_target(scheduler, seen, behind, timesteps)


def _as_pictures(per_example: Tensor) -> Tensor:
    return per_example.reshape(-1, 1, 1, 1)


def _redirected(batches: Batches) -> Batches:
    """The same batches; where a picture of the concept is seen, `aim` is the answer, not what the original says under the anchor."""

    def batch(i: int) -> Batch:
        b = batches(i)
        return {**b, "anchor": torch.where(_as_pictures(b["redirected"]), b["aim"], b["anchor"])} if "anchor" in b else b

    return batch


def numbered(images: ImageLatents, batch: int, key: tuple[object, ...], draw: Draw, empty: float, first_only: bool = False) -> Batches:
    """Batches by number: epochs follow each other, each in its own seeded order, every picture once an epoch.

    With `first_only` every batch has the pictures of the first, under noise of its own.
    """
    n = len(images.text)
    if len(images.latents) != n:
        return _undrawn(key)

    def rows(first: int) -> Tensor:
        order = {
            epoch: torch.randperm(n, generator=generator(*key, "order", epoch)) for epoch in range(first // n, (first + batch - 1) // n + 1)
        }
        return torch.stack([order[p // n][p % n] for p in range(first, first + batch)])

    return lambda i: draw(images, rows(0 if first_only else i * batch), (*key, i), empty)


def _undrawn(key: tuple[object, ...]) -> Batches:
    def batch(i: int) -> Batch:
        raise InputError(f"no pictures to {key[-1]} were drawn: the method has to name them in its `pictures` (erase.methods.requirements)")

    return batch


@torch.no_grad()
def with_prediction(
    unet: nn.Module,
    batches: Batches,
    many: int,
    name: str,
    inputs: tuple[str, str],
    dtype: torch.dtype,
    told: Callable[[], None] = lambda: None,
    micro_batch: int | None = None,
) -> Batches:
    """The first `many` batches, round and round, with `name`: what the network as it is now predicts for these inputs of theirs.

    `inputs` name the noisy latents, and begin the names of the text: "", "anchor_" or "empty_".
    """
    noisy, which = inputs
    kept = []
    for i in range(many):
        b = batches(i)
        parts = [p for _, p in pieces(b, micro_batch or count_of(b))]
        said = [predict(unet, p[noisy], p["timesteps"], p[f"{which}text"], dtype, added(p, which)).float().cpu() for p in parts]
        kept.append(torch.cat(said))
        told()

    def batch(i: int) -> Batch:
        b = dict(batches(i % many))
        return b | {name: kept[i % many].to(b["noisy"].device)}

    return batch
