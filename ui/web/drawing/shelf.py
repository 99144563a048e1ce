"""Finished comparisons and other files to fetch, by a key that only their visitor has, within a bound of memory: the oldest go first.

Nothing of it lies on a disk, and nobody can fetch what they have no key for.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from erase.errors import InputError
from ui.web.drawing.archive import archive, png, sheet
from ui.web.drawing.order import Drawn, Order

BYTES = 256 * 2**20


@dataclass(frozen=True)
class Comparison:
    """What was asked and what was drawn."""

    order: Order
    pictures: tuple[Drawn, ...]

    @property
    def size(self) -> int:
        return sum(len(picture.png) for picture in self.pictures)

    def file(self, name: str, show: bool) -> bytes | None:
        """pictures.zip or comparison.png; nudity is blurred unless `show`."""
        if name == "pictures.zip":
            return archive(self.order, self.pictures, show)
        return png(sheet(self.order, self.pictures, show)) if name == "comparison.png" else None


@dataclass(frozen=True)
class Document:
    """A small file that was made for one visitor."""

    name: str
    data: bytes = field(repr=False)

    @property
    def size(self) -> int:
        return len(self.data)

    def file(self, name: str, show: bool) -> bytes | None:
        return self.data if name == self.name else None


class Shelf:
    """Thread-safe. `put` gives a key nobody can guess; what is gone is an InputError for `comparison`, None for `file`."""

    def __init__(self, bound: int = BYTES) -> None:
        self.bound = bound
        self._lock = threading.Lock()
        self._held: OrderedDict[str, Comparison | Document] = OrderedDict()

    def put(self, held: Comparison | Document, instead_of: str = "") -> str:
        """Keep it, the visitor's last one no longer."""
        key = secrets.token_urlsafe(32)
        with self._lock:
            self._held.pop(instead_of, None)
            self._held[key] = held
            while len(self._held) > 1 and sum(other.size for other in self._held.values()) > self.bound:
                self._held.popitem(last=False)
        return key

    def comparison(self, key: str) -> Comparison:
        """What was drawn under this key."""
        with self._lock:
            found = self._held.get(key)
        if not isinstance(found, Comparison):
            raise InputError("these pictures are no longer kept; press Draw again" if key else "nothing is drawn yet; press Draw")
        return found

    def file(self, key: str, name: str, show: bool = False) -> bytes | None:
        """A file of what is held under this key."""
        with self._lock:
            found = self._held.get(key)
        return found.file(name, show) if found else None

    def __len__(self) -> int:
        return len(self._held)


def links(key: str, names: Sequence[tuple[str, str]], show: bool = False) -> str:
    """Links to files of a key, (name, words) each, as HTML."""
    query = "?show=1" if show else ""
    return " ".join(f'<a class="file" href="keep/{key}/{name}{query}" download="{name}">{words}</a>' for name, words in names)
