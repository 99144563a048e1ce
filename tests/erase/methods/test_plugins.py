"""A stranger's package adds a method: a real distribution on the path, found by its entry point, used from command to model."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pipeline_runs import erased, job

from erase import methods
from erase.errors import InputError
from erase.methods import METHODS, make_method, method_class
from erase.methods.plugins import Methods
from erase.pipeline import erase_concept
from erase.run import Run
from ui.cli.main import main

NUDGE = '''
"""Nudge: every weight a little towards zero."""

from dataclasses import dataclass
from typing import ClassVar

from erase.methods import DiffusionMethod, Requirements, option
from erase.task import Step


@dataclass(frozen=True)
class Nudge(DiffusionMethod):
    """Shrink what is in scope."""

    share: float = option(0.5, "what is left of each weight", low=0.0, high=1.0)
    steps: int = option(2, "how often", low=0)
    presets: ClassVar = {"balanced": {}, "gentle": {"share": 0.9}}

    @property
    def requirements(self):
        return Requirements(steps=self.steps, scope="cross-attention-kv")

    def __call__(self, task, resume=None):
        for step in range(1, self.steps + 1):
            loss = task.loss(task.network, task.retain(step - 1)).item()
            for weight in task.weights.values():
                weight.data.mul_(self.share)
            yield Step(step, loss, 0.0, 0.0, 0.0, False, 0.0)
'''

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a distribution on the path as an installer would: its modules, and a .dist-info that names its entry points."""
    root = tmp_path / "site"
    monkeypatch.syspath_prepend(str(root))

    def install(package: str, entries: dict[str, str], modules: dict[str, str]) -> None:
        info = root / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {value}" for name, value in entries.items())
        (info / "entry_points.txt").write_text(f"[erase_concept.methods]\n{lines}\n")
        for name, text in modules.items():
            (root / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        fresh = Methods(METHODS.own)
        monkeypatch.setitem(METHODS.__dict__, "claims", fresh.claims)
        monkeypatch.setitem(METHODS.__dict__, "_loaded", {})
        for name in modules:
            monkeypatch.delitem(sys.modules, name, raising=False)

    return install


def test_it_is_listed_made_estimated_and_used_like_one_of_ours(
    install: Install, tiny_pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install("erase-nudge", {"nudge": "nudge:Nudge"}, {"nudge": NUDGE})
    assert list(METHODS)[-1] == "nudge"
    assert METHODS.problems() == []
    assert (make_method("nudge", "gentle").share, make_method("nudge", share=0.25).share) == (0.9, 0.25)
    with pytest.raises(InputError, match=r"--share is 2; expected at most 1.0"):
        make_method("nudge", share=2)
    assert main(["methods", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["nudge"]["gentle"] == {"share": 0.9, "steps": 2}
    small = ["--forget-count", "2", "--retain-count", "2", "--evaluate-count", "1", "--sampling-steps", "1", "--sampling-batch", "4"]
    asked = ["--concept", "star", "--model", str(tiny_pipeline), "--method", "nudge", "--share", "0.25", *small]
    assert main(["estimate", *asked]) == 0
    capsys.readouterr()
    run = erase_concept(job(tiny_pipeline, tmp_path / "run", method="nudge", evaluate_count=1), {"share": 0.5})
    assert [line["step"] for line in Run.read(run).steps()] == [1, 2]
    assert Run.read(run).options["method_options"] == {"share": 0.5, "steps": 2}
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    from safetensors.torch import load_file

    before = load_file(tiny_pipeline / "unet" / "diffusion_pytorch_model.safetensors")
    assert erased(run)[name].allclose(before[name] / 4)


def test_nothing_of_it_is_loaded_before_it_is_asked_for(install: Install) -> None:
    install("erase-nudge", {"nudge": "nudge:Nudge"}, {"nudge": NUDGE})
    assert "nudge" in METHODS
    make_method("esd")
    assert "nudge" not in sys.modules
    assert method_class("nudge").__name__ == "Nudge"
    assert "nudge" in sys.modules


@pytest.mark.parametrize(
    ("entries", "modules", "said"),
    [
        ({"bad": "bad:Bad"}, {"bad": "import a_module_that_is_not_there\n"},
         "the method 'bad' of bad:Bad of the package erase-bad does not load (ModuleNotFoundError: No module named "
         "'a_module_that_is_not_there'); update or uninstall that package"),
        ({"bad": "bad:Missing"}, {"bad": ""}, "does not load (AttributeError: module 'bad' has no attribute 'Missing')"),
        ({"bad": "bad:Bad"}, {"bad": "raise SystemError('first\\nsecond')\n"}, "does not load (SystemError: first)"),
        ({"bad": "bad:Bad"}, {"bad": "class Bad:\n    presets = {'balanced': {}}\n"}, "the package erase-bad is not a method; expected"),
        ({"bad": "nudge:Nudge"}, {"nudge": NUDGE.replace("balanced", "usual")}, "with presets, balanced among them"),
        ({"bad": "nudge:Nudge"}, {"nudge": NUDGE.replace("scope=", "scop=")},
         "does not load (TypeError: Requirements.__init__() got an unexpected keyword argument 'scop'"),
        ({"bad": "nudge:Nudge"}, {"nudge": NUDGE.replace('"share": 0.9', '"shar": 0.9')},
         "does not load (TypeError: Nudge.__init__() got an unexpected keyword argument 'shar'"),
    ],
)  # fmt: skip
def test_one_that_does_not_load_is_one_clear_line_and_the_others_go_on(
    entries: dict[str, str], modules: dict[str, str], said: str, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("erase-bad", entries, modules)
    assert list(METHODS) == list(METHODS.own)
    [problem] = METHODS.problems()
    assert said in problem
    assert "\n" not in problem
    assert main(["--concept", "star", "--method", "bad"]) == 2
    out = capsys.readouterr()
    assert said in out.err
    assert len(out.err.splitlines()) == 1
    assert main(["methods", "--json"]) == 0
    out = capsys.readouterr()
    assert list(json.loads(out.out)) == list(METHODS.own)
    assert said in out.err


def test_the_name_of_one_of_ours_stays_ours(install: Install) -> None:
    install("erase-nudge", {"esd": "nudge:Nudge"}, {"nudge": NUDGE})
    assert METHODS["esd"].__name__ == "ESD"
    assert list(METHODS) == list(METHODS.own)
    assert METHODS.problems() == [
        "nudge:Nudge of the package erase-nudge is called 'esd', which is the name of a built-in method; the built-in one is used"
    ]


def test_two_strangers_with_one_name_are_both_refused(install: Install) -> None:
    install("erase-nudge", {"nudge": "nudge:Nudge", "shrink": "nudge:Nudge"}, {"nudge": NUDGE})
    install("erase-other", {"nudge": "other:Nudge"}, {"other": NUDGE})
    assert list(METHODS) == [*METHODS.own, "shrink"]
    with pytest.raises(InputError) as caught:
        make_method("nudge")
    first, second = "nudge:Nudge of the package erase-nudge", "other:Nudge of the package erase-other"
    assert str(caught.value) == f"two methods are called 'nudge': {first} and {second}; uninstall one of the packages"


def test_without_strangers_there_are_ours() -> None:
    assert list(METHODS)[: len(METHODS.own)] == list(METHODS.own)
    assert methods.METHODS is METHODS


def test_the_example_of_the_documentation_is_a_method_that_works(install: Install, tiny_pipeline: Path, tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "methods.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    install("erase-mine", {"mine": "mine:Mine"}, {"mine": example})
    assert METHODS.problems() == []
    run = erase_concept(job(tiny_pipeline, tmp_path / "run", method="mine", evaluate_count=1), {"steps": 1})
    assert [line["step"] for line in Run.read(run).steps()] == [1]


def test_methods_and_their_options_are_known_without_torch() -> None:
    code = "import sys; from erase.methods import METHODS, make_method; [make_method(name).requirements for name in METHODS.own]"
    code += "; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.strip() == "False"
