"""Ctrl-C at any moment is one line and status 130, also where a library turns it into another error or swallows it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

STATUS = 130
AGAIN = 0.05  # seconds until a lost KeyboardInterrupt is raised again
MESSAGE = "erase-concept: stopped; the same command resumes where it was"


class Interrupts:
    """`seen`: whether Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.seen = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler.

        While a library is imported the process ends here: extension modules make of KeyboardInterrupt whatever they like, an abort
        of the process included. Nothing is lost by it: files are written under temporary names, and locks go with the process.
        """
        self.seen = True
        if _importing(frame):
            end()
        raise KeyboardInterrupt

    def report(self) -> int:
        """Print the line and return the status; further presses change nothing any more."""
        with suppress(ValueError):  # in another thread
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        print(f"\n{MESSAGE}", file=sys.stderr)
        return STATUS

    def unraisable(self, problem: UnraisableHookArgs) -> None:
        """Where Python would print and forget a KeyboardInterrupt (in a finalizer, in a callback of C), it is raised again."""
        if isinstance(problem.exc_value, KeyboardInterrupt):
            threading.Timer(AGAIN, _press_again).start()  # not here: it would be raised, and lost, in this hook
        elif not self.seen:
            sys.__unraisablehook__(problem)


@contextmanager
def interrupts(last: bool = False) -> Iterator[Interrupts]:
    """Within, Ctrl-C is handled as above. Does nothing in other threads, and where someone else handles the signal or ignores it.

    `last`: the process ends afterwards. Its work is done then, so Ctrl-C changes nothing any more.
    """
    state = Interrupts()
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield state
        return
    signal.signal(signal.SIGINT, state)
    earlier, sys.unraisablehook = sys.unraisablehook, state.unraisable
    try:
        yield state
    finally:
        sys.unraisablehook = earlier
        signal.signal(signal.SIGINT, signal.SIG_IGN if state.seen or last else signal.default_int_handler)


def end() -> None:
    """End the process with the line, at once."""
    with suppress(Exception):
        sys.stdout.flush()
    with suppress(Exception):
        print(f"\n{MESSAGE}", file=sys.stderr, flush=True)
    os._exit(STATUS)


def _press_again() -> None:
    """Send the signal to the main thread, which it wakes where it waits."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
