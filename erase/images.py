"""Prompts -> image set (PNG + manifest.jsonl); and any folder of images -> the same list of Pictures.

Depends on no model: `sample` turns prompts and generators into images. Noise depends on (seed, index) alone.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image, ImageOps

from erase.errors import InputError
from erase.files import read_text, sha256, written
from erase.files.reading import FIELD, read_objects
from erase.files.tables import read_rows
from erase.run import append_lines, disk_errors, lines_of, read_lines

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
COLUMNS = (("file", "prompt"), ("file_name", "text"))  # ours, and that of Hugging Face image folders
PIXELS = 120_000_000  # of an image, more than cameras take; decoding needs about 16 bytes for each
MANIFEST = "manifest.jsonl"
CAPTION_BYTES = 4 * FIELD  # of a .txt file beside an image

Sample: TypeAlias = "Callable[[list[str], list[torch.Generator]], list[Image.Image]]"


def _noise(seed: int, index: int) -> torch.Generator:
    from erase.task import generator

    return generator(seed, "picture", index)


@dataclass(frozen=True)
class Picture:
    """An image on disk, its prompt or caption, and the hash of its bytes; `seed` is None for images from elsewhere."""

    path: Path
    prompt: str
    seed: int | None
    sha256: str

    def record(self) -> dict[str, Any]:
        """The line of manifest.jsonl."""
        return {"file": self.path.name, "prompt": self.prompt, "seed": self.seed, "sha256": self.sha256}


@dataclass(frozen=True)
class Callbacks:
    """Functions that `make_images` calls as it works: `progress` with the images done and all, `chunk` with indexes and images."""

    progress: Callable[[int, int], None] | None = None
    chunk: Callable[[Sequence[int], Sequence[Picture]], None] | None = None


def make_images(
    folder: Path,
    prompts: Sequence[str],
    seed: int | Sequence[int],
    sample: Sample,
    batch: int,
    callbacks: Callbacks = Callbacks(),
    share: tuple[int, int] = (0, 1),
    noise: Callable[[int, int], torch.Generator] = _noise,
) -> list[Picture]:
    """Generate the missing images of a set; image i has the prompt prompts[i] and starts from `noise` of (its seed, i).

    Images are generated in aligned chunks of `batch`, and a chunk with one broken image is generated again as a whole: the rounding
    of a network depends on its batch size, so only whole chunks have the bytes that they would have without the interruption.

    `callbacks.chunk` gets every chunk once it is on disk, also one from an earlier call. With `share` = (r, n) only the r-th of n
    parts of the chunks is generated and returned, with a manifest of its own: n processes fill one folder. A call without it joins
    the parts.
    """
    if not prompts:
        raise InputError(f"no prompts were given for the image set {folder}; expected at least one")
    seeds = [seed] * len(prompts) if isinstance(seed, int) else list(seed)
    if len(seeds) != len(prompts) or batch < 1:
        raise ValueError(f"{len(prompts)} prompts need as many seeds and a batch of at least 1; got {len(seeds)} and {batch}")
    rank, parts = share
    chunks = [range(start, min(start + batch, len(prompts))) for start in range(0, len(prompts), batch)][rank::parts]
    manifest = folder / (MANIFEST if parts == 1 else f"manifest.{rank}.jsonl")
    total = sum(map(len, chunks))
    with disk_errors(folder):
        known = _earlier_images(folder, prompts, seeds, alone=parts == 1)
        done = {i: known[i] for chunk in chunks if all(i in known for i in chunk) for i in chunk}
        others = {} if parts == 1 else known  # a part may list images that now belong to another, which may not have read them yet
        _write_manifest(manifest, others | done)
    for chunk in chunks:
        if callbacks.progress is not None:
            callbacks.progress(len(done), total)
        if chunk[0] in done:
            if callbacks.chunk is not None:
                callbacks.chunk(chunk, [done[i] for i in chunk])
            continue
        generators = [noise(seeds[i], i) for i in chunk]
        images = sample([prompts[i] for i in chunk], generators)
        if len(images) != len(chunk):
            raise ValueError(f"sample returned {len(images)} images for {len(chunk)} prompts")
        with disk_errors(folder):
            new = {i: _save(folder / _name(i), image, prompts[i], seeds[i]) for i, image in zip(chunk, images, strict=True)}
            append_lines(manifest, (picture.record() for picture in new.values()), sync=True)
        done |= new
        if callbacks.chunk is not None:
            callbacks.chunk(chunk, list(new.values()))
    with disk_errors(folder):
        _write_manifest(manifest, others | done)  # chunks that were generated again were appended at the end
        if parts == 1:
            for part in folder.glob("manifest.*.jsonl"):
                part.unlink()
    if callbacks.progress is not None:
        callbacks.progress(len(done), total)
    return [done[i] for i in sorted(done)]


def read_images(
    folder: Path, captions: Path | None = None, default_caption: str | None = None, leave_out: Collection[int] = ()
) -> list[Picture]:
    """The images of a set with a manifest (every hash is checked) or of any folder (every image is opened), by name.

    Captions come from `captions`, else from manifest.jsonl, captions.csv, metadata.jsonl or a .txt file beside each
    image; `default_caption` counts only without any of these, so that it never hides a mismatch. Images whose positions are in
    `leave_out` are not opened.
    """
    paths = picture_paths(folder)
    source, table = _captions(folder, paths, captions)
    if not table and default_caption is None:
        expected = "manifest.jsonl, captions.csv (file,prompt), metadata.jsonl (file_name, text) or a .txt file beside each image"
        raise InputError(f"{folder} has no captions; expected {expected}, a captions file, or one caption for all")
    if table:
        _match(source, folder, [path.name for path in paths], table)
    selected = [path for i, path in enumerate(paths) if i not in leave_out]
    return [_read(path, table.get(path.name, {"prompt": default_caption}), source) for path in selected]


def load_pixels(paths: Iterable[Path], size: int) -> Tensor:
    """Images as (n, 3, size, size) in [-1, 1]; of another size: the middle square, resized."""
    import torch

    return torch.stack([to_tensor(open_picture(path), size) for path in paths])


def open_picture(path: Path) -> Image.Image:
    """An image in RGB, upright, transparent parts white; InputError if it cannot be decoded."""
    try:
        with Image.open(path) as file:
            _check_pixels(path, file)
            file.load()
            image = ImageOps.exif_transpose(file)
    except InputError:
        raise
    except Exception as error:  # its decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        reason = str(error).replace(str(path), path.name)
        raise InputError(f"{path} is not a complete image ({reason}); replace or remove it") from error
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _check_pixels(path: Path, image: Image.Image) -> None:
    """InputError for an image that would take gigabytes of memory: a few kilobytes of file can claim any size."""
    if image.width * image.height > PIXELS:
        size = f"{image.width} × {image.height}"
        raise InputError(f"{path} has {size} pixels; expected at most {PIXELS // 10**6} million: make it smaller, or remove it")


def to_tensor(image: Image.Image, size: int) -> Tensor:
    import torch

    if image.size != (size, size):
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side))  # resize(box=...) would let the cut-off parts bleed in
        image = square.resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1


def _name(index: int) -> str:
    return f"{index:05d}.png"


def _save(path: Path, image: Image.Image, prompt: str, seed: int) -> Picture:
    file = io.BytesIO()
    image.save(file, "PNG")
    with written(path) as part:
        part.write_bytes(file.getvalue())
    return Picture(path, prompt, seed, hashlib.sha256(file.getvalue()).hexdigest())


def _write_manifest(path: Path, pictures: Mapping[int, Picture]) -> None:
    """Write the whole manifest in order; it is written before the first image, so that it marks the folder as an image set."""
    text = lines_of(pictures[i].record() for i in sorted(pictures))
    if not path.exists() or path.read_bytes() != text.encode():
        with written(path) as part:
            part.write_bytes(text.encode())


def _earlier_images(folder: Path, prompts: Sequence[str], seeds: Sequence[int], alone: bool = True) -> dict[int, Picture]:
    """Images that a manifest lists and whose hashes match; InputError if they have other prompts or seeds."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*.part") if alone else ():  # another process may be writing it
        left.unlink(missing_ok=True)
    manifests = [path for path in (folder / MANIFEST, *sorted(folder.glob("manifest.*.jsonl"))) if path.exists()]
    names = {_name(i): i for i in range(len(prompts))}
    present = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    strange = [name for name in present if name not in names] if manifests or not alone else present
    if strange:
        raise InputError(f"{folder} already contains other images ({_few(strange)}); give another folder")
    known = {}
    for record in (record for path in manifests for record in read_lines(path, None)):
        i = names.get(str(record.get("file")), -1)
        earlier, now = (record.get("prompt"), record.get("seed")), (prompts[i], seeds[i]) if i >= 0 else (None, None)
        if earlier != now:
            requested = f'"{now[0]}" (seed {now[1]})' if i >= 0 else "not among the prompts"
            was = f'{folder / str(record.get("file"))} was made of "{earlier[0]}" (seed {earlier[1]})'
            raise InputError(f"{was} and is {requested} now; give another folder")
        path = folder / _name(i)
        if path.exists() and sha256(path) == record.get("sha256"):
            known[i] = Picture(path, prompts[i], seeds[i], str(record["sha256"]))
    return known


