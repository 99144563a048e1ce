"""Who may see the page and what it may open: addresses, passwords, paths, pictures that are handed in, and how often.

Plain functions of text and paths; knows no gradio. What is refused is an InputError that says what to do.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from erase.concepts import EMBEDDED
from erase.errors import InputError
from erase.images import SUFFIXES, open_picture

UPLOAD_BYTES = 20 * 2**20
UPLOAD_PIXELS = 40_000_000  # a picture of a few kilobytes can claim to be of gigabytes
HUB = re.compile(r"[\w.-]+/[\w.-]+")
SLOW = 0.5  # seconds a wrong password costs
VISITORS = 10_000  # whose presses are remembered


# --- who --------------------------------------------------------------------------------------------------------------


def loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_address(host: str, share: bool, auth: Mapping[str, str], port: int | None = None) -> None:
    """InputError for a page that strangers could reach without a password, and for a port that cannot be."""
    if port is not None and not 0 < port < 65536:
        raise InputError(f"--port {port} is no port; expected 1 to 65535, or none for the first free one from 7860")
    if not auth and (share or not loopback(host)):
        given = "--share gives the page a public address" if share else f"--host {host} lets other machines in"
        why = "whoever opens it can start jobs here and see pictures that may be explicit"
        raise InputError(f"{given}, and {why}; add --auth USER:PASSWORD, or --auth FILE with such lines")


def read_auth(given: str | None) -> dict[str, str]:
    """USER:PASSWORD, or a file with one a line -> user -> password; nothing given is nobody."""
    if not given:
        return {}
    path = Path(given).expanduser()
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else [given]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--auth {given} cannot be read as text ({error}); expected lines of USER:PASSWORD") from None
    found = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            user, colon, password = line.strip().partition(":")
            if not colon or not user.strip() or len(password) < 8:
                where = f"line {number} of --auth {given}" if path.is_file() else "--auth"
                raise InputError(f"{where} is not USER:PASSWORD with a password of at least 8 characters; give one")
            found[user.strip()] = password
    if not found:
        raise InputError(f"--auth {given} names nobody; expected lines of USER:PASSWORD")
    return found


def guard(auth: Mapping[str, str]) -> Callable[[str, str], Awaitable[bool]] | None:
    """What gradio asks whether a name and a password belong together; a wrong one takes its time. None without names."""
    if not auth:
        return None

    async def check(user: str, password: str) -> bool:
        known = auth.get(user)
        right = secrets.compare_digest((known or secrets.token_urlsafe()).encode(), password.encode())
        if not right:
            await asyncio.sleep(SLOW)
        return right and known is not None

    return check


class Rate:
    """At most `limit` presses in `seconds` from one visitor. Thread-safe; the oldest visitors are forgotten."""

    def __init__(self, limit: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit, self.seconds, self._clock = limit, seconds, clock
        self._lock = threading.Lock()
        self._presses: OrderedDict[str, deque[float]] = OrderedDict()

    def press(self, visitor: str) -> None:
        """Count one; InputError, with the time to wait, where it is one too many."""
        now = self._clock()
        with self._lock:
            presses = self._presses.setdefault(visitor, deque())
            self._presses.move_to_end(visitor)
            while len(self._presses) > VISITORS:
                self._presses.popitem(last=False)
            while presses and presses[0] <= now - self.seconds:
                presses.popleft()
            if len(presses) >= self.limit:
                wait = presses[0] + self.seconds - now
                raise InputError(f"{self.limit} in {self.seconds:.0f} seconds is the most for one visitor; press again in {wait:.0f} s")
            presses.append(now)


# --- what -------------------------------------------------------------------------------------------------------------


def inside(given: str, roots: Sequence[Path], closed: Sequence[Path] = ()) -> Path:
    """A path that was typed into the page, links followed: in one of the allowed folders and there, or InputError.

    `closed`: folders in them that belong to other visitors.

    The same words whether something is not there or not allowed: the page is no way to find out what the machine holds.
    """
    text = given.strip()
    allowed = ", ".join(root.name or str(root) for root in roots)
    refused = InputError(f"{_shown(text)} is not a folder or file in {allowed}; give one that is, or start the page with --models FOLDER")
    if not text or "\x00" in text or len(text) > 1000:
        raise refused
    typed = Path(text)
    for candidate in [typed] if typed.is_absolute() else [root / typed for root in roots] + [Path.cwd() / typed]:
        try:
            path = candidate.resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            continue
        if any(path.is_relative_to(root.resolve()) for root in roots) and not any(path.is_relative_to(folder) for folder in closed):
            return path
    raise refused


def model_source(given: str, roots: Sequence[Path], hub: Sequence[str] = (), shared: bool = False, closed: Sequence[Path] = ()) -> str:
    """What a typed model may be: demo, scenes, a run or model folder in `roots`, a .safetensors file there, or a hub name.

    Where strangers see the page, hub names are those of `hub` only: each fetches gigabytes.
    """
    text = given.strip()
    if text in EMBEDDED:
        return text
    try:
        path = inside(text, roots, closed)
    except InputError:
        if not HUB.fullmatch(text) or ".." in text or text.startswith("."):
            raise
        if shared and text not in hub:
            raise InputError(f"{_shown(text)} is not among the models of this page ({', '.join(hub) or 'none'}); ask its owner") from None
        return text
    if (path / "model" / "model_index.json").is_file():
        return str(path / "model")
    if (path / "model_index.json").is_file() or path.suffix.lower() == ".safetensors":
        return str(path)
    raise InputError(f"{_shown(text)} is no model; expected a finished run, a folder with model_index.json or a .safetensors file")


def handed_in(path: Path) -> Image.Image:
    """A picture that a visitor has handed in, decoded; InputError for what is too large, of another kind, or none."""
    name = _shown(path.name)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{name} is not a picture; expected {', '.join(sorted(SUFFIXES))}")
    if path.stat().st_size > UPLOAD_BYTES:
        raise InputError(f"{name} is larger than {UPLOAD_BYTES // 2**20} MiB; hand in a smaller picture")
    try:
        with Image.open(path) as file:
            pixels = file.width * file.height
    except Exception as error:  # Pillow's decoders raise many kinds
        raise InputError(f"{name} is not a whole picture; hand in another") from error
    if pixels > UPLOAD_PIXELS:
        raise InputError(f"{name} has {pixels / 1e6:.0f} million pixels; expected at most {UPLOAD_PIXELS / 1e6:.0f} million")
    return open_picture(path)


def _shown(text: Any) -> str:
    """What a visitor typed, short and in one line."""
    line = " ".join(str(text).split())
    return repr(line if len(line) <= 80 else f"{line[:77]}...")
