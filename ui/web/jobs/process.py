"""Our own command in a process of its own: started, interrupted, and what it said last."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

GRACE = 60.0  # seconds that a job has to stop by itself
SHORT = threading.BoundedSemaphore(2)  # short commands at once; who comes later waits for a place
PASSIVE = {"OMP_WAIT_POLICY": "passive"}  # threads that spin would hold up those that draw for visitors
PACKAGES = Path(__file__).resolve().parents[3]

Process = subprocess.Popen[bytes]


def start(arguments: Sequence[str], log: Any) -> Process:
    """A job (ui/web/jobs/child.py), which prints to `log`. In a session of its own: a Ctrl-C in the page's terminal is for the page."""
    line = [sys.executable, "-u", "-m", "ui.web.jobs.child", *arguments]
    return subprocess.Popen(
        line, env={**PASSIVE, **environment()}, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )


def interrupt(process: Process | None) -> None:
    """Stop a job as by Ctrl-C; what does not end in time is killed, which a run survives too. Returns at once."""
    if process is None or process.stdin is None or process.stdin.closed:
        return
    process.stdin.close()
    timer = threading.Timer(GRACE, process.kill)
    timer.daemon = True
    timer.start()


def command(arguments: Sequence[str], seconds: float) -> tuple[int, str, str]:
    """Run a short command to its end: its exit status, what it printed, and what it said last on the error stream."""
    line = [sys.executable, "-m", "erase", *arguments]
    try:
        with SHORT:
            done = subprocess.run(line, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return 1, "", f"it took longer than {seconds:g} s and was stopped"
    return done.returncode, done.stdout.decode(errors="replace"), last_line(done.stderr.decode(errors="replace"), done.returncode)


def last_line(text: str, status: int) -> str:
    """What a process said last, as a sentence for the page."""
    if status < 0:
        return f"the system ended the process (signal {-status}), often because memory ran out; it can go on where it was"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("erase-concept: ") if lines else f"it ended with status {status} and said nothing"


def environment() -> dict[str, str]:
    """The page's own, with our packages found where the page found them."""
    path = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}
