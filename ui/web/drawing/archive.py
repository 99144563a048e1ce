"""A comparison as files: the sheet with its settings printed on it, and a zip of the images."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence

from PIL import Image

from eval.rendering.image_grid import Column, Group, draw_comparison
from ui.web.drawing.images import concept_name, described, hidden, image_of
from ui.web.drawing.order import DrawnImage, Order


def sheet(order: Order, images: Sequence[DrawnImage], show: bool) -> Image.Image:
    """The comparison sheet, a panel for each erased model, with the settings printed on it."""
    by_place = {(image.model, image.index): image for image in images}
    groups = []
    for model, (label, _) in enumerate(order.models[1:] or order.models, 1 if order.models[1:] else 0):
        columns = [
            Column(
                f"seed {order.seed}, image {i + 1}. {described(by_place[model, i])}",
                *(image_of(by_place[m, i], show) for m in (0, model)),
            )
            for i in range(order.count)
            if (0, i) in by_place and (model, i) in by_place
        ]
        groups.append(Group(label, "#2a5db0", columns))
    return draw_comparison(f"“{order.prompt}”", settings(order), groups)


def settings(order: Order) -> str:
    """The settings in one line."""
    concept = f", looked for: {concept_name(order)}" if order.concept else ""
    return f"original: {order.models[0][0]}; seed {order.seed}, {order.steps} steps, guidance {order.guidance:g}{concept}"


def archive(order: Order, images: Sequence[DrawnImage], show: bool) -> bytes:
    """A zip of the images, the sheet, and one line of JSON per image."""
    file = io.BytesIO()
    lines = []
    with zipfile.ZipFile(file, "w") as bundle:
        for image in sorted(images, key=lambda image: (image.model, image.index)):
            blurred = hidden(image, show)
            name = f"{'original' if image.model == 0 else f'erased-{image.model}'}/{image.index:05d}.png"
            bundle.writestr(name, png(image_of(image, show, boxes=False)) if blurred else image.png)
            sampling = {"prompt": order.prompt, "seed": order.seed, "index": image.index, "steps": order.steps, "guidance": order.guidance}
            detected = {"shows": image.shows, "blurred": blurred, "found": list(image.detections)}
            lines.append({"file": name, "model": order.models[image.model][0], **sampling, **detected})
        bundle.writestr("comparison.png", png(sheet(order, images, show)))
        bundle.writestr("pictures.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return file.getvalue()


def png(image: Image.Image) -> bytes:
    """An image as the bytes of a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
