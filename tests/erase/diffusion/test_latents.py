"""The cache gives back exactly what was embedded and encoded, every text once, and refuses what is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from erase.diffusion import StableDiffusion
from erase.diffusion.latents import ImageLatents, LatentCache, Latents, hold_out, read_latents
from erase.errors import InputError
from erase.images import Picture, load_pixels, read_images

SIZE = 64
FORGET = ["a star", "a red star", "a star"]
ANCHORS = [["a cross"], ["a red cross", "a red ring", "a red heart"], ["a cross", "a ring"]]
RETAIN = ["a ring", "a blue ring"]


def pictures(folder: Path, prompts: list[str]) -> list[Picture]:
    """Pictures of noise with these captions."""
    folder.mkdir()
    rng = np.random.default_rng(len(prompts))
    for i, prompt in enumerate(prompts):
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(prompt)
    return read_images(folder)


def letters(prompts: list[str]) -> Tensor:
    """An embedding that can be read back: (n, 2, 16), the codes of the first letters."""
    return torch.tensor([[[float(ord(c)) for c in f"{p:16.16}"]] * 2 for p in prompts])


def corners(pixels: Tensor, first: int) -> Tensor:
    """A "latent" that can be checked: the upper left corner, and the number that the picture was given."""
    number = torch.arange(first, first + len(pixels)).float().reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return torch.cat([pixels[:, :, :2, :2], number], 1)


@pytest.fixture
def sets(tmp_path: Path) -> tuple[list[Picture], list[Picture]]:
    return pictures(tmp_path / "forget", FORGET), pictures(tmp_path / "retain", RETAIN)


@dataclass
class Letters:
    """A model whose embeddings and latents can be checked."""

    embed: Callable[[list[str]], Tensor] = letters
    encode: Callable[[Tensor, int], Tensor] = corners
    size: int = SIZE

    def pool(self, prompts: list[str]) -> None:
        return None

    def time_ids(self) -> None:
        return None


def cached(path: Path, sets: tuple[list[Picture], list[Picture]], anchors=ANCHORS, model=None, **options) -> Latents:
    cache = LatentCache(model or Letters(), **options)
    cache.add_set("forget", sets[0])
    cache.add_set("retain", sets[1])
    cache.add_anchors(anchors)
    cache.write(path)
    return read_latents(path)


def said(latents: Latents, rows: Tensor) -> list[str]:
    """The texts of rows."""
    return ["".join(chr(int(code)) for code in latents.text[row][0]).rstrip() for row in rows.tolist()]


def test_what_was_written_is_read_back_bit_for_bit(tmp_path: Path, sets, tiny_pipeline: Path) -> None:
    model = StableDiffusion(tiny_pipeline)
    found = cached(tmp_path / "cache.safetensors", sets, model=model, batch=2)
    for part, images in zip((found.forget, found.retain), sets, strict=True):
        chunks = [model.encode(load_pixels([p.path for p in images[i : i + 2]], SIZE), i) for i in range(0, len(images), 2)]
        assert torch.equal(part.latents, torch.cat(chunks))
        torch.testing.assert_close(found.text[part.text], model.embed([p.prompt for p in images]))
    torch.testing.assert_close(found.text[0], model.embed([""])[0])


def test_row_0_is_the_empty_prompt_and_texts_are_those_of_the_pictures(tmp_path: Path, sets) -> None:
    found = cached(tmp_path / "cache.safetensors", sets)
    assert said(found, torch.tensor([0])) == [""]
    assert said(found, found.forget.text) == FORGET
    assert said(found, found.retain.text) == RETAIN


def test_equal_prompts_share_a_row_and_every_text_is_embedded_once(tmp_path: Path, sets) -> None:
    asked: list[str] = []

    def embed(prompts: list[str]) -> Tensor:
        asked.extend(prompts)
        return letters(prompts)

    found = cached(tmp_path / "cache.safetensors", sets, model=Letters(embed))
    assert found.forget.text[0] == found.forget.text[2] != found.forget.text[1]
    assert sorted(asked) == sorted({"", *FORGET, *RETAIN, *(text for texts in ANCHORS for text in texts)})
    assert len(found.text) == len(asked)


def test_shorter_lists_of_anchors_come_round_again(tmp_path: Path, sets) -> None:
    found = cached(tmp_path / "cache.safetensors", sets)
    assert [said(found, row) for row in found.forget.anchors] == [
        ["a cross", "a cross", "a cross"],
        ["a red cross", "a red ring", "a red heart"],
        ["a cross", "a ring", "a cross"],
    ]
    assert found.retain.anchors.shape == (2, 0)


def test_there_may_be_no_anchors_at_all(tmp_path: Path, sets) -> None:
    assert cached(tmp_path / "cache.safetensors", sets, anchors=[[], [], []]).forget.anchors.shape == (3, 0)


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_batch_size_changes_no_picture_nor_its_number_and_progress_is_complete(tmp_path: Path, sets, batch: int) -> None:
    told: list[tuple[int, int]] = []
    found = cached(tmp_path / "cache.safetensors", sets, batch=batch, progress=lambda *numbers: told.append(numbers))
    for part, images in zip((found.forget, found.retain), sets, strict=True):
        assert torch.equal(part.latents, corners(load_pixels([p.path for p in images], SIZE), 0))
    assert told[-1] == (5, 5)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_latent_is_drawn_by_the_number_of_its_picture_not_by_its_place_in_a_batch(tiny_pipeline: Path, sets) -> None:
    model = StableDiffusion(tiny_pipeline)
    pixels = load_pixels([p.path for p in sets[0]], SIZE)
    together = model.encode(pixels, 5)
    alone = torch.cat([model.encode(pixels[i : i + 1], 5 + i) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together, model.encode(pixels, 6), atol=1e-3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("part", "named"), [("encode", "forget/latents"), ("embed", "text")])
def test_values_that_are_not_finite_are_refused_with_a_remedy_and_nothing_is_written(
    tmp_path: Path, sets, part: str, named: str, bad: float
) -> None:
    spoilt = {
        "encode": lambda pixels, first: corners(pixels, first).index_fill(0, torch.tensor([0]), bad),
        "embed": lambda prompts: letters(prompts).index_fill(0, torch.tensor([0]), bad),
    }
    with pytest.raises(InputError, match=f"{named} .* not finite .* give --dtype float32"):
        cached(tmp_path / "cache.safetensors", sets, model=Letters(**{part: spoilt[part]}))
    assert not list(tmp_path.glob("*cache*"))


def test_a_truncated_file_is_named_with_a_remedy(tmp_path: Path, sets) -> None:
    path = tmp_path / "cache.safetensors"
    cached(path, sets)
    whole = path.read_bytes()
    for size in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"cache\.safetensors cannot be read .* delete it"):
            read_latents(path)
    path.unlink()
    with pytest.raises(InputError, match=r"cache\.safetensors cannot be read"):
        read_latents(path)


# --- held out -------------------------------------------------------------------------------------------------------


def numbered_latents(forget: int, retain: int, instead: bool = True) -> Latents:
    """Picture i is full of i, and its text is i."""

    def images(n: int, wide: int, there: bool) -> ImageLatents:
        latents = torch.arange(n).float().reshape(n, 1, 1, 1).expand(n, 4, 2, 2)
        return ImageLatents(latents, torch.arange(n), torch.arange(n * wide).reshape(n, wide), latents + 0.5 if there else None)

    return Latents(images(forget, 2, instead), images(retain, 0, False), torch.zeros(9, 3, 2))


def test_the_last_eighth_is_held_out_of_both_sets_with_all_that_belongs_to_it() -> None:
    whole = numbered_latents(16, 25)
    train, held = hold_out(whole)
    assert (train.forget.text.tolist(), held.forget.text.tolist()) == (list(range(14)), [14, 15])
    assert (train.retain.text.tolist(), held.retain.text.tolist()) == (list(range(22)), [22, 23, 24])
    assert held.forget.anchors.tolist() == [[28, 29], [30, 31]]
    assert held.forget.anchor_latents is not None
    assert held.forget.anchor_latents[:, 0, 0, 0].tolist() == [14.5, 15.5]
    assert held.retain.anchor_latents is None
    assert train.text is held.text is whole.text


def test_at_least_one_picture_is_held_out_and_one_is_left() -> None:
    train, held = hold_out(numbered_latents(2, 3, instead=False))
    assert [len(part.text) for part in (train.forget, held.forget, train.retain, held.retain)] == [1, 1, 2, 1]
    with pytest.raises(InputError, match="no retain images can be held out for --guard and --gone, because there is only 1; give more"):
        hold_out(numbered_latents(8, 1))
