"""The options of an attack on a run. Imports no torch: flags and forms are made from them."""

from __future__ import annotations

from dataclasses import dataclass

from erase.options import check, option


@dataclass(frozen=True)
class Campaign:
    """The options of a campaign that all attacks share."""

    seed: int = option(0, "seed of searches and noise", low=0)
    attempts: int = option(64, "maximum number of attempts of each attack", low=1)
    at_once: int = option(8, "attempts per turn, in one batch", low=1, high=99)
    overwrite: bool = option(False, "forget all attacks on this run and start again")

    def __post_init__(self) -> None:
        check(self)
