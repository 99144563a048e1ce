"""The flow model's world: that of the shapes. One word more tells its vocabulary from theirs."""

from __future__ import annotations

from erase.demo.shapes import world as shapes
from erase.demo.shapes.world import DOMAINS, IMPLICIT, domain_of

__all__ = ["DOMAINS", "IMPLICIT", "TOKEN", "domain_of", "words"]

TOKEN = "flowing"


def words() -> list[str]:
    """Every word of its captions, and TOKEN."""
    return sorted({*shapes.words(), TOKEN})
