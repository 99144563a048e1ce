"""Image sets that runs share: named by what they are of, linked, and mended where a link is broken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from erase.files import sha256
from erase.images import make_images, read_images
from erase.pipeline.shared_images import link_images, set_name

WITH = {"weights": {"unet": "ab"}, "sampling": {"steps": 2}}


def sample(prompts: list[str], generators: list[torch.Generator]) -> list[Image.Image]:
    return [
        Image.new("RGB", (8, 8), (int(torch.randint(256, (1,), generator=g)), len(p), 0)) for p, g in zip(prompts, generators, strict=True)
    ]


@pytest.fixture
def pooled(tmp_path: Path) -> Path:
    make_images(tmp_path / "pool", ["a star", "a ring", "a cross"], 0, sample, 2)
    return tmp_path / "pool"


def test_a_set_has_one_name_and_every_difference_another() -> None:
    names = [
        set_name(WITH, ["a", "b"], 0),
        set_name({**WITH, "sampling": {"steps": 3}}, ["a", "b"], 0),
        set_name(WITH, ["b", "a"], 0),
        set_name(WITH, ["a", "b"], 1),
        set_name(WITH, ["a", "b"], [0, 1]),
        set_name(WITH, ["a"], 0),
    ]
    assert len(set(names)) == len(names)
    assert set_name(dict(reversed(WITH.items())), ["a", "b"], [0, 0]) == names[0]


def test_a_linked_set_is_the_same_files(pooled: Path, tmp_path: Path) -> None:
    link_images(pooled, tmp_path / "run")
    assert [p.record() for p in read_images(tmp_path / "run")] == [p.record() for p in read_images(pooled)]
    assert [p.path.stat().st_ino for p in read_images(tmp_path / "run")] == [p.path.stat().st_ino for p in read_images(pooled)]
    link_images(pooled, tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(path.name for path in pooled.iterdir())


def test_where_links_cannot_be_there_are_copies(pooled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(source: Path, target: Path) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", forbidden)
    link_images(pooled, tmp_path / "run")
    assert [p.sha256 for p in read_images(tmp_path / "run")] == [p.sha256 for p in read_images(pooled)]


def test_a_broken_picture_is_replaced_and_the_pool_is_not_touched(pooled: Path, tmp_path: Path) -> None:
    link_images(pooled, tmp_path / "run")
    broken = tmp_path / "run" / "00001.png"
    digest = sha256(broken)
    broken.unlink()
    broken.write_bytes(b"torn")
    link_images(pooled, tmp_path / "run")
    assert sha256(broken) == sha256(pooled / "00001.png") == digest
