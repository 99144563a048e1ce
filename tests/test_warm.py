"""The Python of `warm.py` is called, prints, ends and is killed as Python is, with its libraries imported."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

SHOW = "import os, sys; print(sys.argv[1:], os.getcwd(), os.environ['OF_A_CALL'], 'torch' in sys.modules); print('e', file=sys.stderr)"
WAIT = "import time; print('begun', flush=True); time.sleep(600)"


def test_words_folder_environment_and_streams_are_those_of_the_call(warm_python: str, tmp_path: Path) -> None:
    words = ["a b", "", "-x", "ä\n"]
    environment = {**os.environ, "OF_A_CALL": "1"}
    expected = f"{words} {tmp_path} 1 {hasattr(os, 'pidfd_open')}\n"  # without it, it is a plain Python
    (tmp_path / "script.py").write_text(SHOW)
    for line in (["-c", SHOW], ["-u", "-c", SHOW], ["script.py"], ["-m", "script"]):
        done = subprocess.run(
            [warm_python, *line, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, expected, "e\n")


@pytest.mark.parametrize(
    ("code", "status"),
    [("import sys; sys.exit(3)", 3), ("1/0", 1), ("raise SystemExit('no')", 1), ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL)],
)
def test_it_ends_with_the_status_of_the_call(warm_python: str, code: str, status: int) -> None:
    assert subprocess.run([warm_python, "-c", code], capture_output=True, timeout=60, check=False).returncode == status


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_ends_the_program_ends_the_process_of_the_call(warm_python: str, number: int) -> None:
    with subprocess.Popen([warm_python, "-c", WAIT], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        program.stdout.readline()
        program.send_signal(number)
        assert program.wait(60) == -number
        assert program.stdout.read() == ""  # the process of the call had its other end
