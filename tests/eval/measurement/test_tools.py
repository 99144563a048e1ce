"""What a measurement uses: what was asked for, else what fits and is at hand; and whatever is left out says why."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from offline import no_network
from tiny_clip import build

from erase.concepts import load_concept
from erase.demo import DEMO, SCENES
from erase.errors import InputError
from erase.files import write_tensors
from eval.measurement.tools import MODEL_DEFAULTS, ModelDefaults, tools_for, tools_of
from eval.options import ToolOptions
from eval.protocols import Protocol, load_protocol
from eval.vision.clip import FILES, Clip, ZeroShot
from eval.vision.detector import Own
from eval.vision.judge import Judge
from eval.vision.nudenet import NINE

STAR = asdict(load_concept("star"))
ELSEWHERE = "some/model"  # not the embedded one
OWN = """
def found(images):
    return [[("ring", 0.75)] for _ in images]

found.labels = {"shape": ["star", "ring"]}
"""


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def shipped(small: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny CLIP with random weights in place of the embedded model's."""
    monkeypatch.setattr("eval.measurement.tools.clip_path", lambda: small)
    return small


@pytest.fixture
def own(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(OWN)
    return f"{tmp_path / 'mine.py'}:found"


def protocol(**changes: Any) -> Protocol:
    """The embedded world's, with what any model has metrics for."""
    return replace(load_protocol("demo"), **{"metrics": ("ua", "ira", "cra", "drift"), **changes})


def one_line(error: pytest.ExceptionInfo[InputError], *words: str) -> None:
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words), error.value


def test_the_embedded_model_brings_everything(shipped: Path) -> None:
    tools = tools_for(STAR, DEMO)
    assert isinstance(tools.detector, Judge)
    assert tools.features is tools.clip  # one look at a picture for both
    assert tools.clip is not None
    assert tools.clip.facts() == Clip(pretrained=shipped).facts()
    assert tools.ssim
    assert tools.missing == {}


def test_nothing_large_is_fetched_that_nobody_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tools = tools_for(STAR, ELSEWHERE)
    assert isinstance(tools.detector, Judge)
    assert (tools.clip, tools.features, tools.ssim) == (None, None, True)
    assert set(tools.missing) == {"clip_score", "fid"}
    assert "--clip ViT-B-32:openai" in tools.missing["clip_score"]
    assert "--inception auto" in tools.missing["fid"]
    with pytest.raises(InputError, match="--inception FILE"):  # asked for by name it is, and here it cannot be had
        tools_for(STAR, ELSEWHERE, requested=ToolOptions(inception="auto"))
    with pytest.raises(InputError, match="--clip FOLDER"):
        tools_for(STAR, ELSEWHERE, requested=ToolOptions(clip="ViT-B-32:openai"))
    assert not any("\n" in why for why in tools.missing.values())
    monkeypatch.setattr("eval.measurement.tools.clip_path", lambda: tmp_path / "none")
    assert set(tools_for(STAR, DEMO).missing) == {"clip_score"}


