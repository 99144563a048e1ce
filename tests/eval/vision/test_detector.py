"""A detector is found by its name, a user's own needs no edit of ours, and what it gives is checked."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from erase.concepts import DETECTORS, list_concepts, load_concept
from erase.demo.shapes.world import render, scenes
from erase.errors import InputError
from erase.files import sha256
from erase.run import package_version
from eval.vision.detector import (
    BUILT_IN,
    Detection,
    Detector,
    check_known,
    check_labels,
    detector_for,
    labels_of,
    make_detector,
    most_likely,
)
from eval.vision.judge import Judge

BRIGHT = """
from dataclasses import dataclass

from eval.vision.detector import Detection

@dataclass
class Rule:
    name: str
    limit: int

def bright(images):
    rule = Rule("bright", 128)
    return [[(rule.name, image.convert("L").getpixel((0, 0)) / 255)] if image.convert("L").getpixel((0, 0)) > rule.limit else []
            for image in images]

def boxed(images):
    return [[Detection("corner", 1.0, (0.0, 0.0, 1.0, 1.0))] for _ in images]

def broken(images):
    return [image.no_such_thing for image in images]

bright.labels = {"light": ["bright", "dark"]}
bright.threshold = 0.5
"""
PICTURES = [Image.new("RGB", (8, 5), "white"), Image.new("RGB", (3, 3), "black"), Image.new("RGB", (1, 1), (200, 200, 200))]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(BRIGHT)
    return path


def answering(answer: Any, file: Path) -> Detector:
    """A user's own detector that gives this expression, whatever the pictures."""
    file.write_text(f"import numpy as np\nimport torch\n\ndef f(images):\n    return {answer}\n")
    return make_detector(f"{file}:f")


# --- by name --------------------------------------------------------------------------------------------------------


def test_concept_files_may_name_the_detectors_that_there_are() -> None:
    assert set(BUILT_IN) == set(DETECTORS)


@pytest.mark.parametrize("concept", [*list_concepts(), *list_concepts("emoji")], ids=lambda concept: concept.name)
def test_what_a_concept_file_asks_for_is_there_and_takes_these_options(concept: Any) -> None:
    name, options = detector_for(asdict(concept))
    module, attribute = BUILT_IN[name].split(":")
    kind = getattr(import_module(module), attribute)
    inspect.signature(kind).bind(**options)
    assert callable(kind.__call__)
    assert callable(kind.facts)


def test_a_detector_by_name_is_that_detector() -> None:
    images = [Image.fromarray(render(scene)) for scene in scenes(5, seed=1)]
    assert make_detector("judge")(images) == Judge()(images)
    assert make_detector("judge").facts() == Judge().facts()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("nudent", {}, ['"nudent" is unknown', 'did you mean "nudenet"', "judge", "file.py:function"]),
        ("judge", {"weight": 1}, ['no option "weight"', 'did you mean "weights"', "its options are weights"]),
        ("nudenet", {"limit": 1}, ['no option "limit"', "threshold, labels"]),
    ],
)
def test_a_wrong_name_or_option_is_one_helpful_line(name: str, options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        make_detector(name, **options)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


# --- a user's own ---------------------------------------------------------------------------------------------------


def test_a_file_of_one_s_own_plugs_in(file: Path) -> None:
    detector = make_detector(f"{file}:bright")
    assert detector(PICTURES) == [[Detection("bright", 1.0)], [], [Detection("bright", 200 / 255)]]
    assert detector([]) == []
    assert detector.facts() == {
        "detector": {"name": "mine.py:bright", "version": None, "sha256": sha256(file)},
        "threshold": 0.5,
        "labels": {"light": ["bright", "dark"]},
        "counted": "pictures",
    }


def test_boxes_come_through(file: Path) -> None:
    assert make_detector(f"{file}:boxed")(PICTURES[:1]) == [[Detection("corner", 1.0, (0.0, 0.0, 1.0, 1.0))]]


def test_a_module_of_one_s_own_plugs_in(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = file.parent / "own_package_of_a_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "looks.py").write_text(BRIGHT)
    monkeypatch.syspath_prepend(file.parent)
    detector = make_detector("own_package_of_a_test.looks:bright")
    assert detector(PICTURES)[0] == [Detection("bright", 1.0)]
    described = {"name": "own_package_of_a_test.looks:bright", "version": None, "sha256": sha256(package / "looks.py")}
    assert detector.facts()["detector"] == described
    for name in [name for name in sys.modules if name.startswith("own_package_of_a_test")]:
        del sys.modules[name]


def test_a_module_of_an_installed_package_has_its_version() -> None:
    assert make_detector("torch.functional:split").facts()["detector"]["version"] == package_version("torch")


def test_scores_of_other_libraries_are_numbers_too(file: Path) -> None:
    detector = answering("[[('a', np.float32(0.5)), ['b', torch.tensor(0.25)], ('c', 1)] for _ in images]", file)
    assert detector(PICTURES[:1]) == [[Detection("a", 0.5), Detection("b", 0.25), Detection("c", 1.0)]]
    assert all(type(d.score) is float for d in detector(PICTURES[:1])[0])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("None", ["gave a NoneType: None for 3 pictures", "a list with one list a picture"]),
        ("[[]]", ["gave a list of 1", "for 3 pictures"]),
        ("([] for _ in images)", ["gave a generator"]),
        ("['bright' for _ in images]", ["gave a str: 'bright' for one picture", "a list of (label, score)"]),
        ("[{'bright': 1} for _ in images]", ["gave a dict"]),
        ("[['bright'] for _ in images]", ["found a str: 'bright'", "(label, score)"]),
        ("[[(0.9, 'bright')] for _ in images]", ["found a tuple of 2: (0.9, 'bright')", "a text and a finite number"]),
        ("[[('bright', float('nan'))] for _ in images]", ["a finite number"]),
        ("[[('bright', 1, 2)] for _ in images]", ["found a tuple of 3"]),
        ("1 / 0", ["failed (ZeroDivisionError: division by zero", "mine.py, line 5"]),
    ],
)
def test_a_wrong_answer_is_told_with_what_was_expected(answer: str, words: list[str], file: Path) -> None:
    detector = answering(answer, file)
    with pytest.raises(InputError) as caught:
        detector(PICTURES)
    assert all(word in str(caught.value) for word in ['"mine.py:f"', *words]), caught.value
    assert "\n" not in str(caught.value)


