"""The processes that run the `erase-concept` command for the page, and how they are started.

`job` is a job of the queue. The page holds the other end of standard input: it closes it to stop the job, and the operating system
does so when the page dies. So no job outlives its page unnoticed, and a stopped run can be resumed. `short` is a command that
the page waits for. Both write an InputError to a file, so that the page need not parse what was printed.
"""

from __future__ import annotations

import _thread
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from erase.errors import InputError

NICE = 5  # the page and the images it generates come first
# Python puts the working directory first on sys.path. A folder with an `eval` or `ui` of its own must not shadow these packages.
START = "import sys; sys.path[:] = [path for path in sys.path if path]; from {module} import {function}; {function}()"


def python(module: str, function: str, *arguments: str) -> list[str]:
    """The command line that calls a function of these packages in a new process, whatever the working directory holds."""
    return [sys.executable, "-c", START.format(module=module, function=function), *arguments]


def job() -> None:
    """Run a job; arguments: the file for an InputError, then those of the command. The exit status is the command's."""
    if hasattr(os, "nice"):
        os.nice(NICE)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a page that a script has started in the background ignores it
    threading.Thread(target=_watch, daemon=True).start()
    short()


def short() -> None:
    """Run a command; arguments as for `job`."""
    from ui.cli.main import collect_rarely, main

    collect_rarely()
    _, error_file, *arguments = sys.argv
    sys.argv = ["erase-concept", *arguments]
    sys.exit(main(arguments, lambda error: write_error(Path(error_file), error)))


def write_error(path: Path, error: InputError) -> None:
    """An InputError as JSON."""
    path.write_text(json.dumps({"message": str(error), "option": error.option, "code": error.code}), encoding="utf-8")


def read_error(path: Path) -> InputError | None:
    """The InputError that ended a command; None where it ended otherwise."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return InputError(record["message"], option=record["option"], code=record["code"])


def command_line(error_file: Path, arguments: Sequence[str], *, stoppable: bool) -> list[str]:
    """The command line of a job (`stoppable`) or of a short command."""
    return python("ui.web.jobs.child", "job" if stoppable else "short", str(error_file), *arguments)


def _watch() -> None:
    """Wait for the end of standard input. os.read: a buffered reader would hold a lock that Python needs when it exits."""
    while os.read(0, 64):
        pass
    if os.name == "posix":
        os.kill(os.getpid(), signal.SIGINT)
    else:
        _thread.interrupt_main()
