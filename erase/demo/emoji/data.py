"""Build the pictures of the emoji world: `python -m erase.demo.emoji.data [--output DIR]`.

Downloads the icon sets (`erase.demo.emoji.packages`), renders every object in every style, (96, 96) RGBA with straight alpha, and
keeps one compressed file a style in a folder outside the repository. A style that is complete is not rendered again.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erase.demo.emoji import packages, world
from erase.errors import InputError
from erase.files import written

GLYPH = 96  # pixels; pictures are 64 with the glyph at about half this size, so one sample in two suffices
Glyphs = NDArray[np.uint8]


def cache_folder() -> Path:
    """Where archives and rendered glyphs lie unless the user says otherwise."""
    if folder := os.environ.get("ERASE_EMOJI"):
        return Path(folder)
    base = os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "erase-concept" / "emoji"


def svg(icons: Mapping[str, Any], slug: str) -> str:
    """The SVG document of an icon, under its own name or an alias; KeyError if the set has none."""
    name = slug
    while name not in icons["icons"]:
        name = icons["aliases"][name]["parent"]
    icon = icons["icons"][name]
    left, top = icon.get("left", 0), icon.get("top", 0)
    width, height = icon.get("width", icons["width"]), icon.get("height", icons["height"])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{left} {top} {width} {height}" '
        f'width="{GLYPH}" height="{GLYPH}">{icon["body"]}</svg>'
    )


def rasterise(document: str, name: str) -> Glyphs:
    """An SVG document as (96, 96, 4) RGBA; InputError with `name` where it does not render."""
    try:
        import resvg_py
        from PIL import Image
    except ImportError as error:
        raise InputError("the emoji are rendered by resvg, which is not installed; run: pip install resvg-py") from error
    try:
        png = resvg_py.svg_to_bytes(svg_string=document, width=GLYPH, height=GLYPH, skip_system_fonts=True)
    except ValueError as error:
        raise InputError(f"{name} does not render ({str(error).splitlines()[0]}); take it out of objects.txt") from error
    pixels: Glyphs = np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGBA"))
    if not pixels[..., 3].any():
        raise InputError(f"{name} renders as an empty picture; take it out of objects.txt")
    return pixels


def render_style(style: str, icons: Mapping[str, Any]) -> Glyphs:
    """(objects, 96, 96, 4): every object in one style, in the order of the world."""
    missing = [slug for slug in world.OBJECTS if slug not in icons["icons"] and slug not in icons.get("aliases", {})]
    if missing:
        raise InputError(f"{packages.ICONS[style].name} has no icon {missing[0]!r}; take it out of objects.txt")
    return np.stack([rasterise(svg(icons, slug), f"{slug} of {style}") for slug in world.OBJECTS])


def fingerprint(style: str) -> str:
    """What the rendered file of a style depends on: the package, the objects and the size."""
    return hashlib.sha256(repr((packages.ICONS[style].sha256, tuple(world.OBJECTS), GLYPH)).encode()).hexdigest()[:12]


def glyph_file(style: str, folder: Path) -> Path:
    return folder / f"{style}-{fingerprint(style)}.npz"


def build(folder: Path) -> None:
    """Render what is not there yet, a style at a time."""
    for style in world.STYLES:
        path = glyph_file(style, folder)
        if path.exists():
            continue
        glyphs = render_style(style, packages.read(packages.ICONS[style], "icons.json", folder))
        with written(path) as part, part.open("wb") as file:
            np.savez_compressed(file, glyphs=glyphs)
        print(f"{style}: {len(glyphs)} glyphs", flush=True)


def load(folder: Path | None = None) -> Glyphs:
    """(objects, styles, 96, 96, 4) uint8: the whole world; InputError where it was not built."""
    folder = cache_folder() if folder is None else folder
    paths = [glyph_file(style, folder) for style in world.STYLES]
    if missing := [path for path in paths if not path.exists()]:
        raise InputError(f"{missing[0]} does not exist; build the pictures first: python -m erase.demo.emoji.data --output {folder}")
    return np.stack([np.load(path)["glyphs"] for path in paths], axis=1)


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m erase.demo.emoji.data", description=__doc__)
    parser.add_argument("--output", type=Path, default=cache_folder(), help="folder of archives and glyphs (default: %(default)s)")
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        build(options.output)
        print(f"finished: {len(world.OBJECTS)} objects in {len(world.STYLES)} styles in {options.output}")
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; the styles that are complete stay, and the same command resumes from there", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
