"""The command in forks of a process that has imported its libraries: a call takes what it does, not the seconds of its imports.

Each call has a process, a folder and streams of its own, as one from a shell; only the imports are shared.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

PARENT = """
import json, os, sys
import torch
import transformers
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer
import erase.pipeline.stages, eval.report
from ui.cli.main import main

torch.set_num_threads(1)

def child(words, folder, streams):
    status = 1
    try:
        os.chdir(folder)
        for number, path in enumerate(streams, 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
        sys.argv = words
        try:
            status = main(words[1:])
        except SystemExit as end:
            status = end.code or 0
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)

for line in sys.stdin:
    words, folder, streams = json.loads(line)
    pid = os.fork()
    if pid == 0:
        child(words, folder, streams)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Warm:
    """A process that answers calls of the command, one after another."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def __call__(self, words: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
        """What the command `words`, called in a folder, returns and prints."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with tempfile.TemporaryDirectory() as scratch:
            streams = [Path(scratch, name) for name in ("stdout", "stderr")]
            self.process.stdin.write(json.dumps([list(words), str(folder), [str(path) for path in streams]]) + "\n")
            self.process.stdin.flush()
            status = self.process.stdout.readline()
            assert status, "the process of the commands has ended"
            out, err = (path.read_text(encoding="utf-8") if path.exists() else "" for path in streams)
        return subprocess.CompletedProcess(list(words), int(status), out, err)


@contextmanager
def warm(folder: Path, environment: Mapping[str, str]) -> Iterator[Warm]:
    """Such a process with this environment, until the end of the block."""
    line = [sys.executable, "-c", PARENT]
    with subprocess.Popen(line, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        try:
            yield Warm(process)
        finally:
            process.stdin.close()
