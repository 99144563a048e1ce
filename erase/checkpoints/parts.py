"""Which parts of a pipeline folder a run changed, and the names that their files have for the weights.

Weights of the UNet or transformer have their own names; those of a text encoder have the part before them: `text_encoder_2.encoder...`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from erase.checkpoints.folder import components, edited_part, weight_files
from erase.checkpoints.safetensors_header import header

PREFIX = "text_model."  # before the names of a text encoder in files, and in some versions of transformers in memory


def text_parts(folder: Path) -> list[str]:
    """The text encoders of CLIP in a pipeline folder."""
    listed = [name for name in components(folder) if name.startswith("text_encoder")]
    return [name for name in listed if (folder / name / "config.json").is_file() and "max_position_embeddings" in _config(folder, name)]


def _config(folder: Path, name: str) -> dict[str, object]:
    from erase.checkpoints.folder import config_of

    return config_of(folder, name, "config.json")


def by_part(folder: Path, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Part -> name of a weight in its files -> the name given, for weights of a run on this folder."""
    parts: dict[str, dict[str, str]] = {}
    for name in names:
        part, _, rest = name.partition(".")
        if part.startswith("text_encoder"):
            parts.setdefault(part, {})[stored_name(folder, part, rest)] = name
        else:
            parts.setdefault(edited_part(folder).name, {})[name] = name
    return parts


def stored_name(folder: Path, part: str, name: str) -> str:
    """The name that the files of a text encoder have for a weight."""
    stored = {entry for path in weight_files(folder / part).values() if path.suffix == ".safetensors" for entry in header(path)[0]}
    plain = name.removeprefix(PREFIX)
    return next((entry for entry in (name, plain, PREFIX + plain) if entry in stored), name)
