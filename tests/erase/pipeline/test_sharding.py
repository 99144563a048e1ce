"""Two processes with factors, and the network spread over both by accelerate's FSDP2, take the steps of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_pipeline import build_flux

from erase.errors import InputError
from erase.processes import sharding
from erase.run import Run
from ui.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
SMALL = [
    "--concept", "star", "--forget-count", "4", "--retain-count", "4", "--evaluate-count", "1", "--sampling-steps", "1", "--steps", "4",
    "--sampling-batch", "4", "--sensitivity-batches", "1", "--batch", "4", "--fraction", "0.05", "--size", "64", "--device", "cpu",
    "--learning-rate", "1e-3", "--lora-rank", "4",
]  # fmt: skip
RUNS = {"spread": [], "base": ["--no-trimming", "--checkpointing"]}
"""Run -> its own options. Where nothing is scored the weights that have factors are spread, too."""

TWICE = """
import os
from pathlib import Path
from torch.distributed.tensor import DTensor
from erase.diffusion import open_model
from erase.processes import shard
from ui.cli.main import main

for name, more in {runs!r}.items():
    assert main([*{arguments!r}, *more, "--output", os.path.join({folder!r}, name + "-2")]) == 0
network = open_model(Path({model!r})).network()
first, second = network.transformer_blocks[0].attn.to_q, network.transformer_blocks[0].attn.to_k
shard(network, {{"whole": first}}, "cpu")
assert not isinstance(first.weight, DTensor)
assert isinstance(second.weight, DTensor) and len(second.weight.to_local()) == len(first.weight) // 2
"""


def test_two_processes_have_the_losses_of_one(tmp_path: Path) -> None:
    model = build_flux(tmp_path / "model")
    arguments = [*SMALL, "--model", str(model)]
    script = tmp_path / "runs.py"
    script.write_text(TWICE.format(runs=RUNS, arguments=arguments, folder=str(tmp_path), model=str(model)))
    engine = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}  # what accelerate launch sets
    environment = os.environ | engine | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", str(script)]
    done = subprocess.run(start, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, more in RUNS.items():
        alone = tmp_path / f"{name}-1"
        assert main([*arguments, *more, "--micro-batch", "2", "--output", str(alone)]) == 0
        steps, two = Run.read(alone).steps(), Run.read(tmp_path / f"{name}-2").steps()
        assert [step["retain_loss"] for step in two] == pytest.approx([step["retain_loss"] for step in steps], rel=1e-5)
        assert [step["unlearn_loss"] for step in two] == pytest.approx([step["unlearn_loss"] for step in steps], rel=1e-5)
        for file in ("weights.safetensors", "lora.safetensors"):
            one, other = load_file(alone / file), load_file(tmp_path / f"{name}-2" / file)
            assert one.keys() == other.keys()
            assert all(torch.allclose(one[key], other[key], rtol=1e-4, atol=1e-6) for key in one), (name, file)


def test_the_first_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not sharding()
    for name, value in {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="give accelerate launch --fsdp_version 2"):
        sharding()
