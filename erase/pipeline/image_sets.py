"""Image sets of a run: which prompts they have, whether they are drawn or the user's own, and the drawing of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from erase.concepts import Prompt, prompts
from erase.concepts.several import forget_prompts, own_anchors, retain_prompts
from erase.diffusion import StableDiffusion
from erase.images import Picture, make_images, read_images
from erase.pipeline.session import Work
from erase.pipeline.shared_images import link_images, set_name
from erase.processes import wait


def drawn(work: Work, role: str) -> bool:
    """Whether the pictures of a set are made by this job."""
    return role in work.needs.images and not getattr(work.job, f"{role}_images")


def draws_anchors(work: Work) -> bool:
    return work.needs.anchor and work.needs.anchor_images


def prompts_of(work: Work, role: str, count: int) -> list[Prompt]:
    """`count` prompts to keep, or to forget of each concept."""
    if role == "forget":
        return forget_prompts(work.concepts, work.whole, count, work.job.seed)
    found = retain_prompts(work.concepts, count, work.job.seed)
    limit = work.needs.retain_captions
    if limit is not None:
        found = [replace(found[i % min(limit, len(found))], index=i) for i in range(count)]
    return found


def pictures_of(work: Work, role: str) -> list[Picture]:
    """The forget or the retain set: the user's own pictures, or those of the run; of a set that nobody looks at the prompts alone."""
    if getattr(work.job, f"{role}_images"):
        return user_images(work, role)
    if not drawn(work, role):
        count = int((work.job.forget_count if role == "forget" else work.job.retain_count) or 0)
        return [Picture(Path(), p.text, None, "") for p in prompts_of(work, role, count)]
    return read_images(work.run.forget_images if role == "forget" else work.run.retain_images)


def user_images(work: Work, role: str) -> list[Picture]:
    job = work.job
    folder = Path(getattr(job, f"{role}_images"))
    captions = job.forget_image_captions if role == "forget" else job.retain_image_captions
    named = prompts(work.concept, "forget", 1, job.seed)[0].text if role == "forget" else None
    return read_images(folder, Path(captions) if captions else None, named)


def anchors_of(work: Work, forget: list[Picture]) -> list[list[str]]:
    """The prompt that takes the place of each forget picture's, if there is an anchor at all."""
    if work.job.forget_images:
        return [list(own_anchors(work.concepts, picture.prompt)) for picture in forget]
    return [list(p.anchors) for p in prompts_of(work, "forget", int(work.job.forget_count or 0))]


def make(work: Work, folder: Path, texts: list[str], seeds: int | Sequence[int], model: StableDiffusion, stage: str) -> None:
    """An image set, every process its part; the first one joins them."""
    job, share = work.job, (work.rank, work.world)
    sample = model.sampler(int(job.sampling_steps or 1), float(job.guidance or 0.0))
    place = work.pool / set_name(drawn_with(work), texts, seeds) if work.pool and model is work.model else folder
    make_images(place, texts, seeds, sample, int(job.sampling_batch or 1), work.progress(stage), share=share)
    wait()
    if work.world > 1 and work.rank == 0:
        make_images(place, texts, seeds, sample, int(job.sampling_batch or 1))
    if place != folder and work.rank == 0:
        link_images(place, folder)
    wait()


def drawn_with(work: Work) -> dict[str, Any]:
    """What decides the original's pictures beside prompts and seeds."""
    chosen = work.run.options
    return {name: chosen[name] for name in ("weights", "sampling", "device", "dtype")}
