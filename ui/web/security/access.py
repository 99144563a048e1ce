"""Who may see the page, what it may open, and how often: addresses, passwords, paths, uploaded images, rate limits.

Plain functions of text and paths, without gradio. What is refused is an InputError with its remedy.
"""

from __future__ import annotations

import ipaddress
import re
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from PIL import Image

from erase.concepts import EMBEDDED
from erase.errors import InputError
from erase.files import user_path

UPLOAD_BYTES = 20 * 2**20  # of an image
HANDED_IN_BYTES = 256 * 2**20  # of all files that are handed in at once, as a zip of images
UPLOAD_PIXELS = 40_000_000  # an image file of a few kilobytes can claim gigabytes
HUB = re.compile(r"[\w.-]+/[\w.-]+")
VISITORS = 10_000  # whose clicks are remembered


# --- who --------------------------------------------------------------------------------------------------------------


def loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_address(host: str, share: bool, auth: Mapping[str, str], port: int | None = None) -> None:
    """InputError for a page that strangers could reach without a password, and for an impossible port."""
    if port is not None and not 0 < port < 65536:
        raise InputError(f"--port {port} is not a port; expected 1 to 65535, or none for the first free one from 7860", option="port")
    if not auth and (share or not loopback(host)):
        exposure = "--share gives the page a public address" if share else f"--host {host} lets other machines in"
        risk = "whoever opens it can start jobs here and see images that may be explicit"
        raise InputError(f"{exposure}, and {risk}; add --auth USER:PASSWORD, or --auth FILE with such lines", option="auth")


def read_auth(text: str | None) -> dict[str, str]:
    """Passwords by user, from USER:PASSWORD or a file with one per line; empty for None."""
    if text is None:
        return {}
    path = user_path(text)
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else [text]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--auth {text} cannot be read as text ({error}); expected lines of USER:PASSWORD", option="auth") from None
    passwords = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            user, colon, password = line.strip().partition(":")
            if not colon or not user.strip() or len(password) < 8:
                where = f"line {number} of --auth {text}" if path.is_file() else "--auth"
                raise InputError(f"{where} is not USER:PASSWORD with a password of at least 8 characters; give one", option="auth")
            passwords[user.strip()] = password
    if not passwords:
        raise InputError(f"--auth {text} names nobody; expected lines of USER:PASSWORD", option="auth")
    return passwords


class Rate:
    """At most `limit` clicks in `seconds` from one visitor. Thread-safe; the oldest visitors are forgotten."""

    def __init__(self, limit: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit, self.seconds, self._clock = limit, seconds, clock
        self._lock = threading.Lock()
        self._clicks: OrderedDict[str, deque[float]] = OrderedDict()

    def click(self, visitor: str) -> None:
        """Count one; InputError, with the time to wait, where it is one too many."""
        if wait := self.take(visitor):
            raise InputError(f"one visitor may click {self.limit} times in {self.seconds:.0f} s; try again in {wait:.0f} s")

    def take(self, visitor: str) -> float:
        """Count one and return 0; or the seconds to wait where it is one too many, which is not counted."""
        now = self._clock()
        with self._lock:
            clicks = self._clicks.setdefault(visitor, deque())
            self._clicks.move_to_end(visitor)
            while len(self._clicks) > VISITORS:
                self._clicks.popitem(last=False)
            while clicks and clicks[0] <= now - self.seconds:
                clicks.popleft()
            if len(clicks) >= self.limit:
                return clicks[0] + self.seconds - now
            clicks.append(now)
            return 0.0

    def give_back(self, visitor: str) -> None:
        """Uncount the last one."""
        with self._lock:
            if clicks := self._clicks.get(visitor):
                clicks.pop()


# --- what -------------------------------------------------------------------------------------------------------------


def inside(typed: str, roots: Sequence[Path], closed: Sequence[Path] = ()) -> Path:
    """A path that was typed into the page, links followed; InputError unless it exists in one of the allowed folders.

    `closed`: folders in them that belong to other visitors.

    The message is the same whether something does not exist or is not allowed: the page does not reveal what is on the machine.
    """
    text = typed.strip()
    allowed = ", ".join(root.name or str(root) for root in roots)
    refused = InputError(f"{_quoted(text)} is not a folder or file in {allowed}; give one that is, or start the page with --models FOLDER")
    if not text or "\x00" in text or len(text) > 1000:
        raise refused
    path = Path(text)
    for candidate in [path] if path.is_absolute() else [root / path for root in roots] + [Path.cwd() / path]:
        try:
            target = candidate.resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            continue
        if any(target.is_relative_to(root.resolve()) for root in roots) and not any(target.is_relative_to(folder) for folder in closed):
            return target
    raise refused


def model_source(typed: str, roots: Sequence[Path], hub: Sequence[str] = (), shared: bool = False, closed: Sequence[Path] = ()) -> str:
    """What a typed model may be: demo, scenes, a run or model folder in `roots`, a .safetensors file there, or a hub name.

    Where strangers see the page, hub names are those of `hub` only: each fetches gigabytes.
    """
    text = typed.strip()
    if text in EMBEDDED:
        return text
    try:
        path = inside(text, roots, closed)
    except InputError:
        if not HUB.fullmatch(text) or ".." in text or text.startswith("."):
            if near := get_close_matches(text.lower(), EMBEDDED, 1):
                raise InputError(f'{_quoted(text)} is not a model of this page, did you mean "{near[0]}"?') from None
            raise
        if shared and text not in hub:
            raise InputError(f"{_quoted(text)} is not among the models of this page ({', '.join(hub) or 'none'}); ask its owner") from None
        return text
    if (path / "model" / "model_index.json").is_file():
        return str(path / "model")
    if (path / "model_index.json").is_file() or path.suffix.lower() == ".safetensors":
        return str(path)
    raise InputError(f"{_quoted(text)} is not a model; expected a finished run, a folder with model_index.json or a .safetensors file")


def uploaded(path: Path) -> Image.Image:
    """An image that a visitor has uploaded, decoded; InputError for what is too large, of another kind, or broken."""
    from erase.images.reading import COMMON, SUFFIXES, open_picture

    name = _quoted(path.name)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{name} is not an image; expected {COMMON}")
    if path.stat().st_size > UPLOAD_BYTES:
        raise InputError(f"{name} is larger than {UPLOAD_BYTES // 2**20} MiB; upload a smaller image")
    try:
        with Image.open(path) as file:
            pixels = file.width * file.height
    except Image.DecompressionBombError as error:  # Pillow's own bound, far beyond ours
        said = re.search(r"\((\d+) pixels", str(error))
        pixels = int(said[1]) if said else 2 * UPLOAD_PIXELS
    except Exception as error:  # Pillow's decoders raise many kinds
        raise InputError(f"{name} is not a complete image; upload another") from error
    if pixels > UPLOAD_PIXELS:
        raise InputError(f"{name} has {pixels / 1e6:.0f} million pixels; expected at most {UPLOAD_PIXELS / 1e6:.0f} million")
    try:
        return open_picture(path)
    except InputError as error:  # without the place on this machine
        raise InputError(str(error).replace(str(path), name)) from None


def _quoted(text: Any) -> str:
    """What a visitor typed, short and in one line, in quotes."""
    line = " ".join(str(text).split())
    return repr(line if len(line) <= 80 else f"{line[:77]}...")
