"""A run is resumed with the same weights, wherever they lie by now; with others it is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pipeline_runs import METHOD, Stop, alike, job, stop_at
from safetensors.torch import load_file, save_file

from erase.checkpoints.to_single_file import pack
from erase.errors import InputError
from erase.files.cache import cache_places
from erase.options import differences
from erase.pipeline import erase_concept


@pytest.fixture(scope="module")
def whole(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return erase_concept(job(tiny_pipeline, tmp_path_factory.mktemp("whole") / "run"), METHOD)


def stopped(model: Path, run: Path) -> None:
    with pytest.raises(Stop):
        erase_concept(job(model, run), METHOD, stop_at("before", 0))


def test_a_moved_model_resumes_its_run(tiny_pipeline: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Path(shutil.copytree(tiny_pipeline, tmp_path / "here" / tiny_pipeline.name))
    stopped(model, tmp_path / "run")
    (tmp_path / "here").rename(tmp_path / "there")
    monkeypatch.chdir(tmp_path)
    moved = Path("there") / tiny_pipeline.name
    erase_concept(job(moved, tmp_path / "run"), METHOD)
    assert alike(tmp_path / "run", whole)
    assert json.loads((tmp_path / "run" / "options.json").read_text())["model"] == str(moved), "so that evaluate finds it"


def test_other_weights_at_the_same_path_are_another_model(tiny_pipeline: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_pipeline, tmp_path / "model"))
    stopped(model, tmp_path / "run")
    (file,) = (model / "unet").glob("*.safetensors")
    tensors = load_file(file)
    tensors["conv_out.bias"] += 1
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(InputError, match=r"holds a run with other options: weights\.unet"):
        erase_concept(job(model, tmp_path / "run"), METHOD)


def test_a_renamed_file_resumes_though_its_cache_was_cleaned(
    family_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also cleaned while the job runs: between two stages."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = pack(family_folders["sd1"], tmp_path / "a.safetensors")
    options = {"tokenizer": str(family_folders["sd1"]), "size": 64}
    with pytest.raises(Stop):
        erase_concept(job(file, tmp_path / "run", **options), METHOD, stop_at("before", 0))
    shutil.rmtree(cache_places("models")[0])
    renamed = file.rename(tmp_path / "b.safetensors")

    def clean(event) -> None:
        if event.note and event.stage in ("before", "erase"):
            shutil.rmtree(cache_places("models")[0])

    erase_concept(job(renamed, tmp_path / "run", **options), METHOD, clean)
    assert (tmp_path / "run" / "model" / "model_index.json").is_file()


def test_differences_of_places_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    weights = {"unet": "1", "vae": "2"}
    one = {"model": "a", "weights": weights, "retain_images": "photos", "seed": 0}
    other = {"model": "b", "weights": weights, "retain_images": str(tmp_path / "photos" / ".." / "photos"), "seed": 0}
    assert differences(one, other) == []
    assert differences(one, {**other, "seed": 1}) == ["seed: 0 there, 1 now"]
    assert differences(one, {**other, "retain_images": "others"}) == ['retain_images: "photos" there, "others" now']
    assert [text.split(":")[0] for text in differences(one, {**other, "weights": {**weights, "vae": "3"}})] == ["model", "weights.vae"]
    assert differences({**one, "weights": {}}, {**other, "weights": {}})[0].startswith("model:"), "nothing says that they are the same"
    concept = {"concept_file": {"name": "star", "model": "a"}}, {"concept_file": {"name": "star", "model": "b"}}
    assert differences({**one, **concept[0]}, {**other, **concept[1]}) == []
    assert differences({**one, **concept[1]}, {**other, **concept[0]}) != [], "the concept is meant for another model"
    digests = {"single_file_sha256": "x"}
    assert differences({**one, **digests}, {**other, "weights": {"unet": "3", "vae": "2"}, **digests}) == []
