"""Meters of time and memory."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch


def peak_bytes(device: str) -> int:
    """Peak memory of this process: allocated on the GPU for CUDA, else resident on the host."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(torch.device(device)))
    try:
        import resource
    except ImportError:  # not available on Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Clock:
    """Wall-clock `seconds`, and `work`: processor seconds on a CPU, which do not depend on other processes, else the same seconds."""

    def __init__(self, device: str, before: Mapping[str, float] | None = None) -> None:
        self.before = dict(before or {})
        self.clocks = {"seconds": time.perf_counter, "work": time.process_time if device.startswith("cpu") else time.perf_counter}
        self.start = {name: clock() for name, clock in self.clocks.items()}

    def read(self) -> dict[str, float]:
        """Seconds since the start, plus those before an earlier stop."""
        return {name: self.before.get(name, 0.0) + clock() - self.start[name] for name, clock in self.clocks.items()}


class Memory:
    """Peak memory within the context: allocated on the GPU for CUDA, else resident on the host (Linux; 0 elsewhere)."""

    def __init__(self, device: str) -> None:
        self.cuda = torch.device(device) if device.startswith("cuda") else None
        self.peak = 0

    def __enter__(self) -> Memory:
        if self.cuda is not None:
            torch.cuda.reset_peak_memory_stats(self.cuda)
        else:
            _reset_high_water()
        return self

    def __exit__(self, *_: object) -> None:
        self.peak = torch.cuda.max_memory_allocated(self.cuda) if self.cuda is not None else _high_water()


def _reset_high_water() -> None:
    with contextlib.suppress(OSError):  # not Linux, or not permitted: the peak is then that since the start of the process
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _high_water() -> int:
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
