"""What a single file would not say is no reason to lose it: a folder fits, bit by bit, or is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from wild_folders import copied, settings

from erase.checkpoints.check.noise import noise_of
from erase.checkpoints.families import TEXT_ENCODERS
from erase.checkpoints.safetensors_header import metadata
from erase.checkpoints.to_single_file import pack, text_misfits
from erase.diffusion import locate
from erase.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("scheduler/scheduler_config.json", {"beta_end": 0.02}, r"scheduler: beta_end 0\.02, not 0\.012"),
        ("scheduler/scheduler_config.json", {"beta_schedule": ...}, "scheduler: beta_schedule linear, not scaled_linear"),
        (
            "scheduler/scheduler_config.json",
            {"trained_betas": [0.5] * 1000},
            "scheduler: trained_betas, for which a single file has no place",
        ),
        ("text_encoder/config.json", {"layer_norm_eps": 1e-6}, "text_encoder: layer_norm_eps 1e-06, not 1e-05"),
        ("text_encoder/config.json", {"num_attention_heads": ...}, "text_encoder: num_attention_heads 8, not 1"),
        ("vae/config.json", {"scaling_factor": 0.5}, "vae: scaling_factor 0.5, not 0.18215"),
        ("model_index.json", {"tokenizer": ["transformers", "T5Tokenizer"]}, "its tokenizer is a T5Tokenizer, and every program reads"),
    ],
)
def test_what_a_single_file_would_not_say_is_refused(
    name: str, values: dict[str, object], message: str, family_folders: dict[str, Path], tmp_path: Path
) -> None:
    """Also what a configuration leaves to the default of its class, where the family's file has another value."""
    folder = copied(family_folders["sd1"], tmp_path / "model", settings(name, **values))
    with pytest.raises(InputError, match=rf"does not fit into a single file of Stable Diffusion 1\.x \({message}.*; give --format folder"):
        pack(folder, tmp_path / "x.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("family", "part", "values", "problem"),
    [
        ("sd1", "text_encoder", {"num_hidden_layers": 11}, "text_encoder: num_hidden_layers 11, not 12"),
        ("sd1", "text_encoder", {"vocab_size": 49410}, "text_encoder: vocab_size 49410, not 49408"),
        ("sd1", "text_encoder", {}, None),
        ("sd2", "text_encoder", {"num_hidden_layers": 24}, "text_encoder: num_hidden_layers 24, not 23"),
        ("sdxl", "text_encoder_2", {"max_position_embeddings": 248}, "text_encoder_2: max_position_embeddings 248, not 77"),
    ],
)
def test_a_text_encoder_of_the_published_width_is_the_published_one(
    family: str, part: str, values: dict[str, int], problem: str | None
) -> None:
    """As with a layer left out ("clip skip"), words added or more tokens: a program that builds the family's own would lose it."""
    own = {name: dict(usual) for name, usual in TEXT_ENCODERS[family].items()}
    own[part] |= values
    assert text_misfits(own, family) == ([problem] if problem else [])


@pytest.mark.parametrize("value", [None, [8, 10], 16])
def test_the_size_of_the_images_is_no_reason_to_refuse(value: object, family_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(family_folders["sd1"], tmp_path / "model", settings("unet/config.json", sample_size=value))
    recorded = metadata(pack(folder, tmp_path / "x.safetensors")).get("modelspec.resolution")
    assert recorded == {None: None, 16: "128x128"}.get(value if not isinstance(value, list) else 0, "80x64")  # type: ignore[arg-type]


def test_zero_terminal_snr_and_velocity_come_back(family_folders: dict[str, Path], tmp_path: Path) -> None:
    values = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    folder = copied(family_folders["sdxl"], tmp_path / "model", settings("scheduler/scheduler_config.json", **values))
    made = locate(str(pack(folder, tmp_path / "x.safetensors")), str(folder))
    assert noise_of(made) == noise_of(folder)
    assert noise_of(made).zero_snr
