"""A Python whose large libraries are imported already: started in place of `sys.executable`, it takes a call's time without theirs.

A small program passes its arguments, folder, environment and streams to a server, which has imported them and forks a process for the
call. That process is one of its own in all but its imports; it ends when the program is killed, and the program ends with its status.
Libraries that read the environment when they are imported have that of the server.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

READY = "ready"
LONGEST = 100  # characters of a socket's name
LENGTH = 8  # bytes of a number in a message
MODULES = (
    "erase.pipeline.stages", "eval.evaluate", "eval.report", "eval.vision.judge", "torch.distributed.launcher.api", "ui.cli.main",
    "ui.web.drawing.models",
)  # fmt: skip

CLIENT = """
import json, os, signal, socket, sys

server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: server.sendall(bytes([number])))
call = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(call).to_bytes(8, "big")], [0, 1, 2])
server.sendall(call)
for stream in (0, 1, 2):  # whose ends the process of the call alone decides now
    os.close(stream)
status = int.from_bytes(server.recv(8), "big", signed=True)
if status < 0:
    signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
    os.kill(os.getpid(), -status)
os._exit(status)
"""


@contextmanager
def warm(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """The path of such a Python, whose files lie in `folder`; a plain one where processes cannot be forked."""
    with tempfile.TemporaryDirectory() as place:  # nobody else may enter it
        address = os.path.join(place, "socket")
        if hasattr(os, "fork") and hasattr(os, "pidfd_open") and len(address) < LONGEST:
            with _server(folder / "python", address, environment) as program:
                yield str(program)
        else:
            yield sys.executable


@contextmanager
def _server(program: Path, address: str, environment: Mapping[str, str]) -> Iterator[Path]:
    client = program.with_name("client.py")
    client.write_text(CLIENT.format(address=address))
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -IS {shlex.quote(str(client))} "$@"\n')
    program.chmod(0o755)
    line = [sys.executable, __file__, address, str(program)]
    with subprocess.Popen(line, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            assert server.stdout.readline().strip() == READY
            yield program
        finally:
            server.stdin.close()


# --- the server ---------------------------------------------------------------------------------------------------------


def serve(address: str, program: str) -> None:
    """Fork a process for each call until the standard input ends."""
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder, whose modules are named like others'
    from ui.cli.imports import quick_imports

    with quick_imports():
        _import_libraries()
    inherited = [path for path in sys.path[1:] if path not in _python_path(os.environ)]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the attendants
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(64)
        print(READY, flush=True)
        while True:
            readable, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in readable:
                os._exit(0)
            connection, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _attend(connection, program, inherited)
            connection.close()


def _import_libraries() -> None:
    """All that a job, an evaluation, a drawing or torch's launcher imports."""
    import torch

    for name in ("diffusers.StableDiffusionPipeline", "diffusers.UNet2DConditionModel", "transformers.CLIPTextModel"):
        package, _, member = name.partition(".")
        getattr(import_module(package), member)  # they import on demand
    for name in MODULES:
        import_module(name)
    torch.set_num_threads(1)


def _attend(connection: socket.socket, program: str, inherited: list[str]) -> NoReturn:
    """Start the process of a call, pass signals on to it, and answer with its status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, _, _ = socket.recv_fds(connection, LENGTH, 3)
    call = b""
    while len(call) < int.from_bytes(head, "big"):
        call += connection.recv(2**20)
    words, folder, environment = json.loads(call)
    process = os.fork()
    if process == 0:
        connection.close()
        _run(words, folder, environment, streams, program, inherited)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(process)
    while True:
        readable, _, _ = select.select([ended, connection], [], [])
        if ended in readable:
            status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            connection.sendall(status.to_bytes(LENGTH, "big", signed=True))
            os._exit(0)
        number = connection.recv(1)
        os.kill(process, number[0] if number else signal.SIGKILL)  # nothing: the program was killed
        if not number:
            os.waitpid(process, 0)
            os._exit(0)


def _run(words: list[str], folder: str, environment: dict[str, str], streams: list[int], program: str, inherited: list[str]) -> NoReturn:
    """In the process of a call: be the Python that was called with `words`."""
    status = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode, closefd=False) for number, mode in enumerate("rww"))
        sys.stderr.reconfigure(line_buffering=True)
        if environment.get("PYTHONUNBUFFERED") or "-u" in words[:1]:
            sys.stdout.reconfigure(write_through=True)
        sys.executable = program
        sys.path[:] = [*_python_path(environment), *inherited]
        sys.modules["__main__"].__dict__.pop("__file__", None)
        _renew_threads()
        _interpret([word for at, word in enumerate(words) if (at, word) != (0, "-u")])
        status = 0
    except SystemExit as end:
        status = _status(end.code)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        _end(status)


def _renew_threads() -> None:
    """Torch's pool of threads does not outlive a fork. The first call makes one, and of two threads that call at once, one finds none."""
    import torch

    torch.set_num_threads(torch.get_num_threads())


def _interpret(words: list[str]) -> None:
    """`-c CODE`, `-m MODULE` or a script, with its arguments."""
    import runpy

    if words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        sys.path.insert(0, "")
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    elif words[0] == "-m":
        sys.argv = ["-m", *words[2:]]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).parent))
        runpy.run_path(words[0], run_name="__main__")


def _status(code: Any) -> int:
    """The exit status that Python ends with for the code of a SystemExit."""
    if code is None or isinstance(code, int):
        return (code or 0) & 255
    print(code, file=sys.stderr)
    return 1


def _end(status: int) -> NoReturn:
    """As Python ends: threads, exit functions, streams."""
    import atexit
    import threading

    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _python_path(environment: Mapping[str, str]) -> list[str]:
    return [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
