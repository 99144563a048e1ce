"""The models that the form offers: embedded ones, those of the models folders, finished runs, and those of the hub that concepts name."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from erase.concepts import EMBEDDED, list_concepts, load_concept
from erase.demo.worlds import KNOWN_MODELS
from ui.web.context import Page
from ui.web.erase.local_models import cached, download_bytes, weight_bytes
from ui.web.runs import erased_runs
from ui.web.units import size

MOST = 200  # models of one folder that are listed
FREE_TEXT = "an old lighthouse"  # words of nobody's file: what is meant for them is the usual model of free text
ABOUT = {"demo": "one patterned shape", "scenes": "shapes in scenes", "emoji": "everyday things", "flow": "one patterned shape, SD3 layout"}


def sources(page: Page, own: str) -> list[tuple[str, str]]:
    """(label, value) of every model to choose from; `own` stands for the concept's default model."""
    listed = [(own, own)]
    listed += [(f"{name} · {ABOUT.get(name, 'embedded')} · {size(weight_bytes(name))}", name) for name in EMBEDDED]
    for root in page.allowed:
        listed += [(f"{path.relative_to(root)} · in {root.name} · {size(weight_bytes(str(path)))}", str(path)) for path in found(root)]
    listed += [(f"{name} · finished run", name) for name in erased_runs(page)]
    names = dict.fromkeys((*page.hub, *(() if page.shared else named())))
    listed += [(f"{name} · {'downloaded' if cached(name) else f'hub, about {size(download_bytes(name))}'}", name) for name in names]
    return listed


def found(root: Path) -> list[Path]:
    """The model folders and .safetensors files of a folder, down to its subfolders; those of no model are left out."""
    if (root / "model_index.json").is_file():
        return [root]
    paths: list[Path] = []
    for path in sorted(root.glob("*")):
        if path.name.startswith("."):
            continue
        if (path / "model_index.json").is_file() or (path.suffix.lower() == ".safetensors" and path.is_file()):
            paths.append(path)
        elif path.is_dir():
            paths += [inner.parent for inner in sorted(path.glob("*/model_index.json"))]
            paths += sorted(inner for inner in path.glob("*.safetensors") if inner.is_file())
    return paths[:MOST]


@cache
def named() -> tuple[str, ...]:
    """The models of the hub that concepts name."""
    models = [concept.model for concept in [*list_concepts(), load_concept(FREE_TEXT)]]
    return tuple(dict.fromkeys(model for model in models if model not in KNOWN_MODELS))
