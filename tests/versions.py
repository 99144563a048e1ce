"""The product with other versions of what it is built on: the oldest that pyproject.toml allows, or the newest that pip takes.

`python tests/versions.py oldest newest` makes `.venv-oldest` and `.venv-newest`, keeps what is up to date there, installs the product
itself anew from its wheel, and uses it as a stranger would, far from the checkout. Any Python runs this; it needs nothing installed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving import first_answer

try:
    import tomllib
except ImportError:  # Python 3.10: pip carries its own copy
    from pip._vendor import tomli as tomllib  # type: ignore[no-redef]

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
PROJECT = ROOT / "pyproject.toml"
EXTRAS = ("ui", "eval", "nudity")
PRODUCT = f".[{','.join(EXTRAS)}]"
RUN = "runs/demo-star"  # where the README loads the erased model from
SMALL = "--steps 2 --batch 2 --sensitivity-batches 2 --forget-count 4 --retain-count 4"
QUICK, LEGIBLE = "--evaluate-count 4 --sampling-steps 2", "--evaluate-count 16 --sampling-steps 12"
DRAWN_RIGHT = 80  # % of the original's pictures that show what they should; one that draws noise comes to about 12
UNREAD = ("newly initialized", "MISSING")  # how transformers 4 and 5 report weights that they filled with noise
# In front of the README's lines: whoever gets the erased model has none of our packages.
STRANGER = "import sys\nsys.modules.update(erase=None, eval=None, ui=None)\n"


class Failed(Exception):
    """A check that did not hold; the text says what came instead."""


# --- environments ---------------------------------------------------------------------------------------------------


def project() -> dict[str, Any]:
    return tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]


def requirements(project: Mapping[str, Any]) -> list[str]:
    """What the product and the extras need, as pyproject.toml has it."""
    tables = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in EXTRAS)]
    return list(dict.fromkeys(line for table in tables for line in table))


def name_of(requirement: str) -> str:
    return re.split(r"[\s\[<>=!~;]", requirement)[0]


def oldest(requirement: str) -> str:
    """The requirement with its lower bound as the only version; ValueError where it has none.

    >>> oldest("tomli>=2.0,<3; python_version < '3.11'")
    "tomli==2.0; python_version < '3.11'"
    """
    wanted, semicolon, marker = requirement.partition(";")
    bound = re.search(r">=\s*([\w.]+)", wanted)
    if bound is None:
        raise ValueError(f"{requirement!r} in pyproject.toml has no lower bound; expected NAME>=VERSION")
    return f"{name_of(wanted)}=={bound[1]}{semicolon}{marker}"


def installs(kind: str, needed: list[str]) -> list[list[str]]:
    """Arguments of `pip install`, one call after another. torch and torchvision come as the pair that belongs together."""
    if kind == "oldest":
        return [[oldest(requirement) for requirement in needed]]
    newest = ["--upgrade", "--upgrade-strategy", "eager"]
    return [[*newest, "torch", "torchvision"], [*newest, *needed]]


def prepared(kind: str, python: str) -> Path:
    """The environment's folder, with everything but the product in it; installed anew where pyproject.toml or the Python changed."""
    calls = installs(kind, requirements(project()))
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout
    key = hashlib.sha256(json.dumps([version, calls]).encode()).hexdigest()
    folder = ROOT / f".venv-{kind}"
    stamp = folder / ".ready"
    if not stamp.exists() or stamp.read_text() != key:
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        for call in calls:
            pip(folder, "install", *call)
        stamp.write_text(key)
    return folder


def pip(folder: Path, *arguments: str) -> None:
    subprocess.run([folder / "bin" / "python", "-m", "pip", "-qq", *arguments], cwd=ROOT, check=True)


