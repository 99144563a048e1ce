"""ASGI middleware that passes only the requests of this page on to gradio.

Gradio answers far more addresses than this page uses (its API, a proxy, uploads, recordings). It also refuses foreign origins, and on
a loopback address foreign host names (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ui.web.security.access import HANDED_IN_BYTES, loopback
from ui.web.security.login import address, network

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Files = Callable[[str, str, bool], "bytes | None"]

API = "/gradio_api"
OPEN = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/(?:assets|static|svelte)/[\w./@+-]+|"
    r"/login/?|/logout/?|/gradio_api/(?:login_check|token|user|app_id|startup-events|heartbeat/\w+|queue/(?:join|data)|cancel|reset)/?"
)
DOWNLOADS = re.compile(r"/keep/([\w-]{43})/([\w.-]{1,100})")
FILES = re.compile(r"/gradio_api/file=(?!\w+:)[^\x00]+")
UPLOADS = re.compile(r"/gradio_api/upload(?:_progress)?/?")
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "SAMEORIGIN",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
KINDS = {
    "zip": "application/zip", "png": "image/png", "csv": "text/csv; charset=utf-8", "svg": "image/svg+xml",
    "html": "text/html; charset=utf-8",
}  # fmt: skip
PASSIVE = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # of a page that is opened and not only stored
BEHIND_PROXY = (
    "If it came through a proxy of yours, let that leave Host as it is and pass on the address that the browser shows; in nginx: "
    "proxy_set_header X-Forwarded-Host $http_host; If not, another site tried to use this page."
)
BODY = 2**20  # bytes of an event at most; images come through uploads, which have limits of their own


class RequestFilter:
    """`local`: the page is on a loopback address. `uploads`: a control takes files. `files`: key, name, show -> a download."""

    def __init__(self, app: App, local: bool, uploads: bool = False, files: Files = lambda key, name, show: None) -> None:
        self.app, self.local, self.uploads, self.files = app, local, uploads, files
        self.explained = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            if refused := refusal(scope, self.local, self.uploads):
                self._explain(refused[0], headers_of(scope))
                await _answer(send, refused[0], json.dumps({"detail": refused[1]}).encode(), "application/json")
            elif match := DOWNLOADS.fullmatch(scope["path"]):
                await self._download(match[1], match[2], b"show=1" in scope.get("query_string", b""), send)
            else:
                address.set(network(str((scope.get("client") or ("",))[0])))
                await self.app(scope, receive, _with_headers(send))

    def _explain(self, status: int, headers: Mapping[str, str]) -> None:
        """Tell the owner, once, why a visitor behind a proxy sees nothing but errors."""
        if status == 403 and not self.explained:
            self.explained = True
            facts = ", ".join(f"{name} {headers[name][:80]!r}" for name in ("host", "origin", "x-forwarded-host") if name in headers)
            print(f"erase-concept: a request was refused ({facts}). {BEHIND_PROXY}", file=sys.stderr, flush=True)

    async def _download(self, key: str, name: str, show: bool, send: Send) -> None:
        data = await asyncio.to_thread(self.files, key, name, show)
        kind = KINDS.get(name.rpartition(".")[2], "application/octet-stream")
        if data is None:
            await _answer(send, 404, b"This file is no longer stored; create it again.", "text/plain; charset=utf-8")
        else:
            opened = {"content-disposition": "inline", "content-security-policy": PASSIVE}
            stored = {"content-disposition": f'attachment; filename="{name}"'}
            await _answer(send, 200, data, kind, opened if name.endswith(".html") else stored)


def refusal(scope: Scope, local: bool, uploads: bool = False) -> tuple[int, str] | None:
    """Status and reason for a request that is refused; None for one that is not."""
    headers, path = headers_of(scope), scope["path"]
    host = headers.get("host", "")
    if local and not loopback(_address(f"//{host}").hostname or ""):
        return 403, "this page answers to localhost only"
    if scope["method"] not in ("GET", "HEAD") and "origin" in headers and not _own_origin(headers):
        return 403, "this page accepts no requests from other sites"
    allowed = [OPEN, DOWNLOADS, FILES, *([UPLOADS] if uploads else [])]
    if not any(pattern.fullmatch(path) for pattern in allowed) or ".." in path:
        return 404, "not found"
    most = HANDED_IN_BYTES + BODY if UPLOADS.fullmatch(path) else BODY
    if scope["method"] == "POST" and not 0 <= _length(headers) <= most:
        return 413, f"too large, or of unknown length; expected at most {most // 2**20} MiB"
    return None


def headers_of(scope: Scope) -> dict[str, str]:
    """The headers of a request by their names in lower case."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _own_origin(headers: Mapping[str, str]) -> bool:
    """Whether a request comes from this page: from its own address, or from the one that a proxy serves it under.

    A page of another site can have a browser send no X-Forwarded-Host: it would have to be asked for first (OPTIONS), which is refused.
    """
    names = {headers.get("host", ""), *(name.strip() for name in headers.get("x-forwarded-host", "").split(","))}
    return _address(headers["origin"]).netloc in names - {""}


def _address(text: str) -> SplitResult:
    """The parts of an address; empty ones where it is none."""
    try:
        return urlsplit(text)
    except ValueError:
        return urlsplit("")


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "")
    return int(text) if text.isdecimal() else -1


def _with_headers(send: Send) -> Send:
    """Adds those of HEADERS that an answer does not have."""

    async def send_with(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", [])}
            more = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in names]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await send(message)

    return send_with


async def _answer(send: Send, status: int, body: bytes, kind: str, more: Mapping[str, str] | None = None) -> None:
    headers = {"content-type": kind, "content-length": str(len(body)), "cache-control": "private, no-store", **HEADERS, **(more or {})}
    await send({"type": "http.response.start", "status": status, "headers": [(k.encode(), v.encode()) for k, v in headers.items()]})
    await send({"type": "http.response.body", "body": body})
