"""Two folders of the user's images, before and after: pairs of the same prompt and seed, with prompts from their captions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from erase.concepts import Concept, names_of, naming
from erase.errors import InputError
from erase.images import Picture, open_picture, picture_paths, read_images
from eval.samples import NO_SEED, Row


def broken_pairs(before: Path, after: Path, skip: bool) -> tuple[list[int], int]:
    """Indexes of pairs with a broken image, and the number of all pairs.

    InputError for a broken image unless `skip`; for folders of different numbers or sizes of images; and where no pair is left.
    """
    first, second = picture_paths(before), picture_paths(after)
    if len(first) != len(second):
        raise InputError(f"--before has {len(first)} images and --after {len(second)}; expected pairs of the same prompt and seed")
    broken = [i for i, pair in enumerate(zip(first, second, strict=True)) if not _is_whole(*pair, skip)]
    if len(broken) == len(first):
        raise InputError("no pair of images is left to be measured; give folders with whole images")
    return broken, len(first)


def rows_of_captions(before: Path, after: Path, concept: Concept, left_out: Collection[int]) -> list[Row]:
    """One row per pair, from the captions of `before`; InputError where a caption of `after` differs."""
    firsts, seconds = (read_images(folder, default_caption="", leave_out=left_out) for folder in (before, after))
    for first, second in zip(firsts, seconds, strict=True):
        if first.prompt and second.prompt and first.prompt != second.prompt:
            captions = f'{first.path} has the caption "{first.prompt}" and {second.path} "{second.prompt}"'
            raise InputError(f"{captions}; expected pairs of the same prompt and seed, in the order of their names")
    return [_row(concept, image) for image in firsts]


def _is_whole(first: Path, second: Path, skip: bool) -> bool:
    """Whether both images of a pair can be read; InputError for different sizes, and where not `skip` for a broken image."""
    try:
        sizes = [open_picture(path).size for path in (first, second)]
    except InputError as error:
        if skip:
            return False
        raise InputError(f"{error}, or leave it out of both folders with --skip-broken", option="skip_broken") from None
    if sizes[0] != sizes[1]:
        one, two = (f"{width} x {height}" for width, height in sizes)
        raise InputError(f"{first} has {one} pixels and {second} {two}; expected pairs of the same size")
    return True


def _names(text: str, word: str, words: Sequence[str]) -> bool:
    """Whether a text has a word, and not only as a part of a longer one of the words."""
    return naming([word]).search(text) is not None and naming([word], words).search(text) is not None


def _row(concept: Concept, image: Picture) -> Row:
    """A caption that names the concept, or none at all, is a prompt to forget; its attributes are the vocabulary's words in it."""
    text, seed = image.prompt, NO_SEED if image.seed is None else image.seed
    attributes = {slot: word for slot, words in concept.vocabulary.items() for word in words if _names(text, word, words)}
    if named := not text or names_of(concept).search(text) is not None:
        attributes[concept.domain] = concept.words[0]
    return {"text": text, "role": "evaluate" if named else "evaluate-retain", "attributes": attributes, "seed": seed}
