"""The `erase-concept` command: calls the subcommand, and turns errors into one line and an exit status.

`erase-concept --concept star` is the main job; `erase-concept COMMAND` is everything else. Nothing here imports torch.
"""

from __future__ import annotations

import sys

GARBAGE = 50_000  # objects after which Python looks for garbage, in a process of the command
LINE = 2000  # characters of a message at most: what was given may be of any length
TYPE_CHECKING = False  # as in typing, whose import takes time in which Ctrl-C would not be handled yet
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from erase.errors import InputError


def _concepts(arguments: list[str]) -> int:
    from ui.cli.concepts import concepts

    return concepts(arguments)


def _methods(arguments: list[str]) -> int:
    from ui.cli.methods import methods

    return methods(arguments)


def _estimate(arguments: list[str]) -> int:
    from ui.cli.estimate import estimate

    return estimate(arguments)


def _generate(arguments: list[str]) -> int:
    from ui.cli.generate import generate

    return generate(arguments)


def _evaluate(arguments: list[str]) -> int:
    from ui.cli.evaluate import evaluate

    return evaluate(arguments)


def _attack(arguments: list[str]) -> int:
    from ui.cli.attack import attack

    return attack(arguments)


def _export(arguments: list[str]) -> int:
    from ui.cli.export import export

    return export(arguments)


def _compare(arguments: list[str]) -> int:
    from ui.cli.compare import compare

    return compare(arguments)


def _bench(arguments: list[str]) -> int:
    from ui.cli.bench import bench

    return bench(arguments)


def _sweep(arguments: list[str]) -> int:
    from ui.cli.sweep import sweep

    return sweep(arguments)


def _classify(arguments: list[str]) -> int:
    from ui.cli.classify import classify

    return classify(arguments)


def _reproduce(arguments: list[str]) -> int:
    from ui.cli.reproduce import reproduce

    return reproduce(arguments)


def _protocols(arguments: list[str]) -> int:
    from ui.cli.protocols import protocols

    return protocols(arguments)


def _ui(arguments: list[str]) -> int:
    from ui.cli.ui import ui

    return ui(arguments)


def _erase(arguments: list[str]) -> int:
    from ui.cli.erase import erase

    return erase(arguments)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "concepts": _concepts,
    "methods": _methods,
    "estimate": _estimate,
    "generate": _generate,
    "evaluate": _evaluate,
    "attack": _attack,
    "export": _export,
    "compare": _compare,
    "bench": _bench,
    "sweep": _sweep,
    "classify": _classify,
    "reproduce": _reproduce,
    "protocols": _protocols,
    "ui": _ui,
}
"""The commands beside the main job. Each is imported when it is called: `--help` must not wait for the others."""


def main(arguments: Sequence[str] | None = None, report: Callable[[InputError], None] = lambda error: None) -> int:
    """Run the command; returns the exit status: 0 done, 2 wrong input, 1 anything else, 130 interrupted.

    `report` is called with an InputError, beside the line that is printed.
    """
    try:
        from ui.cli.interrupts import interrupts
        from ui.cli.streams import prepare_streams

        prepare_streams()
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    with interrupts(last=arguments is None) as pressed:
        try:
            if arguments is None:
                collect_rarely()
            return _run(list(sys.argv[1:] if arguments is None else arguments), report)
        except BaseException as error:  # a library may have made another error of the KeyboardInterrupt
            if pressed.seen or isinstance(error, KeyboardInterrupt):
                return pressed.report()
            raise


def collect_rarely() -> None:
    """For a process of its own. Imports take a sixth less: each collection goes through all objects of large libraries, all in use."""
    import gc

    gc.set_threshold(GARBAGE)


def _run(words: list[str], report: Callable[[InputError], None]) -> int:
    from erase.errors import Diverged, InputError

    command: Callable[[list[str]], int] = _erase
    if words and words[0] in COMMANDS:
        command = COMMANDS[words.pop(0)]
    elif words and not words[0].startswith("-"):
        unknown = InputError(f"{words[0]!r} is not a command; expected --concept NAME, or one of {', '.join(COMMANDS)}")
        report(unknown)
        return _fail(unknown, 2)
    try:
        return _call(command, words)
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
        message = device_error(error)
        if message is None:
            raise
        return _fail(message, 1)
    except BrokenPipeError:  # a reader such as `| head` has closed the pipe
        _give_up_output()
        return 0
    except OSError as error:
        return _disk_error(error)
    except UnicodeEncodeError as error:  # a file name, or a text that a library writes
        text = ascii(error.object[:80])
        return _fail(f"{text} has characters that the encoding {error.encoding} lacks; use a locale in UTF-8, such as LC_ALL=C.UTF-8", 2)


def _call(command: Callable[[list[str]], int], words: list[str]) -> int:
    """Run a command and write out what it printed, so that a full disk is noticed here and not after the end."""
    try:
        return command(words)
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()


def _disk_error(error: OSError) -> int:
    """One line for what the system refused: a file with its name, or else the standard output."""
    reason = error.strerror or str(error) or type(error).__name__
    from erase.files.disk import file_of

    if (name := file_of(error)) is not None:
        return _fail(f"cannot use {name} ({reason}); finished work is kept: correct this, and run the same command again", 2)
    if isinstance(error, FileNotFoundError):
        return _fail("the working directory does not exist any more; change to another one", 2)
    _give_up_output()
    return _fail(f"the standard output or a file cannot be written ({reason}); free some space, or send it elsewhere", 1)


def _give_up_output() -> None:
    """Point the standard output to nowhere: Python writes what is left in its buffer when it ends, and would fail again."""
    import os
    from contextlib import suppress

    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def device_error(error: BaseException) -> str | None:
    """What happened to the device and the remedy; None for an error of another kind."""
    from erase.training.micro_batches import out_of_memory

    first = next(iter(str(error).splitlines()), type(error).__name__)[:160]
    resumed = "finished work is kept, and the same command resumes where it stopped"
    if out_of_memory(error):
        less = "--sampling-batch 1 --micro-batch 1 --checkpointing, --dtype bfloat16, a smaller --scope or --size"
        return f"out of memory ({first}); {resumed}; reduce memory with {less}"
    if "CUDA" in str(error) or type(error).__name__ == "AcceleratorError":
        return f"the GPU failed ({first}); {resumed}; if it fails again, check the driver, or give --device cpu"
    return None


def _fail(error: object, status: int) -> int:
    line = " ".join(str(error).split())
    print(f"erase-concept: {line if len(line) <= LINE else line[: LINE // 2] + ' ... ' + line[-LINE // 2 :]}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
