"""CLIP scores are the cosine of open_clip's own outputs; zero-shot labels follow from them. A tiny model with random weights."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from tiny_clip import CONFIG, build

from erase.demo.shapes.world import render, scenes
from erase.errors import InputError
from erase.files import sha256, write_tensors
from eval.vision.clip import FILES, Clip, ZeroShot
from eval.vision.detector import Detection, make_detector, most_likely

TEXTS = ["a red star", "a blue circle, flat design", "", "a drawing of a heart " * 20, "two of them", "a red star"]
LABELS = {"shape": ["star", "circle", "heart", "ring"], "colour": ["red", "blue", "purple"], "artist": ["Miro", "Klee"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def clip(folder: Path) -> Clip:
    return Clip(pretrained=folder)


def pictures() -> list[Image.Image]:
    drawn = [Image.fromarray(render(scene)) for scene in scenes(4, seed=2)]
    return [
        drawn[0],
        drawn[1].resize((100, 80)),
        drawn[2],
        drawn[3].convert("L"),
        drawn[0].resize((32, 48)),
        Image.new("RGB", (64, 64), "red"),
    ]


def encoded(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """open_clip's own outputs for the pictures and the texts, one at a time."""
    network, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.no_grad():
        images = [network.eval().encode_image(prepare(image.convert("RGB"))[None])[0] for image in pictures()]
        texts = [network.encode_text(tokens([text]))[0] for text in TEXTS]
    return torch.stack(images).double().numpy(), torch.stack(texts).double().numpy()


def cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T) / np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1))


# --- features and scores --------------------------------------------------------------------------------------------


def test_the_score_is_the_cosine_of_open_clip_s_own_outputs(clip: Clip, folder: Path) -> None:
    expected = cosines(*encoded(folder))
    assert expected.min() < -0.01
    assert expected.max() > 0.1
    everything = [(i, j) for i in range(len(pictures())) for j in range(len(TEXTS))]
    scores = clip.score([pictures()[i] for i, _ in everything], [TEXTS[j] for _, j in everything])
    assert scores.dtype == torch.float64
    assert scores.tolist() == pytest.approx([100 * max(expected[i, j], 0) for i, j in everything], abs=1e-4)


def test_features_are_open_clip_s_own(clip: Clip, folder: Path) -> None:
    images, texts = encoded(folder)
    for features, expected in ((clip(pictures()), images), (clip.texts(TEXTS), texts)):
        assert (features.shape, features.dtype) == ((6, 32), torch.float32)
        np.testing.assert_allclose(features.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_more_than_the_network_sees_at_a_time_and_none(clip: Clip) -> None:
    images, texts = pictures() * 7, TEXTS * 7
    torch.testing.assert_close(clip(images), clip(pictures()).repeat(7, 1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(clip.texts(texts), clip.texts(TEXTS).repeat(7, 1), rtol=1e-4, atol=1e-4)
    assert clip([]).shape == clip.texts([]).shape == (0, 32)
    assert clip.score([], []).tolist() == []
    with pytest.raises(ValueError, match="2 pictures need as many texts; got 1"):
        clip.score(pictures()[:2], TEXTS[:1])


def test_the_protocol_says_which_clip(clip: Clip, folder: Path) -> None:
    facts = clip.facts()
    assert (facts["name"], facts["dimension"], facts["context"]) == ("small", 32, 32)
    assert facts["sha256"] == sha256(folder / FILES[1])
    assert facts["version"] == f"open_clip {open_clip.__version__}"


# --- zero-shot ------------------------------------------------------------------------------------------------------


def test_the_most_likely_label_of_each_domain(folder: Path) -> None:
    detector = ZeroShot(LABELS, pretrained=folder)
    clip = Clip(pretrained=folder)
    said = [[f"a {word}" for word in LABELS["shape"]], LABELS["colour"], [f"a picture in the style of {name}" for name in LABELS["artist"]]]
    images = clip(pictures()).double().numpy()
    found: list[list[Detection]] = [[] for _ in images]
    for labels, texts in zip(LABELS.values(), said, strict=True):
        odds = np.exp(100 * cosines(images, clip.texts(texts).double().numpy()))
        for row, shares in enumerate(odds / odds.sum(1, keepdims=True)):
            found[row].append(Detection(labels[int(shares.argmax())], pytest.approx(shares.max(), abs=1e-4)))
    assert len({tuple(d.label for d in picture) for picture in found}) > 1
    assert ZeroShot(LABELS, pretrained=folder, templates={"shape": "a {}"})(pictures()) == found
    assert detector.look(clip(pictures())) == detector(pictures())
    assert detector([]) == []


def test_it_is_a_detector_like_any_other(folder: Path) -> None:
    detector = make_detector("clip", labels=LABELS, pretrained=folder)
    facts = detector.facts()
    assert facts["labels"] == LABELS
    assert (facts["threshold"], facts["counted"]) == (None, "pictures")
    assert (facts["detector"]["name"], facts["detector"]["network"]) == ("clip", "small")
    assert facts["detector"]["sha256"] == sha256(folder / FILES[1])
    assert facts["detector"]["templates"] == {"shape": "{}", "colour": "{}", "artist": "a picture in the style of {}"}
    assert all(label for names in most_likely(detector(pictures()), LABELS).values() for label in names)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({}, "was given no labels"),
        ({"shape": ["star"]}, '1 labels for the domain "shape"; it needs two or more'),
        ({"shape": ["star", "ring"], "colour": ["red", "star"]}, 'the label "star" twice'),
    ],
)
def test_labels_that_tell_nothing_apart_are_refused(labels: dict[str, list[str]], words: str, folder: Path) -> None:
    with pytest.raises(InputError, match=words):
        ZeroShot(labels, pretrained=folder)


# --- where the weights come from ------------------------------------------------------------------------------------


def test_openai_s_weights_get_their_own_activation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """open_clip builds "ViT-B-32" without QuickGELU and only warns. The real architecture, through the hub's cache."""
    torch.manual_seed(0)
    network = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None)
    repository = tmp_path / "hub" / "models--timm--vit_base_patch32_clip_224.openai"
    snapshot = repository / "snapshots" / ("0" * 40)
    write_tensors(snapshot / FILES[1], network.state_dict())
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub, file = Clip(), Clip(pretrained=snapshot / FILES[1])
    with torch.no_grad():
        expected = network.eval().encode_text(open_clip.get_tokenizer("ViT-B-32")(TEXTS[:2]))
    torch.testing.assert_close(hub.texts(TEXTS[:2]), expected)
    assert torch.equal(hub.texts(TEXTS[:2]), file.texts(TEXTS[:2]))
    assert torch.equal(hub(pictures()[:1]), file(pictures()[:1]))
    assert (hub.facts()["name"], file.facts()["name"]) == ("ViT-B-32 openai", "own-ViT-B-32")
    assert hub.facts()["sha256"] == file.facts()["sha256"] == sha256(snapshot / FILES[1])
    (snapshot / FILES[1]).unlink()  # 600 MB, and pytest keeps the folders of three runs


