"""Weights are what was published, or are refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from erase.errors import InputError
from erase.files import sha256, write_tensors
from eval.vision.weights import read_weights


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that carries the start of its hash in its name, as published ones do, and an empty torch.hub."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    path = tmp_path / "any.pth"
    torch.save({"weight": torch.arange(6.0)}, path)
    return path.rename(tmp_path / f"net-2015-{sha256(path)[:8]}.pth")


# --- weights --------------------------------------------------------------------------------------------------------


def test_published_weights_are_fetched_once_and_kept_where_torch_keeps_them(published: Path, tmp_path: Path) -> None:
    digest = sha256(published)
    first = read_weights(published.as_uri(), None, "--net FILE")
    assert first.tensors["weight"].tolist() == [0, 1, 2, 3, 4, 5]
    assert (first.sha256, first.published) == (digest, True)
    assert sha256(tmp_path / "torch" / "hub" / "checkpoints" / published.name) == digest
    url = published.as_uri()
    published.unlink()
    assert read_weights(url, None, "--net FILE").sha256 == digest


def test_a_file_of_the_user_s_is_read_in_either_form(published: Path, tmp_path: Path) -> None:
    (safe := tmp_path / "mine.safetensors").touch()
    write_tensors(safe, {"weight": torch.arange(6.0)})
    url = f"file:///nowhere/{published.name}"
    one, two = (read_weights(url, path, "--net FILE") for path in (published, safe))
    assert torch.equal(one.tensors["weight"], two.tensors["weight"])
    assert (one.published, two.published) == (True, False)
    assert two.sha256 == sha256(safe)


def test_without_network_one_line_says_which_file_where_and_by_which_option(published: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_weights("file:///nowhere/net-12345678.pth", None, "--net FILE")
    wanted = [str(tmp_path / "torch" / "hub" / "checkpoints" / "net-12345678.pth"), "cannot be downloaded", "No such file", "--net FILE"]
    assert all(word in str(caught.value) for word in wanted), caught.value
    assert "\n" not in str(caught.value)


def test_a_fetched_file_with_another_hash_is_not_kept(published: Path, tmp_path: Path) -> None:
    wrong = published.rename(tmp_path / "net-00000000.pth")
    with pytest.raises(InputError, match=r"cannot be downloaded .*invalid hash value"):
        read_weights(wrong.as_uri(), None, "--net FILE")
    assert list((tmp_path / "torch" / "hub" / "checkpoints").iterdir()) == []


class Trap:
    """A pickle that writes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_a_pickle_that_is_not_the_published_one_is_not_opened(published: Path, tmp_path: Path) -> None:
    trap = tmp_path / published.name.replace("net", "trap")
    trap.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(InputError, match=r"trap.* is not the published net-2015-.*\(its hash differs\).*\.safetensors file as --net FILE"):
        read_weights(published.as_uri(), trap, "--net FILE")
    kept = tmp_path / "torch" / "hub" / "checkpoints" / published.name
    kept.parent.mkdir(parents=True)
    trap.rename(kept)
    with pytest.raises(InputError, match="is not the published"):
        read_weights(published.as_uri(), None, "--net FILE")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("half.safetensors", b"half a file", "is not a safetensors file"),
        ("absent.safetensors", None, "is not a file; --net FILE expects net-1"),
    ],
)
def test_a_broken_or_missing_file_is_told_in_one_line(name: str, content: bytes | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_weights("file:///nowhere/net-12345678.pth", tmp_path / name, "--net FILE")