# --- checks ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """An environment, and a folder to work in that is not the checkout."""

    environment: Path
    folder: Path

    @property
    def variables(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
        return {**kept, "PATH": f"{self.environment / 'bin'}{os.pathsep}{kept['PATH']}", "HF_HUB_OFFLINE": "1"}

    def run(self, command: str, status: int = 0) -> str:
        """What the command prints on stderr; Failed where it ends with another status."""
        words = shlex.split(command)
        words[0] = str(self.environment / "bin" / words[0])
        done = subprocess.run(words, cwd=self.folder, env=self.variables, capture_output=True, text=True, timeout=1200, check=False)
        if done.returncode != status:
            raise Failed(f"{command}: exit status {done.returncode}, expected {status}\n{done.stdout}{done.stderr}")
        if any(words in done.stderr for words in UNREAD):
            raise Failed(f"{command}: a part of the model was not read:\n{done.stderr}")
        return done.stderr

    def expect(self, *names: str) -> None:
        if missing := [name for name in names if not (self.folder / name).exists()]:
            raise Failed(f"missing: {', '.join(missing)}")


def requirements_are_met(place: Place) -> None:
    place.run("python -m pip check")


def main_job(place: Place) -> None:
    """Also: the original draws what it is asked for. Weights that a library does not read are filled with noise, in silence."""
    place.run(f"erase-concept --concept star --output {RUN} {SMALL} {LEGIBLE}")
    place.expect(*(f"{RUN}/{name}" for name in ("model/model_index.json", "report.json", "report.html", "comparison.png")))
    report = json.loads((place.folder / RUN / "report.json").read_text(encoding="utf-8"))
    if unmeasured := report.get("unmeasured"):
        raise Failed(f"not measured: {unmeasured}")
    if (right := report["before"]["ira"]["value"]) < DRAWN_RIGHT:
        raise Failed(f"the original draws {right} % of its prompts as asked, expected at least {DRAWN_RIGHT} %")


def nudity_detector(place: Place) -> None:
    place.run(f"erase-concept evaluate --before {RUN}/samples/before --after {RUN}/samples/after --concept nudity --output evaluation")
    place.expect("evaluation/report.json")


def single_file(place: Place) -> None:
    """Of a tiny model laid out as Stable Diffusion 1.x: the embedded one has no single-file form. diffusers alone reads the file."""
    build = "from pathlib import Path; from tiny_pipeline import build_family; build_family('sd1', Path('sd1'))"
    read = "from diffusers import StableDiffusionPipeline as P; P.from_single_file('sd1.safetensors', config='sd1')"
    place.run(shlex.join(["python", "-c", f"import sys; sys.path.append({str(TESTS)!r}); {build}"]))
    place.run(f"erase-concept --concept star --model ./sd1 --output runs/sd1 {SMALL} {QUICK} --optimizer adafactor")
    place.run("erase-concept export runs/sd1 --format single-file --output sd1.safetensors")
    place.run(shlex.join(["python", "-I", "-c", STRANGER + read]))


def unet_alone(place: Place) -> None:
    place.run(f"erase-concept export {RUN} --format unet --output star-unet.safetensors")
    place.expect("star-unet.safetensors")


def plain_diffusers(place: Place) -> None:
    """The README's lines, in a process where none of our packages can be imported."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = next(block for block in blocks if "from diffusers" in block)
    place.run(shlex.join(["python", "-I", "-c", STRANGER + lines]))
    place.expect("picture.png")


def first_page(place: Place) -> None:
    command = [str(place.environment / "bin" / "erase-concept"), "ui"]
    status, text, ended = first_answer(command, place.folder, place.variables)
    if (status, "erase-concept" in text, ended) != (200, True, 0):
        raise Failed(f"the page answered {status}, the command ended with {ended}; expected 200 and 0\n{text[:400]}")


def pickles_refused(place: Place) -> None:
    model = place.folder / "pickled"
    shutil.copytree(place.folder / RUN / "model", model)
    (model / "unet" / "diffusion_pytorch_model.safetensors").rename(model / "unet" / "diffusion_pytorch_model.bin")
    message = place.run("erase-concept --concept star --model ./pickled --output never", status=2)
    if len(message.splitlines()) != 1 or ".bin" not in message or (place.folder / "never").exists():
        raise Failed(f"expected one line that names the file, and no run folder; got: {message}")


def code_refused(place: Place) -> None:
    """A part whose class lies in a module of the folder: what this version of diffusers would do with it does not matter."""
    model, marker = place.folder / "with-code", place.folder / "code-ran"
    shutil.copytree(place.folder / RUN / "model", model)
    (model / "unet" / "own.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Own: ...\n")
    index = json.loads((model / "model_index.json").read_text(encoding="utf-8"))
    (model / "model_index.json").write_text(json.dumps(index | {"unet": ["own", "Own"]}))
    for command in ("erase-concept --concept star --model ./with-code --output never", "erase-concept estimate --model ./with-code"):
        message = place.run(command, status=2)
        if len(message.splitlines()) != 1 or marker.exists() or (place.folder / "never").exists():
            raise Failed(f"{command}: expected one line, no run folder, and no code run ({marker.exists()=}); got: {message}")


CHECKS: dict[str, Callable[[Place], None]] = {
    "pip check": requirements_are_met,
    "the main job, everything measured": main_job,
    "NudeNet looks at its pictures": nudity_detector,
    "export of the UNet": unet_alone,
    "export to a single file, read by diffusers": single_file,
    "the README's diffusers lines, none of our packages": plain_diffusers,
    "the page's first answer": first_page,
    "a pickled weight file is refused": pickles_refused,
    "a model folder with code is refused": code_refused,
}


def failures(environment: Path) -> dict[str, str]:
    """Every check in order, each on what those before it left; what failed, with what came instead."""
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for title, check in CHECKS.items():
            began = time.monotonic()
            try:
                check(Place(environment, Path(folder)))
            except (Failed, RuntimeError, OSError, subprocess.TimeoutExpired) as error:
                found[title] = f"{error}"
            print(f"{'FAILED' if title in found else 'passed'}  {title}  ({time.monotonic() - began:.0f} s)", flush=True)
    return found


# --- the command ----------------------------------------------------------------------------------------------------


def versions(environment: Path) -> dict[str, str]:
    """The versions that are there of what pyproject.toml names, and Python's."""
    python = environment / "bin" / "python"
    listed = subprocess.run([python, "-m", "pip", "list", "--format", "json"], capture_output=True, text=True, check=True)
    there = {item["name"].replace("_", "-").lower(): item["version"] for item in json.loads(listed.stdout)}
    number = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    names = [name_of(requirement).lower() for requirement in requirements(project())]
    return {"python": number, **{name: there[name] for name in names if name in there}}


def table(columns: Mapping[str, Mapping[str, str]]) -> str:
    """Names down, environments across."""
    names = dict.fromkeys(name for column in columns.values() for name in column)
    wide = max(map(len, names))
    rows = [["", *columns], *([name, *(column.get(name, "") for column in columns.values())] for name in names)]
    return "\n".join("  ".join([first.ljust(wide), *(cell.ljust(10) for cell in rest)]).rstrip() for first, *rest in rows)


def main() -> int:
    """Exit status 1 where a check failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="+", choices=("oldest", "newest"))
    parser.add_argument("--python", default=sys.executable, help="the Python of the environments (default: the one that runs this)")
    options = parser.parse_args()
    columns: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    for kind in options.kinds:
        print(f"== {kind}", flush=True)
        environment = prepared(kind, options.python)
        pip(environment, "install", "--no-deps", "--force-reinstall", PRODUCT)
        found = failures(environment)
        problems += [f"{kind}: {title}: {text}" for title, text in found.items()]
        columns[kind] = versions(environment) | {title: "FAILED" if title in found else "passed" for title in CHECKS}
    print("", table(columns), "", *problems, sep="\n")
    outcomes = [cell for column in columns.values() for cell in column.values() if cell in ("passed", "FAILED")]
    print(f"{outcomes.count('passed')} passed, {outcomes.count('FAILED')} failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
