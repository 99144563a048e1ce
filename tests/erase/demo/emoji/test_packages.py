"""Packages of the npm registry: what a download does, and what is said where it fails. No test reaches the network."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from erase.demo.emoji import packages
from erase.errors import InputError
from erase.files import sha256

PACKAGE = packages.Package("@iconify-json/toy", "1.0.0", "")


def archive(path: Path) -> packages.Package:
    """Write an archive with icons.json; the package with its hash."""
    content = json.dumps({"icons": {}}).encode()
    with tarfile.open(path, "w:gz") as file:
        entry = tarfile.TarInfo("package/icons.json")
        entry.size = len(content)
        file.addfile(entry, io.BytesIO(content))
    return replace(PACKAGE, sha256=sha256(path))


def answer(monkeypatch: pytest.MonkeyPatch, status: int, stderr: str = "") -> list[list[str]]:
    """npm as a function that writes nothing; the commands it was called with."""
    calls: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        return subprocess.CompletedProcess(command, status, "", stderr)

    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_an_archive_has_the_name_that_npm_gives_it() -> None:
    assert packages.ICONS["noto-v1"].archive == "iconify-json-noto-v1-1.2.5.tgz"


def test_what_was_downloaded_is_read_without_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = archive(tmp_path / PACKAGE.archive)
    calls = answer(monkeypatch, 1)
    assert packages.read(package, "icons.json", tmp_path) == {"icons": {}}
    assert calls == []


def test_another_hash_is_refused_and_the_file_stays(tmp_path: Path) -> None:
    archive(tmp_path / PACKAGE.archive)
    with pytest.raises(InputError, match="expected 000000000000") as error:
        packages.read(replace(PACKAGE, sha256="0" * 64), "icons.json", tmp_path)
    assert "\n" not in str(error.value)
    assert (tmp_path / PACKAGE.archive).exists()


def test_a_member_that_is_missing_is_one_line(tmp_path: Path) -> None:
    package = archive(tmp_path / PACKAGE.archive)
    with pytest.raises(InputError, match=r"no readable chars\.json"):
        packages.read(package, "chars.json", tmp_path)


def test_a_package_that_the_registry_lacks_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = answer(monkeypatch, 1, "npm error code E404\nnpm error 404 Not Found\n")
    with pytest.raises(InputError, match=r"@iconify-json/toy@1\.0\.0 could not be downloaded \(npm error code E404\)") as error:
        packages.fetch(PACKAGE, tmp_path)
    assert "\n" not in str(error.value)
    assert "--ignore-scripts" in calls[0]
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: Any) -> None:
        (Path(command[-1]) / PACKAGE.archive).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(KeyboardInterrupt):
        packages.fetch(PACKAGE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_npm_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match=r"install Node\.js"):
        packages.fetch(PACKAGE, tmp_path)
