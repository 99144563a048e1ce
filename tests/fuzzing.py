"""Hostile input by the thousand, from a seed: files of a model, a run and a user with something broken in them, and values of options.

`World` holds good files; a case breaks one of them in place (or makes up options), calls the command or a reader in this process,
and puts the file back. What must hold of every case is in `problems`.
"""

from __future__ import annotations

import contextlib
import io
import json
import struct
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from erase.errors import InputError
from ui.cli.main import main

SECONDS = 60.0
DEEP = 3000
HOSTILE: list[Any] = [
    None, True, False, -1, 0, 1, 2**31, 2**63, 2**70, -(2**70), 0.5, -0.0, 1e308, float("nan"), float("inf"), "", " ", "x", "0", "-1",
    "=1+1", "../../x", "/dev/zero", "a\0b", "\ud800", "\u202e", "x" * 200_000, [], [[]], [0], ["x"], [None], {}, {"x": 1}, {"": {}},
]  # fmt: skip
RAW = [b"[" * DEEP, b'{"a":' * DEEP, b"9" * 5000, b"NaN", b"1e999", b"\xff\xfe", b'"\\ud800"', b"", b"null", b"[1,", b"{'a': 1}"]


@dataclass(frozen=True)
class Case:
    """What is called, with a name that says what was broken. `call` returns the exit status and what was printed as errors."""

    name: str
    call: Callable[[], tuple[int, str]]


def command(*arguments: str | Path) -> Callable[[], tuple[int, str]]:
    """A command line, run in this process."""

    def call() -> tuple[int, str]:
        errors = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            status = main([str(argument) for argument in arguments])
        return status, errors.getvalue()

    return call


def reader(read: Callable[[], object]) -> Callable[[], tuple[int, str]]:
    """A function that reads files of a user, as a command whose work begins with it."""

    def call() -> tuple[int, str]:
        try:
            read()
        except InputError as error:
            return 2, f"erase-concept: {' '.join(str(error).split())}\n"
        return 0, ""

    return call


@contextlib.contextmanager
def broken(path: Path, content: bytes) -> Iterator[None]:
    """A file with another content, for a while."""
    good = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(good)


def problems(case: Case, folder: Path, outputs: Path) -> list[str]:
    """What is wrong with how a case ended. Files below `outputs` may be new; no other may change."""
    before, start = _state(folder, outputs), time.monotonic()
    try:
        status, errors = case.call()
    except BaseException as error:
        if isinstance(error, SystemExit) and error.code == 0:
            return []
        return [f"{case.name}: {''.join(traceback.format_exception(error)[-3:])}"]
    wrong = []
    lines = [line for line in errors.splitlines() if "Warning" not in line and not line.startswith("  ")]
    if status not in (0, 2):
        wrong.append(f"status {status}: {errors[-300:]}")
    if status == 2 and (len(lines) != 1 or not lines[0].startswith("erase-concept: ")):
        wrong.append(f"{len(lines)} lines of error: {errors[-300:]!r}")
    if "Traceback" in errors:
        wrong.append(errors[-500:])
    if (spent := time.monotonic() - start) > SECONDS:
        wrong.append(f"{spent:.0f} s")
    if changed := sorted(str(path) for path in before.items() ^ _state(folder, outputs).items()):
        wrong.append(f"changed: {changed[:3]}")
    return [f"{case.name}: {problem}" for problem in wrong]


def _state(folder: Path, outputs: Path) -> dict[Path, tuple[int, int, int]]:
    """Path -> inode, size and time of the last change of every file but the outputs."""
    files = (path for path in folder.rglob("*") if outputs not in path.parents and path.is_file() and path.name != ".lock")
    return {path: (status.st_ino, status.st_size, status.st_mtime_ns) for path in files for status in [path.stat()]}


# --- how a file is broken ---------------------------------------------------------------------------------------------


def break_bytes(data: bytes, random: Random) -> bytes:
    """Bits turned, pieces cut out, doubled, put in or cut off, another encoding."""
    at, length = random.randrange(len(data) + 1), random.randrange(1, 40)
    ways = [
        lambda: data[:at],
        lambda: data[:at] + data[at + length :],
        lambda: data[:at] + data[at : at + length] * 3 + data[at + length :],
        lambda: data[:at] + random.randbytes(length) + data[at:],
        lambda: data[:at] + random.choice(RAW) + data[at:],
        lambda: data[:at] + bytes([random.randrange(256)]) + data[at + 1 :],
        lambda: b"\xef\xbb\xbf" + data,
        lambda: data.decode("latin-1").encode("utf-16"),
        lambda: random.choice(RAW),
    ]
    return random.choice(ways)()


