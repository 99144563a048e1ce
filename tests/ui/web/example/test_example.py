"""The run that comes with the package: what it holds, that it is the run as it was, and how it comes among the visitor's runs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from page_runs import erased_run
from safetensors.torch import load, load_file, save

from erase.demo import pipeline_path
from erase.errors import InputError
from erase.files import read_object
from erase.run import Run
from ui.web.context import Page
from ui.web.drawing.queue import Drawing
from ui.web.erase.pace import pace_of
from ui.web.example.difference import difference, restored
from ui.web.example.pack import pack
from ui.web.example.unpack import ARCHIVE, NAME, is_example, offer, unpack
from ui.web.jobs.queue import Jobs
from ui.web.runs import erased_runs
from ui.web.shelf.cards import shelf
from ui.web.shelf.handlers import delete
from ui.web.shelf.listing import shelved, shelved_run
from ui.web.shelf.measuring import MeasurementRequest, best_report, measure

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example") / NAME
    unpack(ARCHIVE, folder)
    return folder


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with Jobs(tmp_path / "runs") as jobs:
        yield Page(tmp_path / "runs", jobs, Drawing("cpu"))  # the worker is not started


def test_a_difference_gives_the_changed_file_back_and_holds_no_other_tensor():
    before = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(4, dtype=torch.float16), "c": torch.ones(1)}
    after = {**before, "b": torch.tensor([0, 1, 0, 2], dtype=torch.float16)}
    base, changed = save(before, {"format": "pt"}), save(after, {"format": "pt"})
    packed = difference(base, changed)
    assert list(load(packed)) == ["b"]
    assert {name: tensor.tolist() for name, tensor in load(restored(base, packed)).items()} == {k: v.tolist() for k, v in after.items()}
    with pytest.raises(InputError, match="differ in more than"):
        difference(base, save({"a": before["a"]}))
    with pytest.raises(InputError, match="is not a tensor of this model"):
        restored(save({"b": torch.zeros(3)}), packed)


def test_the_example_is_a_finished_run_with_attacks_whose_scope_alone_differs_from_the_model(example):
    run = Run.read(example)
    settings = tuple(run.options[name] for name in ("concept", "model", "preset", "seed"))
    assert settings == ("beer mug", "emoji", "balanced", 0)
    assert {"erase", "export", "after"} <= run.stages().keys()
    assert read_object(example / "attacks" / "report.json")["attacks"]
    base, changed = load_file(pipeline_path("emoji") / UNET), load_file(run.model / UNET)
    differing = {name for name in base if not torch.equal(base[name], changed[name])}
    assert 0 < len(differing) < 40
    assert all(".attn2." in name for name in differing)
    assert is_example(example)


def test_the_archive_is_small_names_no_place_of_a_machine_and_is_that_of_the_run(example, tmp_path):
    assert ARCHIVE.stat().st_size < 6 * 2**20
    texts = [path.read_text() for path in example.rglob("*") if path.suffix in (".json", ".jsonl", ".md") and "tokenizer" not in str(path)]
    assert not [found for text in texts for found in re.findall(r'"/(?:home|root|tmp|work|Users)[^"]*"', text)]
    pack(example, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == ARCHIVE.read_bytes()


def test_it_is_offered_once_and_stays_away_when_it_was_deleted(page):
    home = page.jobs.home
    folder = offer(page.runs, home)
    assert folder == page.runs / NAME
    assert offer(page.runs, home) is None  # as it is there
    delete(page, None, NAME)
    assert offer(page.runs, home) is None
    assert not folder.exists()


def test_what_cannot_be_unpacked_leaves_nothing(page, tmp_path):
    broken = tmp_path / "broken.zip"
    shutil.copyfile(ARCHIVE, broken)
    with broken.open("r+b") as file:
        file.truncate(1000)
    assert offer(page.runs, page.jobs.home, broken) is None
    assert [path.name for path in page.runs.iterdir()] == [".ui"]
    assert offer(page.runs, page.jobs.home) is not None  # which did not count as given


def test_it_is_one_of_the_runs_and_says_that_it_is_an_example(page):
    offer(page.runs, page.jobs.home)
    erased_run(page.runs, "star-1")
    assert erased_runs(page) == ["star-1", NAME]  # one's own come first, whatever their dates
    run = shelved_run(page, None, NAME)
    assert run.example
    assert run.has_model
    assert not shelved_run(page, None, "star-1").example
    assert shelf(shelved(page, None), 2, False).count("badge example") == 1
    assert all(claim.level not in ("unknown", "few") for claim in run.verdict.questions().values())
    assert not run.sensitive


def test_it_is_measured_into_a_folder_of_ones_own_and_says_nothing_of_this_machines_pace(page):
    from erase.pipeline.job import Job

    offer(page.runs, page.jobs.home)
    page.jobs.close()  # the queue takes it, nobody runs it
    entry = measure(page, None, MeasurementRequest(NAME, count=8))
    assert Path(entry.output) == page.runs / f"{NAME}-again"
    assert best_report(page, shelved_run(page, None, NAME))[1] == ""
    assert not pace_of(page, "emoji", Job(("beer mug",), model="emoji"), "cpu").exact
