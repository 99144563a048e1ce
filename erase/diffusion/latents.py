"""Image set -> latents and text embeddings, once, in one safetensors file.

After this, autoencoder and text encoder are needed no more until pictures are drawn. Pictures and texts are numbered:
`forget/text` and `retain/text` are rows of `text`, whose row 0 is the empty prompt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from erase.errors import InputError
from erase.files import write_tensors
from erase.images import Picture, load_pixels

Embed = Callable[[list[str]], Tensor]
Pool = Callable[[list[str]], Tensor | None]
Encode = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class ImageLatents:
    """Latents (n, c, h, w), for each its row of `text`, and for forget pictures the rows of its anchors (n, a).

    `instead` (n, c, h, w), where there is one, are pictures of the anchors that take the place of the forget pictures.
    """

    latents: Tensor
    text: Tensor
    anchors: Tensor
    instead: Tensor | None = None


@dataclass(frozen=True)
class Latents:
    """What repair trains on; `text` is (m, tokens, width), row 0 the empty prompt.

    For SDXL also `pooled` (m, width), the same rows, and `time_ids` (6,), the sizes that its UNet is told.
    """

    forget: ImageLatents
    retain: ImageLatents
    text: Tensor
    pooled: Tensor | None = None
    time_ids: Tensor | None = None


def cache_latents(
    path: Path,
    forget: Sequence[Picture],
    anchors: Sequence[Sequence[str]],
    retain: Sequence[Picture],
    embed: Embed,
    encode: Encode,
    size: int,
    batch: int = 16,
    progress: Callable[[int, int], None] | None = None,
    instead: Sequence[Picture] = (),
    pool: Pool = lambda prompts: None,
    time_ids: Tensor | None = None,
    drawn: Sequence[str] = ("forget", "retain"),
) -> None:
    """Embed every different prompt and encode every picture once; `anchors` are the prompts that replace each forget prompt's.

    Of a set that is not among `drawn` there are prompts alone. `instead` are pictures of the anchors, one for each forget
    picture, or none. `pool` and `time_ids` are what SDXL reads beside the text.

    Forget pictures may have different numbers of anchors; the shorter lists come round again.
    """
    wide = max((len(a) for a in anchors), default=0)
    rounds = [[list(a)[i % len(a)] for i in range(wide)] if a else [] for a in anchors]
    prompts = list(dict.fromkeys(["", *(p.prompt for p in [*forget, *retain]), *(text for row in rounds for text in row)]))
    row = {prompt: i for i, prompt in enumerate(prompts)}
    tensors = {"text": torch.cat([embed(prompts[i : i + 64]) for i in range(0, len(prompts), 64)])}
    pooled = [part for i in range(0, len(prompts), 64) if (part := pool(prompts[i : i + 64])) is not None]
    tensors |= {"pooled": torch.cat(pooled)} if pooled else {}
    tensors |= {} if time_ids is None else {"time_ids": time_ids}
    total, done = len(forget) * ("forget" in drawn) + len(retain) * ("retain" in drawn) + len(instead), 0
    for name, pictures in (("forget", forget), ("retain", retain), ("instead", instead)):
        if name != "instead":
            tensors[f"{name}/text"] = torch.tensor([row[p.prompt] for p in pictures])
        if not pictures or name not in (*drawn, "instead"):
            continue
        parts = []
        for start in range(0, len(pictures), batch):
            chunk = pictures[start : start + batch]
            parts.append(encode(load_pixels([p.path for p in chunk], size), start))
            done += len(chunk)
            if progress is not None:
                progress(done, total)
        tensors[f"{name}/latents"] = torch.cat(parts)
    tensors["forget/anchors"] = torch.tensor([[row[text] for text in texts] for texts in rounds], dtype=torch.int64).reshape(
        len(forget), wide
    )
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InputError(f"{name} has values that are not finite in {tensor.dtype}; give --dtype float32")
    write_tensors(path, tensors, {"prompts": json.dumps(prompts)})


def read_latents(path: Path, instead: bool = True) -> Latents:
    """Read a cache, without the pictures of the anchors if not `instead`; where there are none to forget, these stand there.

    Tensors stay on the CPU, where the operating system pages them in as they are used.
    """
    try:
        with safe_open(path, "pt") as file:
            t = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}); delete it and give the same command again, it is made anew") from error
    none, undrawn = torch.zeros(len(t["retain/text"]), 0, dtype=torch.int64), torch.empty(0)
    others = t.get("instead/latents") if instead else None
    shown = t.get("forget/latents", undrawn if others is None else others)
    return Latents(
        forget=ImageLatents(shown, t["forget/text"], t["forget/anchors"], others if "forget/latents" in t else None),
        retain=ImageLatents(t.get("retain/latents", undrawn), t["retain/text"], none),
        text=t["text"],
        pooled=t.get("pooled"),
        time_ids=t.get("time_ids"),
    )


def hold_out(latents: Latents, share: float = 1 / 8) -> tuple[Latents, Latents]:
    """The pictures to train on, and the last `share` of both sets, which no step is to see. InputError where a set has only one."""

    def cut(images: ImageLatents, name: str) -> tuple[ImageLatents, ImageLatents]:
        n = len(images.text)
        if n < 2:
            raise InputError(f"nothing of {n} pictures to {name} can be held out for --guard and --gone; give more, or leave both out")
        kept = n - max(round(share * n), 1)
        parts = [images.latents, images.text, images.anchors, images.instead]
        first, last = ([None if t is None else t[where] for t in parts] for where in (slice(kept), slice(kept, n)))
        return ImageLatents(*first), ImageLatents(*last)  # type: ignore[arg-type]

    forget, retain = cut(latents.forget, "forget"), cut(latents.retain, "keep")
    return tuple(replace(latents, forget=f, retain=r) for f, r in zip(forget, retain, strict=True))  # type: ignore[return-value]
