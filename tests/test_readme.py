"""Every code block of README.md, run as a newcomer would: as it is printed, far from the checkout, without a network.

Nothing is skipped. A line of a shell block runs as a command, a Python block as a script, whatever they are; what differs from the print
stands in the three tables below, and a row that the README no longer has fails. Only `pip install` and `make` are looked at without being
run: tests/versions.py installs the wheel with its extras, and what `make demo` would run is how the run folder here comes about. Our own
command, and Python where it imports our packages, find their libraries imported (`warm.py`), but for the command of `make demo`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import versions
from PIL import Image
from serving import first_answer
from tiny_pipeline import build_family
from warm import warm

from erase.demo.networks import build_tokenizer

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
FENCED = re.findall(r"^```(.*)\n((?:.*\n)*?)^```$", TEXT, re.MULTILINE)
BLOCKS = [(language, block) for language, block in FENCED if language != "bibtex"]

# --- what differs from the print --------------------------------------------------------------------------------------

SHORT = "--steps 1 --batch 2 --sensitivity-batches 1"  # of repair
SEEN = "--evaluate-count 2 --sampling-steps 1"
FEW = f"--forget-count 2 --retain-count 2 {SEEN}"

# Flags behind a line that begins so, for economy. The longest beginning counts.
CHEAPER = {
    "erase-concept --concept": f"{SHORT} {FEW}",
    'erase-concept --concept "garden gnome" --model ./my-model --forget-images': f"{SHORT} {SEEN}",
    "accelerate launch -m erase --concept": f"{SHORT} {FEW}",
    "erase-concept evaluate runs/demo-star --protocol": "--steps 1 --size 32",
    "erase-concept evaluate ./erased": "--count 2 --steps 1",
    "erase-concept generate": "--count 2 --steps 1",
    "erase-concept attack": "--attempts 1 --budget 60s --attacks named inversion",
    "erase-concept bench": f"--methods scissorhands:steps=1 scissorhands:preset=paper,steps=1 {FEW}",
    "erase-concept sweep": f"--concepts star --over steps=1 fraction=0.001,0.005 forget_weight=0.5,1 --trials 1 {FEW}",
    "erase-concept classify": "--seeds 1 --epochs 1",
}
# Text of a Python block -> what runs in its place, for economy.
INSTEAD = {
    'output="runs/star")': 'output="runs/star", forget_count=2, retain_count=2, evaluate_count=2, sampling_steps=1)',
    '"steps": 60,': '"steps": 1, "batch": 2, "sensitivity_batches": 1,',
}
# What a Python block takes for granted: the line that it begins with -> what the reader has before it.
GIVEN = {
    # Whoever loads an erased model has none of our packages.
    "from diffusers import StableDiffusionPipeline": versions.STRANGER,
    "from erase import unlearn": """
import torch
from torch.utils.data import DataLoader, TensorDataset

model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
forget_loader, retain_loader = (
    DataLoader(TensorDataset(torch.randn(count, 3, 2, 2), torch.arange(count) % 3), batch_size=4) for count in (4, 8)
)
""",
}
NO_CUDA = [] if torch.cuda.is_available() else ["--device", "cuda"]  # words that are left out here
HUB_MODEL = "CompVis/stable-diffusion-v1-4"  # a tiny model with random weights stands in the hub's cache under this name

# --- the reader's folder ----------------------------------------------------------------------------------------------


def variables(folder: Path) -> dict[str, str]:
    """Of every process: our command from this checkout, caches in the reader's folder, one thread, and nobody behind the proxy."""
    caches = {"HF_HOME": folder / "huggingface", "HF_HUB_CACHE": folder / "huggingface" / "hub", "TORCH_HOME": folder / "torch"}
    nobody = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    own = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "no_proxy": "127.0.0.1,localhost"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **{name: str(place) for name, place in caches.items()}, **nobody, **own}


def pictures(folder: Path, count: int = 4) -> list[str]:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.effect_noise((64, 64), 40 + number).convert("RGB").save(folder / f"{number}.png")
    return sorted(path.name for path in folder.iterdir())


def tiny_model(folder: Path, seed: int = 0) -> None:
    """Random weights in the layout of Stable Diffusion 1.x, with words of its own: those of the embedded model would be taken for it."""
    build_tokenizer(folder / "tokenizer", ["a", "photo", "of", "garden", "gnome"])
    build_family("sd1", folder, seed)


def cached(folder: Path, name: str, revision: str = "0" * 40) -> None:
    """A tiny model as the hub's client would have left it after fetching `name`."""
    entry = folder / "hub" / f"models--{name.replace('/', '--')}"
    tiny_model(entry / "snapshots" / revision)
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text(revision)


def made_by_make(target: str) -> list[str]:
    """The words of the erase-concept command that `make TARGET` ends with."""
    last = shown_by_make(target).splitlines()[-1]
    assert "/erase-concept " in last, f"make {target} ends with {last}"
    return ["erase-concept", *shlex.split(last)[1:]]


