"""A comparison that is kept is an evaluation of what was drawn; one that cannot honestly be one is refused."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from page_runs import erased_run

from erase.concepts import load_concept
from erase.errors import InputError
from erase.files import read_object
from erase.run import read_lines
from ui.web.compare.handlers import ComparisonRequest, compare
from ui.web.compare.keeping import check_honest, keep, kept_words
from ui.web.context import Page
from ui.web.drawing.downloads import Comparison
from ui.web.drawing.order import Ask, DrawnImage, Order
from ui.web.drawing.queue import Drawing
from ui.web.evidence.handlers import reported
from ui.web.jobs.queue import Jobs

pytestmark = pytest.mark.usefixtures("quick_processes")
ORDER = Order((("demo", "demo"), ("run-1", "/a")), (Ask("a red star", "evaluate"),), count=1, concept=asdict(load_concept("star")))
IMAGES = tuple(DrawnImage(model, 0, 0, b"", shows=True) for model in range(2))


def test_the_images_that_were_drawn_are_measured_with_their_seeds_and_settings(tmp_path):
    with Jobs(tmp_path / "runs") as jobs, Drawing("cpu") as drawing:
        page = Page(tmp_path / "runs", jobs, drawing)
        run = erased_run(page.runs, "star-1")
        asked = ComparisonRequest(["star-1"], prompts="a picture of a red solid star\na blue ring", seed=5, count=2, steps=12)

        async def last() -> str:
            return [update async for update in compare(page, asked, "v")][-1].key

        key = asyncio.run(last())
        (name,) = keep(page, key, "")
        assert name == "star-1-compared-1"
        assert reported(page) == [name]
        folder = page.runs / name
        report = read_object(folder / "report.json")
        assert (report["before"]["ua"]["value"], report["after"]["ua"]["value"], report["after"]["ira"]["value"]) == (0.0, 0.0, 100.0)
        options = read_object(folder / "options.json")
        assert (options["kind"], options["model"], options["erased"]) == ("evaluation", "demo", str(run))
        assert options["sampling"] == {
            "scheduler": "EulerAncestralDiscreteScheduler", "size": 64, "batch": 2, "steps": 12, "guidance": 4.0, "noise": "seed alone"
        }  # fmt: skip
        assert report["protocol"]["prompts"]["from"] == "typed on the page"
        assert report["protocol"]["seeds"] == [5, 6]
        drawn = {image.place: image.png for image in page.downloads.comparison(key).images}
        kept = [record["sha256"] for record in read_lines(folder / "samples" / "after" / "manifest.jsonl")]
        assert kept == [hashlib.sha256(drawn[p, 1, i]).hexdigest() for p in range(2) for i in range(2)]
        assert 'href="?run=star-1-compared-1"' in kept_words([name])

        weights = next((run / "model" / "unet").glob("*.safetensors"))
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
        os.utime(weights, ns=(1, 1))
        with pytest.raises(InputError, match="a model has changed since it drew these images"):
            keep(page, key, "")
        assert not (page.runs / "star-1-compared-2").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"models": ORDER.models[:1]}, "choose one under Erased models"), ({"negative": "blur"}, "draw without a negative prompt"),
     ({"asks": (*ORDER.asks, Ask("an elephant"))}, "whether “an elephant” should show the concept"),
     ({"concept": None}, "nothing has looked for the concept")],
)  # fmt: skip
def test_what_cannot_honestly_be_a_measurement_is_refused(changes, said):
    check_honest(Comparison(ORDER, IMAGES))
    with pytest.raises(InputError, match=said):
        check_honest(Comparison(replace(ORDER, **changes), IMAGES))
    with pytest.raises(InputError, match="nothing has looked for"):
        check_honest(Comparison(ORDER, (replace(IMAGES[0], shows=None), IMAGES[1])))


def test_a_name_that_is_no_folder_name_becomes_one(tmp_path):
    from ui.web.compare.keeping import _room

    with Jobs(tmp_path / "runs") as jobs:
        page = Page(tmp_path / "runs", jobs, Drawing("cpu"))
        assert _room(page, "demo, never taught/../heart").name == "demo--never-taught-..-heart-compared-1"
        assert _room(page, "..").parent == page.runs
        assert isinstance(_room(page, "a"), Path)
