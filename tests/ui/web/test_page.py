"""The page is served as it should be: nothing but the page answers, no event is an API, and closing it ends everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ui.web.page as page_module
from ui.cli.main import main
from ui.web.page import ServerOptions, opened

pytest.importorskip("gradio")
ROOT = Path(__file__).resolve().parents[3]
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # urlopen keeps the proxies of its first caller


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    with opened(tmp_path_factory.mktemp("runs"), device="cpu") as (page, address):
        yield page, address.rstrip("/")


def fetch(address: str, data: bytes | None = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    request = urllib.request.Request(address, data, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with OPENER.open(request, timeout=20) as answer:
            return answer.status, answer.read(), {k.lower(): v for k, v in answer.headers.items()}
    except urllib.error.HTTPError as error:
        return error.code, error.read(), {k.lower(): v for k, v in error.headers.items()}


def test_the_page_is_there_and_on_this_machine_only(served):
    _, address = served
    status, body, headers = fetch(address + "/")
    assert status == 200
    assert b"erase-concept" in body
    assert headers["x-content-type-options"] == "nosniff"
    assert "127.0.0.1" in address
    assert fetch(address + "/", Host="evil.example")[0] == 403


def test_nothing_is_fetched_from_elsewhere_to_show_it(served):
    _, address = served
    config = json.loads(fetch(address + "/config")[1])
    assert "fonts.googleapis" not in json.dumps(config)
    assert config["analytics_enabled"] is False
    assert config.get("run_history", False) is False  # pictures stay out of the browser's storage; old gradio has no such thing


def test_no_event_is_an_endpoint(served):
    _, address = served
    config = json.loads(fetch(address + "/config")[1])
    assert config["dependencies"]
    assert {dependency["api_visibility"] for dependency in config["dependencies"]} == {"private"}
    for path in ("info", "openapi.json", "call/drawn", "run/drawn", "api/drawn"):
        assert fetch(f"{address}/gradio_api/{path}", b"{}")[0] == 404


@pytest.mark.parametrize("path", ["/etc/passwd", "{runs}/.ui/queue.json", "{runs}", "../../etc/passwd", "http://127.0.0.1:1/"])
def test_no_file_of_the_machine_is_served(served, path):
    page, address = served
    status, _, _ = fetch(f"{address}/gradio_api/file={path.format(runs=page.runs)}")
    assert status in (403, 404)


def test_every_control_says_what_it_is_for(served):
    _, address = served
    config = json.loads(fetch(address + "/config")[1])
    kinds = ("dropdown", "textbox", "slider", "number", "checkbox", "radio", "checkboxgroup")
    controls = [c["props"] for c in config["components"] if c["type"] in kinds and c["props"].get("visible") is not False]
    assert len(controls) > 8
    assert not [c.get("label") for c in controls if not c.get("label") or not c.get("info")]


def test_the_command_refuses_strangers_without_a_password(tmp_path, capsys):
    assert main(["ui", "--runs", str(tmp_path), "--host", "0.0.0.0"]) == 2
    assert "add --auth" in capsys.readouterr().err
    assert main(["ui", "--runs", str(tmp_path), "--share"]) == 2
    assert "public address" in capsys.readouterr().err
    assert main(["ui", "--runs", str(tmp_path), "--models", str(tmp_path / "absent")]) == 2
    assert "--models" in capsys.readouterr().err


def test_a_password_is_asked_for(tmp_path):
    with opened(tmp_path, ServerOptions(auth={"anna": "correct horse"}), device="cpu") as (_, address):
        assert fetch(address.rstrip("/") + "/config")[0] == 401
        login = f"{address.rstrip('/')}/login"
        kind = "application/x-www-form-urlencoded"
        assert fetch(login, b"username=anna&password=wrong", Content_Type=kind)[0] == 400
        assert fetch(login, b"username=anna&password=correct+horse", Content_Type=kind)[0] == 200


def test_two_pages_do_not_serve_one_folder(served):
    page, _ = served
    assert main(["ui", "--runs", str(page.runs)]) == 2


@pytest.mark.parametrize("count", [1, 2])
def test_the_worker_starts_beside_the_pages_imports_where_there_is_a_processor_for_each(tmp_path, monkeypatch, count):
    def launch(blocks: Any, page: Any, server: Any) -> str:
        early.append(page.drawing.pid is not None)
        return started(blocks, page, server)

    early, started = [], page_module._launch
    monkeypatch.setattr(page_module, "_launch", launch)
    monkeypatch.setattr(page_module, "processors", lambda: count)
    with opened(tmp_path, device="cpu") as (page, _):
        assert early == [count > 1]
        pid = page.drawing.pid
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):  # closing the page ends it
        os.kill(pid, 0)


def loaded(code: str, *libraries: str) -> list[str]:
    """Those of the libraries that a new process has imported after running the code."""
    code += "\nimport sys; print(*(name for name in sys.argv[1:] if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, *libraries], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


def test_the_page_imports_no_gradio_until_it_is_opened():
    assert loaded("import ui.web.page, ui.cli.ui", "gradio", "torch", "diffusers", "transformers", "matplotlib", "nudenet") == []


def test_a_page_that_is_served_has_not_imported_torch(tmp_path):
    """It would take seconds more until the first answer; models are opened in processes of their own."""
    code = f"""
import urllib.request
from pathlib import Path
from ui.web.page import opened
with opened(Path({str(tmp_path)!r}), device="cpu") as (_, address):
    assert urllib.request.build_opener(urllib.request.ProxyHandler({{}})).open(address, timeout=60).status == 200
import gradio.component_meta
gradio.component_meta.create_or_modify_pyi(None, "", [])  # would fail, if it did anything: no source was read for stubs
"""
    assert loaded(code, "torch", "diffusers", "transformers", "matplotlib", "scipy", "sklearn", "nudenet") == []