def test_a_label_that_was_not_announced_is_refused(file: Path) -> None:
    file.write_text('def f(images):\n    return [[("brigth", 1)] for _ in images]\n\nf.labels = {"light": ["bright", "dark"]}\n')
    with pytest.raises(InputError, match=r'no label "brigth", did you mean "bright"\?; it has bright, dark'):
        make_detector(f"{file}:f")(PICTURES)


@pytest.mark.parametrize(
    ("spec", "text", "words"),
    [
        ("{}:brigt", BRIGHT, ['no function "brigt"', 'did you mean "bright"']),
        ("{}:", BRIGHT, ['no function ""']),
        ("{}:f", "f = 3", ['no function "f"']),
        ("{}:f", "def f(:", ["cannot be imported (SyntaxError"]),
        ("{}:f", "import no_such_library_here", ["ModuleNotFoundError", "no_such_library_here"]),
        ("{}x.py:f", "", ["there is no file", "x.py"]),
        ("no_such_module_here:f", "", ["cannot be imported", "path/to/file.py:function"]),
        ("sys:exit", "", ["has no file"]),
        (":f", "", ["cannot be imported"]),
    ],
)
def test_a_detector_that_is_not_there_is_told_in_one_line(spec: str, text: str, words: list[str], file: Path) -> None:
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        make_detector(spec.format(file))
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_options_are_for_our_own_detectors(file: Path) -> None:
    with pytest.raises(InputError, match="takes no options; threshold was given"):
        make_detector(f"{file}:bright", threshold=0.3)


def test_one_that_says_no_labels_can_be_asked_for_none(file: Path) -> None:
    with pytest.raises(InputError, match=r'"corner" might never be found; give the function an attribute, labels = '):
        check_labels(make_detector(f"{file}:boxed"), ["corner"])
    check_labels(make_detector(f"{file}:bright"), ["dark"])


# --- labels ---------------------------------------------------------------------------------------------------------


def test_the_nearest_labels_are_named_whatever_their_case_and_order() -> None:
    known = ["FACE_FEMALE", "FACE_MALE", *(f"LABEL_{i}" for i in range(30))]
    check_known("it", ["LABEL_7", "FACE_MALE"], known)
    with pytest.raises(InputError, match=r'no label "face_femal", did you mean "FACE_FEMALE" or "FACE_MALE"\?; .* and 12 more'):
        check_known("it", ["FACE_MALE", "face_femal"], known)
    with pytest.raises(InputError, match=r'no label "EXPOSED_BELLY", did you mean "BELLY_EXPOSED"'):  # as NudeNet 2 had it
        check_known("it", ["EXPOSED_BELLY"], ["ANUS_COVERED", "BELLY_EXPOSED"])


def test_the_most_likely_label_of_each_domain() -> None:
    found: Sequence[list[Detection]] = [
        [Detection("star", 0.4), Detection("circle", 0.6), Detection("red", 0.1)],
        [Detection("blue", 0.3), Detection("star", 0.2), Detection("sky", 1.0)],
        [],
    ]
    labels = {"shape": ["star", "circle"], "colour": ["red", "blue"]}
    assert most_likely(found, labels) == {"shape": ["circle", "star", ""], "colour": ["red", "blue", ""]}
    with pytest.raises(ValueError, match="share a label"):
        most_likely(found, labels | {"mood": ["blue"]})


def test_clip_is_told_the_concept_and_what_else_the_prompts_vary() -> None:
    concept = load_concept("van-gogh")
    labels = labels_of(asdict(concept))
    assert list(labels) == ["artist", "motif"]
    assert labels["artist"] == ["Van Gogh", *concept.vocabulary["artist"]]
    assert labels["motif"] == list(concept.vocabulary["motif"])
    assert detector_for(asdict(concept)) == ("clip", {"labels": labels})
    assert detector_for(asdict(load_concept("nudity"))) == ("nudenet", {})


@pytest.mark.parametrize("text", ["teapot", "Hokusai style", "a blue horse"])
def test_a_free_concept_is_told_from_the_rest_of_its_kind(text: str) -> None:
    concept = load_concept(text, model="some/model")
    labels = labels_of(asdict(concept))
    assert labels[concept.domain][0] == concept.words[0]
    everything = [label for members in labels.values() for label in members]
    assert len(set(everything)) == len(everything)
    asked = {word for slot, words in concept.vocabulary.items() if slot in labels for word in words}
    assert asked <= set(everything)


def test_a_concept_alone_in_the_world_cannot_be_told_from_anything() -> None:
    concept = asdict(load_concept("van-gogh"))
    concept["vocabulary"] = {}
    assert labels_of(concept) == {"artist": ["Van Gogh", *concept["anchors"]]}
    with pytest.raises(InputError, match=r'van-gogh: the detector "clip" has nothing to tell "Van Gogh" from; add the vocabulary artist'):
        labels_of(concept | {"anchors": ()})
