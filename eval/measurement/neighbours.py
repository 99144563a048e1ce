"""The neighbour table of a report: what else suffers, by distance from the concept in the world's own groups and in CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.nn.functional import cosine_similarity

from erase.concepts.english import fill
from erase.demo.worlds import KNOWN_MODELS
from eval.measurement.measure import Clip
from eval.metrics.neighbours import RANKS, lost_most, members, ranked, rings_of

TEXTS = {"style": "an emoji in the style of {thing}"}  # how the members of a domain are said to CLIP
TEXT = "an emoji of a {thing}"  # and those of any other


def neighbours_of(
    concept: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], fates: Sequence[Mapping[str, Any]], clip: Clip | None
) -> dict[str, Any] | None:
    """by_group, by_clip (a record for each ring) and lost_most; None where the model's world knows of no groups, or nothing was judged.

    `concept` is a concept file's record; `fates` are those of the rows' images.
    """
    known = KNOWN_MODELS.get(concept["model"])
    if known is None or known.rings is None:
        return None
    domain = known.derived[concept["domain"]][0] if concept["domain"] in known.derived else concept["domain"]
    word = concept["words"][0]
    found = {name: one for name, one in members(rows, fates, domain).items() if name != word}
    if not found:
        return None
    ring_of = known.rings(concept["domain"], word)
    table = {"by_group": rings_of(found, ring_of, list(dict.fromkeys(known.ring_names)))}
    if clip is not None:
        text = TEXTS.get(concept["domain"], TEXT)
        texts = clip.texts([fill(text, {"thing": name}, known.phrases) for name in (word, *found)])
        similarity = cosine_similarity(texts[1:], texts[:1]).tolist()
        table["by_clip"] = rings_of(found, ranked(dict(zip(found, similarity, strict=True))), RANKS)
    lost = [{"name": one.name, "images": one.n, "before": one.before, "after": one.after} for one in lost_most(found)]
    return {"domain": domain, **table, "lost_most": lost}
