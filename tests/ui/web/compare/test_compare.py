"""Compare: what may be chosen, what leaves the server, what is kept for download, and a whole comparison by the real worker."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from page_runs import erased_run
from PIL import Image

from erase.concepts import load_concept, prompts
from erase.errors import InputError
from erase.images import with_parameters
from ui.web.compare.choices import chosen, erased_choices, first_concept, looked_for, original_choices, world_of
from ui.web.compare.counting import counts_table, shares
from ui.web.compare.grid import grid
from ui.web.compare.handlers import ComparisonRequest, ComparisonUpdate, again, compare, order_of, status_line
from ui.web.compare.suggestions import examples, first, first_choice, one_more, setting_for
from ui.web.context import Page
from ui.web.drawing.archive import archive, settings, sheet
from ui.web.drawing.downloads import Comparison, Document, Downloads, links
from ui.web.drawing.images import address, described, hidden, image_of
from ui.web.drawing.order import Ask, DrawnImage, Order, TicketStatus
from ui.web.drawing.queue import Drawing
from ui.web.jobs.queue import Jobs
from ui.web.runs import OWN, erased, erased_runs, original_of
from ui.web.security.access import Rate
from ui.web.security.owners import claim

STAR = asdict(load_concept("star"))


@pytest.fixture(scope="module")
def drawing(warm_python: str) -> Iterator[Drawing]:
    """One worker for all: starting it takes longer than drawing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", warm_python)
        with Drawing("cpu") as made:
            yield made


@pytest.fixture
def page(tmp_path: Path, drawing: Drawing) -> Iterator[Page]:
    with Jobs(tmp_path / "runs") as jobs:
        yield Page(tmp_path / "runs", jobs, drawing)


