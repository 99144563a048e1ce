"""`erase-concept ui`: the web page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from erase.errors import InputError
from erase.files import check_folder, user_path
from erase.options import check_device
from ui.cli.flags import PROGRAM, Parser, at_most

EXAMPLES = f"""examples:
  {PROGRAM} ui                                             this machine only
  {PROGRAM} ui --runs runs --models ~/models                models that may be typed into the page
  {PROGRAM} ui --host 0.0.0.0 --auth passwords.txt          the whole network, with a password"""


def ui(arguments: list[str]) -> int:
    """Open the web page: compare, erase, read the evidence. Only this machine can see it, unless --host or --share says otherwise."""
    options = _parser().parse_args(arguments)
    check_device(options.device)
    check_folder(options.runs, "runs")
    if (options.runs / "options.json").is_file():
        raise InputError(f"--runs {options.runs} is a run folder; give the folder that it lies in", option="runs")
    folders, names = _allowed(options.models)
    if not 0 < options.memory < 4096:
        raise InputError(f"--memory is {options.memory:g}; expected GiB, more than 0", option="memory")
    from ui.web.page import ServerOptions, opened, serve
    from ui.web.security.access import read_auth

    server = ServerOptions(options.host, options.port, options.share, read_auth(options.auth))
    memory = int(options.memory * 2**30)
    serve(opened(options.runs, server, allowed=folders, hub=names, device=options.device, memory=memory))
    return 0


def _parser() -> Parser:
    parser = Parser(prog=f"{PROGRAM} ui", description=ui.__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder with run folders (default: runs)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1); any other than loopback needs --auth"
    )
    parser.add_argument("--port", type=at_most(int, 65535), help="port (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="a public address through gradio's servers; needs --auth")
    parser.add_argument(
        "--auth", metavar="USER:PASSWORD", help="who may see the page; or a file with one per line, which no process list shows"
    )
    parser.add_argument(
        "--models", action="append", default=[], metavar="DIR", help="a folder whose models may be opened, or a hub name; repeatable"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--memory", type=float, default=4.0, metavar="GIB", help="of models that stay loaded for Compare (default: 4)")
    return parser


def _allowed(places: Sequence[str]) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Folders, and names on the hub; InputError for anything else."""
    from ui.web.security.access import HUB

    folders = [user_path(text) for text in places if user_path(text).is_dir()]
    names = [text for text in places if not user_path(text).is_dir()]
    for name in names:
        if not HUB.fullmatch(name):
            raise InputError(f"--models {name} does not exist; expected a folder, or OWNER/NAME of the hub", option="models")
    return tuple(folders), tuple(names)
