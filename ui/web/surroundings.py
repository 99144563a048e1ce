"""What the page meets on a machine: proxies in the environment, a folder for gradio's temporary files, processors.

Gradio asks its own address whether the page answers. A proxy must not stand in between, and a SOCKS proxy without the package socksio
ends its import.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from erase.errors import InputError

PROXIES = ("http_proxy", "https_proxy", "all_proxy")
TEMPORARY = "GRADIO_TEMP_DIR"

_hidden: dict[str, str] = {}


def hidden_proxies() -> dict[str, str]:
    """The variables that are out of the environment for the moment; processes that are started then need them all the same."""
    return dict(_hidden)


@contextmanager
def direct_to_this_machine(host: str, share: bool) -> Iterator[None]:
    """Within, requests to this machine use no proxy. InputError for `share` through a SOCKS proxy that cannot be used."""
    names = [name for each in PROXIES for name in (each, each.upper()) if os.environ.get(name)]
    socks = [name for name in names if os.environ[name].lower().startswith("socks")]
    if importlib.util.find_spec("socksio") is not None:
        socks = []
    if socks and share:
        raise InputError(f"--share would use the SOCKS proxy of {', '.join(socks)}; install it with: pip install socksio, or unset it")
    exceptions = ("no_proxy", "NO_PROXY")
    before = {name: os.environ.get(name) for name in (*exceptions, *socks)}
    _hidden.update({name: os.environ.pop(name) for name in socks})
    if names:
        listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
        os.environ.update(dict.fromkeys(exceptions, ",".join(filter(None, [listed, "localhost", "127.0.0.1", "::1", host]))))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        _hidden.clear()


@contextmanager
def temporary_folder() -> Iterator[None]:
    """Within, gradio has a folder for its files: the one that is configured, or a new one where that cannot be used.

    Gradio's default is one folder for all users of the machine, so it may be another user's. InputError where no folder can be made at all.
    """
    configured = os.environ.get(TEMPORARY)
    try:
        usable = _usable(Path(configured) if configured else Path(tempfile.gettempdir()) / "gradio")
        own = nullcontext() if usable else tempfile.TemporaryDirectory(prefix="erase-concept-page-", ignore_cleanup_errors=True)
    except OSError as error:
        raise InputError(f"no folder for temporary files can be written ({error.strerror}); set TMPDIR to one") from error
    with own as folder:
        if folder is not None:
            os.environ[TEMPORARY] = folder
        try:
            yield
        finally:
            if folder is not None:
                del os.environ[TEMPORARY]
            if folder is not None and configured is not None:
                os.environ[TEMPORARY] = configured


def _usable(folder: Path) -> bool:
    """Whether this is a folder of ours in which a file can be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
    except OSError:
        return False


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
