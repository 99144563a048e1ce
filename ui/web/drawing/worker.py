"""The process that draws for the page: orders as lines of JSON on standard input, images as lines of JSON on standard output.

One order at a time; one that will probably come is drawn ahead until a real one does. Ends when its standard input does, so that no worker
outlives its page.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import threading
from collections.abc import Mapping
from typing import Any

from erase.errors import InputError
from ui.cli.main import collect_rarely
from ui.web.drawing.models import Stopped, Studio

Orders = queue.Queue[Mapping[str, Any]]


def main() -> None:
    """Serve orders until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--memory", type=int, default=4 * 2**30, help="bytes of models that stay loaded")
    options = parser.parse_args()
    collect_rarely()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not be taken for an answer

    def send(event: str, **facts: Any) -> None:
        answers.write(json.dumps({"event": event, **facts}) + "\n")
        answers.flush()

    studio, orders = Studio(options.device, options.memory, send), Orders()
    threading.Thread(target=_listen, args=(studio, orders), daemon=True).start()
    studio.warm_up()
    while True:
        order = orders.get()
        if order["do"] == "prepare":
            studio.prepare(order, lambda: not orders.empty())
        else:
            _serve(studio, order)


def _listen(studio: Studio, orders: Orders) -> None:
    """Orders wait for the main thread; a stop acts at once; the end of the input ends the process, whatever it is doing."""
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "stop":
            studio.stop(request["number"])
        else:
            orders.put(request)
    os._exit(0)


def _serve(studio: Studio, order: Mapping[str, Any]) -> None:
    """Draw; a failure is one line."""
    try:
        studio.draw(order)
    except Stopped:
        studio.send("failed", note="stopped")
    except InputError as error:
        studio.send("failed", note=str(error))
    except (MemoryError, RuntimeError) as error:  # torch's own when a GPU is full
        studio.models.clear()
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        studio.send("failed", note=f"the model could not draw ({reason}); choose fewer images or another model")
