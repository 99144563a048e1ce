"""The door of the web server: lets through what the page itself asks for, and nothing else that gradio would answer.

Gradio answers far more addresses than this page uses (its API, a proxy, uploads, recordings). An ASGI layer before it; knows no
handlers. Also says no to foreign origins, and on a loopback address to foreign host names (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from ui.web.security.access import loopback

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Kept = Callable[[str, str, bool], "bytes | None"]

API = "/gradio_api"
OPEN = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/(?:assets|static|svelte)/[\w./@+-]+|"
    r"/login/?|/logout/?|/gradio_api/(?:login_check|token|user|app_id|startup-events|heartbeat/\w+|queue/(?:join|data)|cancel|reset)/?"
)
KEPT = re.compile(r"/keep/([\w-]{43})/([\w.-]{1,100})")
FILES = re.compile(r"/gradio_api/file=(?!\w+:)[^\x00]+")
UPLOADS = re.compile(r"/gradio_api/upload(?:_progress)?/?")
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "SAMEORIGIN",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
KINDS = {"zip": "application/zip", "png": "image/png", "csv": "text/csv; charset=utf-8", "svg": "image/svg+xml"}
BODY = 2**20  # bytes of a press at most; pictures come through uploads, which have a limit of their own


class Door:
    """`local`: the page is on a loopback address. `uploads`: it has a control that takes files. `kept`: key, name, show -> a file."""

    def __init__(self, app: App, local: bool, uploads: bool = False, kept: Kept = lambda key, name, show: None) -> None:
        self.app, self.local, self.uploads, self.kept = app, local, uploads, kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            if refused := refusal(scope, self.local, self.uploads):
                await _answer(send, refused[0], json.dumps({"detail": refused[1]}).encode(), "application/json")
            elif asked := KEPT.fullmatch(scope["path"]):
                await self._keep(asked[1], asked[2], b"show=1" in scope.get("query_string", b""), send)
            else:
                await self.app(scope, receive, _polite(send))

    async def _keep(self, key: str, name: str, show: bool, send: Send) -> None:
        data = await asyncio.to_thread(self.kept, key, name, show)
        kind = KINDS.get(name.rpartition(".")[2], "application/octet-stream")
        if data is None:
            await _answer(send, 404, b"This file is no longer kept; make it again.", "text/plain; charset=utf-8")
        else:
            await _answer(send, 200, data, kind, {"content-disposition": f'attachment; filename="{name}"'})


def refusal(scope: Scope, local: bool, uploads: bool = False) -> tuple[int, str] | None:
    """Status and words for a request that is not let through; None for one that is."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    host, path = headers.get("host", ""), scope["path"]
    if local and not loopback(urlsplit(f"//{host}").hostname or ""):
        return 403, "this page answers to localhost only"
    if scope["method"] not in ("GET", "HEAD") and "origin" in headers and urlsplit(headers["origin"]).netloc != host:
        return 403, "this page takes nothing from other sites"
    known = [OPEN, KEPT, FILES, *([UPLOADS] if uploads else [])]
    if not any(pattern.fullmatch(path) for pattern in known) or ".." in path:
        return 404, "not found"
    if scope["method"] == "POST" and not UPLOADS.fullmatch(path) and not 0 <= _length(headers) <= BODY:
        return 413, "too large, or of unknown length"
    return None


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "")
    return int(text) if text.isdecimal() else -1


def _polite(send: Send) -> Send:
    """Adds HEADERS to every answer that has none of its own of that name."""

    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message.get("headers", [])}
            more = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in there]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await send(message)

    return sent


async def _answer(send: Send, status: int, body: bytes, kind: str, more: Mapping[str, str] | None = None) -> None:
    headers = {"content-type": kind, "content-length": str(len(body)), "cache-control": "private, no-store", **HEADERS, **(more or {})}
    await send({"type": "http.response.start", "status": status, "headers": [(k.encode(), v.encode()) for k, v in headers.items()]})
    await send({"type": "http.response.body", "body": body})
