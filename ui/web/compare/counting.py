"""How often the concept is gone, and how often the rest is as asked: counts over different images, by the role of their prompts.

An image is known by what it was drawn from, so the same one counts once however often it is drawn, and images of one concept never count
for another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from html import escape

from eval.metrics.intervals import rate
from ui.web.drawing.images import concept_name
from ui.web.drawing.order import DrawnImage, Order

MOST = 20_000  # images of a visit that are remembered; the oldest are forgotten first
ROLES = {  # role -> its row
    "evaluate": "“{}” gone, prompts that name it",
    "implicit": "“{}” gone, prompts that describe it",
    "evaluate-retain": "as asked, prompts to keep",
}

Group = tuple[str, str, str]
"""What images must share to be counted together: their conditions (concept and settings), the model's source, the role."""
Seen = Mapping[tuple[Group, str], bool]
"""Image (its group; prompt and seed) -> whether it is right."""


def right(order: Order, image: DrawnImage) -> bool | None:
    """Whether an image is as it should be after an erasure: without the concept, or as asked; None where that is not known."""
    role = order.asks[image.prompt].role
    if role in ("evaluate", "implicit"):
        return None if image.shows is None else not image.shows
    return image.asked if role == "evaluate-retain" else None


def counted(seen: Seen, order: Order, images: Iterable[DrawnImage]) -> dict[tuple[Group, str], bool]:
    """What has been seen in this visit, with these images."""
    known = dict(seen)
    for image in images:
        answer = right(order, image)
        if answer is not None:
            group = _group(order, image.model, order.asks[image.prompt].role)
            key = group, f"{order.seed_of(image.index)} {order.asks[image.prompt].text}"
            known.pop(key, None)
            known[key] = answer
    return dict(list(known.items())[-MOST:])


def shares(seen: Seen, order: Order) -> dict[str, list[tuple[int, int]]]:
    """Role -> for each model of the order, in how many of how many images it is right; only roles that have images."""
    every = {}
    for role in ROLES:
        groups = [_group(order, model, role) for model in range(len(order.models))]
        answers = [[answer for (group, _), answer in seen.items() if group == own] for own in groups]
        if any(answers):
            every[role] = [(sum(own), len(own)) for own in answers]
    return every


def counts_table(seen: Seen, order: Order) -> str:
    """One row a role, one column a model, with intervals; empty where nothing can be counted."""
    rows = shares(seen, order)
    if not rows:
        return ""
    name = concept_name(order)
    labels = ["original", *(label for label, _ in order.models[1:])]
    head = "".join(f'<th scope="col"><span title="{escape(label)}">{escape(label)}</span></th>' for label in labels)
    body = "".join(
        f'<tr><th scope="row">{escape(ROLES[role].format(name))}</th>{"".join(_cell(*share) for share in of_models)}</tr>'
        for role, of_models in rows.items()
    )
    note = "Different images of this visit with these settings; one that is drawn again counts once. [95% interval]"
    table = f'<table class="tally"><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>'
    wide = '<div class="wide" tabindex="0" role="region" aria-label="counts over different images">'
    return f'{wide}{table}</div><p class="muted small">{note}</p>'


def _cell(k: int, n: int) -> str:
    if not n:
        return "<td>–</td>"
    metric = rate([True] * k + [False] * (n - k))
    return f"<td>{k} of {n} <small>{metric.value:.0f}% [{metric.low:.0f}, {metric.high:.0f}]</small></td>"


def _group(order: Order, model: int, role: str) -> Group:
    concept = order.concept["name"] if order.concept else ""
    settings = (concept, order.negative, order.steps, order.guidance, order.sampler, order.size)
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:16], order.models[model][1], role
