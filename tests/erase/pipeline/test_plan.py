"""The plan of a run: exact counts of what the stages make, in plan.json before the first stage, the same for every reader."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from pipeline_runs import METHOD, Stop, job, stop_at

from erase.images import read_images
from erase.pipeline import Event, erase_concept
from erase.pipeline.plan import PLAN, Plan, read_plan
from erase.pipeline.resolve import resolve_job
from erase.run import Run, read_lines


def test_the_plan_is_there_before_the_first_stage_and_is_what_the_stages_make(tiny_pipeline: Path, tmp_path: Path) -> None:
    this = job(tiny_pipeline, tmp_path / "run", ("star", "red"))
    with pytest.raises(Stop):
        erase_concept(this, METHOD, stop_at("images: forget", 0))
    plan = read_plan(tmp_path / "run")
    assert plan is not None
    assert not Run.read(tmp_path / "run").stages()
    assert plan == resolve_job(this, METHOD).plan()
    events: list[Event] = []
    run = Run.read(erase_concept(this, METHOD, events.append))
    assert read_plan(run.folder) == plan
    assert {event.folder for event in events} == {run.folder}
    counted = {event.stage: event.done for event in events if not event.note}
    assert {f"images: {role}": n for role, n in plan.stage("images").pieces.items()}.items() <= counted.items()
    totals = {name: plan.stage(name).total for name in ("before", "latents", "after")} | {"erase": plan.stage("erase").pieces["steps"]}
    assert totals.items() <= counted.items()
    assert plan.concepts == ("star", "red")
    folders = {"forget": run.forget_images, "retain": run.retain_images, "anchor": run.anchor_images}
    assert plan.stage("images").pieces == {name: len(read_images(folder)) for name, folder in folders.items()}
    assert plan.stage("before").total == plan.stage("after").total == len(read_lines(run.folder / "samples" / "prompts.jsonl"))
    assert plan.stage("erase").pieces["steps"] == len(run.steps())


def test_the_share_of_the_work_follows_the_cost_of_the_stages(tiny_pipeline: Path, tmp_path: Path) -> None:
    plan = resolve_job(job(tiny_pipeline, tmp_path / "run"), METHOD).plan()
    assert plan.share({}) == 0
    assert plan.share({stage.name: 1.0 for stage in plan.stages}) == 1
    assert plan.share({"erase": 0.5}) == 0.5 * plan.stage("erase").passes / plan.passes
    assert not (tmp_path / "run").exists()


def test_without_a_plan_there_is_none(tmp_path: Path) -> None:
    assert read_plan(tmp_path) is None
    for text in ("{", "[]", '{"concepts": [], "stages": [{}]}'):
        (tmp_path / PLAN).write_text(text, encoding="utf-8")
        assert read_plan(tmp_path) is None
    assert asdict(Plan()) == {"concepts": (), "stages": ()}
