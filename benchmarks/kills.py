"""Kills: commands that are ended at any moment, by three signals, must leave whole files and come to the same bits when repeated.

    python benchmarks/kills.py --kills 200 --seed 0 --json kills.json
    python benchmarks/kills.py --kills 5 --commands export main

Every command runs once without interruption. Then, again and again: it is started, ended by SIGINT (as Ctrl-C does), SIGTERM or SIGKILL
at a random moment of a part that is chosen in turn (of the main job each stage; of the others each third of their time), and repeated to
its end. After the kill no file is incomplete under its final name; neither run prints a traceback, and one that was stopped with Ctrl-C
ends with status 130; after the repetition every image, weight and record has the content of the uninterrupted command, times aside, and
nothing temporary is left. Two kills in a row count as two. Linux and the CPU.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from host import Record, facts, parser, publish
from intact import differing, leftovers, torn

from erase.files import read_json
from erase.pipeline.job import STAGES

ROOT = Path(__file__).resolve().parents[1]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
COUNTS = ("--forget-count", "4", "--retain-count", "4", "--evaluate-count", "2", "--sampling-steps", "2", "--device", "cpu")
METHOD = ("--steps", "45", "--batch", "2", "--sensitivity-batches", "2")  # so that two checkpoints are written
START, MEASURE = "start", "measure"  # before the first stage, and after the last
THIRDS = ("first third", "second third", "last third")
TWICE = 0.25  # share of trials in which the repetition is killed as well
WAIT = 600.0  # seconds after which a command counts as hung


# --- what is killed -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """A command: its arguments, what it writes (both in a scratch folder, beside a finished `run`), and the parts to be killed in.

    `own` is the folder in which nothing temporary is left: that which it locks, or of an export all that is there.
    """

    arguments: tuple[str, ...]
    output: str
    own: str = "."
    parts: tuple[str, ...] = THIRDS

    @property
    def staged(self) -> bool:
        """Whether its parts are stages, which the run folder tells."""
        return self.parts is not THIRDS


COMMANDS = {
    "main": Command(("--concept", "star", "--output", "main", *COUNTS, *METHOD), "main", "main", (START, *STAGES, MEASURE)),
    "export": Command(("export", "run", "--format", "unet", "--output", "unet.safetensors"), "unet.safetensors"),
    "export folder": Command(("export", "run", "--dtype", "float16", "--output", "model"), "model"),
    "evaluate": Command(
        ("evaluate", "run", "--count", "4", "--steps", "2", "--device", "cpu", "--output", "evaluation"), "evaluation", "evaluation"
    ),
    "attack": Command(
        ("attack", "run", "--attacks", "named", "quantise", "--attempts", "4", "--at-once", "2", "--budget", "1h", "--device", "cpu"),
        "run", "run/attacks",
    ),
    "bench": Command(
        (
            "bench", "--concepts", "star", "--methods", "esd:steps=25", "uce", "--relearn", "4", "--relearn-count", "2",
            "--output", "bench", *COUNTS,
        ),
        "bench", "bench",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """What a command comes to when nobody disturbs it: its output, its seconds, and of a staged one those of its parts."""

    output: Path
    seconds: float
    stages: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Kill:
    """One trial: the command, the part in which it is killed, the signal, and the share of the part at which."""

    command: str
    part: str
    signal: signal.Signals
    share: float
    twice: bool = False


def trials(names: list[str], kills: int, seed: int) -> Iterator[Kill]:
    """Every part of every command with every signal, in random order, over and over until there are `kills`."""
    draw = random.Random(seed)
    cells = [(name, part, number) for name in names for part in COMMANDS[name].parts for number in SIGNALS]
    left = kills
    while left > 0:
        draw.shuffle(cells)
        for name, part, number in cells[:left]:
            twice = left > 1 and draw.random() < TWICE
            yield Kill(name, part, number, draw.random(), twice)
            left -= 1 + twice
            if left <= 0:
                return


# --- one trial ------------------------------------------------------------------------------------------------------


class Ground:
    """A scratch folder in which every trial of a command begins alike and has the same paths."""

    def __init__(self, scratch: Path) -> None:
        self.work, self.kept, self.printed = scratch / "work", scratch / "kept", scratch / "printed"
        self.kept.mkdir(parents=True)
        self.clear()

    def clear(self) -> None:
        """Nothing in the folder of work but the finished run that commands read."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        if (self.kept / "run").exists():
            shutil.copytree(self.kept / "run", self.work / "run")

    def start(self, command: Command) -> subprocess.Popen[bytes]:
        """Start it in a process group of its own; what it prints goes to a file, since nobody empties a pipe meanwhile."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        with self.printed.open("w") as file:
            arguments = [sys.executable, "-m", "erase", *command.arguments]
            return subprocess.Popen(arguments, cwd=self.work, env=environment, start_new_session=True, stdout=file, stderr=file)

    def whole(self, command: Command) -> tuple[int, str]:
        """Status and output of the command, run to its end."""
        return self._end(self.start(command))

    def _end(self, process: subprocess.Popen[bytes]) -> tuple[int, str]:
        try:
            process.wait(WAIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return -1, f"it did not end within {WAIT:.0f} s"
        return process.returncode, self.printed.read_text(encoding="utf-8", errors="replace")

    def reference(self, name: str) -> Reference:
        """The command without a kill. RuntimeError where it fails all the same."""
        command, start = COMMANDS[name], time.monotonic()
        self.clear()
        status, errors = self.whole(command)
        if status:
            raise RuntimeError(f"{name} fails without a kill: {errors.strip()[-500:]}")
        seconds, output = time.monotonic() - start, self.kept / f"reference {name}"
        (self.work / command.output).rename(output)
        stages = {}
        if command.staged:
            records = read_json(output / "stages.json")
            stages = {stage: float(records[stage]["seconds"]) for stage in STAGES}
            rest = max(1.0, seconds - sum(stages.values()))
            stages |= {START: 0.7 * rest, MEASURE: 0.3 * rest}
        return Reference(output, seconds, stages)

    def killed(self, kill: Kill, reference: Reference) -> tuple[int | None, str]:
        """Start the command and end it at its moment: its status and output; None for the status where it was done before."""
        command = COMMANDS[kill.command]
        process = self.start(command)
        start = time.monotonic()
        self._until(process, command, kill, reference, start)
        done = process.poll() is not None
        if not done:
            os.killpg(process.pid, kill.signal)
        status, printed = self._end(process)
        return None if done else status, printed

    def _until(self, process: subprocess.Popen[bytes], command: Command, kill: Kill, reference: Reference, start: float) -> None:
        """Wait until the moment of the kill, or until the process has ended."""
        delay = (command.parts.index(kill.part) + kill.share) / len(command.parts) * reference.seconds
        if command.staged:
            while process.poll() is None and not self._reached(command, kill.part):
                time.sleep(0.005)
            start, delay = start if kill.part == START else time.monotonic(), kill.share * reference.stages[kill.part]
        while process.poll() is None and time.monotonic() < start + delay:
            time.sleep(0.005)

    def _reached(self, command: Command, part: str) -> bool:
        """Whether a staged command has begun this part."""
        folder, before = self.work / command.output, command.parts[command.parts.index(part) - 1]
        if part == START or before == START:
            return part == START or (folder / "plan.json").exists()
        return (folder / "stages.json").exists() and before in read_json(folder / "stages.json")

    def trial(self, kill: Kill, reference: Reference) -> tuple[int, list[str]]:
        """How many kills landed, and what was wrong after them."""
        self.clear()
        command, landed, wrong = COMMANDS[kill.command], 0, []
        for _ in range(1 + kill.twice):
            status, errors = self.killed(kill, reference)
            landed += status is not None
            wrong += [f"torn: {name}" for name in torn(self.work)]
            wrong += ["a traceback"] if "Traceback" in errors else []
            if status is not None and kill.signal == signal.SIGINT and status not in (130, 0):
                wrong.append(f"status {status} after Ctrl-C: {errors.strip()[-200:]}")
        status, errors = self.whole(command)
        exists = kill.command.startswith("export") and status == 2 and "exists" in errors  # the kill came after the last byte
        if (status or "Traceback" in errors) and not exists:
            return landed, [*wrong, f"the repetition ends with status {status}: {errors.strip()[-300:]}"]
        output = self.work / command.output
        wrong += [f"differs: {name}" for name in differing(reference.output, output)]
        return landed, wrong + [f"left: {name}" for name in (leftovers(self.work / command.own))]


# --- all of them ----------------------------------------------------------------------------------------------------


def run(options: Namespace, say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)) -> Record:
    """All trials, until so many kills have landed; a command that was done before its kill is tried again."""
    begun, started = facts(), time.monotonic()
    failures: list[Record] = []
    landed: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        ground = Ground(Path(scratch))
        finished = ground.reference("main")
        shutil.copytree(finished.output, ground.kept / "run")
        references = {name: finished if name == "main" else ground.reference(name) for name in options.commands}
        queue = trials(options.commands, options.kills, options.seed)
        late = 0
        for number in itertools.count(1):
            if (kill := next(queue, None)) is None:
                missing = options.kills - sum(landed.values())
                if missing <= 0 or late > 3 * options.kills:
                    break
                queue = trials(options.commands, missing, options.seed + number)
                continue
            count, wrong = ground.trial(kill, references[kill.command])
            landed[f"{kill.command}: {kill.part}, {kill.signal.name}"] += count
            late += count == 0
            failures += [{"command": kill.command, "part": kill.part, "signal": kill.signal.name, "wrong": wrong}] if wrong else []
            say(f"{sum(landed.values())} kills; {kill.command}, {kill.part}, {kill.signal.name}: {'; '.join(wrong) or 'the same bits'}")
    seconds = {name: round(one.seconds, 1) for name, one in references.items()}
    plan = {"kills": sum(landed.values()), "seed": options.seed, "uninterrupted_seconds": seconds, "failures": failures}
    return plan | {"landed": dict(sorted(landed.items())), "wall_seconds": round(time.monotonic() - started)} | begun


def table(record: Record) -> str:
    """The record as text."""
    by_command = Counter(dict.fromkeys(record["uninterrupted_seconds"], 0))
    for cell, count in record["landed"].items():
        by_command[cell.split(":")[0]] += count
    counts = ", ".join(f"{name} {count}" for name, count in by_command.items())
    lines = [f"{record['kills']} kills ({counts}): {len(record['failures'])} failures"]
    return "\n".join(lines + [f"{one['command']}, {one['part']}, {one['signal']}: {'; '.join(one['wrong'])}" for one in record["failures"]])


def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__, device=False)
    arguments.add_argument("--kills", type=int, default=200)
    arguments.add_argument("--seed", type=int, default=0, help="of the moments and of their order")
    arguments.add_argument("--commands", nargs="+", choices=list(COMMANDS), default=list(COMMANDS))
    options = arguments.parse_args(argv)
    record = run(options)
    publish(record, table(record), options.json)
    if record["failures"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
