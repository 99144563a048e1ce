"""Images as they leave the server: nudity blurred, boxes drawn, original and erased side by side.

Blurring happens here, on the server: a visitor who has not ticked the box never receives the image itself.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image, ImageDraw

from eval.rendering.blur import blurred
from ui.web.drawing.order import DrawnImage, Order

LARGE = 512  # pixels per side at most in the page
SLIDER = 512  # about as many under the slider
BOX = "#d92d20"
UNCHANGED = 20_000  # bytes of a PNG that is sent as it is
TOP = 4  # labels of a classifier that are listed


def hidden(image: DrawnImage, show: bool) -> bool:
    """Whether to blur: nudity was detected, or nothing could look for it, and the visitor has not asked to see it."""
    return not show and image.exposed is not False


def image_of(drawn: DrawnImage, show: bool, boxes: bool = True) -> Image.Image:
    """The image with its boxes; blurred where it is hidden."""
    image = Image.open(io.BytesIO(drawn.png)).convert("RGB")
    if hidden(drawn, show):
        image = blurred(image)
    if boxes:
        pen = ImageDraw.Draw(image)
        for detection in drawn.detections:
            if detection.get("box"):
                x, y, width, height = detection["box"]
                pen.rectangle((x, y, x + width, y + height), outline=BOX, width=max(1, max(image.size) // 170))
    return image


def address(drawn: DrawnImage, show: bool) -> str:
    """The image as a data URL: no file lies on disk for others to fetch."""
    boxes = any(detection.get("box") for detection in drawn.detections)
    if not hidden(drawn, show) and not boxes and len(drawn.png) < UNCHANGED:
        return f"data:image/png;base64,{base64.b64encode(drawn.png).decode()}"
    image = image_of(drawn, show)
    image.thumbnail((LARGE, LARGE), Image.Resampling.LANCZOS)
    small, file = max(image.size) <= 128, io.BytesIO()
    if small:
        image.save(file, "png")
    else:
        image.save(file, "webp", quality=88)
    return f"data:image/{'png' if small else 'webp'};base64,{base64.b64encode(file.getvalue()).decode()}"


def enlarged(drawn: DrawnImage, show: bool) -> Image.Image:
    """For the slider: small images enlarged by a whole factor."""
    image = image_of(drawn, show)
    factor = max(1, SLIDER // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)


# --- words ------------------------------------------------------------------------------------------------------------


def described(image: DrawnImage) -> str:
    """The detections in words: "star 99%, red 98%", or boxes counted by label."""
    boxes = [detection for detection in image.detections if detection.get("box")]
    if boxes:
        labels = list(dict.fromkeys(box["label"] for box in boxes))
        counts = ", ".join(f"{plain(label)} {sum(box['label'] == label for box in boxes)}" for label in labels)
        return f"{len(boxes)} {'box' if len(boxes) == 1 else 'boxes'}: {counts}"
    best = sorted(image.detections, key=lambda detection: -detection["score"])[:TOP] if len(image.detections) > TOP else image.detections
    return ", ".join(f"{plain(one['label'])} {100 * one['score']:.0f}%" for one in best) or "nothing detected"


def plain(label: str) -> str:
    """A detector's label in words."""
    return label.removesuffix("_EXPOSED").replace("_", " ").lower()


def verdict(image: DrawnImage, name: str) -> tuple[str, str]:
    """Whether the concept is in it, in words and as a class for its colour."""
    if image.shows is None:
        return "not looked for", "unsure"
    return (f"shows {name}", "there") if image.shows else (f"no {name}", "gone")


# --- side by side -----------------------------------------------------------------------------------------------------


def grid(order: Order, images: Sequence[DrawnImage], show: bool) -> str:
    """One card per seed, in it one figure per model; placeholders for images that are still to come."""
    by_place = {(image.model, image.index): image for image in images}
    cards = []
    for index in range(order.count):
        figures = "".join(_figure(order, model, by_place.get((model, index)), show) for model in range(len(order.models)))
        cards.append(f'<div class="card"><p class="seed">image {index + 1}, seed {order.seed}</p><div class="pair">{figures}</div></div>')
    return f'<div class="cards models-{len(order.models)}">{"".join(cards)}</div>'


def _figure(order: Order, model: int, image: DrawnImage | None, show: bool) -> str:
    label, kind = order.models[model][0], "original" if model == 0 else "erased"
    head = f"<b>{escape(kind)}</b>" + (f"<span>{escape(label)}</span>" if model else "")
    if image is None:
        return f'<figure><div class="blank" aria-hidden="true"></div><figcaption>{head}</figcaption></figure>'
    covered = hidden(image, show)
    reason = ", blurred" + ("" if image.exposed else ", not checked for nudity") if covered else ""
    alt = f"{kind} {label if model else ''}{reason}: {order.prompt}".replace("  ", " ")
    word, colour = verdict(image, concept_name(order))
    mark = ""
    if image.shows is not None:
        mark = f'<span class="mark {colour} {kind}">{escape(word)}</span> <span>{escape(described(image))}</span>'
    note = '<span class="note">blurred</span> ' if covered else ""
    return f'<figure><img src="{address(image, show)}" alt="{escape(alt)}"><figcaption>{head}<br>{note}{mark}</figcaption></figure>'


def concept_name(order: Order) -> str:
    """What was looked for, in a word."""
    return str(order.concept["words"][0]) if order.concept else "concept"
