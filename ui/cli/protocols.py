"""`erase-concept protocols`: named measurement protocols."""

from __future__ import annotations

import json

from ui.cli.display import print_rows
from ui.cli.flags import PROGRAM, Parser


def protocols(arguments: list[str]) -> int:
    """List the protocols of `evaluate --protocol`, or show everything that one of them fixes."""
    parser = Parser(prog=f"{PROGRAM} protocols", description=protocols.__doc__, epilog=f"example: {PROGRAM} protocols i2p-nudity")
    parser.add_argument("protocol", nargs="?", help="show this protocol: a name or a .toml file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    from eval.protocols import list_protocols, load_protocol

    if options.protocol is None:
        print_rows([{"name": p.name, "pictures": p.pictures, "model": p.model, "about": p.about} for p in list_protocols()], options.json)
        return 0
    print(json.dumps(load_protocol(options.protocol).record(), indent=1, ensure_ascii=False))
    return 0
