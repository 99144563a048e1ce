"""The levels of the tree, held by reading its imports (docs/architecture.md has the picture)."""

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

# From the ground up: a module imports only from rows above its own, also inside functions.
LEVELS: list[tuple[str, ...]] = [
    ("erase.task", "erase.demo", "erase.demo.world"),
    (
        "erase.files",
        "erase.torchvision_compat",
        "erase.options",
        "erase.micro",
        "erase.processes",
        "erase.grids",
        "erase.denoising",
        "erase.plugins",
        "erase.concepts.wording",
        "erase.demo.scenes",
        "erase.demo.grow",
    ),
    ("erase.demo.worlds", "erase.demo.parsing", "erase.preparation"),
    (
        "erase.run",
        "erase.scope",
        "erase.sensitivity",
        "erase.trim",
        "erase.project",
        "erase.selection",
        "erase.concepts.concept",
        "erase.tensorfile",
        "erase.hub",
        "erase.descent",
        "erase.optimizers",
        "erase.rates",
    ),
    ("erase.concepts.checks", "erase.concepts.prompting", "erase.concepts.prompt_csv"),
    ("erase.concepts.files", "erase.concepts.anchors"),
    ("erase.concepts.free",),
    ("erase.concepts.loading",),
    ("erase.concepts",),
    ("erase.several", "erase.guard", "erase.demo.clutter", "erase.classifier", "erase.trained", "erase.tuning"),
    ("erase.bounds", "erase.repair", "erase.images", "erase.export", "erase.layouts"),
    ("erase.data", "erase.networks", "erase.hardening"),
    ("erase.requests",),
    ("erase.latents", "erase.demo.judge", "erase.demo.scene_judge", "erase.demo.networks", "erase.families", "erase.pool", "erase.changes"),
    ("erase.demo.composing", "erase.demo.fitting"),
    ("erase.demo.train_scenes",),
    ("erase.demo.train", "erase.configs", "erase.diffusion.stable"),
    ("erase.demo.clip", "erase.unpack", "erase.pack", "erase.diffusion.xl"),
    ("erase.diffusion.models", "erase.diffusion.tasks"),
    ("erase.diffusion", "erase.diffusion.memory"),
    ("erase.job",),
    ("erase.disk",),
    ("erase.anchors", "erase.methods.scissorhands"),
    ("erase.methods.*",),
    ("erase.methods",),
    ("erase.loaders", "erase.entries"),
    ("erase.classify",),
    ("erase.stages", "erase.relearning"),
    ("erase.stages.work",),
    ("erase.stages.sets",),
    ("erase.stages.anchor",),
    ("erase.stages.pictures", "erase.stages.erasing"),
    ("erase.pipeline",),
    ("erase.estimate", "erase.unlearning", "erase.bench"),
    ("erase.sweep",),
    ("erase.bench_runs",),
    ("erase",),
    (
        "eval",
        "eval.attacks",
        "eval.intervals",
        "eval.chart",
        "eval.sheet",
        "eval.samples",
        "eval.detectors",
        "eval.vision",
        "eval.predictions",
    ),
    ("eval.things", "eval.gaps", "eval.membership", "eval.relearn", "eval.gradcam", "eval.lines"),
    ("eval.paired", "eval.frechet", "eval.kid", "eval.protocols"),
    ("eval.classify",),
    ("eval.judge", "eval.scene_judge", "eval.nudity", "eval.imagenet", "eval.clip", "eval.inception", "eval.drift", "eval.promptsets"),
    ("eval.accuracy", "eval.measured"),
    ("eval.card", "eval.numbers"),
    ("eval.compare", "eval.measure", "eval.html.markup"),
    ("eval.html.frame", "eval.html.pictures", "eval.html.numbers", "eval.html.sections"),
    ("eval.html.worse",),
    ("eval.html.report",),
    ("eval.html",),
    ("eval.tools", "eval.classify_report"),
    tuple(f"eval.attacks.{name}" for name in ("victim", "weights", "store", "shares", "standing", "numbers", "table", "sight")),
    ("eval.attacks.goal", "eval.attacks.section", "eval.attacks.ddim", "eval.attacks.tokens"),
    tuple(f"eval.attacks.{name}" for name in ("errors", "latents", "training", "setting", "turn")),
    ("eval.attacks.prefix", "eval.attacks.relearn", "eval.attacks.estimate"),
    ("eval.attacks.*",),
    ("eval.attacks.known",),
    ("eval.attacks.campaign",),
    ("eval.report", "eval.bench_line", "eval.sweep"),
    ("eval.evaluate", "eval.bench", "eval.bench_sheet"),
    ("eval.bench_charts", "eval.bench_tables"),
    ("eval.bench_report",),
    ("ui", "ui.child", "ui.entries", "ui.processes", "ui.progress", "ui.access", "ui.orders", "ui.owners", "ui.studio"),
    ("ui.amounts", "ui.exporting", "ui.unet", "ui.prompts", "ui.job_style"),
    ("ui.jobs", "ui.forms", "ui.drawing", "ui.worker", "ui.pictures", "ui.door", "ui.style", "ui.plots", "ui.live"),
    ("ui.tally", "ui.keep"),
    ("ui.shelf",),
    ("ui.context",),
    ("ui.choices", "ui.watching"),
    ("ui.comparing", "ui.erasing"),
    ("ui.suggest",),
    ("ui.compare_events",),
    ("ui.compare", "ui.reports", "ui.inside", "ui.erase_form", "ui.attacking"),
    ("ui.attack_view",),
    ("ui.attack_form",),
    ("ui.attack",),
    ("ui.evidence", "ui.erase_tab"),
    ("ui.page",),
    ("erase.commands", "erase.commands.flags", "erase.commands.display", "erase.commands.printing"),
    ("erase.commands.job", "erase.commands.measuring"),
    ("erase.commands.*",),
    ("erase.cli",),
    ("app",),
]

