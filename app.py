"""Start the web page: `python app.py`."""

import sys

from erase.cli import main

if __name__ == "__main__":
    sys.exit(main(["ui", *sys.argv[1:]]))