def break_json(data: bytes, random: Random) -> bytes:
    """Another value, type or depth at one place, a key less, one more or twice; or broken bytes."""
    if random.random() < 0.3:
        return break_bytes(data, random)
    value = json.loads(data)
    holder, key = random.choice(list(_places(value)))
    way = random.randrange(6)
    if way == 0 and isinstance(holder, dict):
        if random.random() < 0.3:  # a key twice
            return json.dumps(value).encode()[:-1] + b"," + json.dumps(value).encode()[1:]
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        holder[random.choice(["", "x", "__class__", "_class_name", "..", "x" * 1000])] = random.choice(HOSTILE)
    elif way == 2:
        holder[key] = "HERE"
        return json.dumps(value).encode().replace(b'"HERE"', random.choice(RAW), 1)
    else:
        holder[key] = random.choice(HOSTILE)
    return json.dumps(value).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) within a value."""
    for key in list(value if isinstance(value, dict) else range(len(value))):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def break_header(data: bytes, random: Random) -> bytes:
    """A safetensors file with a broken header, or broken bytes in it."""
    length = struct.unpack("<Q", data[:8])[0]
    head, rest = data[8 : 8 + length], data[8 + length :]
    if random.random() < 0.4:
        return _other_tensors(json.loads(head), rest, random)
    if random.random() < 0.2:
        return random.choice([data[: random.randrange(len(data))], random.randbytes(8) + data[8:], data + b"\0", data[8:]])
    head = break_json(head, random)
    return struct.pack("<Q", len(head) + random.choice([0, 0, 0, 0, 1, -1])) + head + rest


def _other_tensors(entries: dict[str, Any], data: bytes, random: Random) -> bytes:
    """A whole file, but of other tensors: another name, dtype, order of the shape, metadata, values that are not numbers, or zeros."""
    name = random.choice([name for name in entries if name != "__metadata__"])
    entry = entries[name]
    first, last = entry["data_offsets"]
    way = random.randrange(6)
    if way == 0:
        entries[random.choice(["x", f"{name}.base_layer", "a/../b", name.upper()])] = entries.pop(name)
    elif way == 1:
        entry["dtype"] = {"F32": "I32", "F16": "BF16", "I64": "F64"}.get(entry["dtype"], "U8")
    elif way == 2:
        entry["shape"] = random.choice([entry["shape"][::-1], [*entry["shape"], 1], [1, *entry["shape"]]])
    elif way == 3:
        key = random.choice(["format", "erase-concept", "modelspec.prediction_type", "x"])
        entries["__metadata__"] = {key: random.choice(["", "x", "\0", "v"])}
    else:
        data = data[:first] + random.choice([b"\xff", b"\0"]) * (last - first) + data[last:]
    head = json.dumps(entries).encode()
    return struct.pack("<Q", len(head)) + head + data


def break_lines(data: bytes, random: Random) -> bytes:
    """TOML, CSV or JSON lines: a line less, twice, or with another value in it; or broken bytes."""
    if random.random() < 0.3:
        return break_bytes(data, random)
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    if lines[at].startswith(b"{"):
        lines[at] = break_json(lines[at], random)
        return b"\n".join(lines)
    value = json.dumps(random.choice(HOSTILE)).encode()
    for separator in (b" = ", b": ", b",", b"\t"):
        if separator in lines[at]:
            cells = lines[at].split(separator)
            cells[random.randrange(len(cells))] = random.choice([value, random.choice(RAW)])
            changed = separator.join(cells)
            break
    else:
        changed = value
    lines[at : at + 1] = random.choice([[changed], [changed], [changed], [], [lines[at]] * 2])
    return b"\n".join(lines)


def break_image(data: bytes, random: Random) -> bytes:
    """Broken bytes, or a PNG that claims another size."""
    if random.random() < 0.5:
        return break_bytes(data, random)
    sides = [random.choice([0, 1, 64, 20_000, 2**31 - 1, 2**32 - 1]) for _ in range(2)]
    return png(*sides, kind=random.choice([0, 2, 3, 6, 9]), depth=random.choice([1, 8, 16, 3]))


def png(width: int, height: int, kind: int = 2, depth: int = 8) -> bytes:
    """A PNG that claims a size, and holds one row of it."""
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
