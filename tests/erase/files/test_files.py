"""Files are whole or not there, and their text is UTF-8 whatever the locale."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from erase.files import read_json, write_json

ROOT = Path(__file__).resolve().parents[2]


def test_json_is_utf8_under_an_ascii_locale(tmp_path: Path) -> None:
    """A concept such as "Hokusai 北斎" is written and read alike, wherever the process runs."""
    path = tmp_path / "options.json"
    code = (
        "from pathlib import Path; from erase.files import read_json, write_json; import locale, sys\n"
        f"path = Path({str(path)!r}); write_json(path, {{'concept': 'Hokusai \\u5317\\u658e'}})\n"
        "assert read_json(path) == {'concept': 'Hokusai \\u5317\\u658e'}\n"
        "print(locale.getpreferredencoding(False))"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "utf" not in done.stdout.lower()
    assert read_json(path) == {"concept": "Hokusai 北斎"}
    assert "北斎" in path.read_bytes().decode("utf-8")


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "stages.json"
    write_json(path, {"images": 1})
    with pytest.raises(TypeError):
        write_json(path, {"images": object()})
    assert read_json(path) == {"images": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["stages.json"]