def png(colour: str = "red", size: tuple[int, int] = (64, 64)) -> bytes:
    file = io.BytesIO()
    image = Image.new("RGB", size, colour)
    image.paste("white", (0, 0, size[0] // 2, size[1] // 2))
    image.save(file, "PNG")
    return file.getvalue()


def drawn(model: int = 0, index: int = 0, **changes: Any) -> DrawnImage:
    found = ({"label": "star", "score": 0.987, "box": None}, {"label": "red", "score": 0.5, "box": None})
    return replace(DrawnImage(model, 0, index, png(), found, shows=True, exposed=False), **changes)


ORDER = Order((("demo", "demo"), ("run-1", "/a"), ("run-2", "/b")), (Ask("a red star", "evaluate"),), seed=4, count=2, concept=STAR)
ALL = [drawn(model, index, shows=model == 0) for model in range(3) for index in range(2)]

# --- choices ----------------------------------------------------------------------------------------------------------


def test_runs_with_a_model_can_be_chosen_and_bring_what_they_know(page):
    erased_run(page.runs, "star-1")
    erased_run(page.runs, "star-2", model="elsewhere/model")
    assert erased_runs(page) == ["star-2", "star-1"]
    assert first_choice(page) == "star-1"  # of the embedded model, so it draws at once
    one = erased(page, "star-1")
    assert (one.label, one.original, one.steps, one.guidance, one.concept["name"]) == ("star-1", "demo", 3, 4.0, "star")
    assert erased(page, str(page.runs / "star-1")) == one  # typed, it is the same run
    two = erased(page, "star-2")
    assert original_of(page, OWN, [one]) == "demo"
    assert original_of(page, OWN, []) == "demo"
    assert original_of(page, "demo", [two]) == "demo"
    with pytest.raises(InputError, match="different originals"):
        original_of(page, OWN, [one, two])
    with pytest.raises(InputError, match="is not a folder or file in"):
        erased(page, "/etc/passwd")


def test_where_strangers_see_the_page_runs_are_their_owners_alone(page):
    for name, owner in (("annas-1", "anna"), ("bens-1", "ben"), ("shipped-1", "")):
        erased_run(page.runs, name)
        claim(page.jobs.home, name, owner)
    shared = replace(page, shared=True)
    anna, ben = shared.seen_by("anna"), shared.seen_by("ben")
    assert set(erased_runs(anna)) == {"annas-1", "shipped-1"}
    assert set(erased_runs(ben)) == {"bens-1", "shipped-1"}
    assert set(erased_runs(page.seen_by("anna"))) == {"annas-1", "bens-1", "shipped-1"}  # the owner of the machine
    assert erased(ben, "bens-1").label == "bens-1"
    for typed in ("annas-1", str(page.runs / "annas-1"), "bens-1/../annas-1", "./annas-1"):
        with pytest.raises(InputError, match="is not a folder or file in"):
            erased(ben, typed)
    asked = ComparisonRequest(["annas-1"], prompts="a star", count=1, steps=1)
    assert "is not a folder or file in" in asyncio.run(all_of(ben, asked))[-1].status
    assert asyncio.run(all_of(anna, asked))[-1].key


def test_the_prompts_to_choose_from_are_those_that_no_erasure_has_seen():
    offered = examples(json.loads(json.dumps(STAR)))  # as options.json has it
    every = next(text for words, text in offered if words == "Held-out set: 9 prompts of every kind").splitlines()
    assert every == [p.text for role in ("evaluate", "implicit", "evaluate-retain") for p in prompts(load_concept("star"), role, 3)]
    assert len(next(text for words, text in offered if words == "Held-out set: 6 prompts to keep").splitlines()) == 6
    assert {text for words, text in offered if words.startswith(("names", "describes", "to keep"))} == set(every)
    assert not set(every) & {p.text for role in ("forget", "retain") for p in prompts(load_concept("star"), role, 200)}


def test_what_to_look_for_is_the_runs_concept_unless_another_of_its_world_is_chosen(page):
    one, demo = chosen(page, erased_run(page.runs, "star-1").name), world_of("demo")
    assert looked_for(OWN, [one], demo)["name"] == "star"
    assert looked_for("ring", [one], demo)["name"] == looked_for("rings", [one], world_of("emoji"))["name"] == "ring"
    assert looked_for("hot dog", [], world_of("emoji"))["detector"] == "emoji"
    assert [looked_for(OWN, [], world_of(name))["model"] for name in ("demo", "scenes", "emoji")] == ["demo", "scenes", "emoji"]
    assert first_concept(demo).name == "star"
    assert looked_for("nudity", [], None)["detector"] == "nudenet"
    for typed in ("/etc/passwd", "../star.toml", "elephant"):
        with pytest.raises(InputError, match="not one of the concepts here"):
            looked_for(typed, [one], demo)


def test_the_models_to_choose_from_are_runs_models_that_never_knew_and_those_of_the_folders(page, tiny_pipeline, tmp_path):
    erased_run(page.runs, "star-1")
    home = tmp_path / "models"
    (home / "deep").mkdir(parents=True)
    for place in (home / "sd1", home / "deep" / "sd2"):
        place.symlink_to(tiny_pipeline)
    (home / "file.safetensors").write_bytes(b"")
    (home / "notes.txt").write_text("")
    wide = replace(page, allowed=(home,), hub=("owner/name",))
    assert erased_choices(wide) == ["star-1", "demo, never taught heart", "deep/sd2", "file.safetensors", "sd1"]
    assert original_choices(wide) == [OWN, "demo", "scenes", "emoji", "flow", "deep/sd2", "file.safetensors", "sd1", "owner/name"]
    assert wide.model("file.safetensors") == str((home / "file.safetensors").resolve())  # each may be chosen as it is listed
    never = chosen(wide, "demo, never taught heart")
    assert (never.original, never.concept["name"], (Path(never.source) / "model_index.json").is_file()) == ("demo", "heart", True)


# --- what leaves the server -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exposed", "show", "expected"), [(False, False, False), (True, False, True), (None, False, True), (True, True, False)]
)
def test_nudity_is_blurred_until_it_is_asked_for_and_so_is_what_nobody_could_check(exposed, show, expected):
    picture = drawn(exposed=exposed)
    assert hidden(picture, show) is expected
    clear = Image.open(io.BytesIO(picture.png)).convert("RGB")
    shown = Image.open(io.BytesIO(base64.b64decode(address(picture, show, 512).split(",")[1]))).convert("RGB")
    edges = max(abs(a - b) for a, b in zip(shown.getpixel((30, 60)), shown.getpixel((60, 30)), strict=True))
    assert (shown.tobytes() != clear.tobytes()) is expected
    assert shown.getpixel((33, 20)) != (255, 0, 0) if expected else shown.getpixel((33, 20)) == (255, 0, 0)
    assert edges < 30
    with zipfile.ZipFile(io.BytesIO(archive(replace(ORDER, models=ORDER.models[:1], count=1), [picture], show))) as bundle:
        assert (bundle.read("original/00000.png") != picture.png) is expected


def test_a_blurred_image_keeps_the_text_of_how_it_was_drawn_and_is_as_small_as_it_is_shown():
    picture = drawn(exposed=True, png=with_parameters(png(size=(640, 640)), "a ☆\nSteps: 1"))
    name = "0-0-0.png"
    for show in (True, False):
        file = Image.open(io.BytesIO(Comparison(ORDER, (picture,)).file(name, show)))
        assert (file.info["parameters"], file.size) == ("a ☆\nSteps: 1", (640, 640))
        small = Image.open(io.BytesIO(base64.b64decode(address(picture, show, 256).split(",")[1])))
        assert small.size == (256, 256)
    assert Comparison(ORDER, (picture,)).file("0-1-0.png", True) is None


def test_boxes_are_drawn_and_counted():
    box = {"label": "BUTTOCKS_EXPOSED", "score": 0.9, "box": (10.0, 10.0, 20.0, 20.0)}
    picture = drawn(detections=(box, box, {**box, "label": "FEET_EXPOSED"}), exposed=True)
    assert described(picture) == "3 boxes: buttocks 2, feet 1"
    assert image_of(picture, show=True).getpixel((10, 15)) == (217, 45, 32)


def test_nothing_a_visitor_types_is_html():
    bad = '<script>alert(1)</script>"onload='
    concept = {**STAR, "words": [bad]}
    order = replace(ORDER, models=((bad, "demo"), (bad, "/a")), asks=(Ask(bad, "evaluate"),), concept=concept, negative=bad)
    found = ({"label": bad, "score": 1.0, "box": None},)
    images = [drawn(detections=found), drawn(1, detections=found)]
    html = grid(order, images, False) + counts_table({}, order)
    assert "<script" not in html
    assert '"onload' not in html
    assert "&lt;script&gt;" in html


def test_every_picture_has_an_alternative_text_and_every_model_a_cell():
    html = grid(ORDER, [p for p in ALL if p.model < 2], False)
    alts = re.findall(r'<img src="[^"]+" alt="([^"]+)"', html)
    assert len(alts) == 4
    assert all("a red star" in alt for alt in alts)
    assert html.count('<p class="who"') == 3
    assert html.count('class="blank"') == 2  # still to come
    assert re.findall(r'data-place="([^"]+)"', html) == ["0-0-0", "0-0-1", "0-1-0", "0-1-1"]
    assert html.count("seed&nbsp;5") == 3  # image 1 of each model
    assert "blurred" in grid(ORDER, [drawn(exposed=True)], False)


# --- kept for download ------------------------------------------------------------------------------------------------


def test_the_sheet_has_a_panel_for_each_erased_model_and_its_settings_in_words():
    assert settings(ORDER) == "original: demo; seed 4, 25 steps, guidance 4, looked for: star"
    two, one = sheet(ORDER, ALL, False), sheet(replace(ORDER, models=ORDER.models[:2]), ALL[:4], False)
    changed = replace(ORDER, negative="blur", sampler="EulerDiscreteScheduler", size=64)
    assert "negative prompt: blur, sampler: EulerDiscreteScheduler, 64 pixels" in settings(changed)
    assert two.height > one.height > 300
    with zipfile.ZipFile(io.BytesIO(archive(ORDER, ALL, False))) as bundle:
        assert bundle.read("erased-2/00001.png") == ALL[-1].png
        lines = [json.loads(line) for line in bundle.read("pictures.jsonl").decode().splitlines()]
        assert Image.open(io.BytesIO(bundle.read("comparison.png"))).size == two.size
        assert list(csv.reader(io.StringIO(bundle.read("prompts.csv").decode()))) == [
            ["prompt", "seed"], ["a red star", "4"], ["a red star", "5"]
        ]  # fmt: skip
    assert [(line["file"], line["model"], line["seed"], line["shows"]) for line in lines][3] == ("erased-1/00001.png", "run-1", 5, False)


def test_downloads_stay_within_their_limit_and_need_a_key():
    size = len(ALL[0].png)
    downloads = Downloads(limit=3 * size)
    keys = [downloads.put(Comparison(ORDER, (ALL[0],))) for _ in range(4)]
    assert len(set(keys)) == 4
    with pytest.raises(InputError, match="no longer stored"):
        downloads.comparison(keys[0])
    assert downloads.comparison(keys[3]).order is ORDER
    downloads.put(Comparison(ORDER, (ALL[0],)), instead_of=keys[3])
    assert len(downloads) == 3
    assert downloads.file(keys[2], "other.txt") is None
    assert downloads.file(keys[2], "comparison.png").startswith(b"\x89PNG")
    assert downloads.file(downloads.put(Document("a.csv", b"a,b")), "a.csv") == b"a,b"
    for _ in range(500):
        downloads.put(Comparison(ORDER, (ALL[0],)))
    assert len(downloads) <= 3
    assert 'href="keep/K/a.csv?show=1"' in links("K", [("a.csv", "A")], True)


# --- the whole way ----------------------------------------------------------------------------------------------------


async def all_of(page: Page, asked: ComparisonRequest, visitor: str = "v") -> list[ComparisonUpdate]:
    return [shown async for shown in compare(page, asked, visitor)]


def test_a_comparison_from_the_click_to_the_images(page):
    erased_run(page.runs, "star-1")
    asked = ComparisonRequest(
        ["star-1"], prompts="a picture of a red solid star\n\na red ring\na picture of a red solid star ", seed=5, count=2
    )
    shown = asyncio.run(all_of(page, asked))
    end = shown[-1]
    assert all(s.busy for s in shown[:-1])
    assert not end.busy
    assert "8 images in" in end.status
    assert "star" not in end.status
    order = order_of(page, asked)
    assert [ask.text for ask in order.asks] == end.prompts == ["a picture of a red solid star", "a red ring"]
    assert shares(end.seen, order) == {"evaluate": [(0, 2), (0, 2)], "evaluate-retain": [(2, 2), (2, 2)]}  # the same weights draw the same
    assert again(page, end.key, False) == end.grid
    assert f'data-key="{end.key}"' in end.grid
    comparison = page.downloads.comparison(end.key)
    by_place = {image.place: image for image in comparison.images}
    text = Image.open(io.BytesIO(by_place[1, 0, 1].png)).info["parameters"]
    assert re.fullmatch(
        "a red ring\nSteps: 25, Sampler: Euler a, CFG scale: 4.0, Seed: 6, Size: 64x64, Model hash: [0-9a-f]{10}, Model: demo", text
    )
    repeated = replace(asked, seed=6, count=1, prompts="a red ring", seen=end.seen, key=end.key)
    further = asyncio.run(all_of(page, repeated))[-1]
    assert shares(further.seen, order) == shares(end.seen, order)  # the same picture counts once
    (first_again, _) = page.downloads.comparison(further.key).images
    pixels = [Image.open(io.BytesIO(image.png)).tobytes() for image in (first_again, by_place[1, 0, 1])]
    assert max(abs(a - b) for a, b in zip(*pixels, strict=True)) <= 2  # its seed draws it again; batches of another size round otherwise
    with pytest.raises(InputError, match="no longer stored"):
        page.downloads.comparison(end.key)  # one comparison per visitor


def test_a_seed_of_minus_one_is_another_one_each_time(page):
    drawn_with = {order_of(page, ComparisonRequest(prompts="a star", seed=-1)).seed for _ in range(20)}
    assert len(drawn_with) > 15
    assert min(drawn_with) >= 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"prompts": ""}, "prompt is empty"), ({"models": ["/etc"]}, "is not a folder or file in"),
     ({"seed": None}, "Seed is empty; expected a whole number"), ({"seed": 1.5}, "expected a whole number"),
     ({"seed": -2}, "Seed: --seed is -2; expected at least 0"), ({"count": 99}, "at most 16"),
     ({"guidance": None}, "Guidance is empty; expected a number"), ({"sampler": "Foo"}, "Sampler: "),
     ({"size": "65"}, "he size is 65; expected a multiple of 8"), ({"steps": None}, "Steps is empty"),
     ({"prompts": "\n".join(map(str, range(17)))}, "here are 17 prompts; expected at most 16"),
     ({"prompts": "a\n" + "b" * 1001}, "rompt 2 has 1001 letters"),
     ({"prompts": "\n".join(map(str, range(9))), "count": 16}, "are 144 images; expected at most 128"),
     ({"concept": "/etc/a.toml"}, "not one of the concepts here"),
     ({"models": ["<b>x</b>"]}, "&lt;b&gt;")],
)  # fmt: skip
def test_wrong_input_is_said_in_a_sentence_and_the_old_pictures_go(page, changes, said):
    end = asyncio.run(all_of(page, replace(ComparisonRequest(prompts="a star"), **changes)))
    assert len(end) == 1
    assert said in end[0].status
    assert 'role="alert"' in end[0].status
    assert (end[0].busy, end[0].failed) == (False, True)


