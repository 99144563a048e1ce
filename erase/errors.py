"""The errors that a caller may expect. Every other exception is a fault of this package."""

from __future__ import annotations


class InputError(ValueError):
    """The user's mistake, in one line: what was given, what was expected, what to do. Ends a command with status 2."""


class Diverged(ArithmeticError):
    """A loss or gradient stopped being finite; the network is as it was before that step."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"{what} is not finite at step {step}")
        self.step = step
