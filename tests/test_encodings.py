"""Text files have an encoding of their own, never that of the locale."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for package in ("erase", "eval", "ui") for path in (ROOT / package).rglob("*.py"))
FEW_ARGUMENTS = {"read_text": 1, "write_text": 2}  # as many positional ones as make the last the encoding


def without_encoding(path: Path) -> list[int]:
    """The lines that open a text file in the encoding of the locale."""
    lines = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or any(word.arg in ("encoding", None) for word in node.keywords):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
        modes = [*node.args[:2], *(word.value for word in node.keywords if word.arg == "mode")]
        literals = [mode.value for mode in modes if isinstance(mode, ast.Constant) and isinstance(mode.value, str)]
        is_text_open = name == "open" and isinstance(node.func, ast.Name) and not any("b" in mode for mode in literals)
        if is_text_open or len(node.args) < FEW_ARGUMENTS.get(name, 0):
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_text_file_names_its_encoding(path: Path) -> None:
    assert without_encoding(path) == []
