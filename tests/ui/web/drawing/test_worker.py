"""The worker draws what the command draws, stays within its memory, abandons withdrawn orders, and may end without the page."""

from __future__ import annotations

import base64
import io
import os
import shutil
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from erase.concepts import load_concept
from erase.demo import pipeline_path
from erase.diffusion import open_model
from erase.errors import InputError
from ui.cli.generate import generate
from ui.web.drawing.models import Stopped, Studio
from ui.web.drawing.order import Ask, Order
from ui.web.drawing.queue import Drawing

pytestmark = pytest.mark.usefixtures("quick_processes")
STAR = asdict(load_concept("star"))


def order(*models: str, number: int = 1, prompt: str = "a star", **changes: Any) -> dict[str, Any]:
    lines = tuple(Ask(text) for text in prompt.split("|"))
    return {"number": number, **asdict(Order(tuple((m, m) for m in models), **{"asks": lines, "count": 2, "steps": 2, **changes}))}


class Said(list):
    def __call__(self, event: str, **facts: Any) -> None:
        self.append({"event": event, **facts})

    def pictures(self) -> list[dict[str, Any]]:
        return [said for said in self if said["event"] == "picture"]


@pytest.fixture
def studio() -> tuple[Studio, Said]:
    said = Said()
    return Studio("cpu", 2**40, said), said


def test_it_draws_what_the_command_draws_from_the_same_seeds(studio, tmp_path):
    it, said = studio
    it.draw(order("demo", prompt="a star|a ring", seed=7, count=3, guidance=4.0))
    table = tmp_path / "prompts.csv"
    table.write_text("prompt,seed\n" + "".join(f"a star,{seed}\n" for seed in (7, 8, 9)))
    generate(["demo", "--prompts", str(table), "--steps", "2", "--device", "cpu", "--output", str(tmp_path / "made")])
    files = sorted((tmp_path / "made").glob("*.png"))
    assert [base64.b64decode(picture["png"]) for picture in said.pictures()][:3] == [path.read_bytes() for path in files]
    assert [picture["prompt"] for picture in said.pictures()] == [0, 0, 0, 1, 1, 1]
    assert "Seed: 9, Size: 64x64" in Image.open(files[2]).info["parameters"]


def test_it_opens_an_embedded_model_before_the_first_order_comes(studio):
    it, said = studio
    it.warm_up()
    assert (len(it.models), said) == (1, [])
    it.draw(order("demo", count=1))
    assert "loading demo" not in [event.get("note") for event in said]
    small = Studio("cpu", 1, Said())
    small.warm_up()
    assert not small.models


def test_what_will_probably_come_is_drawn_ahead_until_an_order_comes(studio):
    it, said = studio
    likely = order("demo", prompt="a star|a ring", concept=STAR)
    turns = iter([False, True])
    it.prepare(likely, lambda: next(turns))
    assert (len(it.models), len(it.images), said) == (1, 1, [])
    it.prepare(likely, lambda: False)
    assert len(it.images) == 2
    it.draw(likely)
    assert len(said.pictures()) == 4
    assert not [event for event in said if event["event"] == "note"]  # nothing was loaded or drawn for it
    it.prepare(order("/nowhere/at/all"), lambda: False)  # whoever orders it is told what is wrong
    small = Studio("cpu", 1, Said())
    small.prepare(likely, lambda: False)
    assert not small.models


def test_negative_prompt_sampler_and_size_reach_the_pipeline(studio):
    it, said = studio
    plain = open_model(Path(pipeline_path()))
    changes = [{}, {"negative": "red"}, {"sampler": "DDIMScheduler"}, {"size": 96}]
    for change in changes:
        it.draw(order("demo", count=1, seed=3, **change))
    drawn = [Image.open(io.BytesIO(base64.b64decode(picture["png"]))) for picture in said.pictures()]
    noise = [torch.Generator().manual_seed(3)]
    (wanted,) = plain.pipeline(["a star"], negative_prompt=["red"], num_inference_steps=2, guidance_scale=4.0, generator=noise).images
    assert drawn[1].tobytes() == wanted.tobytes()
    assert len({image.tobytes() for image in drawn}) == 4
    assert [image.size for image in drawn] == [(64, 64)] * 3 + [(96, 96)]
    assert "Negative prompt: red" in drawn[1].info["parameters"]
    assert "Sampler: DDIM," in drawn[2].info["parameters"]
    facts = [said_of["facts"] for said_of in said if said_of["event"] == "model"]
    assert [(one["sampler"], one["size"]) for one in facts][2:] == [("DDIMScheduler", 64), ("EulerAncestralDiscreteScheduler", 96)]


