"""The `erase-concept` command: finds the command that is asked for, and turns what goes wrong into a line and an exit status.

`erase-concept --concept star` is the main job; `erase-concept SUBCOMMAND` everything beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from erase.errors import Diverged, InputError
from ui.cli.flags import PROGRAM

COMMANDS = (
    "concepts",
    "methods",
    "estimate",
    "generate",
    "evaluate",
    "attack",
    "export",
    "compare",
    "bench",
    "sweep",
    "classify",
    "protocols",
    "ui",
)


def main(arguments: Sequence[str] | None = None, report: Callable[[InputError], None] = lambda error: None) -> int:
    """Run the command; returns the exit status: 0 done, 2 wrong input, 1 anything else, 130 interrupted.

    `report` is called with an InputError, beside the line that is printed.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = "erase"
    if given and given[0] in COMMANDS:
        name = given.pop(0)
    elif given and not given[0].startswith("-"):
        unknown = InputError(f"{given[0]!r} is no command; expected --concept NAME, or one of {', '.join(COMMANDS)}")
        report(unknown)
        return _fail(unknown, 2)
    try:
        return command(name)(given)
    except InputError as error:
        report(error)
        return _fail(error, 2)
    except Diverged as error:
        return _fail(
            f"{error}: the network is as it was before that step, and the run keeps its last checkpoint; "
            "give a smaller --learning-rate or --forget-weight and another --output",
            1,
        )
    except (RuntimeError, MemoryError) as error:
        said = device_error(error)
        if said is None:
            raise
        return _fail(said, 1)
    except KeyboardInterrupt:
        print(f"\n{PROGRAM}: stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    except BrokenPipeError:  # somebody's `| head` has seen enough
        sys.stderr.close()
        return 0


def device_error(error: BaseException) -> str | None:
    """What happened to the device and what to do; None for an error that is not the device's."""
    from erase.training.micro_batches import out_of_memory

    first = next(iter(str(error).splitlines()), type(error).__name__)[:160]
    resumed = "what is done is kept, and the same command goes on where it stopped"
    if out_of_memory(error):
        less = "--sampling-batch 1 --micro-batch 1 --checkpointing, --dtype bfloat16, a smaller --scope or --size"
        return f"out of memory ({first}); {resumed}; give less at once: {less}"
    if "CUDA" in str(error) or type(error).__name__ == "AcceleratorError":
        return f"the card failed ({first}); {resumed}; if it fails again, check the driver, or give --device cpu"
    return None


def command(name: str) -> Callable[[list[str]], int]:
    """A command by name, or `erase`, the main job."""
    found: Callable[[list[str]], int] = getattr(import_module(f"ui.cli.{name}"), name)
    return found


def _fail(error: object, status: int) -> int:
    print(f"{PROGRAM}: {' '.join(str(error).split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
