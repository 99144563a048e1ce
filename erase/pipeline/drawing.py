"""The stages that generate or encode images: `images`, `before`, `latents` and `after`."""

from __future__ import annotations

from erase.concepts.several import evaluation_rows
from erase.diffusion import StableDiffusion, open_model
from erase.diffusion.latents import LatentCache
from erase.diffusion.text_network import Tokens
from erase.files import written
from erase.images import read_images
from erase.pipeline.anchor import settle_anchor
from erase.pipeline.image_sets import anchors_of, make, pictures_of, prompts_of, user_images
from erase.pipeline.job import TEXT
from erase.pipeline.session import Session
from erase.processes import wait
from erase.run import lines_of, read_lines


def images(session: Session) -> None:
    """Forget and retain sets: drawn by the original model, or the user's own folders, which are only checked here."""
    job = session.job
    for role in ("forget", "retain"):
        if getattr(job, f"{role}_images"):
            user_images(session, role)
    settle_anchor(session)
    for role, count, folder in (
        ("forget", job.forget_count, session.run.forget_images),
        ("retain", job.retain_count, session.run.retain_images),
    ):
        if session.resolved.generates(role):
            texts = [p.text for p in prompts_of(session, role, int(count or 0))]
            make(session, folder, texts, job.seed, session.model, f"images: {role}")
    if session.resolved.generates_anchors:
        texts = [a[0] for a in anchors_of(session, pictures_of(session, "forget"))]
        make(session, session.run.anchor_images, texts, job.seed, session.model, "images: anchor")


def before(session: Session) -> None:
    """Record the evaluation prompts, and generate the original's images for them."""
    count = int(session.job.evaluate_count or 0)
    rows = evaluation_rows(session.concepts, session.resolved.whole, count, session.job.seed)
    seed = session.job.seed + 1_000_003  # not the noise of the training images
    records = [{"index": i, **row, "seed": seed} for i, row in enumerate(rows)]
    if session.rank == 0:
        with written(session.run.folder / "samples" / "prompts.jsonl") as part:
            part.write_text(lines_of(records), encoding="utf-8")
    wait()
    draw(session, session.model, "before")


def latents(session: Session) -> None:
    """Embed and encode everything that repair will see."""
    settle_anchor(session)
    if session.rank > 0:
        return
    job, run = session.job, session.run
    forget, retain = pictures_of(session, "forget"), pictures_of(session, "retain")
    model = Tokens(session.model) if job.part == TEXT else session.model
    cache = LatentCache(model, int(job.sampling_batch or 1), session.progress("latents"))
    cache.add_set("forget", forget, drawn="forget" in session.requirements.images)
    cache.add_set("retain", retain, drawn="retain" in session.requirements.images)
    cache.add_anchors(anchors_of(session, forget), read_images(run.anchor_images) if session.resolved.generates_anchors else ())
    if session.requirements.token_marks:
        cache.mark([word for concept in session.concepts for word in concept.words])
    cache.write(run.latents)


def after(session: Session) -> None:
    """The same prompts and noise through the exported model, as a user would load it."""
    session.model.free()
    draw(session, open_model(session.run.model, session.job.device, session.job.dtype, session.job.size), "after")


def draw(session: Session, model: StableDiffusion, which: str) -> None:
    records = read_lines(session.run.folder / "samples" / "prompts.jsonl")
    make(session, session.run.samples(which), [r["text"] for r in records], [r["seed"] for r in records], model, which)