def test_what_a_prompt_asks_for_is_judged_where_the_detector_can_tell(studio):
    it, said = studio
    lines = (
        Ask("a picture of a red solid circle", "evaluate-retain", {"shape": "circle", "colour": "red", "background": "white"}),
        Ask("a picture of a red solid circle", "evaluate-retain", {"shape": "circle", "colour": "blue"}),
        Ask("a picture of a red solid circle", "evaluate-retain", {"mood": "calm"}),
        Ask("a picture of a red solid circle", "evaluate-retain", {"shape": "elephant"}),
        Ask("a picture of a red solid circle"),
    )
    it.draw(order("demo", asks=lines, steps=25, count=1, concept=STAR))
    assert [(picture["asked"], picture["shows"]) for picture in said.pictures()] == [
        (True, False), (False, False), (None, False), (None, False), (None, False)
    ]  # fmt: skip
    it.draw(order("demo", asks=lines[:1], steps=25, count=1))  # nothing is looked for, so nothing is told
    assert [(picture["asked"], picture["shows"]) for picture in said.pictures()][5:] == [(None, None)]


def test_it_sees_the_concept_where_it_is_and_not_where_it_is_not(studio):
    it, said = studio
    for prompt in ("a picture of a red solid star", "a picture of a red solid circle"):
        it.draw(order("demo", prompt=prompt, steps=25, concept=STAR))
    shown = [picture["shows"] for picture in said.pictures()]
    assert shown == [True, True, False, False]
    assert all(picture["exposed"] is False for picture in said.pictures())  # nothing of the embedded world is nude
    assert {found["label"] for found in said.pictures()[0]["detections"]} >= {"star", "red"}


def test_a_repeated_order_is_not_drawn_again_unless_the_weights_have_changed(studio, tiny_pipeline, tmp_path):
    it, said = studio
    folder = shutil.copytree(tiny_pipeline, tmp_path / "model")
    for _ in range(2):
        it.draw(order(str(folder)))
    drawn = [s["note"] for s in said if s["event"] == "note" and s["note"].startswith("drawing")]
    assert (len(drawn), len(said.pictures())) == (1, 4)
    os.utime(folder / "unet" / "diffusion_pytorch_model.safetensors", ns=(1, 1))
    it.draw(order(str(folder)))
    assert len([s for s in said if s["event"] == "note" and s["note"].startswith("drawing")]) == 2


def test_models_stay_within_the_bound_and_the_least_recently_used_goes(tiny_pipeline, tmp_path):
    folders = [shutil.copytree(tiny_pipeline, tmp_path / name) for name in "abc"]
    one = Studio("cpu", 2**40, Said())
    one.draw(order(str(folders[0])))
    held = next(iter(one.models.values()))[1]
    two = Studio("cpu", int(2.5 * held), Said())
    for name in (0, 1, 0, 2):
        two.draw(order(str(folders[name]), seed=len(two.images)))
    assert [Path(key[0]).name for key in two.models] == ["a", "c"]
    none = Studio("cpu", 1, Said())  # less than one model: one at a time
    for folder in folders:
        none.draw(order(str(folder)))
    assert len(none.models) == 1


def test_where_nothing_can_look_for_nudity_it_says_so(studio, tiny_pipeline, tmp_path, monkeypatch):
    it, said = studio
    folder = shutil.copytree(tiny_pipeline, tmp_path / "model")
    (folder / "tokenizer" / "vocab.json").write_text((folder / "tokenizer" / "vocab.json").read_text() + "\n")  # not the embedded one
    monkeypatch.setitem(__import__("sys").modules, "nudenet", None)
    it.draw(order(str(folder)))
    assert [picture["exposed"] for picture in said.pictures()] == [None, None]


def test_an_order_that_was_taken_back_is_let_go_of(studio):
    it, said = studio
    it.stop(3)
    with pytest.raises(Stopped):
        it.draw(order("demo", number=3))
    assert not said.pictures()
    it.draw(order("demo", number=4))
    assert len(said.pictures()) == 2


def test_it_lets_go_in_the_middle_of_a_picture(studio):
    it, said = studio
    it.draw(order("demo", number=1))
    threading.Timer(0.3, it.stop, (2,)).start()
    with pytest.raises(Stopped):
        it.draw(order("demo", number=2, steps=150, count=16, seed=1))
    assert len(said.pictures()) == 2
    it.draw(order("demo", number=3, seed=2))  # and draws on
    assert len(said.pictures()) == 4