def test_a_visitor_who_clicks_without_end_must_wait(page):
    limited = replace(page, rate=Rate(1, 60))
    asked = ComparisonRequest(prompts="a star", count=1, steps=1)
    assert "1 images" in asyncio.run(all_of(limited, asked))[-1].status
    assert "try again in" in asyncio.run(all_of(limited, asked))[-1].status
    assert "1 images" in asyncio.run(all_of(limited, asked, "another"))[-1].status


def test_a_visitor_who_is_gone_frees_the_worker(page):
    async def leave() -> None:
        generator = compare(page, ComparisonRequest(prompts="a star", count=16, steps=150), "v")
        async for shown in generator:
            if "Drawing" in shown.status:
                break
        await generator.aclose()

    asyncio.run(leave())
    assert asyncio.run(all_of(page, ComparisonRequest(prompts="a star", count=1, steps=1, seed=8), "w"))[-1].key


def test_the_form_follows_what_is_chosen(page):
    asked, quick = first(page)
    assert (list(asked.models), quick) == ([], True)
    assert order_of(page, replace(asked, count=1)).models == (("demo", "demo"),)
    erased_run(page.runs, "star-1")
    asked, quick = first(page)
    order = order_of(page, asked)
    assert (list(asked.models), quick, asked.steps) == (["star-1"], True, 3)
    assert [ask.role for ask in order.asks] == ["evaluate", "implicit", "evaluate-retain"]
    setting = setting_for(page, ["star-1"])
    assert (setting.steps, setting.guidance) == (3, 4.0)
    assert "star" in setting.concepts
    assert "demo draws shapes circle, ring" in setting.about
    assert setting_for(page, [], "emoji").concepts[1] == "airplane"
    assert "402 objects such as" in setting_for(page, [], "emoji").about
    assert setting_for(page, ["/etc"]).examples == ()
    assert setting_for(page, [], "emoji", "ring").concept == "ring"  # every word of a world may be looked for
    assert setting_for(page, [], "emoji", "checkered").concept == OWN  # one of another world goes
    more = one_more(page, "a red star\n", ["star-1"], OWN, OWN).splitlines()
    assert (more[0], len(more), "star" in more[1]) == ("a red star", 2, False)


