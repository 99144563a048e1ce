"""Standard streams that always work: where there are none, and where their encoding lacks a character that is printed.

A service or pythonw has no standard error. The first file that a process opens would then get its number, and what a library prints
to the standard error would be written into that file.
"""

from __future__ import annotations

import codecs
import os
import sys

ESCAPES = "erase-concept"


def prepare_streams() -> None:
    """Open the missing ones on nothing; characters that an encoding lacks are printed as \\uXXXX, which JSON reads, too."""
    _occupy()
    codecs.register_error(ESCAPES, _escaped)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ESCAPES)


def _occupy() -> None:
    """Open descriptors 0 to 2 where they are closed."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)), error.end
