"""`erase-concept ui`: the web page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from erase.errors import InputError
from ui.cli.flags import PROGRAM, Parser


def ui(given: list[str]) -> int:
    """Open the web page: compare, erase, read the evidence. On this machine only, unless told otherwise."""
    examples = f"""examples:
  {PROGRAM} ui                                             this machine only
  {PROGRAM} ui --runs runs --models ~/models                models that may be typed into the page
  {PROGRAM} ui --host 0.0.0.0 --auth passwords.txt          the whole network, with a password"""
    parser = Parser(prog=f"{PROGRAM} ui", description=ui.__doc__, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of run folders (default: runs)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1); any other than loopback needs --auth"
    )
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="a public address through gradio's servers; needs --auth")
    parser.add_argument(
        "--auth", metavar="USER:PASSWORD", help="who may see the page; or a file with one a line, which no process list shows"
    )
    parser.add_argument(
        "--models", action="append", default=[], metavar="DIR", help="a folder that may be typed into the page, or a hub name"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--memory", type=float, default=4.0, metavar="GIB", help="of models kept loaded for comparing (default: 4)")
    options = parser.parse_args(given)
    folders, names = _allowed(options.models)
    if not 0 < options.memory < 4096:
        raise InputError(f"--memory is {options.memory:g}; expected GiB, more than 0")
    from ui.web.page import serve
    from ui.web.security.access import read_auth

    serve(
        runs=options.runs, host=options.host, port=options.port, share=options.share, auth=read_auth(options.auth), allowed=folders,
        hub=names, device=options.device, memory=int(options.memory * 2**30),
    )  # fmt: skip
    return 0


def _allowed(given: Sequence[str]) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Folders, and names on the hub; InputError for what is neither."""
    from ui.web.security.access import HUB

    folders = [Path(text).expanduser() for text in given if Path(text).expanduser().is_dir()]
    names = [text for text in given if not Path(text).expanduser().is_dir()]
    for name in names:
        if not HUB.fullmatch(name):
            raise InputError(f"--models {name} is not there; expected a folder, or OWNER/NAME of the hub")
    return tuple(folders), tuple(names)
