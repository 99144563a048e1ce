"""Finished comparisons and other files for download, by a key that only their visitor has, within a memory limit: the oldest go first.

None of them is on disk, and nobody can fetch one without its key.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from erase.errors import InputError
from ui.web.drawing.archive import archive, sheet_png
from ui.web.drawing.images import png
from ui.web.drawing.order import DrawnImage, Order

LIMIT = 256 * 2**20  # bytes
IMAGE = re.compile(r"(\d+)-(\d+)-(\d+)\.png")  # prompt, model, index


@dataclass(frozen=True)
class Comparison:
    """An order and its images."""

    order: Order
    images: tuple[DrawnImage, ...]
    facts: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)  # of each model, as a Ticket has them

    @property
    def size(self) -> int:
        """Bytes of its images."""
        return sum(len(image.png) for image in self.images)

    def file(self, name: str, show: bool) -> bytes | None:
        """pictures.zip, comparison.png, or one image as PROMPT-MODEL-INDEX.png, with boxes; nudity is blurred unless `show`."""
        if match := IMAGE.fullmatch(name):
            place = tuple(map(int, match.groups()))
            return next((png(image, show, boxes=True) for image in self.images if image.place == place), None)
        if name == "pictures.zip":
            return archive(self.order, self.images, show)
        return sheet_png(self.order, self.images, show) if name == "comparison.png" else None


@dataclass(frozen=True)
class Document:
    """A small file that was made for one visitor."""

    name: str
    data: bytes = field(repr=False)

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.data)

    def file(self, name: str, show: bool) -> bytes | None:
        """The file, by its name only."""
        return self.data if name == self.name else None


class Downloads:
    """Thread-safe. `put` returns a key that nobody can guess; an unknown one is an InputError for `comparison`, None for `file`."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._items: OrderedDict[str, Comparison | Document] = OrderedDict()

    def put(self, item: Comparison | Document, instead_of: str = "") -> str:
        """Store it; `instead_of`, the key of the visitor's last one, is dropped."""
        key = secrets.token_urlsafe(32)
        with self._lock:
            self._items.pop(instead_of, None)
            self._items[key] = item
            while len(self._items) > 1 and sum(other.size for other in self._items.values()) > self.limit:
                self._items.popitem(last=False)
        return key

    def comparison(self, key: str) -> Comparison:
        """The comparison with this key."""
        with self._lock:
            item = self._items.get(key)
        if not isinstance(item, Comparison):
            raise InputError("these images are no longer stored; click Draw again" if key else "nothing is drawn yet; click Draw")
        return item

    def file(self, key: str, name: str, show: bool = False) -> bytes | None:
        """A file of the item with this key."""
        with self._lock:
            item = self._items.get(key)
        return item.file(name, show) if item else None

    def __len__(self) -> int:
        return len(self._items)


def links(key: str, names: Sequence[tuple[str, str]], show: bool = False) -> str:
    """Links to files of a key, (name, label) each, as HTML."""
    query = "?show=1" if show else ""
    return " ".join(f'<a class="file" href="keep/{key}/{name}{query}" download="{name}">{label}</a>' for name, label in names)
