"""A visitor without a browser: the page served as a process, and the conversation with it over HTTP as its script has it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 900.0  # seconds after which a comparison counts as lost


@dataclass
class Click:
    """One comparison. Times are seconds on one clock; `error`: the page's message where it did not draw."""

    requested: float
    joined: float = 0.0
    answered: float = 0.0
    ended: float = 0.0
    images: int = 0
    error: str = ""


# --- the page -------------------------------------------------------------------------------------------------------


@contextmanager
def served(runs: Path) -> Iterator[tuple[str, int]]:
    """The page over a runs folder: its address and its process."""
    command = [sys.executable, "app.py", "--runs", str(runs), "--device", "cpu"]
    page = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        line = page.stdout.readline() if page.stdout else ""
        yield line.split(" is open at ")[1].strip().rstrip("/"), page.pid
    finally:
        page.send_signal(signal.SIGTERM)
        page.wait()


def resident(pid: int) -> int:
    """Bytes of memory of a process; 0 where it has ended."""
    with suppress(OSError):
        match = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        return int(match[1]) * 1024 if match else 0
    return 0


def worker_of(pid: int) -> int:
    """The process that draws for a page."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"ui.web.drawing.worker" in (path.parent / "cmdline").read_bytes():
                return int(path.parent.name)
    return 0


# --- what the page offers -------------------------------------------------------------------------------------------


def handled(config: dict[str, Any], name: str, elem_id: str | None = None) -> list[dict[str, Any]]:
    """The page's events of this name that its server handles; only those of one control if given, of which there must be one.

    Events without a handler run in the browser alone. RuntimeError where none is left: the page has changed, and a visit would do nothing.
    """
    ids = {component["id"] for component in config["components"] if component["props"].get("elem_id") == elem_id}
    events = [
        event
        for event in config["dependencies"]
        if event["backend_fn"] and any(kind == name and (elem_id is None or target in ids) for target, kind in event["targets"])
    ]
    if not events or (elem_id is not None and len(events) > 1):
        raise RuntimeError(f"the page handles {len(events)} events {name!r} of {elem_id or 'the page'}; this script needs to follow it")
    return events


def check_labels(config: dict[str, Any], event: dict[str, Any], labels: Iterable[str]) -> None:
    """RuntimeError where an event has no input, or several, with one of these labels: the value would be lost."""
    components = {component["id"]: component for component in config["components"]}
    inputs = [components[id]["props"].get("label") for id in event["inputs"]]
    if wrong := [label for label in labels if inputs.count(label) != 1]:
        known = ", ".join(map(str, filter(None, inputs)))
        raise RuntimeError(f"the page has no one control {wrong[0]!r} that the event reads; it has {known}")


# --- a visitor ------------------------------------------------------------------------------------------------------


class Visitor:
    """A browser's part of the conversation: it opens the page, then clicks Draw and listens until the images are complete."""

    def __init__(self, address: str) -> None:
        self.client, self.address = httpx.AsyncClient(timeout=httpx.Timeout(60.0, read=None)), address
        self.session = secrets.token_hex(6)
        self.config: dict[str, Any] = {}

    async def open(self) -> None:
        """Fetch the page and raise its load events."""
        (await self.client.get(f"{self.address}/")).raise_for_status()
        self.config = (await self.client.get(f"{self.address}/config")).raise_for_status().json()
        for event in handled(self.config, "load"):
            click = Click(time.monotonic())
            await self.raise_event(event, {}, click)
            if click.error:
                raise RuntimeError(f"a load event of the page fails: {click.error}")

    async def compare(self, values: dict[str, Any]) -> Click:
        """One comparison with these values of controls, by label."""
        (event,) = handled(self.config, "click", "draw")
        check_labels(self.config, event, values)
        click = Click(time.monotonic())
        try:
            await asyncio.wait_for(self.raise_event(event, values, click), PATIENCE)
        except (httpx.HTTPError, asyncio.TimeoutError) as error:
            click.error = repr(error)
        return click

    async def raise_event(self, event: dict[str, Any], values: dict[str, Any], click: Click) -> None:
        components = {component["id"]: component for component in self.config["components"]}
        data = [values.get(str(components[id]["props"].get("label")), components[id]["props"].get("value")) for id in event["inputs"]]
        body = {
            "data": data,
            "fn_index": event["id"],
            "session_hash": self.session,
            "event_data": None,
            "trigger_id": event["targets"][0][0],
        }
        api = f"{self.address}/gradio_api/queue"
        joined = (await self.client.post(f"{api}/join", json=body)).raise_for_status().json()
        click.joined = time.monotonic()
        async with self.client.stream("GET", f"{api}/data", params={"session_hash": self.session}) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data:") and _take(json.loads(line[5:]), joined["event_id"], line, click):
                    return
        click.error = click.error or "the page closed the connection"


def _take(message: dict[str, Any], event: str, line: str, click: Click) -> bool:
    """Record a message; whether it was the last one of the event."""
    if message.get("event_id") != event:
        return False
    kind = message["msg"]
    if kind == "process_generating" and not click.answered:
        click.answered = time.monotonic()
    if trouble := re.search(r'class=\\"problem\\">([^<]*)', line):
        click.error = trouble[1]
    if drawn := re.search(r">(\d+) images in", line):
        click.images = int(drawn[1])
    if kind != "process_completed":
        return False
    click.ended = time.monotonic()
    if not message.get("success"):
        click.error = str(message.get("output"))[:300]
    return True
