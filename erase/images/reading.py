"""Image files -> RGB images: which files of a folder are images, which formats are read, and how each becomes 8 bits per channel."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFile, ImageOps

from erase.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

# What Pillow reads by itself. Not EPS, for which it starts another program.
FORMATS = (
    "PNG", "JPEG", "MPO", "WEBP", "BMP", "DIB", "GIF", "TIFF", "JPEG2000", "AVIF", "TGA", "PPM", "ICO", "ICNS", "PCX", "PSD", "QOI", "SGI",
    "SUN", "DDS", "XBM", "XPM",
)  # fmt: skip
SUFFIXES = frozenset({  # of these formats
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".jp2", ".j2k", ".j2c",
    ".jpc", ".jpf", ".jpx", ".avif", ".tga", ".icb", ".vda", ".vst", ".ppm", ".pgm", ".pbm", ".pnm", ".ico", ".icns", ".pcx", ".psd",
    ".qoi", ".sgi", ".rgb", ".rgba", ".bw", ".ras", ".dds", ".xbm", ".xpm",
})  # fmt: skip
OTHER_SUFFIXES = frozenset({  # images that Pillow does not read by itself, or only as a program that draws them
    ".heic", ".heif", ".hif", ".jxl", ".jxr", ".wdp", ".svg", ".svgz", ".eps", ".ai", ".wmf", ".emf", ".exr", ".hdr", ".pfm", ".raw",
    ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef", ".srw", ".x3f", ".3fr",
    ".iiq", ".xcf", ".kra", ".psb", ".ktx", ".ktx2", ".pict", ".pct", ".fits", ".fit",
})  # fmt: skip
COMMON = "PNG, JPEG, WebP, TIFF, BMP, GIF or another common format"
SIGNATURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ", b"8BPS", b"qoif")
PIXELS = 120_000_000  # of one image: more than any camera has, and its copies while it is converted stay within 2 GB

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # PIXELS is checked before an image is decoded


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder by name, without hidden ones; empty where there are none.

    Images have the suffix of a format that is read, or no suffix and an image's first bytes. InputError for images in a format that
    is not read and for images under another suffix: they would be left out silently.
    """
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    others = [path for path in entries if path.suffix.lower() not in SUFFIXES and path.is_file()]
    bare = {path for path in others if not path.suffix and _is_image(path)}
    if unread := [path.name for path in others if path.suffix.lower() in OTHER_SUFFIXES]:
        raise InputError(f"{folder} has images in a format that is not read: {few(unread)}; convert them to PNG or JPEG, or remove them")
    if strange := [path.name for path in others if path.suffix and _is_image(path)]:
        raise InputError(f"{folder} has images whose name does not end like one: {few(strange)}; rename or remove them")
    return [path for path in entries if path.suffix.lower() in SUFFIXES or path in bare]


def picture_paths(folder: Path) -> list[Path]:
    """The image files of a folder by name; InputError if there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder} is {'a file' if folder.exists() else 'not there'}; expected a folder of images")
    try:
        paths = image_files(folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}); give a folder that can") from error
    if not paths:
        deeper = sorted({path.parent.name for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES})
        remedy = f"its subfolders contain some, give one of them ({few(deeper)})" if deeper else "add some"
        raise InputError(f"{folder} contains no images; expected {COMMON}: {remedy}")
    return paths


def load_pixels(paths: Iterable[Path], size: int) -> Tensor:
    """Images as (n, 3, size, size) in [-1, 1]; of another size: the middle square, resized."""
    import torch

    return torch.stack([to_tensor(open_picture(path), size) for path in paths])


def open_picture(path: Path) -> Image.Image:
    """An image in RGB, upright, transparent parts white; the first frame of an animation. 16-bit values lose their low 8 bits.

    InputError for what cannot be decoded, is larger than PIXELS, or has pixels whose white is not defined (32-bit integers, floats).
    """
    try:
        # As a stream: of a name, Pillow maps an uncompressed image into memory, and shears a TIFF that is turned.
        with path.open("rb") as data, Image.open(data, formats=_formats()) as file:
            if file.width * file.height > PIXELS:
                size = f"{file.width} × {file.height}"
                raise InputError(f"{path} has {size} pixels; expected at most {PIXELS // 10**6} million: make it smaller, or remove it")
            layout = str(getattr(file, "tile", ""))  # how the pixels are packed in the file; decoding empties it
            file.load()
            return _rgb(_eight_bits(ImageOps.exif_transpose(file), file, layout, path))
    except InputError:
        raise
    except Exception as error:  # its decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).replace(str(path), path.name)
        raise InputError(f"{path} is not a complete image ({reason}); replace or remove it") from error


def to_tensor(image: Image.Image, size: int) -> Tensor:
    """An RGB image as (3, size, size) in [-1, 1]; of another size: the middle square, resized."""
    import torch

    if image.size != (size, size):
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side))  # resize(box=...) would let the cut-off parts bleed in
        image = square.resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1


def few(names: Sequence[str]) -> str:
    """The first three of many names, and how many others there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _is_image(path: Path) -> bool:
    """Whether a file's first bytes are an image's."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError:
        return False
    return start.startswith(SIGNATURES) or (start[:4], start[8:12]) == (b"RIFF", b"WEBP")


def _eight_bits(image: Image.Image, file: ImageFile.ImageFile, layout: str, path: Path) -> Image.Image:
    """An image of at most 8 bits per channel. Pillow itself would clip the 16 bits of a greyscale image at 255."""
    key: Any = image.info.get("transparency")
    if image.mode == "F" or (image.mode == "I" and file.format not in ("PNG", "PPM")):
        kind = "floating-point" if image.mode == "F" else "32-bit or signed"
        raise InputError(f"{path} has {kind} pixels, whose white is not defined; save it with 8 or 16 bits per channel")
    if not image.mode.startswith("I"):
        if "RGB;16" in layout and isinstance(key, tuple):  # the transparent colour is still in 16 bits
            image.info["transparency"] = tuple(value >> 8 for value in key)
        return image
    values = np.asarray(image).astype(np.int64)
    grey = values >> (4 if "I;12" in layout else 8)
    if file.format == "TIFF" and getattr(file, "tag_v2", {}).get(262) == 0:  # PhotometricInterpretation: WhiteIsZero
        grey = 255 - grey
    converted = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    if isinstance(key, int):
        converted.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return converted


def _rgb(image: Image.Image) -> Image.Image:
    """RGB, with transparent parts white."""
    if image.mode in ("La", "RGBa"):  # colours multiplied by their opacity
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
