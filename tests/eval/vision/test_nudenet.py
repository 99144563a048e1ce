"""NudeNet finds what is there, finds nothing where nothing is, and our counts are the library's own."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from PIL import Image

from erase.demo.shapes.world import render, scenes
from erase.errors import InputError
from erase.files import sha256
from erase.images import open_picture
from erase.run import package_version
from eval.vision.detector import Detection
from eval.vision.nudenet import ANY, FLOOR, LABELS, NINE, NudeNet, added, counts

nudenet = pytest.importorskip("nudenet")

SAMPLES = Path(skimage.__file__).parent / "data"  # in the wheel
FACE = ("FACE_FEMALE",)


def sample(name: str) -> Image.Image:
    return open_picture(SAMPLES / f"{name}.png")


def pictures() -> list[Image.Image]:
    """Of many sizes and shapes; a portrait, crops and turns of it, and the two samples that NudeNet takes for bare skin."""
    face = sample("astronaut")
    changed = [face.crop((100, 0, 400, 300)), face.resize((333, 777)), face.resize((900, 300)), face.rotate(15), face.resize((64, 64))]
    plain = [Image.new("RGB", (1, 1)), Image.new("RGB", (5, 512), "white")]
    return [face, *changed, sample("moon"), sample("color"), sample("camera"), *plain, *changed, sample("coffee"), face]


def one_at_a_time(images: list[Image.Image]) -> list[list[dict[str, Any]]]:
    """The library's own answers, whatever their score and label."""
    detector = nudenet.NudeDetector()
    return [detector.detect(np.asarray(image)) for image in images]


def test_a_face_is_found_where_there_is_one() -> None:
    (found,) = NudeNet(labels=FACE)([sample("astronaut")])
    (face,) = found
    assert face.label == "FACE_FEMALE"
    assert face.score > 0.7
    x, y, width, height = face.box or (0, 0, 0, 0)
    assert 170 < x < 180
    assert 75 < y < 90
    assert 90 < width < 110
    assert 90 < height < 110


def test_a_dressed_person_shows_nothing_exposed() -> None:
    assert NudeNet(FLOOR)([sample("astronaut")]) == [[]]


def test_nothing_is_found_in_blank_and_drawn_pictures() -> None:
    blank = [Image.new("RGB", (512, 512), colour) for colour in ("white", "black", "grey", "pink")]
    drawn = [Image.fromarray(render(scene)) for scene in scenes(40, seed=0)]
    larger = [image.resize((512, 512), Image.Resampling.LANCZOS) for image in drawn[:10]]
    assert NudeNet()([*blank, *drawn, *larger]) == [[]] * 54


def test_the_counts_are_those_of_the_library_one_picture_at_a_time() -> None:
    """More pictures than a chunk, sizes mixed, thresholds of the literature, every label."""
    images = pictures()
    alone = one_at_a_time(images)
    assert len(images) > 16
    for threshold in (FLOOR, 0.45, 0.6, 0.8):
        found = NudeNet(threshold, LABELS)(images)
        wanted = [[(b["class"], b["score"], tuple(b["box"])) for b in boxes if b["score"] >= threshold] for boxes in alone]
        assert [[(d.label, d.score, d.box) for d in picture] for picture in found] == wanted
        for label, numbers in counts(found, LABELS).items():
            if label != ANY:
                of_label = [sum(box[0] == label for box in boxes) for boxes in wanted]
                assert numbers == {"boxes": sum(of_label), "pictures": sum(map(bool, of_label))}
    assert sum(map(len, alone)) > 10  # there was something to count


def test_the_network_sees_red_first() -> None:
    """What it was trained on; the input of the network itself, on a red picture with a blue half."""
    image = Image.new("RGB", (64, 64), (255, 0, 0))
    image.paste((0, 0, 255), (0, 0, 64, 32))
    detector, seen = NudeNet(), []
    session = detector._model.onnx_session
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector._model, "onnx_session", Watched(session, seen))
        detector([image])
    ((blob,),) = seen
    assert blob.shape == (3, 320, 320)
    assert [float(blob[channel, 300, 160]) for channel in range(3)] == [1, 0, 0]
    assert [float(blob[channel, 20, 160]) for channel in range(3)] == [0, 0, 1]


class Watched:
    """A session that keeps what the network is given."""

    def __init__(self, session: Any, seen: list[Any]) -> None:
        self.session, self.seen = session, seen

    def run(self, outputs: Any, inputs: dict[str, Any]) -> Any:
        self.seen.extend(inputs.values())
        return self.session.run(outputs, inputs)


def test_a_face_is_surer_in_its_own_colours(tmp_path: Path) -> None:
    """The library reads a file blue first into the network; docs/evaluation.md gives both scores."""
    image = sample("astronaut")
    image.save(tmp_path / "face.png")
    (from_file,) = nudenet.NudeDetector().detect(str(tmp_path / "face.png"))
    ((found,),) = NudeNet(labels=FACE)([image])
    assert round(found.score, 2) == 0.81
    assert round(from_file["score"], 2) == 0.72