def picture_paths(folder: Path) -> list[Path]:
    """The image files of a folder by name; InputError if there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder} is {'a file' if folder.exists() else 'not there'}; expected a folder of images")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    if not paths:
        deeper = sorted({path.parent.name for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES})
        remedy = f"its subfolders contain some, give one of them ({_few(deeper)})" if deeper else "add some"
        raise InputError(f"{folder} contains no images; expected {', '.join(sorted(SUFFIXES))}: {remedy}")
    return paths


def _captions(folder: Path, paths: Sequence[Path], captions: Path | None) -> tuple[Path, dict[str, dict[str, Any]]]:
    """The source of the captions, and file name -> row with the caption."""
    if captions is not None and not captions.is_file():
        raise InputError(f"captions file {captions} is not there; expected a .csv (file,prompt) or .jsonl file")
    for source in [captions] if captions is not None else [folder / name for name in (MANIFEST, "captions.csv", "metadata.jsonl")]:
        if source.is_file():
            return source, _table(source)
    texts = {path.name: path.with_suffix(".txt") for path in paths if path.with_suffix(".txt").is_file()}
    return folder / "*.txt", {name: {"prompt": read_text(path, CAPTION_BYTES).strip()} for name, path in texts.items()}


def _table(path: Path) -> dict[str, dict[str, Any]]:
    rows: list[dict[str, Any]]
    if path.suffix.lower() == ".jsonl":
        rows = [row for _, row in read_objects(path)] if path.name != MANIFEST else read_lines(path, None)
        headers = [list(row) for row in rows]
    elif path.suffix.lower() == ".csv":
        rows, headers = _csv_rows(path)
    else:
        raise InputError(f"captions file {path} is of an unknown kind; expected .csv (file,prompt) or .jsonl")
    table: dict[str, dict[str, Any]] = {}
    names = next((names for names in COLUMNS if all(set(names) <= set(header) for header in headers)), None)
    if names is None or not rows:
        bad = next((header for header in headers if not any(set(names) <= set(header) for names in COLUMNS)), [])
        raise InputError(f"{path} has the columns {', '.join(map(str, bad)) or '(none)'}; expected file,prompt or file_name,text")
    for row in rows:
        name = Path(str(row[names[0]])).as_posix()
        if name in table:
            raise InputError(f"{path} names {name} twice; expected one caption per image")
        table[name] = {**row, "prompt": str(row[names[1]] or "").strip()}
    return table


def _csv_rows(path: Path) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """The rows by column, and the line with the columns. A row may be shorter; what it lacks is None."""
    table = read_rows(path)
    _, columns = next(table, (1, []))
    return [dict(zip_longest(columns, cells[: len(columns)])) for _, cells in table], [columns]


def _match(source: Path, folder: Path, names: Sequence[str], table: Mapping[str, Mapping[str, Any]]) -> None:
    """InputError unless every caption has its image and every image its caption."""
    absent = [name for name in table if name not in set(names)]
    if absent:
        raise InputError(f"{source} names images that are not in {folder}: {_few(absent)}; add them or remove their lines")
    bare = [name for name in names if name not in table or not (table[name]["prompt"] or "sha256" in table[name])]
    if bare:
        raise InputError(f"{source} has no caption for {len(bare)} of {len(names)} images: {_few(bare)}; add them")


def _read(path: Path, row: Mapping[str, Any], source: Path) -> Picture:
    try:
        digest = sha256(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); replace or remove it") from error
    listed = row.get("sha256")
    if listed is None:
        open_picture(path)
    elif digest != listed:
        raise InputError(f"{path} is not the image that {source.name} lists (its hash differs); restore it or make the set again")
    seed = str(row.get("seed"))
    return Picture(path, str(row["prompt"]), int(seed) if seed.removeprefix("-").isdecimal() else None, digest)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
