"""torchvision is importable whatever it was built for, and what it does not have is missing only where it is called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BARE = {  # what stops the import of a torchvision whose library of operators does not load
    "__init__.py": 'import torch\n\ntorch.library.register_fake("torchvision::nms")(lambda dets, scores, iou_threshold: None)\n',
    "ops.py": "import torch\n\nnms = lambda *given: torch.ops.torchvision.nms(*given)\n",
}


def fresh(code: str, first: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run in a process of its own, in which nothing has been imported or declared; `first`: where it looks for packages first."""
    start = f"import sys; sys.path.insert(0, {str(first)!r})\n" if first else "import sys\n"
    return subprocess.run([sys.executable, "-c", start + code], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def bare(folder: Path, library: bytes | None) -> Path:
    package = folder / "torchvision"
    package.mkdir()
    for name, text in BARE.items():
        (package / name).write_text(text)
    if library is not None:
        (package / "_C.so").write_bytes(library)
    return folder


def test_the_installed_torchvision_is_importable_and_draws_its_networks() -> None:
    done = fresh(
        "from erase.operators import declare_operators\n"
        "declare_operators(); declare_operators()\n"
        "import torch, torchvision\n"
        "network = torchvision.models.resnet18(weights=None).eval()\n"
        "print(tuple(network(torch.zeros(1, 3, 64, 64)).shape))\n"
    )
    assert (done.returncode, done.stdout) == (0, "(1, 1000)\n"), done.stderr


def test_without_the_declaration_a_torchvision_without_operators_stops_at_the_first(tmp_path: Path) -> None:
    done = fresh("import torchvision", bare(tmp_path, None))
    assert done.returncode == 1
    assert "torchvision::nms does not exist" in done.stderr


def test_declared_it_imports_and_only_a_call_fails(tmp_path: Path) -> None:
    code = (
        "from erase.operators import declare_operators\n"
        "declare_operators(); declare_operators()\n"
        "import torch, torchvision.ops\n"
        "try:\n"
        "    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)\n"
        "except NotImplementedError as error:\n"
        "    print('nms' in str(error))\n"
    )
    for i, library in enumerate((None, b"not a library")):
        (tmp_path / str(i)).mkdir()
        done = fresh(code, bare(tmp_path / str(i), library))
        assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_without_torchvision_nothing_is_declared() -> None:
    done = fresh(
        "sys.modules['torchvision'] = None\n"
        "from erase.operators import _declared, declare_operators\n"
        "declare_operators()\n"
        "import torch\n"
        "print(_declared, hasattr(torch.ops.torchvision, 'nms'))\n"
    )
    assert (done.returncode, done.stdout) == (0, "[] False\n"), done.stderr
