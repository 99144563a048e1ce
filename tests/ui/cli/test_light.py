"""The command is light: help, lists and the parsing of flags answer before torch is imported, which takes seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "diffusers", "transformers", "PIL", "scipy", "matplotlib", "gradio")
CODE = f"""
import sys
from ui.cli.main import main
try:
    status = main(sys.argv[1:])
except SystemExit as end:
    status = end.code
print(status, *(name for name in {HEAVY} if sys.modules.get(name)), file=sys.stderr)
"""

HELP = [
    "concepts", "methods", "estimate", "generate", "evaluate", "export", "compare", "classify", "protocols", "ui", "attack", "bench",
    "sweep", "reproduce",
]  # fmt: skip


def ended(*arguments: str) -> tuple[int, set[str]]:
    """The exit status of a command, and the heavy libraries that it imported."""
    done = subprocess.run([sys.executable, "-c", CODE, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=100, check=True)
    status, *libraries = done.stderr.splitlines()[-1].split()
    return int(status), set(libraries)


@pytest.mark.parametrize("command", ["", *HELP])
def test_help_imports_no_heavy_library(command: str) -> None:
    assert ended(*command.split(), "--help") == (0, set())


@pytest.mark.parametrize(
    "arguments",
    [
        ("concepts",),
        ("concepts", "star"),
        ("concepts", "Van Gogh style", "--json"),
        ("protocols",),
        ("methods",),
        ("methods", "--classifiers"),
        ("reproduce",),
    ],
    ids=" ".join,
)
def test_lists_import_no_heavy_library(arguments: tuple[str, ...]) -> None:
    assert ended(*arguments) == (0, set())


@pytest.mark.parametrize(
    "arguments",
    [
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
    ],
    ids=" ".join,
)
def test_a_wrong_flag_is_refused_before_a_heavy_library_is_imported(arguments: tuple[str, ...]) -> None:
    assert ended(*arguments) == (2, set())


def test_an_estimate_imports_no_library_that_only_drawing_needs() -> None:
    status, libraries = ended("estimate", "--concept", "star")
    assert status == 0
    assert libraries == {"torch", "diffusers", "PIL"}
