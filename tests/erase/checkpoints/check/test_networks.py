"""The tensors that are expected are those that the real classes have."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from erase.checkpoints.check.networks import NETWORKS, TEXT_DEFAULTS, expected_shapes, part_class, shapes_of
from erase.checkpoints.check.tensors import plain_name, stored


@pytest.mark.parametrize("kind", ["CLIPTextModel", "CLIPTextModelWithProjection"])
def test_the_shapes_of_a_text_encoder_are_those_of_its_class(kind: str) -> None:
    import transformers

    sizes = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 2, "projection_dim": 12}
    with torch.device("meta"):
        network = getattr(transformers, kind)(transformers.CLIPTextConfig(**sizes))
    shapes = {name.removeprefix("text_model."): tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes_of(kind, sizes) == {name: shape for name, shape in shapes.items() if not name.endswith("position_ids")}


def test_a_text_encoder_without_a_file_has_the_defaults_of_its_class() -> None:
    import transformers

    config = transformers.CLIPTextConfig()
    assert {name: getattr(config, name) for name in TEXT_DEFAULTS} == TEXT_DEFAULTS


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_saved_network_has_what_is_expected(family: str, family_folders: dict[str, Path]) -> None:
    folder = family_folders[family]
    parts = [part for part in NETWORKS if (folder / part).is_dir()]
    assert len(parts) == (4 if family == "sdxl" else 3)
    for part in parts:
        shapes = {plain_name(part, name): tuple(entry["shape"]) for name, entry in stored(folder, part).items()}
        assert shapes == expected_shapes(folder, part), part_class(folder, part)
