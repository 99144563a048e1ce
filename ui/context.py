"""What the tabs share: where runs lie, what may be read, and the two services that do the work outside the page's process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Page:
    """One page. Every tab module has `build(page)`, called inside its gr.Tab; handlers take what they need of it.

    `allowed`: folders that a typed path may lie in, beside `runs`. `shared`: others than the owner may see the page.
    """

    runs: Path
    allowed: tuple[Path, ...] = ()
    device: str = "auto"
    jobs: Any = None  # ui.jobs: the queue of erasing, on disk
    drawing: Any = None  # ui.drawing: the worker that draws for Compare
    shared: bool = False

    @property
    def roots(self) -> tuple[Path, ...]:
        """Every folder that a path typed into the page may lie in."""
        return tuple(folder.resolve() for folder in (self.runs, *self.allowed))
