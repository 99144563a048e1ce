"""`python -m erase` and `accelerate launch -m erase ...` are the command. The one import upwards, out of the engine."""

from ui.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
