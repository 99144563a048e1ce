"""Two processes do what one does: the same pictures, and the same path of the weights, for gradients are averaged before the projection."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from erase.processes import agree, average, processes, wait
from erase.run import Run
from ui.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


def launched(python: str, count: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command under torch's launcher, as `accelerate launch` calls it, on the CPU (gloo)."""
    start = [python, "-m", "torch.distributed.run", "--nproc_per_node", str(count)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run([*start, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_alone_everything_is_as_if_there_were_no_processes() -> None:
    tensors = [torch.ones(3)]
    average(tensors)
    wait()
    assert (processes(), agree("x"), tensors[0].tolist()) == ((0, 1), "x", [1, 1, 1])


MEANS = """
import sys, torch
from pathlib import Path
import erase.processes as p
p.join()
p.BUCKET = 5
rank, world = p.processes()
tensors = [torch.tensor(2.0 * rank), torch.full((2, 3), rank + 1.0), torch.ones(0), torch.arange(7, dtype=torch.float64) * rank]
p.average(tensors)
assert tensors[0] == 1.0 and (tensors[1] == 1.5).all() and (tensors[3] == torch.arange(7) / 2).all(), tensors
assert p.agree(f"from {rank}") == "from 0"
Path(sys.argv[1], str(rank)).touch()
p.wait()
torch.distributed.destroy_process_group()
"""


def test_two_processes_average_whatever_the_buckets_and_agree(warm_python: str, tmp_path: Path) -> None:
    (tmp_path / "means.py").write_text(MEANS)
    done = launched(warm_python, 2, str(tmp_path / "means.py"), str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert {"0", "1"} <= {path.name for path in tmp_path.iterdir()}


SMALL = [
    "--concept", "star", "--forget-count", "20", "--retain-count", "20", "--evaluate-count", "1", "--sampling-steps", "1",
    "--sampling-batch", "4", "--sensitivity-batches", "3", "--steps", "8", "--device", "cpu",
]  # fmt: skip
ASCENT = ["--scope", "full", "--unlearn", "ascent", "--no-anchor-pictures", "--no-signed", "--forget-weight", "0.1", "--batch", "6"]


@pytest.mark.parametrize(("more", "half"), [([], "8"), (ASCENT, "3")], ids=["balanced", "ascent"])
def test_two_processes_take_the_steps_of_one(warm_python: str, tiny_pipeline: Path, tmp_path: Path, more: list[str], half: str) -> None:
    """After 8 steps every bit is that of one process which goes through the same halves of each batch; beside one that takes
    whole batches, rounding differs, and Adam magnifies that where a gradient is next to nothing.
    """
    arguments = ["--model", str(tiny_pipeline), *SMALL, *more]
    two = launched(warm_python, 2, "-m", "erase", *arguments, "--output", str(tmp_path / "2"))
    assert two.returncode == 0, two.stderr
    assert main([*arguments, "--micro-batch", half, "--output", str(tmp_path / "1")]) == 0
    one, other = (load_file(tmp_path / n / "weights.safetensors") for n in "12")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    steps = [Run.read(tmp_path / n).steps() for n in "12"]
    assert [s["step"] for s in steps[1]] == list(range(1, 9)), "only the first process writes"
    assert [s["retain_loss"] for s in steps[1]] == pytest.approx([s["retain_loss"] for s in steps[0]], rel=1e-6)
    for name in ("images/forget/manifest.jsonl", "images/retain/manifest.jsonl", "samples/after/manifest.jsonl"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name
    assert any(step["retain_loss"] != steps[0][0]["retain_loss"] for step in steps[0]), "there was something to learn"


def test_a_batch_that_cannot_be_shared_equally_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from erase.diffusion import TaskConfig, diffusion_task
    from erase.errors import InputError

    with pytest.raises(InputError, match="--batch 4 cannot be shared equally by 3 processes; give a multiple of 3"):
        diffusion_task(torch.nn.Linear(1, 1), None, None, {}, TaskConfig(4, share=(0, 3)))
