"""What the tabs share: where runs lie, what may be read, and the two services that do the work outside the page's process."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ui.web.drawing.queue import Drawing
from ui.web.drawing.shelf import Shelf
from ui.web.jobs.queue import Jobs
from ui.web.security.access import Rate, inside, model_source
from ui.web.security.owners import of_others


@dataclass(frozen=True)
class Page:
    """One page. Every tab module has `build(page)`, called inside its gr.Tab; handlers take what they need of it.

    A tab puts into `links` what others may set or start, by name: "tabs" (the gr.Tabs, selected by "compare", "erase", "evidence" or
    "inside"), "tab.NAME" (each gr.Tab), "compare.run" and "evidence.run" (dropdowns of run names), "compare.draw" (what an event
    takes to draw what Compare asks for at that moment).
    `connect(page)`, where a tab module has it, is called when all are built, so that its events can name them.

    `allowed`: folders that a typed path may lie in beside `runs`. `hub`: hub names that strangers may open. `shared`: strangers
    may see the page. `rate`: presses of one visitor.
    """

    runs: Path
    jobs: Jobs  # the queue of erasing, on disk
    drawing: Drawing  # the worker that draws for Compare
    allowed: tuple[Path, ...] = ()
    hub: tuple[str, ...] = ()
    device: str = "auto"
    shared: bool = False
    closed: tuple[Path, ...] = ()  # runs of other visitors, where the page is as one of them sees it
    shelf: Shelf = field(default_factory=Shelf)
    rate: Rate = field(default_factory=lambda: Rate(40, 60.0))
    links: dict[str, Any] = field(default_factory=dict)

    @property
    def roots(self) -> tuple[Path, ...]:
        """Every folder that a path typed into the page may lie in."""
        return tuple(folder.resolve() for folder in (self.runs, *self.allowed))

    def inside(self, text: str) -> Path:
        """A path that a visitor has typed; InputError for one that may not be opened."""
        return inside(text, self.roots, self.closed)

    def model(self, text: str) -> str:
        """A model that a visitor has typed; InputError for one that may not be opened."""
        return model_source(text, self.roots, self.hub, self.shared, self.closed)

    def seen_by(self, visitor: str) -> Page:
        """The page as this visitor sees it: without the runs that others have started."""
        if not self.shared:
            return self
        return replace(self, closed=tuple(self.runs.resolve() / name for name in of_others(self.jobs.home, visitor)))