# --- orders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"prompt": "  "}, "prompt is empty"), ({"prompt": "a" * 1001}, "letters"), ({"count": 17}, "at most 16"),
     ({"steps": 0}, "at least 1"), ({"guidance": float("nan")}, "finite"), ({"seed": -1}, "at least 0")],
)  # fmt: skip
def test_an_order_that_makes_no_sense_is_refused(changes, said):
    with pytest.raises(InputError, match=said):
        order("demo", **changes)


# --- the process and the queue ----------------------------------------------------------------------------------------


def last(drawing: Drawing, ticket: Any) -> Any:
    return list(drawing.watch(ticket))[-1]


def quick(**changes: Any) -> Order:
    return Order((("demo", "demo"),), (Ask("a star"),), **{"count": 1, "steps": 1, **changes})


def test_the_queue_is_fair_bounded_and_outlives_its_worker():
    with Drawing("cpu", limit=3) as drawing:
        drawing.prepare(quick())
        first = drawing.submit(quick(steps=40, count=8), "a")
        line = [drawing.submit(quick(seed=i), name) for i, name in enumerate("bc", 1)]
        ended: list[str] = []
        threads = [threading.Thread(target=lambda t=t: (last(drawing, t), ended.append(t.visitor))) for t in (first, *line)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ended == ["a", "b", "c"]
        assert [len(ticket.images) for ticket in (first, *line)] == [8, 1, 1]
        assert drawing.status(line[0]).wait is not None  # from what the orders so far took

        doomed = drawing.submit(quick(steps=150, count=16), "a")
        after = drawing.submit(quick(seed=9), "b")
        next(status for status in drawing.watch(doomed) if status.note.startswith("drawing"))
        os.kill(drawing.pid, signal.SIGKILL)
        assert last(drawing, doomed).state == "failed"
        assert "click Draw again" in doomed.note
        assert last(drawing, after).state == "done"

        wrong = drawing.submit(Order((("x", "/nowhere/at/all"),), (Ask("a star"),)), "a")
        assert last(drawing, wrong).state == "failed"
        assert "nowhere" in wrong.note


def test_who_orders_again_or_leaves_gives_up_the_place():
    with Drawing("cpu", limit=2) as drawing:
        busy = drawing.submit(quick(steps=100, count=16), "a")
        next(status for status in drawing.watch(busy) if status.note.startswith("drawing"))
        b, c = drawing.submit(quick(seed=1), "b"), drawing.submit(quick(seed=2), "c")
        with pytest.raises(InputError, match="2 visitors wait already"):
            drawing.submit(quick(), "d")
        again = drawing.submit(quick(seed=3), "b")
        assert (b.state, drawing.status(again).ahead, drawing.status(c).ahead) == ("withdrawn", 2, 1)
        drawing.leave("c")
        assert (c.state, drawing.status(again).ahead) == ("withdrawn", 1)
        drawing.leave("a")  # in the middle of a picture
        assert last(drawing, busy).state == "withdrawn"
        assert last(drawing, again).state == "done"


def test_nothing_is_left_when_the_page_closes():
    drawing = Drawing("cpu")
    ticket = drawing.submit(quick(), "a")
    pid = drawing.pid
    drawing.close()
    assert ticket.over
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_that_does_not_end_holds_up_nobody():
    """Its output is closed, so its order fails at once; while it is given time to end, others are answered."""
    code = (
        "import os, sys, time; sys.stdin.readline(); os.close(1); os.dup2(2, 1); print('anna: a secret prompt', flush=True); time.sleep(99)"
    )
    with Drawing("cpu") as drawing:
        drawing.command = [sys.executable, "-c", code]
        ticket, other = drawing.submit(quick(), "a"), drawing.submit(quick(), "b")
        start = time.monotonic()
        while not ticket.over:
            drawing.status(other)
        pid = drawing.pid
        assert time.monotonic() - start < 3
        drawing.command = [sys.executable, "-c", "print('not JSON')"]
        for _ in range(20):
            start = time.monotonic()
            drawing.status(other)
            assert time.monotonic() - start < 0.5
            time.sleep(0.05)
        assert drawing.pid == pid  # it is still being ended
        assert last(drawing, other).state == "failed"
    assert "secret" not in ticket.note + other.note