def test_the_wait_is_told():
    look = TicketStatus("waiting", 3, 12.4, 0, 8, "")
    assert "3 orders are ahead of you, about 12 s" in status_line(look, 1)
    assert "1 order is ahead of you" in status_line(replace(look, ahead=1, wait=None), 1)
    assert 'value="2" max="8"' in status_line(replace(look, state="drawing", done=2, note="drawing with <b>"), 1)
    assert "<b>" not in status_line(replace(look, state="drawing", note="drawing with <b>"), 1)


def resident(pid: int) -> int:
    """Bytes of a process in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of processes where Linux shows it")
def test_memory_does_not_grow_over_500_comparisons(page):
    erased_run(page.runs, "star-1")
    asked = ComparisonRequest(["star-1"], prompts="a red star", count=2, steps=1)
    patient = replace(page, rate=Rate(10**6, 60), downloads=Downloads(limit=10**6))
    held = []
    for i in range(500):
        end = asyncio.run(all_of(patient, replace(asked, seed=i), f"visitor {i}"))[-1]
        assert end.key
        if i in (149, 499):
            held.append((resident(page.drawing.pid), resident(os.getpid())))
    growth = [(after - before) / 2**20 for before, after in zip(*held, strict=True)]
    assert max(growth) < 40, f"MiB grown over 350 comparisons, worker and page: {growth}"
