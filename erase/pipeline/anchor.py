"""The anchor of a concept that has none: chosen once, and recorded with the reasons in anchor.json."""

from __future__ import annotations

from typing import Any

from erase.checkpoints.folder import FLOW, model_index
from erase.concepts import Concept, with_anchors
from erase.files import read_json, write_json
from erase.pipeline.anchor_search import choose_anchors
from erase.pipeline.image_sets import drawn_with
from erase.pipeline.job import Event
from erase.pipeline.resolve import with_as_many_anchors
from erase.pipeline.session import Session
from erase.pipeline.shared_images import set_name
from erase.processes import wait


def settle_anchor(session: Session) -> None:
    """Choose an anchor for each concept without one, once; the choice and its reasons are in anchor.json."""
    if session.rank == 0:
        _settle(session)
    wait()
    _settle(session)
    wait()


def _settle(session: Session) -> None:
    """The anchors of all concepts, from the file or chosen now; for several concepts the file has one record per name."""
    path, several = session.run.folder / "anchor.json", len(session.concepts) > 1
    pooled = (
        session.pool / f"{set_name(drawn_with(session), [c.name for c in session.concepts], session.job.seed)}.json"
        if session.pool
        else path
    )
    if pooled.exists() and not path.exists():
        path.write_bytes(pooled.read_bytes())
    recorded = read_json(path) if path.exists() else {}
    known = recorded if several else {session.concepts[0].name: recorded} if recorded else {}
    settled = []
    for concept in session.concepts:
        if concept.name in known:
            concept = with_anchors(concept, known[concept.name]["anchors"])
        elif not (concept.anchors or concept.anchor_prompts) and session.requirements.anchor:
            concept, record = _choose(session, concept)
            known = {**known, concept.name: record}
            for file in dict.fromkeys((pooled, path)):
                write_json(file, known if several else record)
        settled.append(with_as_many_anchors(concept, session.requirements))
    session.concepts = tuple(settled)


def _choose(session: Session, concept: Concept) -> tuple[Concept, dict[str, Any]]:
    job, model = session.job, session.model
    flow = model_index(session.folder)["_class_name"] in FLOW
    network = model.edited if flow else model.network()  # a large transformer would be in memory twice
    steps, guidance = int(job.sampling_steps or 1), float(job.guidance or 0)
    progress = session.progress("choosing an anchor")
    anchored, tested = choose_anchors(concept, model, network, steps, guidance, job.seed, progress=progress)
    words = [*anchored.anchors, *anchored.anchor_prompts]
    reason = "its test images never show the concept, and of such candidates it is the nearest to the concept"
    session.show(Event("images", 0, 0, note=f"anchor: {', '.join(words)} ({reason})"))
    return anchored, {"anchors": words, "reason": reason, "candidates": [c.record() for c in tested]}
