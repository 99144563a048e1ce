"""Start the web page: `python app.py`."""

import sys

from ui.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["ui", *sys.argv[1:]]))
