"""Ctrl-C at any moment, imports included, and an output that cannot be written: one line and its status, never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ui.cli import main as command
from ui.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
LINE = "erase-concept: stopped; the same command resumes where it was"
PRESS = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"

# What presses Ctrl-C while a command runs, and where.
MOMENTS = {
    "in the command": f"def run(words): {PRESS}",
    "in a library that makes another error of it": f"""
def run(words):
    try:
        {PRESS}
        for _ in range(10**6): pass
    except KeyboardInterrupt:
        raise ImportError("numpy is broken")""",
    "in a finalizer, where Python would print and forget it": f"""
class Late:
    def __del__(self):
        {PRESS}
        for _ in range(10**6): pass
def run(words):
    late = Late()
    del late
    import time
    time.sleep(30)
    return 0""",
    "while a module is imported that swallows it": """
import pathlib, sys
pathlib.Path("swallows.py").write_text("try:\\n    import os, signal; os.kill(os.getpid(), signal.SIGINT)\\nexcept BaseException: pass")
sys.path.insert(0, ".")
def run(words):
    import swallows
    return 0""",
    "twice": f"""
def run(words):
    try:
        {PRESS}
    finally:
        {PRESS}""",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_is_one_line_and_its_status(moment: str, tmp_path: Path) -> None:
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # it is ignored where tests run in the background
    lines = [heed, "import sys", "from ui.cli import main", MOMENTS[moment], "main.COMMANDS['concepts'] = run"]
    code = "\n".join([*lines, "sys.exit(main.main(['concepts']))"])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr.strip()) == (130, LINE)


def test_the_handlers_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT), sys.unraisablehook
    assert main(["concepts", "star", "--count", "1"]) == 0
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before


def test_ctrl_c_after_the_last_line_changes_nothing() -> None:
    """The work is done; Python only clears up."""
    code = (
        "import atexit, os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # it is ignored where tests run in the background
        "atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        "from ui.cli.main import main\n"
        "sys.argv = ['erase-concept', 'protocols']\n"
        "sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "demo" in done.stdout


def test_the_command_is_imported_without_another_module() -> None:
    """Whatever is imported before its handler is set is a moment in which Ctrl-C is a traceback."""
    code = "import sys; before = set(sys.modules); import ui.cli.main; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert set(done.stdout.split()) - {"__future__"} == {"ui", "ui.cli", "ui.cli.main"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [("concepts",), ("concepts", "--help"), ("methods", "--json")], ids=" ".join)
def test_a_full_output_is_one_line(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ui.cli.main", *arguments], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert "cannot be written (No space left on device)" in line


def test_a_reader_that_leaves_is_no_error() -> None:
    pipe, end = os.pipe()
    os.close(pipe)
    done = subprocess.run([sys.executable, "-m", "ui.cli.main", "methods"], cwd=ROOT, stdout=end, stderr=subprocess.PIPE, timeout=60)
    os.close(end)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_folder_that_has_vanished_is_one_line(tmp_path: Path) -> None:
    code = "import os, sys; os.rmdir(os.getcwd()); from ui.cli.main import main; sys.exit(main(['compare', 'x', '--scatter', 'y.svg']))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (PermissionError(13, "Permission denied", "/a/file"), 2, "cannot use /a/file (Permission denied); finished work is kept"),
        (OSError(30, "Read-only file system", "/a/file"), 2, "cannot use /a/file (Read-only file system)"),
        (OSError(28, "No space left on device"), 1, "the standard output or a file cannot be written (No space left on device)"),
    ],
)
def test_an_error_of_the_system_is_one_line(
    error: OSError, status: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(words: list[str]) -> int:
        raise error

    monkeypatch.setattr(command, "_give_up_output", lambda: None)
    monkeypatch.setitem(command.COMMANDS, "concepts", fails)
    assert main(["concepts"]) == status
    (printed,) = capsys.readouterr().err.splitlines()
    assert line in printed


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["generate", "demo", "--prompt", "", "--output", "x"], "--prompt"),
        (["generate", "demo", "--prompt", "a", "--output="], "--output"),
        (["generate", " ", "--prompt", "a", "--output", "x"], "a value"),
        (["compare", "x", "--scatter", ""], "--scatter"),
        (["ui", "--auth", ""], "--auth"),
        (["bench", "--concepts", "star", "--output", ""], "--output"),
        (["--concept="], "--concept"),
    ],
)
def test_an_empty_value_as_a_script_leaves_it_is_refused(arguments: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A path of nothing would be the working directory, a password of nothing none at all."""
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"erase-concept: {name} is empty; give one, or leave it out\n"


@pytest.mark.parametrize("flag", ["--output", "--prompt", "--count"])
def test_two_dashes_are_no_value(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Some versions of Python make an empty list of it."""
    assert main(["generate", "demo", "--prompt", "a", "--output", "x", f"{flag}=--"]) == 2
    assert capsys.readouterr().err == f"erase-concept: {flag} is --, which is no value; give one, or leave it out\n"
