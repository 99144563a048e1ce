"""A comparison as files: the sheet with its settings printed on it, and a zip of the images."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image

from eval.rendering.image_grid import Column, Group, draw_comparison
from ui.web.drawing.images import concept_name, described, hidden, image_of, png
from ui.web.drawing.order import DrawnImage, Order

COLUMNS = 8  # of a panel of the sheet
COLOUR = "#2a5db0"


def sheet(order: Order, images: Sequence[DrawnImage], show: bool) -> Image.Image:
    """The comparison sheet, panels for each erased model, with the settings printed on it."""
    several = len(order.asks) > 1
    groups = []
    for model, (label, _) in enumerate(order.models[1:] or order.models, 1 if order.models[1:] else 0):
        columns = [
            Column(
                f"{order.asks[image.prompt].text + '. ' if several else ''}Seed {order.seed_of(image.index)}. {described(image)}",
                *(image_of(one, show) for one in (original, image)),
            )
            for original, image in _pairs(images, model)
        ]
        groups += [Group(label, COLOUR, columns[start : start + COLUMNS]) for start in range(0, len(columns), COLUMNS)]
    title = f"{len(order.asks)} prompts" if several else f"“{order.asks[0].text}”"
    return draw_comparison(title, settings(order), groups)


def _pairs(images: Sequence[DrawnImage], model: int) -> Iterator[tuple[DrawnImage, DrawnImage]]:
    """Each image of a model after the original's of the same prompt and seed, in the order of the prompts."""
    by_place = {image.place: image for image in images}
    for prompt, own, index in sorted(by_place):
        if own == model and (prompt, 0, index) in by_place:
            yield by_place[prompt, 0, index], by_place[prompt, model, index]


def settings(order: Order) -> str:
    """The settings in one line."""
    parts = [f"original: {order.models[0][0]}; seed {order.seed}, {order.steps} steps, guidance {order.guidance:g}"]
    parts += [f"negative prompt: {order.negative}"] if order.negative else []
    parts += [f"sampler: {order.sampler}"] if order.sampler else []
    parts += [f"{order.size} pixels"] if order.size else []
    parts += [f"looked for: {concept_name(order)}"] if order.concept else []
    return ", ".join(parts)


def archive(order: Order, images: Sequence[DrawnImage], show: bool) -> bytes:
    """A zip of the images, the sheet, one line of JSON per image, and the prompts with their seeds as `generate --prompts` reads them."""
    file = io.BytesIO()
    lines = []
    with zipfile.ZipFile(file, "w") as bundle:
        for image in sorted(images, key=lambda image: (image.model, image.prompt, image.index)):
            name = f"{'original' if image.model == 0 else f'erased-{image.model}'}/{image.prompt * order.count + image.index:05d}.png"
            bundle.writestr(name, png(image, show))
            ask = order.asks[image.prompt]
            sampling: dict[str, Any] = {
                "prompt": ask.text,
                "role": ask.role or None,
                "negative": order.negative,
                "seed": order.seed_of(image.index),
            }
            sampling |= {"steps": order.steps, "guidance": order.guidance, "sampler": order.sampler, "size": order.size}
            detected = {"shows": image.shows, "as_asked": image.asked, "blurred": hidden(image, show), "found": list(image.detections)}
            lines.append({"file": name, "model": order.models[image.model][0], **sampling, **detected})
        bundle.writestr("comparison.png", _bytes(sheet(order, images, show)))
        bundle.writestr("pictures.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        bundle.writestr("prompts.csv", _table(order))
    return file.getvalue()


def sheet_png(order: Order, images: Sequence[DrawnImage], show: bool) -> bytes:
    """The sheet as a file."""
    return _bytes(sheet(order, images, show))


def _table(order: Order) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["prompt", "seed"])
    table.writerows([ask.text, order.seed_of(i)] for ask in order.asks for i in range(order.count))
    return text.getvalue()


def _bytes(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