def shown_by_make(target: str) -> str:
    return subprocess.run(["make", "--no-print-directory", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the reader has after `make demo`, and what the README's lines call the reader's own."""
    folder = tmp_path_factory.mktemp("readme") / "home"
    folder.mkdir()
    shutil.copy(ROOT / "app.py", folder)
    tiny_model(folder / "my-model")
    tiny_model(folder / "erased", seed=1)
    for name in ("gnomes", "pictures/a", "pictures/b"):
        pictures(folder / name)
    rows = [f'{name},"a garden, number {at}"' for at, name in enumerate(pictures(folder / "garden"))]
    (folder / "garden.csv").write_text("\n".join(["file,prompt", *rows, ""]))
    cached(folder / "huggingface", HUB_MODEL)
    run(made_by_make("demo") + shlex.split(f"{SHORT} {FEW}"), folder)
    for name in ("demo-red", "star-a", "star-b"):
        shutil.copytree(folder / "runs/demo-star", folder / "runs" / name)
    return folder


@pytest.fixture(scope="module")
def python(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with warm(tmp_path_factory.mktemp("python"), variables(home)) as path:
        yield path


# --- running ----------------------------------------------------------------------------------------------------------


def run(words: list[str], folder: Path, python: str | None = None) -> None:
    """Done with exit status 0; our own command is silent on stderr, and what the line names as output is there."""
    line = [python, "-m", "erase", *words[1:]] if python and words[0] == "erase-concept" else words
    done = subprocess.run(line, cwd=folder, env=variables(folder), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"
    if words[0] == "erase-concept":
        assert done.stderr == "", shlex.join(words)
    for flag, value in pairwise(words):
        assert flag not in ("--output", "--scatter") or (folder / value).exists(), f"{shlex.join(words)} made no {value}"


def serve(words: list[str], folder: Path) -> None:
    status, text, ended = first_answer(words, folder, variables(folder))
    assert (status, ended) == (200, 0)
    assert "erase-concept" in text


def checked_by_make(words: list[str]) -> None:
    assert len(words) == 2
    assert shown_by_make(words[1])


def checked_by_pip(words: list[str]) -> None:
    """`pip install .` or `pip install ".[EXTRAS]"`, with extras that pyproject.toml has."""
    found = re.fullmatch(r"\.(?:\[([\w,]+)\])?", words[-1])
    assert words[:2] == ["pip", "install"]
    assert found, words
    assert set((found[1] or "").split(",")) - {""} <= set(versions.project()["optional-dependencies"])


def cheaper(line: str) -> list[str]:
    """The words of a line as they run here."""
    words = shlex.split(line, comments=True)
    for at in range(len(words)):
        if NO_CUDA and words[at : at + 2] == NO_CUDA:
            del words[at : at + 2]
    return words + shlex.split(CHEAPER.get(row_of(line), ""))


def row_of(line: str) -> str:
    return max((beginning for beginning in CHEAPER if line.startswith(beginning)), key=len, default="")


def lines_of(block: str) -> list[str]:
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def run_shell(block: str, folder: Path, python: str) -> None:
    for line in lines_of(block):
        words = cheaper(line)
        if words[0] == "make":
            checked_by_make(words)
        elif words[0] == "pip":
            checked_by_pip(words)
        elif words[:2] in (["python", "app.py"], ["erase-concept", "ui"]):
            serve(words, folder)
        else:
            run(words, folder, python)


def run_python(block: str, folder: Path, python: str) -> None:
    given = GIVEN.get(block.splitlines()[0], "")
    for text, instead in INSTEAD.items():
        block = block.replace(text, instead)
    (folder / "block.py").write_text(given + block)
    run(["python" if given == versions.STRANGER else python, "block.py"], folder)
    assert all((folder / name).exists() for name in re.findall(r'\.save\("(.*?)"\)', block))


RUNNERS = {"sh": run_shell, "python": run_python}


# --- the tests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("language", "block"), BLOCKS, ids=[lines_of(block)[0].split("  ")[0] for _, block in BLOCKS])
def test_block(language: str, block: str, home: Path, python: str, tmp_path: Path) -> None:
    folder = tmp_path / "home"
    shutil.copytree(home, folder, symlinks=True)
    assert language in RUNNERS, f"no runner for a block of {language or 'no language'}; expected {', '.join(RUNNERS)}"
    RUNNERS[language](block, folder, python)


def test_no_fence_is_overlooked() -> None:
    assert len(re.findall(r"^\s*(?:```|~~~)", TEXT, re.MULTILINE)) == 2 * len(FENCED)
    assert not re.search(r"^\n {4,}\S", TEXT, re.MULTILINE), "an indented code block; expected a fenced one"


def test_every_row_of_the_tables_is_used() -> None:
    lines = [line for language, block in BLOCKS if language == "sh" for line in lines_of(block)]
    scripts = [block for language, block in BLOCKS if language == "python"]
    assert {row_of(line) for line in lines} - {""} == set(CHEAPER)
    assert [text for text in INSTEAD if not any(text in block for block in scripts)] == []
    assert {block.splitlines()[0] for block in scripts} >= set(GIVEN)
