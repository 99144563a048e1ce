"""Changes to a copy of a model folder, as folders in the wild have them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

UNET, VAE = "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"
TEXT, TEXT_2 = "text_encoder/model.safetensors", "text_encoder_2/model.safetensors"
Change = Callable[[Path], None]
State = dict[str, Tensor]


def copied(source: Path, target: Path, *changes: Change) -> Path:
    """A copy of a folder with these changes. Weights are links to the source's until they are changed: they are most of the bytes."""

    def copy(path: str, new: str) -> object:
        return os.link(os.path.realpath(path), new) if path.endswith(".safetensors") else shutil.copy2(path, new)

    folder = Path(shutil.copytree(source, target, copy_function=copy))
    for change in changes:
        change(folder)
    return folder


def settings(name: str, **values: Any) -> Change:
    """Set keys of a JSON file; the value `...` removes one."""

    def change(folder: Path) -> None:
        path = folder / name
        content = {**(json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}), **values}
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}), encoding="utf-8")

    return change


def weights(name: str, change_state: Callable[[State], State]) -> Change:
    """Other tensors in a weight file."""

    def change(folder: Path) -> None:
        state = {key: value.clone() for key, value in load_file(folder / name).items()}
        changed = {key: value.contiguous() for key, value in change_state(state).items()}
        (folder / name).unlink()
        save_file(changed, folder / name, {"format": "pt"})

    return change


def file(name: str, content: bytes = b"") -> Change:
    """A file of this content."""

    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(content)

    return change


def gone(name: str) -> Change:
    """A file that is a link to nothing, as in a cache of the hub that was cleaned."""

    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to("../../blobs/gone")

    return change