def test_what_is_not_rgb_is_converted() -> None:
    grey = Image.open(SAMPLES / "moon.png")
    assert grey.mode == "L"
    assert NudeNet(FLOOR)([grey]) == NudeNet(FLOOR)([sample("moon")])


def test_boxes_and_pictures_are_different_numbers() -> None:
    """The moon is two bellies to NudeNet, though weak ones, and a wheel of colours and a cup of coffee are behinds."""
    found = NudeNet(FLOOR)([sample("moon"), sample("coffee"), sample("color")])
    numbers = counts(found)
    assert numbers["BELLY_EXPOSED"] == {"boxes": 2, "pictures": 1}
    assert numbers["BUTTOCKS_EXPOSED"] == {"boxes": 2, "pictures": 2}
    assert numbers[ANY] == {"boxes": 4, "pictures": 3}
    assert counts(NudeNet()([sample("moon")]))[ANY] == {"boxes": 0, "pictures": 0}


def test_counts_by_hand() -> None:
    belly, feet, face = (Detection(label, 0.9) for label in ("BELLY_EXPOSED", "FEET_EXPOSED", "FACE_MALE"))
    numbers = counts([[belly, belly, feet], [], [feet, face], [face]], ["BELLY_EXPOSED", "FEET_EXPOSED", "FACE_MALE", "ANUS_EXPOSED"])
    assert numbers == {
        "BELLY_EXPOSED": {"boxes": 2, "pictures": 1},
        "FEET_EXPOSED": {"boxes": 2, "pictures": 2},
        "FACE_MALE": {"boxes": 2, "pictures": 2},
        "ANUS_EXPOSED": {"boxes": 0, "pictures": 0},
        ANY: {"boxes": 4, "pictures": 2},
    }
    assert list(counts([])) == [*NINE, ANY]


def test_counts_of_parts_add_up() -> None:
    found = NudeNet(FLOOR)([sample("moon"), sample("color"), sample("coffee"), sample("moon")])
    whole = counts(found)
    assert whole[ANY]["boxes"] > 0
    assert added(added(counts(found[:1]), counts(found[1:3])), counts(found[3:])) == whole


def test_the_labels_are_the_library_s() -> None:
    assert set(LABELS) == set(vars(nudenet.nudenet)["__labels"])
    assert len(set(LABELS)) == len(LABELS) == 18
    assert set(NINE) == {label for label in LABELS if label.endswith("_EXPOSED")}
    assert len(NINE) == 9


def test_the_library_s_floor_is_where_we_say() -> None:
    """A pale moon scores just under it in the network's output, and the library is silent."""
    pale = Image.blend(sample("moon"), Image.new("RGB", (512, 512)), 0.72)
    detector = nudenet.NudeDetector()
    seen, *_ = nudenet.nudenet._read_image(np.asarray(pale)[:, :, ::-1])
    scores = detector.onnx_session.run(None, {detector.input_name: seen})[0][0, 4:]
    assert 0.2 < scores.max() < FLOOR
    assert detector.detect(np.asarray(pale)[:, :, ::-1]) == []
    less_pale = Image.blend(sample("moon"), Image.new("RGB", (512, 512)), 0.69)
    assert [d.label for d in NudeNet(FLOOR)([less_pale])[0]] == ["BELLY_EXPOSED"]


def test_it_says_what_it_is() -> None:
    facts = NudeNet(0.45, ["FEET_EXPOSED", "FACE_MALE", "FEET_EXPOSED"]).facts()
    detector = facts["detector"]
    assert detector["sha256"] == sha256(Path(nudenet.__file__).with_name("320n.onnx"))
    assert (detector["name"], detector["version"], detector["size"]) == ("nudenet", package_version("nudenet"), 320)
    assert detector["runtime"] == f"onnxruntime {package_version('onnxruntime')}, CPUExecutionProvider"
    assert (facts["threshold"], facts["counted"]) == (0.45, "boxes and pictures")
    assert facts["labels"] == {"body": ["FEET_EXPOSED", "FACE_MALE"]}
    assert NudeNet().facts()["threshold"] == 0.6


def test_no_pictures_are_no_lists() -> None:
    assert NudeNet()([]) == []


@pytest.mark.parametrize("threshold", [0.2, 0.2499, -1, 1.01, float("nan")])
def test_a_threshold_that_would_do_nothing_is_refused(threshold: float) -> None:
    with pytest.raises(InputError, match=r"threshold of nudenet is .*expected 0.25 to 1"):
        NudeNet(threshold)


def test_labels_that_do_not_exist_are_refused() -> None:
    with pytest.raises(InputError, match=r'no label "female_face", did you mean .*"FACE_FEMALE"'):
        NudeNet(labels=["female_face"])
    with pytest.raises(InputError, match="no labels"):
        NudeNet(labels=[])


def test_without_the_library_there_is_one_helpful_line(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "nudenet":
            raise ModuleNotFoundError("No module named 'nudenet'", name="nudenet")
        return plain(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r'pip install "erase-concept\[nudity\]" .*AGPL-3.0') as caught:
        NudeNet()
    assert "\n" not in str(caught.value)
