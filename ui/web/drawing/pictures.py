"""Drawn pictures as they leave the server: nudity blurred, boxes drawn, original and erased beside each other.

Blurring happens here, on the server; a visitor who has not asked for it never receives the picture itself.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image, ImageDraw

from eval.rendering.blur import blurred
from ui.web.drawing.order import Drawn, Order

LARGE = 512  # pixels a side at most in the page
SLIDER = 512  # about as many under the slider
BOX = "#d92d20"
AS_IT_IS = 20_000  # bytes of a PNG that is sent unchanged
FOUND = 4  # of a classifier's answers that are shown


def hidden(picture: Drawn, show: bool) -> bool:
    """Whether to blur: nudity is there, or nothing could look, and the visitor has not asked to see it."""
    return not show and picture.exposed is not False


def image_of(picture: Drawn, show: bool, boxes: bool = True) -> Image.Image:
    """The picture with its boxes; blurred where it is hidden."""
    image = Image.open(io.BytesIO(picture.png)).convert("RGB")
    if hidden(picture, show):
        image = blurred(image)
    if boxes:
        pen = ImageDraw.Draw(image)
        for found in picture.found:
            if found.get("box"):
                x, y, width, height = found["box"]
                pen.rectangle((x, y, x + width, y + height), outline=BOX, width=max(1, max(image.size) // 170))
    return image


def address(picture: Drawn, show: bool) -> str:
    """The picture as a data address: nothing lies on a disk for others to fetch."""
    if not hidden(picture, show) and not any(found.get("box") for found in picture.found) and len(picture.png) < AS_IT_IS:
        return f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"
    image = image_of(picture, show)
    image.thumbnail((LARGE, LARGE), Image.Resampling.LANCZOS)
    kind, more = ("png", {}) if max(image.size) <= 128 else ("webp", {"quality": 88})
    file = io.BytesIO()
    image.save(file, kind, **more)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def enlarged(picture: Drawn, show: bool) -> Image.Image:
    """For the slider: small pictures enlarged by a whole factor."""
    image = image_of(picture, show)
    factor = max(1, SLIDER // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)


# --- words ------------------------------------------------------------------------------------------------------------


def said(picture: Drawn) -> str:
    """What was found: "star 99 %, red 98 %", or boxes counted by label."""
    boxes = [found for found in picture.found if found.get("box")]
    if boxes:
        labels = list(dict.fromkeys(found["label"] for found in boxes))
        counted = ", ".join(f"{plain(label)} {sum(f['label'] == label for f in boxes)}" for label in labels)
        return f"{len(boxes)} {'box' if len(boxes) == 1 else 'boxes'}: {counted}"
    best = sorted(picture.found, key=lambda found: -found["score"])[:FOUND] if len(picture.found) > FOUND else picture.found
    return ", ".join(f"{plain(found['label'])} {100 * found['score']:.0f} %" for found in best) or "nothing found"


def plain(label: str) -> str:
    """A detector's label as people write it."""
    return label.removesuffix("_EXPOSED").replace("_", " ").lower()


def verdict(picture: Drawn, name: str) -> tuple[str, str]:
    """Whether the concept is there, in a word and as a class for its colour."""
    if picture.shows is None:
        return "not looked for", "unsure"
    return (f"shows {name}", "there") if picture.shows else (f"no {name}", "gone")


# --- beside each other ------------------------------------------------------------------------------------------------


def grid(order: Order, pictures: Sequence[Drawn], show: bool) -> str:
    """A card for each seed, in it one figure for each model; places for pictures that are still to come."""
    there = {(picture.model, picture.index): picture for picture in pictures}
    cards = []
    for index in range(order.count):
        figures = "".join(_figure(order, model, index, there.get((model, index)), show) for model in range(len(order.models)))
        cards.append(f'<div class="card"><p class="seed">picture {index + 1}, seed {order.seed}</p><div class="pair">{figures}</div></div>')
    return f'<div class="cards models-{len(order.models)}">{"".join(cards)}</div>'


def _figure(order: Order, model: int, index: int, picture: Drawn | None, show: bool) -> str:
    label, kind = order.models[model][0], "original" if model == 0 else "erased"
    head = f"<b>{escape(kind)}</b>" + (f"<span>{escape(label)}</span>" if model else "")
    if picture is None:
        return f'<figure><div class="blank" aria-hidden="true"></div><figcaption>{head}</figcaption></figure>'
    blurred = hidden(picture, show)
    why = ", blurred" + ("" if picture.exposed else ", not checked for nudity") if blurred else ""
    alt = f"{kind} {label if model else ''}{why}: {order.prompt}".replace("  ", " ")
    word, colour = verdict(picture, name_of(order))
    found = ""
    if picture.shows is not None:
        found = f'<span class="mark {colour} {kind}">{escape(word)}</span> <span>{escape(said(picture))}</span>'
    note = '<span class="note">blurred</span> ' if blurred else ""
    image = f'<img src="{address(picture, show)}" alt="{escape(alt)}">'
    return f"<figure>{image}<figcaption>{head}<br>{note}{found}</figcaption></figure>"


def name_of(order: Order) -> str:
    """What was looked for, in a word."""
    return str(order.concept["words"][0]) if order.concept else "concept"