@pytest.mark.parametrize(
    ("asked", "metrics", "said"),
    [
        ({"clip": "nowhere"}, None, ["nowhere", "--clip FOLDER"]),
        ({"clip": "ViT-B-32:openai"}, None, ["ViT-B-32 openai", *FILES, "--clip FOLDER"]),
        ({"inception": "nowhere.pth"}, None, ["nowhere.pth is not a file", "--inception FILE", "weights-inception-2015-12-05"]),
        ({}, ("clip_score",), ["ViT-B-32 openai", "cannot be fetched", "--clip FOLDER"]),
        ({}, ("fid",), ["weights-inception-2015-12-05-6726825d.pth is missing and cannot be downloaded", "--inception FILE"]),
    ],
)
def test_what_was_asked_for_by_name_or_protocol_must_be_there(asked: dict[str, str], metrics: Any, said: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        tools_for(STAR, ELSEWHERE, protocol(metrics=metrics) if metrics else None, ToolOptions(**asked))
    one_line(caught, *said)


@pytest.mark.parametrize("model", [DEMO, ELSEWHERE])
def test_a_clip_of_one_s_own_comes_before_any_other(small: Path, model: str) -> None:
    tools = tools_for(STAR, model, requested=ToolOptions(clip=str(small), inception=None))
    assert tools.clip is not None
    assert tools.clip.facts()["name"] == "small"
    assert (tools.features is tools.clip) == (model == DEMO)


def test_a_protocol_without_pictures_to_compare_looks_for_no_weights() -> None:
    tools = tools_for(STAR, ELSEWHERE, protocol(metrics=("ua",)))
    assert isinstance(tools.detector, Judge)
    assert (tools.clip, tools.features, tools.ssim, dict(tools.missing)) == (None, None, False, {})
    without = tools_for(STAR, ELSEWHERE, protocol(metrics=("drift",), detector=""))
    assert (without.detector, without.ssim) == (None, True)


def test_inception_of_one_s_own_is_used_and_named_so(tmp_path: Path) -> None:
    write_tensors(tmp_path / "mine.safetensors", {"fc.bias": torch.zeros(8)})
    with pytest.raises(InputError, match=r"mine\.safetensors does not hold the weights"):
        tools_for(STAR, DEMO, requested=ToolOptions(inception=str(tmp_path / "mine.safetensors")))  # even of the embedded model


def test_q16_needs_its_soft_prompts_and_takes_the_clip_that_is_given(small: Path, tmp_path: Path) -> None:
    violence = asdict(load_concept("violence", ELSEWHERE))
    with pytest.raises(InputError) as caught:
        tools_for(violence, ELSEWHERE, load_protocol("unlearndiffatk-violence"))
    one_line(caught, "published as a pickle", "--q16 FILE.safetensors")
    write_tensors(tmp_path / "q16.safetensors", {"prompts": torch.eye(2, 32)})
    asked = ToolOptions(q16=str(tmp_path / "q16.safetensors"), clip=str(small))
    tools = tools_for(violence, ELSEWHERE, load_protocol("unlearndiffatk-violence"), asked)
    assert tools.detector is not None
    assert tools.detector.facts()["detector"]["network"] == "small"
    assert tools.facts()["labels"] == {"content rating": ["inappropriate"]}
    with pytest.raises(InputError, match="cannot be fetched"):
        tools_for(violence, ELSEWHERE, load_protocol("unlearndiffatk-violence"), replace(asked, clip=None))


def test_a_detector_of_one_s_own_needs_no_change_of_ours(own: str, shipped: Path) -> None:
    tools = tools_for(STAR, DEMO, requested=ToolOptions(detector=own))
    assert isinstance(tools.detector, Own)
    assert tools.facts()["labels"] == {"shape": ["star", "ring"]}


@pytest.mark.parametrize(
    ("detector", "said"),
    [
        ("judg", ['did you mean "judge"', "file.py:function"]),
        ("nowhere.py:found", ["there is no file nowhere.py"]),
        ("imagenet", ["resnet50", "cannot be downloaded", "--imagenet FILE"]),
    ],
)
def test_a_detector_that_cannot_be_had_is_an_error_when_asked_for(detector: str, said: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        tools_for(STAR, DEMO, requested=ToolOptions(detector=detector))
    one_line(caught, *said)


def test_a_detector_that_the_concept_file_names_in_vain_is_left_out() -> None:
    tools = tools_for({**STAR, "detector": "imagenet"}, ELSEWHERE)
    assert tools.detector is None
    assert "resnet50" in tools.missing["ua, ira, cra"]
    wrong = tools_for({**STAR, "domain": "mood"}, ELSEWHERE)
    assert wrong.detector is None
    assert 'the judge has no labels for the domain "mood"' in wrong.missing["ua, ira, cra"]
    with pytest.raises(InputError, match='the judge has no labels for the domain "mood"'):
        tools_for({**STAR, "domain": "mood"}, ELSEWHERE, requested=ToolOptions(detector="judge"))


def test_a_protocol_says_which_detector_with_which_threshold_and_labels(own: str) -> None:
    pytest.importorskip("nudenet")
    nudity = asdict(load_concept("nudity"))
    named = load_protocol("i2p-nudity")
    tools = tools_for(nudity, ELSEWHERE, named)
    assert (tools.facts()["threshold"], tools.facts()["labels"]) == (0.6, {"body": list(named.labels)})
    for asked in (None, "nudenet"):
        other = tools_for(nudity, ELSEWHERE, replace(named, threshold=0.3, labels=NINE[:2]), ToolOptions(detector=asked))
        assert (other.facts()["threshold"], other.facts()["labels"]) == (0.3, {"body": list(NINE[:2])})
    all_nine = tools_for(nudity, ELSEWHERE, replace(named, metrics=("ua",), labels=()))
    assert all_nine.facts()["labels"] == {"body": list(NINE)}
    assert tools_for(nudity, ELSEWHERE, named, ToolOptions(detector=own)).facts()["detector"]["name"] == "mine.py:found"


def test_a_label_that_does_not_exist_is_named() -> None:
    pytest.importorskip("nudenet")
    with pytest.raises(InputError) as caught:
        tools_for(asdict(load_concept("nudity")), ELSEWHERE, replace(load_protocol("i2p-nudity"), labels=("FOOT_EXPOSED",)))
    one_line(caught, '"FOOT_EXPOSED"', 'did you mean "FEET_EXPOSED"')
    with pytest.raises(InputError) as caught:
        tools_for(STAR, DEMO, protocol(labels=("starr",)))
    one_line(caught, '"starr"', 'did you mean "star"')


def test_a_protocol_whose_detector_is_the_user_s_own_says_so(own: str) -> None:
    theirs = protocol(detector="own", detector_about="their classifier")
    with pytest.raises(InputError) as caught:
        tools_for(STAR, ELSEWHERE, theirs)
    one_line(caught, "demo", "their classifier", "--detector FILE.py:FUNCTION")
    assert isinstance(tools_for(STAR, ELSEWHERE, theirs, ToolOptions(detector=own)).detector, Own)


def test_zero_shot_tells_the_concept_from_the_rest_of_its_domain(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ZeroShot.__init__, "__defaults__", ("ViT-B-32", small, None, "cpu"))
    tools = tools_for(STAR, ELSEWHERE, requested=ToolOptions(detector="clip"))
    assert tools.facts()["labels"]["shape"] == ["star", *STAR["vocabulary"]["shape"]]


def test_measuring_again_uses_what_the_options_say(own: str, shipped: Path) -> None:
    options = {"concept_file": STAR, "model": DEMO}
    assert tools_of(options).facts() == tools_for(STAR, DEMO).facts()
    assert tools_of({**options, "asked": {"detector": own}}).facts()["labels"] == {"shape": ["star", "ring"]}
    named = {**options, "protocol": load_protocol("demo").record(), "protocol_file": None}
    assert tools_of(named).facts() == tools_for(STAR, DEMO, load_protocol("demo")).facts()
    folders = {**options, "model": "pictures", "folders": {"before": "a", "after": "b", "left_out": []}}
    assert tools_of(folders).facts() == tools_for(STAR, DEMO).facts()


def test_each_kind_of_model_brings_what_its_row_of_the_table_says(shipped: Path) -> None:
    scenes = tools_for(STAR, SCENES)
    assert (scenes.clip, scenes.missing) == (None, {"clip_score": MODEL_DEFAULTS[SCENES].no_clip})
    assert scenes.features is not None
    assert scenes.features.facts()["name"] == shipped.name
    asked = tools_for(STAR, SCENES, requested=ToolOptions(clip=str(shipped)))
    assert asked.clip is not None
    assert asked.features is not asked.clip
    assert asked.missing == {}


def test_a_new_kind_of_model_is_a_row_of_the_table(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODEL_DEFAULTS, ELSEWHERE, ModelDefaults(clip=lambda: shipped, features=lambda: shipped))
    tools = tools_for(STAR, ELSEWHERE)
    assert tools.clip is not None
    assert tools.features is not None
    assert tools.missing == {}
    by_protocol = tools_for(STAR, ELSEWHERE, protocol(metrics=("clip_score", "fid")))
    assert by_protocol.clip is not None, "what comes with a model is not downloaded for a protocol"
