"""A comparison to keep: the sheet with its settings printed on it, and a zip of the pictures."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence

from PIL import Image

from eval.rendering.image_grid import Column, Group, draw_comparison
from ui.web.drawing.order import Drawn, Order
from ui.web.drawing.pictures import hidden, image_of, name_of, said


def sheet(order: Order, pictures: Sequence[Drawn], show: bool) -> Image.Image:
    """The comparison sheet, a panel for each erased model, with the settings printed on it."""
    there = {(picture.model, picture.index): picture for picture in pictures}
    groups = []
    for model, (label, _) in enumerate(order.models[1:] or order.models, 1 if order.models[1:] else 0):
        columns = [
            Column(f"seed {order.seed}, picture {i + 1}. {said(there[model, i])}", *(image_of(there[m, i], show) for m in (0, model)))
            for i in range(order.count)
            if (0, i) in there and (model, i) in there
        ]
        groups.append(Group(label, "#2a5db0", columns))
    return draw_comparison(f"“{order.prompt}”", settings(order), groups)


def settings(order: Order) -> str:
    """How it was drawn, in a line."""
    concept = f", looked for: {name_of(order)}" if order.concept else ""
    return f"original: {order.models[0][0]}; seed {order.seed}, {order.steps} steps, guidance {order.guidance:g}{concept}"


def archive(order: Order, pictures: Sequence[Drawn], show: bool) -> bytes:
    """A zip of the pictures, the sheet, and a line of JSON a picture."""
    file = io.BytesIO()
    lines = []
    with zipfile.ZipFile(file, "w") as bundle:
        for picture in sorted(pictures, key=lambda p: (p.model, p.index)):
            blurred = hidden(picture, show)
            name = f"{'original' if picture.model == 0 else f'erased-{picture.model}'}/{picture.index:05d}.png"
            bundle.writestr(name, png(image_of(picture, show, boxes=False)) if blurred else picture.png)
            how = {"prompt": order.prompt, "seed": order.seed, "index": picture.index, "steps": order.steps, "guidance": order.guidance}
            seen = {"shows": picture.shows, "blurred": blurred, "found": list(picture.found)}
            lines.append({"file": name, "model": order.models[picture.model][0], **how, **seen})
        bundle.writestr("comparison.png", png(sheet(order, pictures, show)))
        bundle.writestr("pictures.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return file.getvalue()


def png(image: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
