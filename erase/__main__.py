"""`python -m erase` and `accelerate launch -m erase ...` are the command. The one import upwards, out of the engine."""

import os
import sys
from pathlib import Path

# `python -m` puts the working directory first on the path, where a folder's own `eval` or `ui` would shadow these packages.
if sys.path[0] in ("", os.getcwd()) and Path.cwd() != Path(__file__).resolve().parents[1]:
    del sys.path[0]

from ui.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
