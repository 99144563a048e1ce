"""`erase-concept protocols`: named protocols of measuring."""

from __future__ import annotations

import json

from ui.cli.display import print_rows
from ui.cli.flags import PROGRAM, Parser


def protocols(given: list[str]) -> int:
    """List the protocols that `evaluate --protocol` knows, or show all that one of them fixes."""
    from eval.protocols import list_protocols, load_protocol

    parser = Parser(prog=f"{PROGRAM} protocols", description=protocols.__doc__, epilog=f"example: {PROGRAM} protocols i2p-nudity")
    parser.add_argument("protocol", nargs="?", help="show this one: a name or a .toml file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(given)
    if options.protocol is None:
        print_rows([{"name": p.name, "pictures": p.pictures, "model": p.model, "about": p.about} for p in list_protocols()], options.json)
        return 0
    print(json.dumps(load_protocol(options.protocol).record(), indent=1, ensure_ascii=False))
    return 0