def test_without_weights_and_network_one_line_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError) as caught:
        Clip()
    wanted = ["ViT-B-32 openai", "cannot be fetched", *FILES, "timm/vit_base_patch32_clip_224.openai", "--clip FOLDER"]
    assert all(word in str(caught.value) for word in wanted), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "pretrained", "words"),
    [
        ("ViT-B32", "openai", ['no model "ViT-B32"', "did you mean", '"ViT-B-32"']),
        ("ViT-B-32", "openia", ['no weights "openia" of ViT-B-32', 'did you mean "openai"', "laion2b_s34b_b79k"]),
        ("ViT-B-32", "absent.safetensors", ["absent.safetensors is not there", FILES[0]]),
    ],
)
def test_a_wrong_name_is_one_helpful_line(model: str, pretrained: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        Clip(model, pretrained)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_file_that_does_not_say_what_it_is_is_refused(tmp_path: Path) -> None:
    write_tensors(tmp_path / "any.safetensors", {"x": torch.zeros(1)})
    with pytest.raises(InputError, match=r"OpenAI has published no ViT-H-14.*open_clip_config\.json"):
        Clip("ViT-H-14", tmp_path / "any.safetensors")


@pytest.mark.parametrize("name", FILES)
def test_a_folder_lacks_a_file(name: str, tmp_path: Path) -> None:
    (build(tmp_path / "small") / name).unlink()
    with pytest.raises(InputError, match=rf"small has no {name}; --clip FOLDER expects {FILES[0]} and {FILES[1]}"):
        Clip(pretrained=tmp_path / "small")


def test_a_broken_folder_is_one_line(tmp_path: Path) -> None:
    small = {**CONFIG["text_cfg"], "vocab_size": 300}
    with pytest.raises(InputError, match=r"wide cannot be loaded .*--clip FOLDER") as caught:
        Clip(pretrained=build(tmp_path / "wide", text_cfg=small))
    assert "\n" not in str(caught.value)
    own = {name: value for name, value in CONFIG["text_cfg"].items() if name != "hf_tokenizer_name"}
    with pytest.raises(InputError, match="bare cannot be loaded"):  # open_clip's tokenizer has more words than this network
        Clip(pretrained=build(tmp_path / "bare", text_cfg=own))
    (build(tmp_path / "torn") / FILES[1]).write_bytes(b"half a file")
    with pytest.raises(InputError, match="torn cannot be loaded"):
        Clip(pretrained=tmp_path / "torn")
    (tmp_path / "torn" / FILES[0]).write_text("{")
    with pytest.raises(InputError, match="not JSON in UTF-8"):
        Clip(pretrained=tmp_path / "torn")


def test_a_folder_runs_no_code_of_its_own(tmp_path: Path) -> None:
    text = {**CONFIG["text_cfg"], "tokenizer_kwargs": {"trust_remote_code": True}}
    with pytest.raises(InputError, match="run code of its own"):
        Clip(pretrained=build(tmp_path / "small", text_cfg=text))
