"""The documentation says what the code does: commands, flags, option tables, paths, examples.

`python tests/test_docs.py` writes the generated tables of docs/options.md anew.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

import erase
from erase.methods import METHODS, make_method
from erase.pipeline import DEFAULTS, Job
from erase.run import Run
from eval.metrics.accuracy import MEANINGS
from ui.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
OPTIONS = ROOT / "docs" / "options.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
FOREIGN = {"--config", "--editable", "--upgrade", "--use_fsdp", "--fsdp_version", "--use", "--fsdp"}  # flags of other programs


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(text: str, language: str = r"\w*") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


# --- the tables of docs/options.md ----------------------------------------------------------------------------------


def shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "" if value in (None, "", MISSING) else f"`{value}`"


def allowed(rule: Any) -> str:
    bounds = [(rule["low"], "from {}"), (rule["above"], "above {}"), (rule["high"], "to {}")]
    return ", ".join(rule["choices"]) or " ".join(text.format(f"{bound:g}") for bound, text in bounds if bound is not None)


def row(*cells: str) -> str:
    safe = [cell.replace("|", r"\|").replace("<", "&lt;") for cell in cells]
    return f"| {' | '.join(safe)} |"


def flag(item: Any) -> str:
    return f"`--{'concept' if item.name == 'concepts' else item.name.replace('_', '-')}`"


def job_table() -> str:
    lines = [row("option", "default", "embedded model", "other models", "may be", "meaning"), "|---|---|---|---|---|---|"]
    for item in fields(Job):
        own = [shown(DEFAULTS[small].get(item.name)) for small in (True, False)]
        lines.append(row(flag(item), shown(item.default), *own, allowed(item.metadata), item.metadata["help"]))
    return "\n".join(lines)


def method_table(method: str) -> str:
    presets: Any = METHODS[method].presets  # type: ignore[attr-defined]
    lines = [row("option", *(f"`{preset}`" for preset in presets), "may be", "meaning"), "|" + "---|" * (len(presets) + 3)]
    made = [make_method(method, preset) for preset in presets]
    for item in fields(METHODS[method]):  # type: ignore[arg-type]
        values = [shown(getattr(one, item.name)) for one in made]
        lines.append(row(flag(item), *values, allowed(item.metadata), item.metadata["help"]))
    return "\n".join(lines)


TABLES = {"job": job_table, **{method: lambda method=method: method_table(method) for method in METHODS}}


def written_anew(text: str) -> str:
    """The page with every generated table as the code gives it now."""
    for title, render in TABLES.items():
        mark, table = rf"<!-- table: {title} -->", render()
        text = re.sub(rf"({mark}\n).*?(\n<!-- end -->)", lambda found, table=table: found[1] + table + found[2], text, flags=re.DOTALL)
    return text


@pytest.mark.parametrize("title", TABLES)
def test_option_tables_are_those_of_the_code(title):
    text = read(OPTIONS)
    assert f"<!-- table: {title} -->" in text
    assert TABLES[title]() in text, "docs/options.md is out of date: python tests/test_docs.py writes it anew"


def test_an_option_added_to_the_code_would_be_noticed():
    """The rewriting does find the tables: with an option taken out of the page, it comes back."""
    text = read(OPTIONS)
    without = "\n".join(line for line in text.splitlines() if not line.startswith("| `--fraction`")) + "\n"
    assert without != text
    assert written_anew(without) == text


# --- commands and flags ---------------------------------------------------------------------------------------------


def help_of(*command: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as status:
        main([*command, "--help"])
    assert status.value.code == 0
    return out.getvalue()


def flags_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]", text))


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """Flags of each command; "" is the main job, with the options of every method."""
    own = {command: flags_in(help_of(command)) for command in COMMANDS}
    return {"": set().union(*(flags_in(help_of("--method", method)) for method in METHODS)), **own}


@pytest.fixture(scope="module")
def other_flags() -> set[str]:
    """Flags of the scripts beside the command, from their sources."""
    scripts = [*(ROOT / "erase" / "demo").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py"), ROOT / "tests" / "versions.py"]
    return {found for script in scripts for found in re.findall(r'add_argument\(\s*"(--[\w-]+)"', read(script))}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_flags_exist(page, known, other_flags):
    everything = set().union(*known.values(), other_flags, FOREIGN)
    assert flags_in(read(page)) - everything == set()


def invocations(text: str) -> list[list[str]]:
    """Every `erase-concept ...` of a page as words, from code blocks (comments cut off) and from inline code."""
    lines = [line.split("  #")[0] for block in blocks(text) for line in block.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    calls = [line.strip() for line in [*lines, *inline] if re.match(r"\s*erase-concept\s", line)]
    return [re.findall(r'"[^"]*"|\S+', call)[1:] for call in calls]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_exist_with_the_flags_they_are_shown_with(page, known):
    for words in invocations(read(page)):
        if words[0].isupper():  # COMMAND stands for any
            continue
        command = "" if words[0].startswith("-") else words[0]
        assert command in known, f"{name(page)}: erase-concept {command} is no command"
        assert {word for word in words if word.startswith("--")} <= known[command], f"{name(page)}: {words}"


def test_the_readme_names_every_command():
    assert {words[0] for words in invocations(read(README)) if not words[0].startswith("-")} == set(COMMANDS)


def test_the_readme_explains_every_preset_and_every_measure():
    text = read(README)
    for presets in (method.presets for method in METHODS.values()):  # type: ignore[attr-defined]
        assert all(f"- `{preset}`" in text for preset in presets)
    assert all(f"| `{measure}` |" in text for measure in MEANINGS)


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), re.MULTILINE))
    for page in PAGES:
        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", read(page), re.MULTILINE)) <= targets


# --- paths, links and examples --------------------------------------------------------------------------------------


def paths_in(text: str) -> set[str]:
    """Files and folders of the repository in inline code and in commands: what begins with a name of the top level and has a slash."""
    top = "|".join(sorted(re.escape(path.name) for path in ROOT.iterdir() if path.is_dir() and path.name != "runs"))
    code = "\n".join([*re.findall(r"`[^`\n]+`", text), *blocks(text)])
    return set(re.findall(rf"(?<![\w./-])((?:{top})/[\w./-]*\w)(?=[`\s)=,]|$)", code))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_paths_exist(page):
    assert [path for path in sorted(paths_in(read(page))) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_pictures_are_there(page):
    targets = [target.partition("#") for target in re.findall(r"\]\(([^)\s]+)\)", read(page))]
    assert not [file for file, _, _ in targets if not (page.parent / file).exists()]
    for file, _, heading in targets:
        if heading:
            headings = re.findall(r"^#+ (.*)$", read(page.parent / file if file else page), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_examples_in_python_use_what_there_is(page):
    for block in blocks(read(page), "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module == "erase":
                assert {alias.name for alias in node.names} <= set(erase.__all__)
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Job":
                assert {keyword.arg for keyword in node.keywords} <= {item.name for item in fields(Job)}


def test_the_readme_lists_what_a_run_folder_holds():
    run = Run(Path("run"), {})
    places = [run.latents, run.stats, run.report, run.comparison, run.samples("before"), run.samples("after")]
    wanted = {place.relative_to("run").as_posix() for place in places} | {"model/", "images/", "options.json", "stages.json"}
    for page in (README, ROOT / "docs" / "architecture.md"):
        assert [place for place in sorted(wanted) if place.rstrip("/") not in read(page)] == []


def test_the_tree_in_the_architecture_is_the_tree():
    """It names every package and every module at the top of one of the three, and nothing that is not there."""
    tree = next(block for block in blocks(read(ROOT / "docs" / "architecture.md")) if block.startswith("erase/"))
    names = {name for line in tree.splitlines() for name in re.findall(r"(?<!\S)[\w{},/]+(?:/|\.py)(?=\s|$)", line)}
    tops = [path for package in ("erase", "eval") for path in (ROOT / package).glob("*.py") if not path.stem.startswith("__")]
    packages = {path.parent for package in ("erase", "eval", "ui") for path in (ROOT / package).rglob("__init__.py")}
    assert {path.name for path in tops} | {f"{folder.name}/" for folder in packages} <= names
    everything = {f"{path.name}/" if path.is_dir() else path.name for path in ROOT.rglob("*") if ".venv" not in path.parts[len(ROOT.parts)]}
    assert names <= everything
    assert len(read(ROOT / "docs" / "architecture.md").splitlines()) <= 200


if __name__ == "__main__":
    OPTIONS.write_text(written_anew(read(OPTIONS)), encoding="utf-8")
