"""Images that exist become an evaluation folder whose numbers are those of its images, and which can be measured again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from PIL import Image

from erase.concepts import load_concept
from erase.demo.shapes.world import Scene, render
from erase.errors import InputError
from erase.run import Run
from eval.evaluate import evaluate
from eval.measurement.drawn import measure_drawn
from eval.options import Evaluation
from eval.samples import read_prompts, samples_of

ROWS = [
    {"text": "a red star", "role": "evaluate", "attributes": {"shape": "star", "colour": "red"}, "seed": 3},
    {"text": "a red star", "role": "evaluate", "attributes": {"shape": "star", "colour": "red"}, "seed": 4},
    {"text": "a blue ring", "role": "evaluate-retain", "attributes": {"shape": "ring", "colour": "blue"}, "seed": 3},
]
OPTIONS = {
    "kind": "evaluation", "concept": "star", "method": None, "preset": None, "seed": None, "concept_file": asdict(load_concept("star")),
    "protocol": None, "prompts": {"from": "typed on the page"}, "asked": {}, "model": "demo", "erased": "runs/star-1", "dtype": "float32",
    "sampling": {"scheduler": "DDIMScheduler", "steps": 5, "guidance": 4.0, "size": 64, "batch": 2, "noise": "seed alone"},
}  # fmt: skip


def drawn(folder: Path, shapes: list[str]) -> list[Path]:
    folder.mkdir()
    paths = []
    for i, shape in enumerate(shapes):
        colour = "blue" if i == 2 else "red"
        Image.fromarray(render(Scene(shape, colour, "solid", "white"))).save(folder / f"{i}.png")
        paths.append(folder / f"{i}.png")
    return paths


def test_the_folder_is_measured_with_its_protocol_and_can_be_again(tmp_path):
    images = {"before": drawn(tmp_path / "a", ["star", "star", "ring"]), "after": drawn(tmp_path / "b", ["circle", "star", "ring"])}
    folder = tmp_path / "kept"
    report = measure_drawn(folder, OPTIONS, ROWS, images)
    assert [report[which]["ua"]["value"] for which in ("before", "after")] == [0.0, 50.0]
    assert (report["after"]["ira"]["value"], report["after"]["ira"]["n"]) == (100.0, 1)
    protocol = report["protocol"]
    assert (protocol["prompts"]["from"], protocol["seeds"], protocol["steps"]) == ("typed on the page", [3, 4], 5)
    assert (folder / "report.html").is_file()
    rows = read_prompts(folder)
    assert [row["text"] for row in rows] == [row["text"] for row in ROWS]
    assert [picture.seed for picture in samples_of(Run.read(folder), "after", rows)] == [3, 4, 3]
    (folder / "report.json").unlink()
    assert evaluate(Evaluation(model=str(folder))) == folder
    assert (folder / "report.json").is_file()


def test_what_does_not_belong_together_is_refused_before_anything_is_written(tmp_path):
    images = {"before": drawn(tmp_path / "a", ["star"]), "after": drawn(tmp_path / "b", ["star"])}
    with pytest.raises(InputError, match="1 images before the erasure for 3 prompts"):
        measure_drawn(tmp_path / "kept", OPTIONS, ROWS, images)
    with pytest.raises(InputError, match="each with one of the roles"):
        measure_drawn(tmp_path / "kept", OPTIONS, [{**ROWS[0], "role": ""}], images)
    assert not (tmp_path / "kept").exists()
