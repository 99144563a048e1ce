"""Prompts -> image set (PNG + manifest.jsonl); and any folder of images -> the same list of Pictures.

Depends on no model: `sample` turns prompts and generators into images. Noise depends on (seed, index) alone.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from erase.errors import InputError
from erase.files import read_text, sha256, written
from erase.files.disk import disk_errors
from erase.files.leftovers import in_use
from erase.files.reading import FIELD, read_objects
from erase.files.tables import read_table
from erase.images.parameters import Parameters, with_parameters
from erase.images.reading import SUFFIXES, few, image_files, load_pixels, open_picture, picture_paths, to_tensor
from erase.images.samplers import ByRow, Sample
from erase.run import append_lines, lines_of, read_lines

if TYPE_CHECKING:
    import torch

__all__ = [
    "MANIFEST", "SUFFIXES", "ByRow", "Callbacks", "Parameters", "Picture", "Sample", "image_files", "load_pixels", "make_images",
    "open_picture", "picture_paths", "read_images", "to_tensor", "with_parameters",
]  # fmt: skip

COLUMNS = (("file", "prompt"), ("file_name", "text"))  # ours, and that of Hugging Face image folders
MANIFEST = "manifest.jsonl"
SOURCES = (MANIFEST, "captions.csv", "captions.tsv", "metadata.jsonl", "metadata.csv")  # of captions in the folder of the images
CAPTION_BYTES = 4 * FIELD  # of a .txt file beside an image


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
    """Functions that `make_images` calls as it works: `progress` with the images done and all, `chunk` with indexes and images.

    `parameters`, with an index, gives the text about how that image was drawn, which its file then holds.
    """

    progress: Callable[[int, int], None] | None = None
    chunk: Callable[[Sequence[int], Sequence[Picture]], None] | None = None
    parameters: Callable[[int], str] | None = None


def make_images(
    folder: Path,
    prompts: Sequence[str],
    seed: int | Sequence[int],
    sample: Sample | ByRow,
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
        draw = sample.of(chunk) if isinstance(sample, ByRow) else sample
        images = draw([prompts[i] for i in chunk], generators)
        if len(images) != len(chunk):
            raise ValueError(f"sample returned {len(images)} images for {len(chunk)} prompts")
        with disk_errors(folder):
            texts = {i: callbacks.parameters(i) if callbacks.parameters else None for i in chunk}
            new = {i: _save(folder / _name(i), image, prompts[i], seeds[i], texts[i]) for i, image in zip(chunk, images, strict=True)}
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

    Captions come from `captions`, else from the first of SOURCES that is there, or a .txt file beside each image; `default_caption`
    counts only without any of these, so that it never hides a mismatch. Images whose positions are in `leave_out` are not opened.
    InputError, with their names, where images cannot be read.
    """
    paths = picture_paths(folder)
    source, table = _captions(folder, paths, captions)
    if not table and default_caption is None:
        expected = "manifest.jsonl, captions.csv (file,prompt), metadata.jsonl (file_name, text) or a .txt file beside each image"
        raise InputError(f"{folder} has no captions; expected {expected}, a captions file, or one caption for all")
    if table:
        _match(source, folder, [path.name for path in paths], table)
    selected = [path for i, path in enumerate(paths) if i not in leave_out]
    return _read_all(folder, [(path, table.get(path.name, {"prompt": default_caption})) for path in selected], source)


def _name(index: int) -> str:
    return f"{index:05d}.png"


def _save(path: Path, image: Image.Image, prompt: str, seed: int, text: str | None) -> Picture:
    file = io.BytesIO()
    image.save(file, "PNG")
    png = file.getvalue() if text is None else with_parameters(file.getvalue(), text)
    with written(path) as part:
        part.write_bytes(png)
    return Picture(path, prompt, seed, hashlib.sha256(png).hexdigest())


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
        if not in_use(left):
            left.unlink(missing_ok=True)
    manifests = [path for path in (folder / MANIFEST, *sorted(folder.glob("manifest.*.jsonl"))) if path.exists()]
    names = {_name(i): i for i in range(len(prompts))}
    present = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    strange = [name for name in present if name not in names] if manifests or not alone else present
    if strange:
        raise InputError(f"{folder} already contains other images ({few(strange)}); give another folder")
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


def _captions(folder: Path, paths: Sequence[Path], captions: Path | None) -> tuple[Path, dict[str, dict[str, Any]]]:
    """The source of the captions, and file name -> row with the caption."""
    if captions is not None and not captions.is_file():
        raise InputError(f"captions file {captions} is not there; expected a .csv (file,prompt) or .jsonl file")
    for source in [captions] if captions is not None else [folder / name for name in SOURCES]:
        if source.is_file():
            return source, _table(source)
    texts = {path.name: path.with_suffix(".txt") for path in paths if path.with_suffix(".txt").is_file()}
    return folder / "*.txt", {name: {"prompt": read_text(path, CAPTION_BYTES).strip()} for name, path in texts.items()}


def _table(path: Path) -> dict[str, dict[str, Any]]:
    rows: list[dict[str, Any]]
    if path.suffix.lower() == ".jsonl":
        rows = [row for _, row in read_objects(path)] if path.name != MANIFEST else read_lines(path, None)
        headers = [list(row) for row in rows]
    elif path.suffix.lower() in (".csv", ".tsv", ".txt"):
        rows, headers = _csv_rows(path)
    else:
        raise InputError(f"captions file {path} is of an unknown kind; expected .csv (file,prompt), .tsv, .txt (a table) or .jsonl")
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
    columns, rows = read_table(path, COLUMNS)
    table = []
    for line, cells in rows:
        if len(cells) > len(columns):
            counts = f"{len(cells)} cells for {len(columns)} columns"
            raise InputError(f"{path}, line {line}: has {counts}; put a caption with a separator in double quotes")
        table.append(dict(zip_longest(columns, cells)))
    return table, [columns]


def _match(source: Path, folder: Path, names: Sequence[str], table: Mapping[str, Mapping[str, Any]]) -> None:
    """InputError unless every caption has its image and every image its caption."""
    absent = [name for name in table if name not in set(names)]
    if absent:
        raise InputError(f"{source} names images that are not in {folder}: {few(absent)}; add them or remove their lines")
    bare = [name for name in names if name not in table or not (table[name]["prompt"] or "sha256" in table[name])]
    if bare:
        raise InputError(f"{source} has no caption for {len(bare)} of {len(names)} images: {few(bare)}; add them")


def _read_all(folder: Path, rows: Sequence[tuple[Path, Mapping[str, Any]]], source: Path) -> list[Picture]:
    """The images, all opened; one InputError that names those that cannot be read."""
    pictures, errors = [], {}
    for path, row in rows:
        try:
            pictures.append(_read(path, row, source))
        except InputError as error:
            errors[path.name] = error
    if len(errors) > 1:
        first, number = next(iter(errors.values())), f"{len(errors)} of {len(rows)} images"
        raise InputError(f"{number} of {folder} cannot be read: {few(list(errors))}; the first: {first}") from first
    for only in errors.values():
        raise only
    return pictures


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
