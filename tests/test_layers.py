"""The layers of the tree, held by reading its imports (docs/architecture.md has the picture)."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("erase", "eval", "ui")

# From the ground up. A module imports from floors below its own, and within its own package.
FLOORS: list[tuple[str, ...]] = [
    ("erase.errors",),
    ("erase.files", "erase.options", "erase.processes", "erase.task", "erase.project", "erase.torchvision_compat"),
    ("erase.run", "erase.scope", "erase.trim", "erase.attention"),
    ("erase.training", "erase.checkpoints", "erase.demo", "erase.images"),
    ("erase.sensitivity",),
    ("erase.concepts", "erase.diffusion", "erase.classifiers", "erase.repair"),
    ("erase.methods",),
    ("erase.pipeline", "erase.dataloaders"),
    ("erase", "eval", "ui"),
]
PRIMITIVES = ("erase.sensitivity", "erase.trim", "erase.project", "erase.repair", "erase.scope", "erase.training")
METHOD_FREE = ("erase.methods", "erase.pipeline", "erase.dataloaders")  # what measures must not know who made a model
RUNNERS = ("eval.bench", "eval.classifiers")  # the two parts of the evaluation that run methods
WEB_READS = (
    "erase.pipeline",
    "erase.methods",
    "erase.run",
    "erase.errors",
    "erase.concepts",
    "erase.options",
    "erase.files",
    "erase.images",
    "erase.scope",
    "erase.checkpoints.folder",  # configurations and names of files, no weights
    "erase.checkpoints.safetensors_header",
    "erase.demo.worlds",
)
# What runs in processes of their own.
WEB_PROCESSES = ("ui.web.compare.kept", "ui.web.drawing.models", "ui.web.drawing.worker", "ui.web.jobs.child")

# Heavy or optional libraries, the only packages that may import them, and only inside functions. (But the tabs of the page
# import gradio when they are loaded: ui.web.page loads them when it is opened, as tests/ui/web/test_page.py holds.)
DOORS: dict[str, set[str]] = {
    "diffusers": {"erase.diffusion", "erase.checkpoints.check", "erase.pipeline.disk", "erase.demo", "ui.cli.display", "ui.cli.estimate"},
    "transformers": {"erase.diffusion", "erase.demo", "ui.cli.display"},
    "tokenizers": {"erase.demo", "ui.web.compare.reading"},
    "huggingface_hub": {"erase.diffusion", "erase.checkpoints", "eval.prompt_sets", "ui.cli.display"},
    "accelerate": {"erase.processes"},
    "peft": {"erase.checkpoints.lora.low_rank"},
    "gradio": {"ui.web"},
    "nudenet": {"eval.vision.nudenet"},
    "torchvision": {"erase.torchvision_compat"},
    "sklearn": {"erase.classifiers.datasets", "eval.classifiers.membership"},
    "open_clip": {"eval.vision.clip", "erase.demo.training.clip"},
    "torchmetrics": {"eval.metrics.similarity", "eval.vision.inception"},
    "torch_fidelity": {"eval.vision.inception"},
    "matplotlib": {"eval.rendering", "eval.bench.charts"},
    "scipy": {"eval.metrics"},
}


def modules() -> dict[str, Path]:
    """Module name -> file."""
    files = {"app": ROOT / "app.py"}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


FILES = modules()


def imported(name: str, everywhere: bool = True) -> set[str]:
    """What a module imports, as full names; without `everywhere` only what runs when it is loaded."""
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree) if everywhere else _at_load(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            names |= {full if (full := f"{node.module}.{alias.name}") in FILES else str(node.module) for alias in node.names}
    return names - {name}


def _at_load(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
        if not typing_only and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _at_load(child)


def ours(name: str, everywhere: bool = True) -> set[str]:
    return {other for other in imported(name, everywhere) if other.split(".")[0] in (*PACKAGES, "app")}


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def package(name: str) -> str:
    """`erase.training` for what lies in it; `erase`, `eval` and `ui` for what stands at the top of them, beside their packages."""
    known = [member for floor in FLOORS for member in floor if within(name, member)]
    assert known, f"{name} has no floor: say in FLOORS, and in docs/architecture.md, where it stands"
    return max(known, key=len)


def floor(name: str) -> int:
    return next(number for number, members in enumerate(FLOORS) if package(name) in members)


@pytest.mark.parametrize("name", [name for name in FILES if within(name, "erase") and name not in ("erase", "erase.__main__")])
def test_the_engine_imports_from_lower_floors_and_its_own_package(name: str) -> None:
    assert [other for other in sorted(ours(name)) if package(other) != package(name) and floor(other) >= floor(name)] == []


def test_imports_run_from_ui_to_eval_to_erase() -> None:
    upward = {
        name: sorted(other for other in ours(name) if PACKAGES.index(other.split(".")[0]) > PACKAGES.index(name.split(".")[0]))
        for name in FILES
        if name != "app"
    }
    assert {name: others for name, others in upward.items() if others} == {"erase.__main__": ["ui.cli.main"]}


@pytest.mark.parametrize("name", [name for name in FILES if within(name, *PRIMITIVES)])
def test_the_primitives_see_a_module_and_a_loss(name: str) -> None:
    """They never ask whether they serve diffusion or classification, and depend on nothing but torch and numpy."""
    assert {other.split(".")[0] for other in imported(name)} <= {*sys.stdlib_module_names, "torch", "numpy", "erase"}
    assert not [other for other in ours(name) if within(other, "erase.diffusion", "erase.classifiers", "erase.checkpoints", "erase.demo")]


@pytest.mark.parametrize("name", [name for name in FILES if within(name, "erase.methods")])
def test_a_method_knows_no_other_method(name: str) -> None:
    """They share modules; trimming, for one, is one algorithm on two kinds of networks."""
    kinds = [f"erase.methods.{kind}" for kind in ("diffusion", "text_encoder", "classifiers")]
    methods = {other for other in ours(name) if within(other, *kinds)}
    shared = {f"erase.methods.diffusion.{part}" for part in ("trimming", "adversarial", "layer_selection", "null_space", "guided_target")}
    parts = ("forget_bounds", "sgd_method", "relabelling", "curvature", "released", "memorised", "scripted_repair")
    shared |= {f"erase.methods.classifiers.{part}" for part in parts}
    assert name.count(".") < 3 or methods <= shared


@pytest.mark.parametrize("name", [name for name in FILES if within(name, "eval") and not within(name, *RUNNERS)])
def test_what_measures_knows_no_method_and_no_pipeline(name: str) -> None:
    assert not [other for other in ours(name) if within(other, *METHOD_FREE)]


@pytest.mark.parametrize("name", [name for name in FILES if within(name, "ui.web") and name not in WEB_PROCESSES])
def test_the_page_opens_no_network(name: str) -> None:
    """Work is done in other processes; the page reads files."""
    assert not [other for other in ours(name) if not within(other, "ui.web", "ui.progress", "eval", *WEB_READS)]
    assert not {other.split(".")[0] for other in imported(name)} & {"torch", "torchvision", "diffusers", "transformers"}


@pytest.mark.parametrize("library", DOORS)
def test_a_heavy_library_has_few_doors_and_is_imported_inside_functions(library: str) -> None:
    users = {name for name in FILES if any(other.split(".")[0] == library for other in imported(name))}
    assert {name for name in users if not within(name, *DOORS[library])} == set()
    at_load = [name for name in users if any(other.split(".")[0] == library for other in imported(name, everywhere=False))]
    assert library == "gradio" or at_load == []


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {name: ours(name, everywhere=False) for name in FILES}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the circle
    assert set(order) >= set(FILES)


def test_folders_can_be_taken_in_at_a_glance() -> None:
    entries = {package: [path for path in (ROOT / package).iterdir() if path.name != "__pycache__"] for package in PACKAGES}
    assert len(entries["erase"]) <= 25
    assert len(entries["eval"]) <= 20
    folders: dict[Path, int] = {}
    for path in FILES.values():
        folders[path.parent] = folders.get(path.parent, 0) + 1
    assert {folder.relative_to(ROOT).as_posix(): count for folder, count in folders.items() if count > 25} == {}


def test_nobody_imports_the_evaluation_whole() -> None:
    """`eval` would shadow a builtin."""
    assert not [name for name in FILES if "eval" in imported(name)]


def test_import_erase_loads_no_library_and_nothing_above_it() -> None:
    code = "import sys, erase; print(*(name for name in sys.argv[1:] if name in sys.modules))"
    heavy = ["torch", "numpy", "PIL", "diffusers", "transformers", "gradio", "nudenet", "eval", "ui", "erase.pipeline"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
