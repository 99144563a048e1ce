"""What a small file keeps of a run is said when it is written; what it loses is measured as a job of the page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from page_runs import erased_run, measured_run
from safetensors.torch import load_file, save_file

from erase.demo import pipeline_path
from erase.errors import InputError
from ui.web.context import Page
from ui.web.drawing.queue import Drawing
from ui.web.jobs.entry import DONE
from ui.web.jobs.queue import Jobs
from ui.web.shelf.export import export
from ui.web.shelf.listing import shelved_run
from ui.web.shelf.loss import UNMEASURED, loss, measure_loss, measured_at, place, refusal
from ui.web.shelf.measuring import job_of

pytestmark = pytest.mark.usefixtures("quick_processes")
LONG = 300.0
FORM = "diffusers-lora"
LAYER = "up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_v.weight"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A page with the run star-1: measured, and changed in one layer by a matrix of rank 2, so that a LoRA keeps all of it."""
    folder = measured_run(tmp_path / "runs", "star-1")
    shutil.copytree(pipeline_path(), folder / "model")
    path = folder / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    rows, columns = weights[LAYER].shape
    noise = torch.Generator().manual_seed(0)
    weights[LAYER] = weights[LAYER] + 0.01 * torch.randn(rows, 2, generator=noise) @ torch.randn(2, columns, generator=noise)
    save_file(weights, path)
    with Jobs(tmp_path / "runs") as jobs:
        yield Page(tmp_path / "runs", jobs, Drawing("cpu"), device="cpu")  # the worker is not started


def test_what_it_keeps_is_said_and_what_it_loses_is_measured(page: Page, tmp_path: Path):
    run = shelved_run(page, None, "star-1")
    path, words = export(run.folder, FORM, "source", tmp_path / "out")
    assert words.startswith(f"{FORM} in {path.name} (")
    assert "100.0 % of the norm of the change" in words
    assert UNMEASURED in loss(page, None, run, FORM)
    entry = measure_loss(page, None, "star-1", FORM)
    assert getattr(job_of(page, None, run), "id", "") == entry.id  # so the section Measure shows it
    with pytest.raises(InputError, match="is in the queue already"):
        measure_loss(page, None, "star-1", FORM)
    assert page.jobs.wait(entry.id, LONG).state == DONE, page.jobs.log(entry.id).read_text()
    measured = shelved_run(page, None, measured_at(page, run, FORM).name)
    assert measured.options["lora"]["file"] == place(run, FORM).name == path.name
    assert measured.options["sampling"]["steps"] == run.options["sampling"]["steps"]
    shown = loss(page, None, run, FORM)
    assert "gone, named 100 → " in shown
    assert f'href="?run={measured.name}"' in shown
    assert UNMEASURED in loss(page, None, run, "difference")  # which is another file


def test_only_a_small_file_of_a_finished_run_of_ones_own_is_measured(page: Page):
    run = shelved_run(page, None, "star-1")
    assert "is the whole model" in refusal(run, "folder")
    assert "is not yours" in refusal(replace(run, mine=False), FORM)
    erased_run(page.runs, "star-2")
    shutil.rmtree(page.runs / "star-2" / "model")
    with pytest.raises(InputError, match="star-2 has no model to measure"):
        measure_loss(page, None, "star-2", FORM)
    with pytest.raises(InputError, match="nothing to write"):  # the command's own words
        measure_loss(page, None, erased_run(page.runs, "star-3").name, FORM)
    assert page.jobs.entries() == []
