"""Weights of networks like those of torchvision: files published under a part of their hash.

Weights are read from where torch.hub keeps them and downloaded to there; a pickle is opened only if it is the published file.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor

from erase.checkpoints.safetensors_header import load_tensors
from erase.errors import InputError
from erase.files import sha256
from erase.torchvision_compat import REMEDY, torchvision

__all__ = ["REMEDY", "Weights", "read_weights", "torchvision"]


@dataclass(frozen=True)
class Weights:
    """The tensors of a file, its hash, and whether it is the published file."""

    tensors: dict[str, Tensor]
    sha256: str
    published: bool


def read_weights(url: str, path: Path | None, option: str) -> Weights:
    """The weights published at `url` (its file name ends in -HASH.pth): `path`, else torch.hub's copy, else downloaded.

    `path` may be that file or any .safetensors file. `option` is what a message calls it, e.g. "--inception FILE".
    InputError where there are none, or a .pth is not the published file.
    """
    name = url.rsplit("/", 1)[-1]
    path = path or _copy(url, name, option)
    if not path.is_file():
        raise InputError(f"{path} is not a file; {option} expects {name} as published, or the same weights as .safetensors")
    digest = sha256(path)
    published = digest.startswith(_prefix(name))
    if path.suffix == ".safetensors":
        return Weights(_safe(path), digest, published)
    if not published:
        raise InputError(
            f"{path} is not the published {name} (its hash differs); put that one there, or give a .safetensors file as {option}"
        )
    tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return Weights(tensors, digest, published)


def _copy(url: str, name: str, option: str) -> Path:
    """The path where torch.hub keeps such files; downloaded if missing, and checked against the hash in its name."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=_prefix(name), progress=sys.stderr.isatty())
    except (OSError, RuntimeError, HTTPException) as error:  # no network, no space, an incomplete or a wrong file
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path} is missing and cannot be downloaded ({reason}); put {name} there, or give it with {option}") from error
    return path


def _prefix(name: str) -> str:
    """The start of its SHA-256 in the name of a published file."""
    return name.removesuffix(".pth").rsplit("-", 1)[-1]


def _safe(path: Path) -> dict[str, Tensor]:
    return load_tensors(path)
