"""The command works without standard streams, and prints in any encoding."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ui.cli.display import Display, shell_line

ROOT = Path(__file__).resolve().parents[3]
ABOUT = "für Jürgen – 星 🌟"


def run(code: str, environment: dict[str, str] | None = None, **options: object) -> subprocess.CompletedProcess[bytes]:
    around = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    return subprocess.run([sys.executable, "-c", code], env=around, timeout=100, check=False, **options)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_that_is_not_there(stream: str) -> None:
    """As under pythonw or in a service."""
    code = f"import sys; sys.{stream} = None; from ui.cli.main import main; sys.exit(main(['concepts']) or main(['nonsense']))"
    done = run(code, capture_output=True)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert (b"star" in done.stdout, b"nonsense" in done.stderr) == (stream == "stderr", stream == "stdout")


def test_a_closed_descriptor_is_not_given_to_a_file() -> None:
    """A library that prints to descriptor 2 would write into the first file that was opened."""
    code = "import os; os.close(2); from ui.cli.main import main; main(['concepts']); os._exit(os.open('/dev/null', 0) <= 2)"
    assert run(code, capture_output=True).returncode == 0


def test_progress_is_silent_without_a_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert not Display(libraries=False).shown


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "gbk", "utf-8"])
def test_what_is_printed_never_fails_and_stays_json(tmp_path: Path, encoding: str) -> None:
    concept = tmp_path / "star.toml"
    text = (ROOT / "prompts" / "star.toml").read_text(encoding="utf-8")
    concept.write_text(text.replace('"a {concept}",', f'"a {{concept}} {ABOUT}",', 1), encoding="utf-8")
    code = f"import sys; from ui.cli.main import main; sys.exit(main(['concepts', {str(concept)!r}, '--json', '--count', '99']))"
    done = run(code, {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert ABOUT in json.dumps(json.loads(done.stdout.decode(encoding)), ensure_ascii=False)


@pytest.mark.parametrize("folder", ["plain", "my runs", "a'b", 'a"b', "$HOME;ls", "zwei\nzeilen", "-rf"])
def test_a_printed_command_is_one_that_a_shell_takes(folder: str) -> None:
    words = ["erase-concept", "generate", Path("runs") / folder, "--prompt", 'it\'s a "star" & more']
    assert shlex.split(shell_line(*words)) == [str(word) for word in words]
