"""The stages that draw or look at pictures: `images`, `before`, `latents` and `after`."""

from __future__ import annotations

from erase.concepts.several import evaluation_rows
from erase.diffusion import StableDiffusion, open_model
from erase.diffusion.latents import LatentCache
from erase.files import written
from erase.images import read_images
from erase.pipeline.anchor import settle_anchor
from erase.pipeline.image_sets import anchors_of, drawn, draws_anchors, make, pictures_of, prompts_of, user_images
from erase.pipeline.session import Work
from erase.processes import wait
from erase.run import lines_of, read_lines


def images(work: Work) -> None:
    """Forget and retain sets: drawn by the original model, or the user's own folders, which are only checked here."""
    job = work.job
    for role in ("forget", "retain"):
        if getattr(job, f"{role}_images"):
            user_images(work, role)
    settle_anchor(work)
    for role, count, folder in (("forget", job.forget_count, work.run.forget_images), ("retain", job.retain_count, work.run.retain_images)):
        if drawn(work, role):
            texts = [p.text for p in prompts_of(work, role, int(count or 0))]
            make(work, folder, texts, job.seed, work.model, f"images: {role}")
    if draws_anchors(work):
        texts = [a[0] for a in anchors_of(work, pictures_of(work, "forget"))]
        make(work, work.run.anchor_images, texts, job.seed, work.model, "images: anchor")


def before(work: Work) -> None:
    """The evaluation prompts, written down, and what the original draws for them."""
    count = int(work.job.evaluate_count or 0)
    rows = evaluation_rows(work.concepts, work.whole, count, work.job.seed)
    seed = work.job.seed + 1_000_003  # not the noise of the training pictures
    records = [{"index": i, **row, "seed": seed} for i, row in enumerate(rows)]
    if work.rank == 0:
        with written(work.run.folder / "samples" / "prompts.jsonl") as part:
            part.write_text(lines_of(records), encoding="utf-8")
    wait()
    draw(work, work.model, "before")


def latents(work: Work) -> None:
    """Embed and encode everything that repair will see."""
    settle_anchor(work)
    if work.rank > 0:
        return
    job, run = work.job, work.run
    forget, retain = pictures_of(work, "forget"), pictures_of(work, "retain")
    cache = LatentCache(work.model, int(job.sampling_batch or 1), work.progress("latents"))
    cache.add_set("forget", forget, drawn="forget" in work.needs.images)
    cache.add_set("retain", retain, drawn="retain" in work.needs.images)
    cache.add_anchors(anchors_of(work, forget), read_images(run.anchor_images) if draws_anchors(work) else ())
    cache.write(run.latents)


def after(work: Work) -> None:
    """The same prompts and noise through the exported model, as a user would load it."""
    work.model.free()
    draw(work, open_model(work.run.model, work.job.device, work.job.dtype, work.job.size), "after")


def draw(work: Work, model: StableDiffusion, which: str) -> None:
    records = read_lines(work.run.folder / "samples" / "prompts.jsonl")
    make(work, work.run.samples(which), [r["text"] for r in records], [r["seed"] for r in records], model, which)
