"""The gold standard: a model that was trained without the concept, as `--gold` names it."""

from __future__ import annotations

from pathlib import Path

from erase.errors import InputError


def gold_folder(path: Path) -> Path:
    """The pipeline folder of a gold model: `path` itself, or the one that training left in it. InputError for anything else."""
    from erase.checkpoints.folder import check_model_folder

    if not path.is_dir():
        raise InputError(
            f"--gold {path} does not exist; expected a pipeline folder, or one that a training with `--without` made",
            option="gold",
        )
    folder = path / "pipeline" if (path / "pipeline").is_dir() else path
    check_model_folder(folder)
    return folder
