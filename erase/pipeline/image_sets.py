"""Image sets of a run: which prompts they have, whether they are generated or the user's own, and the generation of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from erase.concepts import Prompt, prompts
from erase.concepts.several import forget_prompts, own_anchors, retain_prompts
from erase.diffusion import StableDiffusion
from erase.images import Callbacks, Picture, make_images, read_images
from erase.pipeline.session import Session
from erase.pipeline.shared_images import link_images, set_name
from erase.processes import wait


def prompts_of(session: Session, role: str, count: int) -> list[Prompt]:
    """`count` retain prompts, or `count` forget prompts of each concept."""
    if role == "forget":
        return forget_prompts(session.concepts, session.resolved.whole, count, session.job.seed)
    retain = retain_prompts(session.concepts, count, session.job.seed)
    limit = session.requirements.retain_captions
    if limit is not None:
        retain = [replace(retain[i % min(limit, len(retain))], index=i) for i in range(count)]
    return retain


def pictures_of(session: Session, role: str) -> list[Picture]:
    """The forget or the retain set: the user's own images, or those of the run; only the prompts of a set that is not generated."""
    if getattr(session.job, f"{role}_images"):
        return user_images(session, role)
    if not session.resolved.generates(role):
        count = int((session.job.forget_count if role == "forget" else session.job.retain_count) or 0)
        return [Picture(Path(), p.text, None, "") for p in prompts_of(session, role, count)]
    return read_images(session.run.forget_images if role == "forget" else session.run.retain_images)


def user_images(session: Session, role: str) -> list[Picture]:
    job = session.job
    folder = Path(getattr(job, f"{role}_images"))
    captions = job.forget_image_captions if role == "forget" else job.retain_image_captions
    named = prompts(session.concept, "forget", 1, job.seed)[0].text if role == "forget" else None
    return read_images(folder, Path(captions) if captions else None, named)


def anchors_of(session: Session, forget: list[Picture]) -> list[list[str]]:
    """The prompt that replaces that of each forget image, if there is an anchor."""
    if session.job.forget_images:
        return [list(own_anchors(session.concepts, picture.prompt)) for picture in forget]
    return [list(p.anchors) for p in prompts_of(session, "forget", int(session.job.forget_count or 0))]


def make(session: Session, folder: Path, texts: list[str], seeds: int | Sequence[int], model: StableDiffusion, stage: str) -> None:
    """Generate an image set: every process its share, which the first process joins."""
    job, share = session.job, (session.rank, session.world)
    sample = model.sampler(int(job.sampling_steps or 1), float(job.guidance or 0.0))
    place = session.pool / set_name(drawn_with(session), texts, seeds) if session.pool and model is session.model else folder
    make_images(place, texts, seeds, sample, int(job.sampling_batch or 1), Callbacks(session.progress(stage)), share)
    wait()
    if session.world > 1 and session.rank == 0:
        make_images(place, texts, seeds, sample, int(job.sampling_batch or 1))
    if place != folder and session.rank == 0:
        link_images(place, folder)
    wait()


def drawn_with(session: Session) -> dict[str, Any]:
    """What determines the images of the original besides prompts and seeds."""
    chosen = session.run.options
    return {name: chosen[name] for name in ("weights", "sampling", "device", "dtype")}
