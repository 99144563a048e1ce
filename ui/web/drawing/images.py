"""Images as they leave the server: nudity blurred, boxes drawn, and what was found in them in words.

Blurring happens here, on the server: a visitor who has not ticked the box never receives the image itself.
"""

from __future__ import annotations

import base64
import io

from PIL import Image, ImageDraw

from erase.images.parameters import KEYWORD, with_parameters
from eval.rendering.blur import blurred
from ui.web.drawing.order import DrawnImage, Order

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


def address(drawn: DrawnImage, show: bool, side: int) -> str:
    """The image as a data URL, at most `side` pixels a side: no file lies on disk for others to fetch."""
    boxes = any(detection.get("box") for detection in drawn.detections)
    small = len(drawn.png) < UNCHANGED and max(Image.open(io.BytesIO(drawn.png)).size) <= side
    if small and not hidden(drawn, show) and not boxes:
        return f"data:image/png;base64,{base64.b64encode(drawn.png).decode()}"
    image = image_of(drawn, show)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    kind, file = "png" if max(image.size) <= 128 else "webp", io.BytesIO()
    image.save(file, kind, quality=88)  # which a PNG has no use for
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def png(drawn: DrawnImage, show: bool, boxes: bool = False) -> bytes:
    """The image as a file, with the text of how it was drawn; blurred where it is hidden."""
    boxes = boxes and any(detection.get("box") for detection in drawn.detections)
    if not hidden(drawn, show) and not boxes:
        return drawn.png
    file = io.BytesIO()
    image_of(drawn, show, boxes).save(file, "PNG")
    text = Image.open(io.BytesIO(drawn.png)).info.get(KEYWORD)
    return with_parameters(file.getvalue(), str(text)) if text else file.getvalue()


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


def concept_name(order: Order) -> str:
    """What was looked for, in a word."""
    return str(order.concept["words"][0]) if order.concept else "concept"
