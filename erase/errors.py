"""The errors that a caller may expect. Every other exception is a fault of this package."""

from __future__ import annotations


class InputError(ValueError):
    """The user's mistake, in one line: what was given, what was expected, what to do. Ends a command with status 2.

    `option` is the field of an options dataclass that the mistake lies in (`learning_rate`, not `--learning-rate`), for a page
    that puts the message beside its control. `code` names the mistake for callers that act on it; nobody parses the message.
    """

    def __init__(self, message: str, *, option: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.option = option
        self.code = code


def first_line(error: Exception) -> str:
    """The first line of an error's message, at most 200 characters."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


class EmptyScope(InputError):
    """A scope that matches no weight of the network."""


class Diverged(ArithmeticError):
    """A loss or gradient stopped being finite; the network is as it was before that step."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"{what} is not finite at step {step}")
        self.step = step
