"""The page opens whatever proxies and temporary folders its machine has."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from erase.errors import InputError
from ui.web.jobs.process import environment
from ui.web.surroundings import TEMPORARY, direct_to_this_machine, temporary_folder

ROOT = Path(__file__).resolve().parents[3]
NAMES = [name for each in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for name in (each, each.upper())]
DEAD = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, TEMPORARY):
        monkeypatch.delenv(name, raising=False)


def proxies_of_httpx(host: str) -> bool:
    """Whether httpx would ask a proxy for a page on this machine."""
    import httpx

    with httpx.Client() as client:
        return client._transport_for_url(httpx.URL(f"http://{host}:7860/")) is not client._transport


@pytest.mark.parametrize("names", [("http_proxy",), ("HTTP_PROXY", "HTTPS_PROXY"), ("ALL_PROXY",)])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "192.168.0.4"])
def test_no_proxy_stands_between_the_page_and_itself(names: tuple[str, ...], host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in names:
        monkeypatch.setenv(name, DEAD)
    monkeypatch.setenv("no_proxy", "intranet")
    assert proxies_of_httpx(host)
    with direct_to_this_machine(host, share=False):
        assert not proxies_of_httpx(host)
        assert os.environ["no_proxy"].startswith("intranet,")
    assert os.environ["no_proxy"] == "intranet"
    assert "NO_PROXY" not in os.environ


def test_a_socks_proxy_is_for_the_jobs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with direct_to_this_machine("127.0.0.1", share=False):
        assert "ALL_PROXY" not in os.environ
        assert environment()["ALL_PROXY"] == "socks5://127.0.0.1:9"
        assert not proxies_of_httpx("127.0.0.1")
    assert os.environ["ALL_PROXY"] == "socks5://127.0.0.1:9"
    with pytest.raises(InputError, match="--share would use the SOCKS proxy of ALL_PROXY"), direct_to_this_machine("127.0.0.1", share=True):
        pass


def test_without_proxies_nothing_changes() -> None:
    before = dict(os.environ)
    with direct_to_this_machine("127.0.0.1", share=False):
        assert dict(os.environ) == before


def test_a_temporary_folder_of_ours_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TEMPORARY, str(tmp_path / "new" / "folder"))
    with temporary_folder():
        assert os.environ[TEMPORARY] == str(tmp_path / "new" / "folder")
        assert list((tmp_path / "new" / "folder").iterdir()) == []


@pytest.mark.parametrize("fault", ["a file in the way", "another user's"])
@pytest.mark.parametrize("configured", [True, False])
def test_a_temporary_folder_that_cannot_be_used_has_a_substitute(
    fault: str, configured: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / "gradio"
    if configured:
        monkeypatch.setenv(TEMPORARY, str(folder / "deep"))
    if fault == "a file in the way":
        folder.touch()
    else:
        monkeypatch.setattr(os, "getuid", lambda: 77777)
    with temporary_folder():
        own = Path(os.environ[TEMPORARY])
        assert own.parent == tmp_path
        (own / "upload.png").touch()
    assert not own.exists()
    assert os.environ.get(TEMPORARY) == (str(folder / "deep") if configured else None)


def test_no_temporary_folder_at_all_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"no folder for temporary files can be written .*; set TMPDIR to one"), temporary_folder():
        pass


def test_the_page_opens_with_every_fault_at_once(tmp_path: Path) -> None:
    """Dead proxies of both kinds and a temporary folder that is a file: it is opened, answers itself and closes."""
    (tmp_path / "file").touch()
    code = "from pathlib import Path; from ui.web.page import opened\nwith opened(Path('runs')) as (page, address): print(address)"
    faults = {**dict.fromkeys(NAMES[:4], DEAD), "ALL_PROXY": "socks5://127.0.0.1:9", TEMPORARY: str(tmp_path / "file" / "x")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, **faults, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("http://127.0.0.1:")
