"""The process of a job: the `erase-concept` command, stopped as by Ctrl-C when the page says so or is gone.

    python -m ui.web.jobs.child --concept star --output runs/star-1

The page holds the other end of standard input. It closes it to stop the job, and the system does when the page dies. So no
job outlives its page unseen, and a stopped run can go on.
"""

from __future__ import annotations

import _thread
import os
import runpy
import signal
import sys
import threading

NICE = 5  # the page and its pictures come first


def main() -> None:
    """Run the command; the exit status is its own."""
    if hasattr(os, "nice"):
        os.nice(NICE)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a page that a script has started in the background ignores it
    threading.Thread(target=_watch, daemon=True).start()
    sys.argv[0] = "erase-concept"
    runpy.run_module("erase", run_name="__main__", alter_sys=True)


def _watch() -> None:
    """Wait for the end of standard input. os.read: a buffered reader would hold a lock that Python wants when it ends."""
    while os.read(0, 64):
        pass
    if os.name == "posix":
        os.kill(os.getpid(), signal.SIGINT)
    else:
        _thread.interrupt_main()


if __name__ == "__main__":
    main()
