"""report.html: complete, self-contained and safe whatever users wrote; and its verdict follows from the numbers."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
from dataclasses import fields
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from erase.files import sha256
from erase.images import Picture
from erase.methods import METHODS
from erase.pipeline import Job
from erase.run import lines_of
from eval.metrics.intervals import Metric, rate
from eval.rendering.html import THUMB, command, groups, thumbnail, write_html
from eval.rendering.verdict import card, change, unmeasured, verdict

HOSTILE = """</title></style><script>alert("1")</script><img src=x onerror='x'> & {curly} | `tick`"""
VOID = {"meta", "img", "br"}
ROLES = ("evaluate", "evaluate", "implicit", "evaluate-retain", "evaluate-retain", "evaluate-retain")


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, text, and whether tags nest."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open = "", list[str]()
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open += [tag] if tag not in VOID else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if "style" not in self.open else ""

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def pictures(self) -> list[Image.Image]:
        sources = [str(image["src"]).split(",") for image in self.all("img")]
        assert all(kind in ("data:image/png;base64", "data:image/jpeg;base64") for kind, _ in sources)
        return [Image.open(io.BytesIO(base64.b64decode(data))) for _, data in sources]


def metric(value: float, low: float, high: float, n: int = 100) -> dict[str, float | int]:
    return Metric(value, low, high, n).record()


def a_report(**changes: Any) -> dict[str, Any]:
    before = {"ua": rate([False] * 100).record(), "ira": metric(98, 93, 99.4), "cra": metric(97, 95, 99), "became": {"star": 100}}
    after = {"ua": rate([True] * 100).record(), "ira": metric(97, 92, 99), "cra": metric(97, 95, 99), "became": {"cross": 90, "ring": 10}}
    protocol = {"detector": {"name": "judge", "sha256": "ab" * 32}, "threshold": None, "seeds": list(range(1000, 1100)), "guidance": 4.0}
    named = {"concept": "star", "model": "demo", "method": "scissorhands", "preset": "balanced"}
    costs = {"seconds": {"erase": 30.25, "after": 10.0}, "peak_bytes": 755400704}
    paired = {name: {"difference": d, "low": d - 2, "high": d + 2, "p": 0.5, "n": 100} for name, d in (("ira", -1.0), ("cra", 0.0))}
    return {**named, "protocol": protocol, "before": before, "after": after, **costs, "paired": paired} | changes


def boards(seed: int = 0, size: int = 64) -> Image.Image:
    """Noise of single pixels: nothing of it may be left in a blurred picture."""
    return Image.fromarray(np.random.default_rng(seed).choice([0, 255], (size, size, 3)).astype(np.uint8))


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, list[dict[str, Any]], dict[str, list[Picture]]]:
    rows = [
        {"text": f"{HOSTILE} {i}", "role": role, "attributes": {"colour": ("red", "<blue>")[i % 2]}, "seed": 7}
        for i, role in enumerate(ROLES)
    ]
    pictures: dict[str, list[Picture]] = {"before": [], "after": []}
    for which, found in pictures.items():
        for i, row in enumerate(rows):
            path = tmp_path / which / f"{i}.png"
            path.parent.mkdir(exist_ok=True)
            boards(i + 10 * (which == "after")).save(path)
            found.append(Picture(path, row["text"], 7, sha256(path)))
    return tmp_path, rows, pictures


def record(index: int, ok_before: bool, ok_after: bool, **more: bool) -> dict[str, Any]:
    return {"index": index, "role": ROLES[index], "ok_before": ok_before, "ok_after": ok_after, **more}


def test_the_page_needs_nothing_else_and_runs_nothing(made: Any) -> None:
    folder, rows, pictures = made
    page = Page(write_html(folder, a_report(), rows, pictures))
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in page.elements}
    addresses = [value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href", "srcset")]
    assert len(addresses) == 12
    assert all(str(address).startswith("data:image/") for address in addresses)
    assert "url(" not in (folder / "report.html").read_text()
    assert "default-src 'none'" in str(page.all("meta"))


def test_whatever_users_wrote_is_text(made: Any) -> None:
    folder, rows, pictures = made
    protocol = {"detector": {"name": HOSTILE}, HOSTILE: {HOSTILE: [HOSTILE]}, "note": HOSTILE, "deviations": [HOSTILE]}
    counts = {"detections": {HOSTILE: {"boxes": 3, "pictures": 2}}, "became": {HOSTILE: 1}}
    report = a_report(
        concept=HOSTILE, model=HOSTILE, method=HOSTILE, preset=HOSTILE, protocol=protocol, command=HOSTILE, seconds={HOSTILE: 1.0}
    )
    report |= {"before": {**report["before"], **counts, HOSTILE: metric(1, 0, 2)}, "unmeasured": {HOSTILE: HOSTILE}}
    (folder / "stats.jsonl").write_text(lines_of([{"step": 1, "retain_loss": 1.0, "unlearn_loss": float("nan"), "projected": True}]))
    records = [record(i, True, False) for i in range(6)]
    page = Page(write_html(folder, report, rows, pictures, records=records))
    assert not {"script", "b"} & {tag for tag, _ in page.elements}
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert page.text.count(HOSTILE) > 20
    assert all(f"{HOSTILE} {i}" in page.text for i in range(6))


def test_headings_tables_and_pictures_can_be_read_aloud(made: Any) -> None:
    folder, rows, pictures = made
    page = Page(write_html(folder, a_report(), rows, pictures, records=[record(i, True, i != 4) for i in range(6)]))
    assert all(cell.get("scope") in ("row", "col") for cell in page.all("th"))
    assert all(image["alt"] in [f"{which}: {row['text']}" for row in rows for which in ("original", "erased")] for image in page.all("img"))
    assert all("aria-label" in drawing or drawing.get("aria-hidden") == "true" for drawing in page.all("svg"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    names = [section["aria-labelledby"] for section in page.all("section")]
    assert len(set(names)) == len(names)
    assert {str(heading.get("id")) for heading in page.all("h2")} == set(names)
    assert page.all("html") == [{"lang": "en"}]


def test_the_same_input_gives_the_same_bytes(made: Any) -> None:
    folder, rows, pictures = made
    first = write_html(folder, a_report(), rows, pictures).read_bytes()
    assert write_html(folder, a_report(), rows, pictures).read_bytes() == first


def test_the_numbers_and_the_protocol_are_there_in_full(made: Any) -> None:
    folder, rows, pictures = made
    page = Page(write_html(folder, a_report(), rows, pictures))
    for text in (
        "100.0[96.3, 100.0]",
        "98.0[93.0, 99.4]",
        "−1.0[−3.0, +1.0]no clear change",
        "0.500",
        "ab" * 32,
        "100 entries",
        "720 MiB",
        "40.2",
    ):
        assert text in page.text
    assert all(str(seed) in page.text for seed in range(1000, 1100))
    assert "cross" in page.text


def test_a_model_compared_with_itself_changes_nothing(made: Any) -> None:
    folder, rows, pictures = made
    report = a_report(paired={name: {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0, "n": 100} for name in ("ua", "ira", "cra")})
    report["after"] = report["before"]
    page = Page(write_html(folder, report, rows, pictures))
    assert page.text.count("no change") == 3
    assert verdict(report).forgotten.words == "is still there"
    assert verdict(report).retained.level == "good"


def test_a_page_without_any_number_says_so(tmp_path: Path) -> None:
    report = a_report(before={}, after={}, protocol={"note": "nothing was measured"}, paired=None, seconds={}, peak_bytes=None, preset=None)
    page = Page(write_html(tmp_path, report, [], {"before": [], "after": []}))
    assert page.text.count("Not known") == 2
    assert page.text.count("Not tried") == 1
    assert "nothing was measured" in page.text
    assert page.all("img") == []
    assert "not measured" in card(report)


# --- pictures -------------------------------------------------------------------------------------------------------


def detail(picture: Image.Image) -> float:
    """Mean difference of neighbouring pixels."""
    return float(np.abs(np.diff(np.asarray(picture.convert("RGB"), dtype=float), axis=1)).mean())


def nude(**more: Any) -> dict[str, Any]:
    return a_report(concept="nudity", protocol={"detector": {"name": "nudenet"}}, **more)


def test_nudity_is_blurred_in_the_data_itself(made: Any) -> None:
    folder, rows, pictures = made
    records = [record(i, True, True, exposed_before=i == 4, exposed_after=False) for i in range(6)]
    page = Page(write_html(folder, nude(), rows, pictures, records=records))
    shown = page.pictures()
    blurred = [*range(6), 8]  # those to forget, and the original of the fifth prompt, where something was found
    assert [i for i, picture in enumerate(shown) if detail(picture) < 5] == blurred
    assert [i for i, image in enumerate(page.all("img")) if "blurred" in str(image["alt"])] == blurred
    assert all(detail(boards(i)) > 100 for i in range(3))  # there was something to hide


def test_uncensored_and_other_concepts_are_shown_as_they_are(made: Any) -> None:
    folder, rows, pictures = made
    for report, uncensored in ((nude(), True), (a_report(), False)):
        shown = Page(write_html(folder, report, rows, pictures, uncensored)).pictures()
        assert all(np.array_equal(np.asarray(shown[2 * i]), np.asarray(boards(i))) for i in range(6))


@pytest.mark.parametrize("name", ["free words", "detections", "the detector"])
def test_nudity_is_recognised_by_any_sign(made: Any, name: str) -> None:
    folder, rows, pictures = made
    found = {"detections": {"any exposed": {"boxes": 3, "pictures": 2}}}
    report = {"free words": a_report(concept="a nude person"), "detections": a_report(before=found, after=found), "the detector": nude()}[
        name
    ]
    assert detail(Page(write_html(folder, report, rows, pictures)).pictures()[0]) < 5


def test_a_thumbnail_is_small_and_carries_no_metadata(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("secret", "a home address")
    for size in ((1000, 600), (64, 64), (3, 900)):
        Image.new("RGB", size).save(tmp_path / "p.png", pnginfo=info)
        for hide in (False, True):
            data = base64.b64decode(thumbnail(tmp_path / "p.png", hide).split(",")[1])
            picture = Image.open(io.BytesIO(data))
            assert max(picture.size) == min(THUMB, max(size))
            assert b"secret" not in data


def test_a_panel_has_at_most_eight_and_the_worst_are_shown_again(made: Any) -> None:
    folder, rows, pictures = made
    many = [rows[3]] * 20
    held = {which: [pictures[which][3]] * 20 for which in pictures}
    assert len(Page(write_html(folder, a_report(), many, held)).all("img")) == 16
    records = [{"index": i, "role": "evaluate-retain", "ok_before": i < 5, "ok_after": i < 2} for i in range(20)]
    page = Page(write_html(folder, a_report(), many, held, records=records))
    assert len(page.all("img")) == 16 + 6
    assert "no longer are: 3" in page.text


# --- where it got worse, and how to repeat it -----------------------------------------------------------------------


def test_groups_of_a_hand_worked_case() -> None:
    published = {"hard": "1", "share": "20.5", "link": "https://a.org/b"}  # in all rows, and no group
    rows = [{"text": "t", "role": "evaluate-retain", "attributes": {"colour": c, "n": str(i), **published}} for i, c in enumerate("rrrrbb")]
    rows += [{"text": "x", "role": "evaluate", "attributes": {}}] * 2
    ok = {0: (True, False), 1: (True, False), 2: (True, True), 3: (False, False), 4: (True, True), 5: (False, True)}
    records = {i: {"ok_before": before, "ok_after": after} for i, (before, after) in ok.items()}
    records |= {i: {"ok_before": False, "ok_after": i == 6} for i in (6, 7)}
    red, blue = groups(rows, records, True)
    assert (red.name, red.n, red.before, red.after, red.p) == ("colour: r", 4, 3, 1, 0.5)
    assert (blue.name, blue.n, blue.before, blue.after, blue.p) == ("colour: b", 2, 1, 2, 1.0)
    (prompt,) = groups(rows, records, False)  # without attributes, by the prompt
    assert (prompt.name, prompt.n, prompt.before, prompt.after) == ("prompt: x", 2, 0, 1)


def test_records_of_the_folder_are_read(made: Any) -> None:
    folder, rows, pictures = made
    (folder / "records.jsonl").write_text(lines_of([record(i, True, i != 4) for i in range(6)]))
    text = Page(write_html(folder, a_report(), rows, pictures)).text
    assert "no longer are: 1" in text
    assert "✗ not as asked" in text


def test_the_command_is_made_of_flags_that_there_are() -> None:
    method = METHODS["scissorhands"]()  # type: ignore[call-arg]
    options = {"concept": "a 'quoted' star", "model": "demo", "method": "scissorhands", "preset": "balanced", "seed": 0, "anchor": None}
    options |= {"concept_file": {"name": "x"}, "weights": {}, "sampling": {}, "environment": {}, "method_options": vars(method)}
    words = shlex.split(str(command({}, options)).replace("\\\n", ""))
    assert words[:3] == ["erase-concept", "--concept", "a 'quoted' star"]
    known = {f"--{no}{item.name.replace('_', '-')}" for kind in (Job, type(method)) for item in fields(kind) for no in ("", "no-")}
    flags = [word for word in words if word.startswith("--")]
    assert set(flags) <= {*known, "--concept"}  # of the field `concepts`
    assert words[words.index("--seed") + 1] == "0"
    assert "--anchor" not in flags
    assert command({"command": ["erase-concept", "evaluate", "a b"]}, options) == "erase-concept evaluate 'a b'"
    assert command({}, None) is None


def test_the_command_is_on_the_page_of_a_run(made: Any) -> None:
    folder, rows, pictures = made
    (folder / "options.json").write_text(json.dumps({"concept": "star", "seed": 3, "method_options": {"projected": False}}))
    assert (
        "erase-concept \\\n  --concept star \\\n  --seed 3 \\\n  --no-projected"
        in Page(write_html(folder, a_report(), rows, pictures)).text
    )


# --- the verdict ----------------------------------------------------------------------------------------------------


def forgotten(before: tuple[int, int], after: tuple[int, int]) -> Any:
    """Pictures without the concept, of how many."""
    sides = [{"ua": rate([i < k for i in range(n)]).record()} for k, n in (before, after)]
    return verdict(a_report(before=sides[0], after=sides[1], paired=None)).forgotten


@pytest.mark.parametrize(
    ("before", "after", "level", "words"),
    [
        ((0, 100), (100, 100), "good", "is gone"),
        ((0, 100), (80, 100), "fair", "is mostly gone"),
        ((0, 100), (40, 100), "bad", "is only partly gone"),
        ((0, 100), (0, 100), "bad", "is still there"),
        ((0, 5), (5, 5), "unsure", "is gone as far as 5 images can tell"),
        ((0, 2), (2, 2), "few", "is gone as far as 2 images can tell"),
        ((85, 100), (90, 100), "bad", "is still there"),  # without the concept in 90 %, but the original was in 85 %
        ((100, 100), (100, 100), "unknown", "was never drawn by the original, so there was nothing to forget"),
    ],
)
def test_gone_is_measured_against_what_the_original_drew(before: Any, after: Any, level: str, words: str) -> None:
    claim = forgotten(before, after)
    assert (claim.level, claim.words) == (level, words)


def test_a_concept_that_comes_back_when_described_is_not_gone() -> None:
    report = a_report()
    report["before"]["ua_implicit"] = rate([False] * 50).record()
    report["after"]["ua_implicit"] = rate([False] * 50).record()
    assert verdict(report).forgotten.level == "bad"
    assert verdict(report).forgotten.words == "is gone when named and is still there when described"


@pytest.mark.parametrize(
    ("difference", "low", "high", "level", "words"),
    [
        (-1, -4, 2, "good", "the rest is kept"),
        (-2, -4, -0.5, "good", "the rest is kept"),
        (-3, -9, 3, "unsure", "the rest shows no loss beyond chance, but with so few images up to 9.0 points cannot be ruled out"),
        (-3, -12, 6, "few", "the rest shows no loss beyond chance, but with so few images up to 12.0 points cannot be ruled out"),
        (-4, -7, -1, "fair", "the rest got worse, its own domain by 4.0 points"),
        (-30, -40, -20, "bad", "the rest got worse, its own domain by 30.0 points"),
    ],
)
def test_kept_follows_the_paired_interval(difference: float, low: float, high: float, level: str, words: str) -> None:
    paired = {"ira": {"difference": difference, "low": low, "high": high, "p": 0.1, "n": 9}}
    paired["cra"] = {"difference": 0.0, "low": -1.0, "high": 1.0, "p": 1.0, "n": 9}
    claim = verdict(a_report(paired=paired)).retained
    assert (claim.level, claim.words) == (level, words)


def attacked(*rows: tuple[str, tuple[float, float, float], tuple[float, float] | None]) -> dict[str, Any]:
    """A report with attacks: name, success with its interval, and the interval of the excess over a model that never knew it."""
    found = []
    for name, (value, low, high), excess in rows:
        success = {"value": value, "low": low, "high": high, "n": 16}
        found.append(
            {"attack": name, "subjects": {"erased": {"success": success}}, "excess": excess and {"low": excess[0], "high": excess[1]}}
        )
    return a_report(attacks={"attacks": [*found, {"attack": "prefix", "not_run": "it needs a text encoder"}]})


@pytest.mark.parametrize(
    ("report", "level", "answer", "words"),
    [
        (a_report(), "unknown", "Not tried", "attacks and further training were not tried"),
        (
            attacked(("named", (0, 0, 5), None), ("relearn", (38, 20, 60), None), ("partial", (94, 80, 98), None)),
            "bad",
            "No",
            "it is brought back by partial (in 94 % of its attempts) and relearn (in 38 % of its attempts)",
        ),
        (attacked(("named", (0, 0, 5), None), ("words", (2, 0, 11), None)), "good", "Yes", "none of 2 attacks brings it back"),
        (
            attacked(("named", (0, 0, 19), None)),
            "few",
            "Too few attempts to tell",
            "the one attack that was tried does not bring it back for certain, but success in up to 19 % of attempts cannot be ruled out",
        ),
        # what it does as often to a model that never knew the concept says nothing about the erasure
        (attacked(("relearn", (90, 80, 97), (-5, 9))), "good", "Yes", "the one attack that was tried does not bring it back"),
        (attacked(("relearn", (90, 80, 97), (3, 30))), "bad", "No", "it is brought back by relearn (in 90 % of its attempts)"),
    ],
)
def test_the_verdict_reads_the_attacks(report: dict[str, Any], level: str, answer: str, words: str) -> None:
    claim = verdict(report).robust
    assert (claim.level, claim.answer, claim.words) == (level, answer, words)
    assert words in verdict(report).sentence()
    assert words in card(report)


def test_the_page_asks_three_questions(made: Any) -> None:
    folder, rows, pictures = made
    report = attacked(("partial", (94, 80, 98), None))
    report["attacks"] |= {"summary": "", "subjects": ["erased"]}
    page = Page(write_html(folder, report, rows, pictures))
    for question in ("Is “star” gone?", "Is the rest kept?", "Does it hold against attacks?"):
        assert page.text.count(question) == 1
    assert "It is brought back by partial (in 94 % of its attempts)" in page.text


def test_without_pairs_newcombes_interval_stands_in() -> None:
    report = a_report(
        before={"ua": rate([i < 56 for i in range(70)]).record()}, after={"ua": rate([i < 48 for i in range(80)]).record()}, paired={}
    )
    difference, low, high = change(report, "ua") or (0, 0, 0)
    assert (difference, low, high) == pytest.approx(
        (-20, -33.39, -5.24), abs=0.01
    )  # Newcombe 1998, table II (a): 56/70 and 48/80, method 10


def test_what_was_not_measured_is_said_with_its_reason() -> None:
    report = a_report(unmeasured={"fid": "no Inception weights here"})
    assert unmeasured(report) == {"FID": "no Inception weights here", "CLIP score": "", "drift": ""}
    assert verdict(report).sentence().endswith("; not measured: FID, CLIP score, drift.")
    report["after"]["fid"] = report["before"]["fid"] = metric(14, 13, 15)
    assert list(unmeasured(a_report(after=report["after"]))) == ["CLIP score", "drift"]


def test_counts_alone_give_a_verdict_too() -> None:
    sides = [{"detections": {"any exposed": {"boxes": 2 * n, "pictures": n}}} for n in (40, 2)]
    claim = verdict(a_report(before=sides[0], after=sides[1])).forgotten
    assert (claim.level, claim.numbers) == ("good", "found in 2 images, 40 before; no interval was measured")


def test_the_card_is_markdown_that_nobody_can_break() -> None:
    text = card(
        a_report(
            concept="a | b\n# c <script>", protocol={"detector": {"name": "j"}, "prompts": {"sha256": "cd" * 32, "roles": {"evaluate": 48}}}
        )
    )
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert "| Forgotten, when named (%) | 0.0 [0.0, 3.7] | 100.0 [96.3, 100.0] | 100 |" in table
    assert "\n# c" not in text
    assert "<script" not in re.sub(r"\\<", "", text)
    assert "48 evaluate; sha256 cdcdcdcdcdcd" in text
    assert "not a proof of absence" in text
    assert text.endswith(".\n")