# Heavy or optional libraries, and the only modules that may import them.
DOORS: dict[str, set[str]] = {
    "diffusers": {f"erase.{name}" for name in ("diffusion.stable", "diffusion.models", "diffusion.memory", "disk", "commands.display")}
    | {"erase.demo.networks", "erase.demo.train"},
    "transformers": {"erase.diffusion.models", "erase.demo.networks", "erase.demo.clip", "erase.commands.display"},
    "tokenizers": {"erase.demo.networks"},
    "huggingface_hub": {"erase.diffusion.models", "erase.unpack", "erase.hub", "eval.promptsets", "erase.commands.display"},
    "accelerate": {"erase.processes"},
    "gradio": {f"ui.{name}" for name in ("page", "style", "compare", "compare_events", "evidence", "attack", "attack_form")}
    | {f"ui.{name}" for name in ("forms", "erase_form", "erase_tab", "inside")},
    "nudenet": {"eval.nudity"},
    "torchvision": {"erase.torchvision_compat"},
    "sklearn": {"erase.data", "eval.membership"},
    "open_clip": {"eval.clip", "erase.demo.clip"},
    "torchmetrics": {"eval.drift", "eval.inception"},
    "torch_fidelity": {"eval.inception"},
    "scipy": set(),
}


def files() -> dict[str, Path]:
    """Module name -> file."""
    found = {"app": ROOT / "app.py"} if (ROOT / "app.py").exists() else {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


FILES = files()


def imported(name: str, everywhere: bool = True) -> set[str]:
    """What a module imports, as full names; without `everywhere` only what runs when it is loaded itself."""
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree) if everywhere else _at_load(tree):
        if isinstance(node, ast.Import):
            # A module's own package is loaded before it; that alone is no import of what the package imports.
            found |= {alias.name for alias in node.names if not name.startswith(f"{alias.name}.")}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            found |= {full if (full := f"{node.module}.{alias.name}") in FILES else str(node.module) for alias in node.names}
    return found


def _at_load(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _at_load(child)


def ours(name: str, everywhere: bool = True) -> set[str]:
    return {other for other in imported(name, everywhere) if other.split(".")[0] in (*PACKAGES, "app")}


def level(name: str) -> int:
    """The row of a module; the methods share one, and so do the commands."""
    for wanted in (name, f"{name.rpartition('.')[0]}.*"):
        for row, members in enumerate(LEVELS):
            if wanted in members:
                return row
    raise AssertionError(f"{name} has no level: say in LEVELS, and in docs/architecture.md, where it stands")


def test_every_module_has_a_level_and_every_level_its_modules():
    for name in FILES:
        level(name)
    listed = {member for members in LEVELS for member in members if not member.endswith("*")}
    assert listed - FILES.keys() == set()


@pytest.mark.parametrize("name", FILES)
def test_imports_go_downward_only(name):
    upward = sorted(other for other in ours(name) if other != name and level(other) >= level(name))
    assert not upward, f"{name} (row {level(name)}) imports {', '.join(f'{other} (row {level(other)})' for other in upward)}"


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("erase.methods.")])
def test_a_method_knows_no_other_method_and_no_pipeline(name):
    same = {"erase.methods.scissorhands"} if name == "erase.methods.scissorhands_classifier" else set()
    assert not [
        other for other in ours(name) - same if other.startswith(("erase.methods", "erase.pipeline", "erase.stages", "erase.diffusion"))
    ]


