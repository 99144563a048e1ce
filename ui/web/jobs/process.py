"""The `erase-concept` command in a process of its own: started, interrupted, and how it ended."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from erase.errors import InputError
from ui.web.jobs.child import command_line, read_error
from ui.web.surroundings import hidden_proxies

GRACE = 60.0  # seconds that a job has to stop by itself
SHORT = threading.BoundedSemaphore(2)  # short commands that run at once; others wait
PASSIVE = {"OMP_WAIT_POLICY": "passive"}  # threads that spin would slow down the process that generates images for visitors
PACKAGES = Path(__file__).resolve().parents[3]

Process = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status, what it printed, its last line on the error stream, and the InputError that ended it."""

    status: int
    printed: str = ""
    message: str = ""
    error: InputError | None = None

    def check(self) -> Ended:
        """Itself; InputError where the command failed."""
        if self.status:
            raise self.error or InputError(self.message)
        return self


def start(arguments: Sequence[str], log: IO[bytes], error_file: Path) -> Process:
    """A job, which prints to `log`. In a session of its own: a Ctrl-C in the page's terminal is for the page."""
    error_file.unlink(missing_ok=True)
    return subprocess.Popen(
        command_line(error_file, arguments, stoppable=True),
        env={**PASSIVE, **environment(), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def ended(status: int, text: str, error_file: Path) -> Ended:
    """How a job ended, from its log and its error file."""
    error = read_error(error_file)
    return Ended(status, message=str(error) if error else last_line(text, status), error=error)


def interrupt(process: Process | None) -> None:
    """Stop a job as by Ctrl-C; what does not end in time is killed, which a run survives too. Returns at once."""
    if process is None or process.stdin is None or process.stdin.closed:
        return
    process.stdin.close()
    timer = threading.Timer(GRACE, process.kill)
    timer.daemon = True
    timer.start()


def command(arguments: Sequence[str], seconds: float, folder: Path | None = None) -> Ended:
    """Run a short command to its end, in `folder`, in at most so many seconds."""
    with tempfile.TemporaryDirectory(prefix="erase-concept-") as scratch, SHORT:
        error_file = Path(scratch) / "error.json"
        line = command_line(error_file, arguments, stoppable=False)
        try:
            process = subprocess.run(
                line, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return Ended(1, message=f"it took longer than {seconds:g} s and was stopped")
        end = ended(process.returncode, process.stderr.decode(errors="replace"), error_file)
        return Ended(end.status, process.stdout.decode(errors="replace"), end.message, end.error)


def last_line(text: str, status: int) -> str:
    """The last line that a process printed, as a sentence for the page."""
    if status < 0:
        return f"the system ended the process (signal {-status}), often because memory ran out; the run can be resumed"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("erase-concept: ") if lines else f"it ended with status {status} and printed nothing"


def environment() -> dict[str, str]:
    """The page's own, with these packages where the page itself has them from."""
    path = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
    return {**os.environ, **hidden_proxies(), "PYTHONPATH": path}
