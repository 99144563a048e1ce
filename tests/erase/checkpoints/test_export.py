"""Export: nothing but the wanted weights changes, diffusers alone loads the result, and no pickle gets in or out."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from erase.checkpoints.export import export
from erase.checkpoints.folder import check_model_folder, read_provenance, variant_of, weight_files, weight_hashes
from erase.checkpoints.model_card import write_card
from erase.errors import InputError
from eval.rendering.verdict import card as numbers

UNET = "unet/diffusion_pytorch_model.safetensors"
NAME = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
FACTS = {"concept": "star", "method": "scissorhands", "preset": "balanced", "source": "demo", "options": {"steps": 60}}


def pipeline(folder: Path, **options: Any) -> Any:
    from diffusers import StableDiffusionPipeline

    loaded = StableDiffusionPipeline.from_pretrained(folder, **options)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def sample(loaded: Any) -> Any:
    return loaded("a red star", num_inference_steps=2, generator=torch.Generator().manual_seed(0), output_type="pt").images


def state(folder: Path) -> dict[str, Tensor]:
    return {k: v for path in weight_files(folder / "unet").values() if path.suffix == ".safetensors" for k, v in load_file(path).items()}


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def same_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    def bits(t: Tensor) -> Tensor:
        return t.reshape(-1).view(torch.uint8)

    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(bits(a[k]), bits(b[k])) for k in a)


@pytest.fixture
def source(tiny_pipeline: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(tiny_pipeline, tmp_path / "source"))


@pytest.fixture(scope="module")
def half(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saved whole in half precision."""
    folder = tmp_path_factory.mktemp("half") / "half"
    pipeline(tiny_pipeline, torch_dtype=torch.float16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sharded(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saved in shards under the names of the fp16 variant."""
    folder = tmp_path_factory.mktemp("sharded") / "sharded"
    pipeline(tiny_pipeline, torch_dtype=torch.float16).save_pretrained(folder, variant="fp16", max_shard_size="200KB")
    return folder


def test_unchanged_weights_come_out_bit_identical(tiny_pipeline: Path, tmp_path: Path) -> None:
    out = export(tiny_pipeline, pipeline(tiny_pipeline).unet.state_dict(), tmp_path / "out", FACTS)
    assert same_bits(state(out), state(tiny_pipeline))
    there, here = tree(tiny_pipeline), tree(out)
    assert set(here) == set(there) | {"README.md"}
    assert [name for name in there if here[name] != there[name]] == [UNET], "only its metadata differs"
    assert torch.equal(sample(pipeline(out)), sample(pipeline(tiny_pipeline)))


def test_an_empty_state_keeps_the_source(tiny_pipeline: Path, tmp_path: Path) -> None:
    assert same_bits(state(export(tiny_pipeline, {}, tmp_path / "out", FACTS)), state(tiny_pipeline))


def test_a_changed_weight_arrives_and_no_other(tiny_pipeline: Path, tmp_path: Path) -> None:
    weights = state(tiny_pipeline)
    changed = weights[NAME] + 1
    loaded = pipeline(export(tiny_pipeline, {NAME: changed}, tmp_path / "out", FACTS))
    assert torch.equal(loaded.unet.state_dict()[NAME], changed)
    assert same_bits({**dict(loaded.unet.state_dict()), NAME: weights[NAME]}, weights)
    assert not torch.equal(sample(loaded), sample(pipeline(tiny_pipeline)))


def test_the_same_input_gives_the_same_bytes(tiny_pipeline: Path, tmp_path: Path) -> None:
    one, two = (export(tiny_pipeline, {}, tmp_path / name, dict(facts)) for name, facts in (("a", FACTS), ("b", reversed(FACTS.items()))))
    assert tree(one) == tree(two)


def test_provenance_is_in_the_metadata_and_on_the_card(tiny_pipeline: Path, tmp_path: Path) -> None:
    out = export(tiny_pipeline, {}, tmp_path / "out", FACTS)
    found = read_provenance(out)
    assert found["concept"] == "star"
    assert found["options"] == '{"steps": 60}'
    assert found["source_sha256"] == weight_hashes(tiny_pipeline)[UNET]
    card = (out / "README.md").read_text()
    assert all(value in card for value in found.values())
    assert "not a proof" in card
    assert "StableDiffusionPipeline.from_pretrained" in card
    assert read_provenance(tiny_pipeline) == {}


def test_the_cards_code_runs(tiny_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = export(tiny_pipeline, {}, tmp_path / "this" / "folder", FACTS)
    monkeypatch.chdir(tmp_path)
    exec((out / "README.md").read_text().split("```python\n")[1].split("```")[0], {})
    assert (tmp_path / "picture.png").exists()


def test_a_second_erasure_keeps_the_story_of_the_first(tiny_pipeline: Path, tmp_path: Path) -> None:
    one = export(tiny_pipeline, {}, tmp_path / "one", FACTS)
    two = export(one, {}, tmp_path / "two", {**FACTS, "concept": "ring"})
    assert read_provenance(two)["concept"] == "ring"
    assert json.loads(read_provenance(two)["earlier"])["concept"] == "star"


def test_the_card_shows_numbers_with_their_protocol(tiny_pipeline: Path, tmp_path: Path) -> None:
    out = export(tiny_pipeline, {}, tmp_path / "out", FACTS)
    metric = {"value": 99.25, "low": 98.0, "high": 100.0, "n": 80}
    report = {"concept": "star", "before": {"ua": {**metric, "value": 0.0, "low": 0.0}}, "after": {"ua": metric}}
    write_card(out, numbers({**report, "protocol": {"detector": {"name": "the judge"}}}))
    card = (out / "README.md").read_text()
    assert "| Forgotten, when named (%) | 0.0 [0.0, 100.0] | 99.2 [98.0, 100.0] | 80 |" in card
    assert "- detector: the judge" in card
    assert card.index("## How it was made") < card.index("## What was measured") < card.index("## What it is for")


def test_half_stays_half_and_a_plain_load_samples(half: Path, tmp_path: Path) -> None:
    out = export(half, pipeline(half, torch_dtype=torch.float32).unet.state_dict(), tmp_path / "out", FACTS)
    assert same_bits(state(out), state(half))
    assert state(out)[NAME].dtype == torch.float16
    assert weight_hashes(out).items() - weight_hashes(half).items() == {(UNET, weight_hashes(out)[UNET])}
    assert torch.isfinite(sample(pipeline(out))).all(), "the source itself fails here: its text encoder loads in half, its UNet does not"
    assert pipeline(out, torch_dtype=torch.float16).text_encoder.dtype == torch.float16


def test_no_folder_name_of_the_machine_gets_out(half: Path, tiny_pipeline: Path, tmp_path: Path) -> None:
    assert str(tiny_pipeline) in (half / "model_index.json").read_text()
    out = export(half, {}, tmp_path / "out", FACTS)
    assert not [name for name, data in tree(out).items() if str(tiny_pipeline).encode() in data]


def test_a_run_in_lower_precision_moves_only_what_it_changed(tiny_pipeline: Path, tmp_path: Path) -> None:
    weights = state(tiny_pipeline)
    rounded = {name: value.to(torch.bfloat16) for name, value in weights.items()}
    rounded[NAME] = rounded[NAME].clone()
    rounded[NAME][3] = 0.5
    out = state(export(tiny_pipeline, rounded, tmp_path / "out", FACTS))
    expected = weights[NAME].clone()
    expected[3] = 0.5
    assert same_bits(out, {**weights, NAME: expected})


def test_variant_and_shards_become_plain_names(sharded: Path, tmp_path: Path) -> None:
    assert variant_of(sharded) == "fp16"
    assert len(weight_files(sharded / "unet")) > 3
    check_model_folder(sharded)
    weights = state(sharded)
    out = export(sharded, {NAME: weights[NAME] + 1}, tmp_path / "out", FACTS)
    assert variant_of(out) is None
    assert not [name for name in tree(out) if "fp16" in name]
    assert {p.name for p in weight_files(out / "unet").values()} == set(weight_files(sharded / "unet"))
    assert same_bits({**state(out), NAME: weights[NAME]}, weights)
    loaded = pipeline(out)
    assert torch.equal(loaded.unet.state_dict()[NAME].half(), weights[NAME] + 1)
    assert torch.isfinite(sample(loaded)).all()
    assert all(load_metadata(path)["concept"] == "star" for path in weight_files(out / "unet").values() if path.suffix == ".safetensors")
    one = read_provenance(out)["source_sha256"]
    assert one not in weight_hashes(sharded).values()


def load_metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return dict(file.metadata())


def test_the_older_shard_names_of_variants_are_known(tmp_path: Path) -> None:
    for name in ("diffusion_pytorch_model-00001-of-00001.fp16.safetensors", "diffusion_pytorch_model.safetensors.index.fp16.json"):
        (tmp_path / name).touch()
    assert set(weight_files(tmp_path)) == {
        "diffusion_pytorch_model-00001-of-00001.safetensors",
        "diffusion_pytorch_model.safetensors.index.json",
    }


def test_plain_weights_come_before_variants(source: Path) -> None:
    for variant in ("fp16", "non_ema"):
        shutil.copy(source / UNET, source / f"unet/diffusion_pytorch_model.{variant}.safetensors")
    assert weight_files(source / "unet") == {"diffusion_pytorch_model.safetensors": source / UNET}
    assert variant_of(source) is None


def test_only_safe_files_and_only_the_new_unet_get_out(source: Path, tmp_path: Path) -> None:
    unwanted = ["model.ckpt", "v1-5-pruned.safetensors", "run.py", "unet/diffusion_pytorch_model.bin", "unet/flax_model.msgpack"]
    unwanted += ["unet/diffusion_pytorch_model.non_ema.safetensors", "text_encoder/pytorch_model.bin", "extra/evil.py", "extra/config.json"]
    unwanted += ["text_encoder/pytorch_model.bin.index.json"]
    (source / "extra").mkdir()
    for name in unwanted:
        (source / name).write_bytes(b"the old model, or code")
    (source / "LICENSE.md").write_text("a licence")
    here = tree(export(source, {}, tmp_path / "out", FACTS))
    assert not set(unwanted) & set(here)
    assert here["LICENSE.md"] == b"a licence", "a licence travels with the weights"


def test_links_of_a_hub_cache_are_followed(source: Path, tmp_path: Path) -> None:
    (source / UNET).rename(tmp_path / "blob")
    (source / UNET).symlink_to(tmp_path / "blob")
    out = export(source, {}, tmp_path / "out", FACTS)
    assert not (out / UNET).is_symlink()
    assert same_bits(state(out), state(source))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"no.such.weight": torch.zeros(1)}, "has no weights no.such.weight"),
        ({NAME: torch.zeros(1)}, "the source has"),
        ({NAME: torch.full((32, 16), torch.nan)}, "not finite"),
    ],
)
def test_weights_that_do_not_fit_leave_nothing(tiny_pipeline: Path, tmp_path: Path, weights: dict[str, Tensor], message: str) -> None:
    with pytest.raises((ValueError, ArithmeticError), match=message):
        export(tiny_pipeline, weights, tmp_path / "out", FACTS)
    assert not list(tmp_path.iterdir())


def test_half_precision_overflow_is_refused(half: Path, tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError, match=r"not finite in torch\.float16"):
        export(half, {NAME: torch.full((32, 16), 1e6)}, tmp_path / "out", FACTS)


def test_full_disk_leaves_nothing_half_done(tiny_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(InputError, match="the disk is full"):
        export(tiny_pipeline, {}, tmp_path / "out", FACTS)
    assert not list(tmp_path.iterdir())


def test_only_an_earlier_export_is_overwritten(tiny_pipeline: Path, source: Path, tmp_path: Path) -> None:
    before = tree(source)
    for overwrite in (False, True):
        with pytest.raises(InputError, match="give another output folder"):
            export(tiny_pipeline, {}, source, FACTS, overwrite=overwrite)
    with pytest.raises(InputError, match="contain one another"):
        export(source, {}, source, FACTS, overwrite=True)
    with pytest.raises(InputError, match="contain one another"):
        export(source, {}, source / "out", FACTS)
    assert tree(source) == before
    out = export(tiny_pipeline, {}, tmp_path / "out", FACTS)
    with pytest.raises(InputError, match="not empty"):
        export(tiny_pipeline, {}, out, FACTS)
    export(tiny_pipeline, {}, out, {**FACTS, "concept": "ring"}, overwrite=True)
    assert read_provenance(out)["concept"] == "ring"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


def test_weight_hashes_name_every_part(tiny_pipeline: Path, source: Path) -> None:
    assert set(weight_hashes(source)) == {UNET, "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"}
    assert weight_hashes(source) == weight_hashes(tiny_pipeline)
    tensors = load_file(source / UNET)
    tensors[NAME][0, 0] += 1
    save_file(tensors, source / UNET, {"format": "pt"})
    assert {name for name, value in weight_hashes(source).items() if value != weight_hashes(tiny_pipeline)[name]} == {UNET}


def test_a_good_folder_passes(tiny_pipeline: Path, half: Path) -> None:
    check_model_folder(tiny_pipeline)
    check_model_folder(half)


@pytest.mark.parametrize("suffix", [".ckpt", ".bin", ".pt", ".pth"])
def test_a_pickle_is_refused_unread(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"model{suffix}").write_bytes(b"cos\nsystem\n(S'echo'\ntR.")
    with pytest.raises(InputError, match=r"is a pickle, which can run any code.*convert it"):
        check_model_folder(tmp_path / f"model{suffix}")


def test_folders_that_are_no_pipeline_say_what_was_found(tmp_path: Path, source: Path) -> None:
    (tmp_path / "one.safetensors").touch()
    with pytest.raises(InputError, match=r"is a file; expected a diffusers folder, a \.safetensors checkpoint or a hub name"):
        check_model_folder(tmp_path / "one.safetensors")
    with pytest.raises(InputError, match=r"does not exist; expected a diffusers folder, a \.safetensors checkpoint or a hub name"):
        check_model_folder(tmp_path / "none")
    with pytest.raises(InputError, match=r"no model_index\.json \(it contains one\.safetensors, source\)"):
        check_model_folder(tmp_path)
    index = json.loads((source / "model_index.json").read_text())
    for family in ("FluxKontextPipeline", "PixArtSigmaPipeline"):
        (source / "model_index.json").write_text(json.dumps({**index, "_class_name": family}))
        with pytest.raises(InputError, match=f"is a {family}, not yet supported; expected StableDiffusionPipeline"):
            check_model_folder(source)
    (source / "model_index.json").write_text('{"_class_')
    with pytest.raises(InputError, match="not JSON in UTF-8"):
        check_model_folder(source)


def test_parts_that_are_missing_or_only_pickles_are_named(source: Path) -> None:
    (source / "vae/diffusion_pytorch_model.safetensors").rename(source / "vae/diffusion_pytorch_model.bin")
    with pytest.raises(InputError, match=r"weights of vae only as a pickle \(diffusion_pytorch_model\.bin\)"):
        check_model_folder(source)
    (source / "vae/diffusion_pytorch_model.bin").unlink()
    with pytest.raises(InputError, match="has no weights for vae"):
        check_model_folder(source)
    shutil.rmtree(source / "vae")
    with pytest.raises(InputError, match="lacks its part vae"):
        check_model_folder(source)
