"""The cost of a job before it is started: that of the engine's own plan at this machine's pace, without a model, without torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from page_runs import erased_run

from erase.pipeline.plan import write_plan
from erase.pipeline.resolve import resolve_job
from erase.run import Run
from ui.web.context import Page
from ui.web.erase.cost import Cost, cost_of, duration, estimated, line, plan_for, settled
from ui.web.erase.effort import EFFORTS, QUICK, STANDARD, counts, of_method, offered
from ui.web.erase.handlers import OWN, Choice, ErasureRequest, Order, filled, filled_counts, order_of
from ui.web.erase.local_models import cached, check_scopes, device_of, download_bytes, small
from ui.web.erase.pace import Pace, key_of, pace_of, store
from ui.web.erase.sources import found, sources
from ui.web.jobs.queue import Jobs

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with Jobs(tmp_path / "runs") as jobs:
        yield Page(tmp_path / "runs", jobs, None, allowed=(tmp_path / "models",), device="cpu")  # type: ignore[arg-type]


def ordered(page: Page, concept: str = "star", effort: str = STANDARD, model: str = OWN, **settings: Any) -> Order:
    choice = Choice(concept, model, "scissorhands", EFFORTS[effort].preset, effort)
    filled_in = filled_counts(page, choice) | settings
    return order_of(page, ErasureRequest(choice, values=filled(page, choice), filled_for=choice, settings=filled_in))


@pytest.mark.parametrize("concept", ["star", "star + red"])
@pytest.mark.parametrize("effort", list(EFFORTS))
def test_the_plan_is_the_engines(page, concept, effort):
    order = ordered(page, concept, effort)
    assert plan_for(order, settled(order)) == resolve_job(order.job, dict(vars(order.method))).plan()


def test_a_quick_look_takes_a_third_and_is_in_the_command(page):
    quick, standard = (cost_of(page, ordered(page, effort=effort)).seconds for effort in (QUICK, STANDARD))
    assert quick is not None
    assert standard is not None
    assert quick < standard / 2
    arguments = ordered(page, effort=QUICK).arguments
    assert {"--forget-count=48", "--sampling-steps=15", "--steps=60"} <= set(arguments)
    assert [flag.partition("=")[0] for flag in ordered(page).arguments] == ["--concept", "--model", "--method", "--preset", "--device"]


def test_a_click_before_the_form_has_followed_the_effort_is_for_that_effort(page):
    before = Choice("star", OWN, "scissorhands", "balanced", STANDARD)
    stale = ErasureRequest(replace(before, effort=QUICK), {}, filled(page, before), before, filled_counts(page, before))
    assert order_of(page, stale).arguments == ordered(page, effort=QUICK).arguments
    robust = replace(stale, choice=replace(before, effort="robust"))
    assert "--preset=robust" in order_of(page, robust).arguments


def test_efforts_are_what_a_method_has():
    assert offered("scissorhands") == list(EFFORTS)
    assert offered("retrain") == [QUICK, STANDARD]
    assert of_method(QUICK, {"steps": 250}) == {"steps": 60}
    assert of_method(QUICK, {"steps": 20}) == of_method(QUICK, {}) == of_method("robust", {"steps": 250}) == {}
    assert counts(STANDARD, True) == dict.fromkeys(counts(QUICK, True))


def timed_run(page: Page, name: str, scale: float, **options: Any) -> None:
    """A finished run whose stages took `scale` seconds a pass while drawing, and twice that while training."""
    folder = erased_run(page.runs, name, **options)
    order = ordered(page)
    plan = plan_for(order, settled(order))
    write_plan(folder, plan)
    with Run.open(folder, Run.read(folder).options) as run:
        for stage in plan.stages:
            run.complete(stage.name, seconds=stage.passes * scale * (2 if stage.name == "erase" else 1), peak_bytes=10**9)


def test_the_pace_is_that_of_earlier_runs_of_the_architecture_on_the_device(page):
    order = ordered(page)
    assert not pace_of(page, "demo", order.job, "cpu").exact
    timed_run(page, "star-demo-scissorhands-1", 0.5)
    timed_run(page, "red-x-scissorhands-1", 0.25, model="/elsewhere/model")  # the same architecture: it has a UNet like the embedded one
    timed_run(page, "half", 9.0, dtype="bfloat16")
    found = pace_of(page, "demo", order.job, "cpu")
    assert (found.drawing, found.training, found.memory, found.exact) == (pytest.approx(0.375), pytest.approx(0.75), 10**9, True)
    assert not pace_of(page, "demo", order.job, "cuda").exact
    cost = cost_of(page, order)
    assert cost.exact
    assert "A rough guess" not in line(cost)


def test_what_estimate_has_measured_is_kept_for_the_architecture(page):
    order = ordered(page)
    plan = plan_for(order, settled(order))
    passes = sum(plan.stage(name).passes for name in ("images", "before", "erase", "after"))
    pace = estimated({"seconds": 2 * passes, "memory_bytes": 7}, plan)
    assert pace == Pace(pytest.approx(2.0), pytest.approx(2.0), 7, exact=True)
    assert estimated({"seconds": 0}, plan) is estimated({}, plan) is None
    store(page, key_of("demo", order.job, "cpu"), pace)
    assert pace_of(page, "demo", order.job, "cpu") == pace
    (page.jobs.home / "paces.json").write_text("[]")
    assert not pace_of(page, "demo", order.job, "cpu").exact


def test_gigabytes_and_days_are_warned_of_before_the_press(page, tmp_path):
    said = line(cost_of(page, ordered(page, "nudity")))
    assert "downloaded first" in said
    assert "no GPU" in said
    assert " days" in said
    assert 'role="alert"' in said
    embedded = line(cost_of(page, ordered(page)))
    assert "Nothing is downloaded" in embedded
    assert "warnings" not in embedded
    weights = tmp_path / "hub" / "models--CompVis--stable-diffusion-v1-4" / "snapshots" / "1" / "unet" / "x.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    assert cached("CompVis/stable-diffusion-v1-4")
    assert download_bytes("CompVis/stable-diffusion-v1-4") == 0


def test_a_full_disk_is_warned_of():
    cost = Cost(60.0, True, 2**30, disk=2**31, free=2**30, download=0, model="m", device="CPU")
    assert "Only 1.0 GiB are free" in line(cost)
    assert "1.0 GiB of memory" in line(cost)
    assert "not known yet" in line(replace(cost, seconds=None))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(30, "half a minute"), (80, "1 minute"), (150, "2 minutes"), (4000, "67 minutes"), (30_000, "8 hours"), (400_000, "5 days")],
)
def test_times_to_plan_with(seconds, said):
    assert duration(seconds) == said


def test_models_to_choose_from_are_listed_with_their_size(page, tmp_path):
    erased_run(page.runs)
    for place in ("models/one", "models/deep/two"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "model_index.json").write_text("{}")
    (tmp_path / "models" / "three.safetensors").write_bytes(b"x")
    (tmp_path / "models" / "four").mkdir()
    assert [path.name for path in found(tmp_path / "models")] == ["two", "one", "three.safetensors"]
    values = [value for _, value in sources(page, OWN)]
    assert values[:4] == [OWN, "demo", "scenes", "emoji"]
    assert {"star-demo-scissorhands-1", "CompVis/stable-diffusion-v1-4", str(tmp_path / "models" / "one")} <= set(values)
    strangers = replace(page, shared=True, hub=("OWNER/NAME",))
    assert [value for _, value in sources(strangers, OWN) if "/" in value and not value.startswith("/")] == ["OWNER/NAME"]


def test_devices_and_sizes_without_torch():
    assert [device_of(name) for name in ("cpu", "cuda:1", "mps")] == ["cpu", "cuda", "mps"]
    assert device_of("auto") in ("cpu", "cuda", "mps")
    assert (small("demo"), small("OWNER/NAME")) == (True, False)
    code = """
import sys
from pathlib import Path
from tempfile import mkdtemp
from ui.web.context import Page
from ui.web.erase.cost import cost_of, line
from ui.web.erase.handlers import Choice, ErasureRequest, order_of
from ui.web.jobs.queue import Jobs
root = Path(mkdtemp()) / "runs"
with Jobs(root) as jobs:
    page = Page(root, jobs, None)
    print(line(cost_of(page, order_of(page, ErasureRequest(Choice("heart"))))))
assert not {"torch", "diffusers", "transformers", "huggingface_hub"} & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert "This takes" in done.stdout, done.stderr


def test_a_scope_is_held_against_the_weights_that_the_model_has(page):
    order = ordered(page)
    check_scopes("demo", order.method)
    check_scopes("OWNER/NAME", replace(order.method, scope="head"))  # nothing of it is here


def test_a_concept_of_another_model_has_its_own_default_counts(page):
    assert settled(ordered(page, "nudity")).forget_count == 400
    assert settled(ordered(page)).forget_count == 96