@pytest.mark.parametrize(
    "name", ["erase.sensitivity", "erase.trim", "erase.project", "erase.repair", "erase.scope", "erase.selection", "erase.guard"]
)
def test_the_primitives_see_a_module_and_a_loss(name):
    """They never ask whether they serve diffusion or classification, and have no dependency but torch."""
    allowed = {"erase.task", "erase.project", "erase.micro", "erase.guard", "erase.sensitivity", "erase.optimizers"}
    assert ours(name) <= allowed
    assert {other.split(".")[0] for other in imported(name)} <= {*sys.stdlib_module_names, "torch", "erase"}


@pytest.mark.parametrize("name", [n for n in FILES if n.split(".")[0] == "erase" and not n.startswith(("erase.cli", "erase.commands"))])
def test_the_engine_knows_neither_evaluation_nor_page(name):
    assert not [other for other in ours(name) if other.split(".")[0] in ("eval", "ui", "app")]


@pytest.mark.parametrize("name", [name for name in FILES if name.split(".")[0] == "eval"])
def test_evaluation_knows_no_method_and_no_pipeline(name):
    rooms = ("erase.task", "erase.files", "erase.options", "erase.torchvision_compat", "erase.concepts", "erase.images", "erase.run")
    rooms += ("erase.demo", "erase.data", "erase.requests", "erase.several")
    drawing = ("erase.diffusion", "erase.export", "erase.processes") if name == "eval.evaluate" else ()  # the one that draws
    if name.startswith("eval.attacks"):  # they draw, train and change weights, and know no method either
        drawing = ("erase.diffusion", "erase.export", "erase.latents", "erase.relearning", "erase.scope", "erase.trim")
    strange = [other for other in ours(name) if not other.startswith(("eval", *rooms, *drawing))]
    assert not strange


@pytest.mark.parametrize("name", [name for name in FILES if name.split(".")[0] == "ui"])
def test_the_page_touches_no_network(name):
    """Work is done in processes of its own: what draws there may open models, everything else reads files."""
    rooms = (
        "ui",
        "erase.pipeline",
        "erase.job",
        "erase.methods",
        "erase.run",
        "erase.task",
        "erase.concepts",
        "erase.several",
        "erase.options",
        "erase.files",
        "eval",
    )
    drawing = ("erase.diffusion", "erase.demo") if name in ("ui.studio", "ui.worker") else ()
    assert not [other for other in ours(name) if not other.startswith((*rooms, "erase.images", *drawing))]
    assert not {other.split(".")[0] for other in imported(name)} & {"torch", "torchvision", "diffusers", "transformers"}


@pytest.mark.parametrize("library", DOORS)
def test_a_heavy_library_has_few_doors(library):
    used = {name for name in FILES if any(other.split(".")[0] == library for other in imported(name))}
    assert used <= DOORS[library]


@pytest.mark.parametrize("library", DOORS)
def test_no_heavy_library_is_imported_when_a_module_is_loaded(library):
    assert not [name for name in FILES if any(other.split(".")[0] == library for other in imported(name, everywhere=False))]


def test_modules_do_not_import_each_other_in_a_circle():
    graph = {name: ours(name, everywhere=False) - {name} for name in FILES}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the circle
    assert set(order) >= set(FILES)


def test_nobody_imports_the_evaluation_whole():
    """`eval` would shadow a builtin."""
    assert not [name for name in FILES if "eval" in imported(name)]


def test_import_erase_is_light():
    code = "import sys, erase; print(*(name for name in sys.argv[1:] if name in sys.modules))"
    heavy = ["diffusers", "transformers", "gradio", "nudenet", "eval", "ui", "erase.cli", "erase.commands", "erase.demo.networks"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
