"""The comparison as HTML: one row a prompt, one cell a model, in it the images with their seeds and marks.

A mark says what matters under that prompt: gone or still there where it names or describes the concept, as asked or lost where the rest is
to be kept. Where nothing can tell, there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ui.web.drawing.images import address, concept_name, described, hidden
from ui.web.drawing.order import DrawnImage, Order

ROLES = {"evaluate": "names {}", "implicit": "describes {}", "evaluate-retain": "to keep"}
LARGE, THUMB = 512, 256  # pixels per side at most of images of one prompt, and of several

Place = tuple[int, int, int]


@dataclass(frozen=True)
class View:
    """An order, its images so far by place, whether nudity is shown, and the addresses of images that were made for an earlier view."""

    order: Order
    images: Mapping[Place, DrawnImage]
    show: bool
    made: dict[Place, str]

    def address(self, image: DrawnImage) -> str:
        """The address of an image, made once: large images take a while."""
        if image.place not in self.made:
            side = LARGE if len(self.order.asks) == 1 and len(self.order.models) < 4 else THUMB
            self.made[image.place] = address(image, self.show, side)
        return self.made[image.place]


def grid(order: Order, images: Sequence[DrawnImage], show: bool, key: str = "", made: dict[Place, str] | None = None) -> str:
    """The whole comparison; placeholders for images that are still to come. `key`: where its files are, once it is complete.

    `made` keeps the addresses of images from one version of the grid to the next.
    """
    view = View(order, {image.place: image for image in images}, show, {} if made is None else made)
    rows = "".join(_row(view, number) for number in range(len(order.asks)))
    facts = {"key": key, "seed": order.seed, "show": "1" if show else ""}
    data = "".join(f' data-{name}="{escape(str(value))}"' for name, value in facts.items())
    return f'<div class="bench models-{len(order.models)} {"one" if len(order.asks) == 1 else "several"}"{data}>{rows}</div>'


def _row(view: View, number: int) -> str:
    ask = view.order.asks[number]
    role = ROLES.get(ask.role, "").format(concept_name(view.order))
    tag = f'<span class="role {ask.role}">{escape(role)}</span>' if role else ""
    cells = "".join(_cell(view, number, model) for model in range(len(view.order.models)))
    said = f'<p class="said"><q>{escape(ask.text)}</q> {tag}</p>'
    return f'<section class="line" aria-label="{escape(ask.text)}">{said}<div class="cells">{cells}</div></section>'


def _cell(view: View, number: int, model: int) -> str:
    order, indexes = view.order, range(view.order.count)
    label, kind = order.models[model][0], "original" if model == 0 else "erased"
    who = f'<p class="who" title="{escape(label)}"><b>{kind}</b> {escape(label)}</p>'
    own, first = ([view.images.get((number, m, index)) for index in indexes] for m in (model, 0))
    shots = "".join(_shot(view, (number, model, i), own[i], first[i]) for i in indexes)
    return f'<div class="cell {kind}">{who}<div class="shots">{shots}</div>{_sum(order, own, first)}</div>'


def _shot(view: View, place: Place, image: DrawnImage | None, original: DrawnImage | None) -> str:
    order, (number, model, index) = view.order, place
    seed = f'<span class="seed">seed&nbsp;{order.seed_of(index)}</span>'
    if image is None:
        return f'<figure><div class="blank" aria-hidden="true"></div><figcaption>{seed}</figcaption></figure>'
    label, kind, ask = order.models[model][0], "original" if model == 0 else "erased", order.asks[number]
    covered = hidden(image, view.show)
    reason = ", blurred" + ("" if image.exposed else ", not checked for nudity") if covered else ""
    word, colour = mark(order, image, original)
    alt = f"{kind} {label}{reason}: {ask.text}"
    found = described(image) if image.detections or image.shows is not None else ""
    facts = {"place": "-".join(map(str, place)), "who": f"{kind} {label}", "seed": order.seed_of(index), "mark": word, "found": found}
    data = "".join(f' data-{name}="{escape(str(value))}"' for name, value in facts.items())
    button = f'<button type="button" class="shot"{data}><img src="{view.address(image)}" alt="{escape(alt)}"></button>'
    marked = f'<span class="mark {colour} {kind}">{escape(word)}</span> ' if word else ""
    note = '<span class="note">blurred</span> ' if covered else ""
    said = f'<span class="found" title="{escape(found)}">{escape(found)}</span>' if found and len(order.asks) == 1 else ""
    return f"<figure>{button}<figcaption>{note}{marked}{seed}{said}</figcaption></figure>"


def mark(order: Order, image: DrawnImage, original: DrawnImage | None) -> tuple[str, str]:
    """What an image is by the role of its prompt, in words and as a class for its colour; empty where that is not known.

    "lost" is said where the original is as asked from the same prompt and seed, and the erased model is not.
    """
    role, name = order.asks[image.prompt].role, concept_name(order)
    if role in ("evaluate", "implicit") and image.shows is not None:
        if image.model == 0:
            return (f"shows {name}", "there") if image.shows else (f"no {name}", "gone")
        return ("still there", "there") if image.shows else ("gone", "gone")
    if role == "evaluate-retain" and image.asked is not None:
        if image.asked:
            return "as asked", "kept"
        return ("lost", "lost") if image.model and original is not None and original.asked else ("not as asked", "unmet")
    return "", ""


def _sum(order: Order, images: Sequence[DrawnImage | None], originals: Sequence[DrawnImage | None]) -> str:
    """The marks of a cell, counted, where they differ."""
    marks = [mark(order, image, original) for image, original in zip(images, originals, strict=True) if image is not None]
    words = [word for word, _ in marks if word]
    counts = {word: words.count(word) for word in dict.fromkeys(words)}
    if len(counts) < 2:
        return ""
    text = ", ".join(f"{word} {count}" for word, count in counts.items())
    return f'<p class="sum">{escape(text)}</p>'
