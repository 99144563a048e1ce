"""The command is light: help, lists and the parsing of flags answer before torch is imported, which takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HEAVY = (
    "torch", "diffusers", "transformers", "accelerate", "PIL", "scipy", "matplotlib", "gradio", "torchvision", "sympy", "torch._dynamo",
)  # fmt: skip
CODE = f"""
import json, sys
from ui.cli.main import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["erase-concept", *arguments]
    try:
        status = main(arguments)
    except SystemExit as end:
        status = end.code
    print(status, *(name for name in {HEAVY} if sys.modules.get(name)), file=sys.stderr)
    print("end of", *arguments, file=sys.stderr)
"""

HELP = [
    "concepts", "methods", "estimate", "generate", "evaluate", "export", "compare", "classify", "protocols", "ui", "attack", "bench",
    "sweep", "reproduce",
]  # fmt: skip


def ended(*commands: tuple[str, ...]) -> list[tuple[int, set[str]]]:
    """The exit status of each command, called one after another in one process, and the heavy libraries imported by then."""
    line = [sys.executable, "-c", CODE, json.dumps(commands)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=100, check=True)
    lines = done.stderr.splitlines()
    results = [before.split() for before, line in pairwise(lines) if line.startswith("end of")]
    return [(int(status), set(libraries)) for status, *libraries in results]


def test_help_imports_no_heavy_library() -> None:
    commands = [("--help",), *((command, "--help") for command in HELP)]
    assert ended(*commands) == [(0, set())] * len(commands)


def test_lists_import_no_heavy_library() -> None:
    commands = [
        ("concepts",),
        ("concepts", "star"),
        ("concepts", "Van Gogh style", "--json"),
        ("protocols",),
        ("methods",),
        ("methods", "--classifiers"),
    ]
    assert ended(*commands) == [(0, set())] * len(commands)


def test_a_wrong_flag_is_refused_before_a_heavy_library_is_imported() -> None:
    commands = [
        ("generate", "demo", "--prompt", "a star", "--output", "x", "--count", "0"),
        ("export", "x", "--output", "y", "--public"),
        ("evaluate", "--count", "0"),
        ("--concept", "star", "--size", "50"),
        ("--concept", "star", "--no-such-flag"),
        ("estimate", "--concept", "star", "--method", "unknown"),
        ("classify", "--no-such-flag"),
        ("attack", "--no-such-flag"),
        ("bench", "--no-such-flag"),
        ("sweep", "--no-such-flag"),
        ("ui", "--port", "none"),
        ("unknown",),
    ]
    assert ended(*commands) == [(2, set())] * len(commands)


def test_an_estimate_imports_no_library_that_only_drawing_needs_and_no_compiler() -> None:
    assert ended(("estimate", "--concept", "star")) == [(0, {"torch", "diffusers", "PIL"})]


def test_an_estimate_is_the_same_without_what_it_leaves_out() -> None:
    """What stands for torch's symbolic shapes and for diffusers' optional libraries changes no number."""
    from erase.pipeline.estimate import estimate_resolved
    from erase.pipeline.resolve import resolve_job
    from ui.cli.job_flags import main_job

    arguments = ["--concept", "star", "--device", "cpu", "--batch", "6"]
    line = [sys.executable, "-m", "erase", "estimate", *arguments, "--json"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=100, check=True)
    job, values, _ = main_job("estimate", arguments, "", "")
    whole = estimate_resolved(resolve_job(job, values))
    assert json.loads(done.stdout)["memory_bytes"] == whole.memory_bytes
