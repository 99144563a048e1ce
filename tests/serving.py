"""A server started by its command as in a terminal: what it answers first, and that Ctrl-C ends it. Standard library only."""

from __future__ import annotations

import re
import signal
import subprocess
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Timer

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy would not know this machine's loopback address


def first_answer(command: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float = 300) -> tuple[int, str, int]:
    """Status and text of the page at the address that the command prints, and the exit status that follows an interrupt.

    RuntimeError, with what was printed, where no address comes; the command is killed after `seconds`.
    """
    server = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=_heed_interrupts
    )
    assert server.stdout is not None
    alarm = Timer(seconds, server.kill)
    alarm.start()
    try:
        printed: list[str] = []
        for line in server.stdout:
            printed.append(line)
            if address := re.search(r"http://127\.0\.0\.1:\d+/?", line):
                break
        else:
            raise RuntimeError(f"no address was printed: {''.join(printed)}")
        with OPENER.open(address[0], timeout=60) as answer:
            status, text = answer.status, answer.read().decode()
        server.send_signal(signal.SIGINT)
        server.communicate()
        return status, text, server.returncode
    finally:
        server.kill()
        alarm.cancel()
        server.wait()


def _heed_interrupts() -> None:
    """In the child: a shell starts what runs in the background, the tests with it, deaf to Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
