"""Where the networks of a finished run look: the Grad-CAM sheet of its first seed, with rows by choice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from erase.errors import InputError
from eval.classifiers.gradcam import COLUMNS_PER_SET, Column, sheet
from eval.classifiers.options import Classify
from eval.classifiers.run import networks


def attention_sheet(job: Classify, titles: Mapping[str, str], path: Path) -> list[Path]:
    """Write the sheet: the first samples of the forget and the retain set, and a row for each label, under its title.

    Returns the path; nothing where no network has a convolution. A label without a saved network (it diverged) has no row.
    """
    case, by_label = networks(job, list(titles), job.first_seed)
    columns = [
        Column(name, int(row)) for name, rows in (("forget", case.forget), ("retain", case.retain)) for row in rows[:COLUMNS_PER_SET]
    ]
    try:
        sheet(path, {titles[label]: network for label, network in by_label.items()}, case.training, columns)
    except InputError:
        return []
    return [path]
