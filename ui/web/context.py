"""What every tab needs: where runs are, what may be read, and the two services that work outside the page's process."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from ui.web.drawing.downloads import Downloads
from ui.web.drawing.queue import Drawing
from ui.web.jobs.queue import Jobs
from ui.web.security.access import Rate, inside, model_source
from ui.web.security.owners import of_others


@dataclass(frozen=True)
class Page:
    """The page as its handlers see it.

    `allowed`: folders, beside `runs`, in which a typed path may lie. `hub`: hub names that strangers may open. `shared`: strangers
    may see the page. `rate`: clicks of one visitor.
    """

    runs: Path
    jobs: Jobs  # the queue of jobs, on disk
    drawing: Drawing  # the process that generates images for Compare
    allowed: tuple[Path, ...] = ()
    hub: tuple[str, ...] = ()
    device: str = "auto"
    shared: bool = False
    closed: tuple[Path, ...] = ()  # runs of other visitors, where the page is as one visitor sees it
    login: bool = False  # whether a name and a password are asked for
    downloads: Downloads = field(default_factory=Downloads)
    rate: Rate = field(default_factory=lambda: Rate(40, 60.0))

    @property
    def roots(self) -> tuple[Path, ...]:
        """Every folder in which a path typed into the page may lie."""
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
