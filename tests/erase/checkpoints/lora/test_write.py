"""Files beside a model, of every family: what diffusers makes of them is what alpha / rank * up @ down says, tensor by tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers
from safetensors.torch import load_file, save_file
from small_files import EVERYTHING, FAMILIES, TEXT, WEIGHTS, build_any, changed_copy, weights_of
from torch import Tensor

from erase.checkpoints.folder import edited_part
from erase.checkpoints.lora.names import family_of, kohya_name, layers_of
from erase.checkpoints.lora.read import read_small
from erase.checkpoints.lora.write import Form, Written, write_small
from erase.checkpoints.safetensors_header import metadata
from erase.diffusion import open_model
from erase.diffusion.small_file import with_small_file
from erase.errors import InputError

RANK = 3
MODERN = ("sd1", "sd3", "flux")  # families of which diffusers' own names are tried, one with a UNet


@pytest.fixture(scope="module")
def models(family_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Each family before and after every weight was changed, matrices by a product of rank 3."""
    root = tmp_path_factory.mktemp("models")
    before = {**family_folders, **{family: build_any(family, root / family) for family in ("sd3", "flux")}}
    return {family: (path, changed_copy(path, root / f"{family}-erased", EVERYTHING, RANK)) for family, path in before.items()}


def change_of(file: Path, kohya: str) -> Tensor:
    """alpha / rank * up @ down from the file's own tensors."""
    tensors = load_file(file)
    up, down = tensors[f"{kohya}.lora_up.weight"], tensors[f"{kohya}.lora_down.weight"]
    return float(tensors[f"{kohya}.alpha"]) / down.shape[0] * (up.flatten(1) @ down.flatten(1))


def loaded(folder: Path, file: Path) -> dict[str, Tensor]:
    """The network's weights after diffusers has loaded the file and merged it."""
    options: dict[str, Any] = {"text_encoder_3": None, "tokenizer_3": None} if family_of(folder) == "sd3" else {}
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, **options)
    pipeline.load_lora_weights(str(file.parent), weight_name=file.name)
    part = "unet" if hasattr(pipeline, "unet") else "transformer"
    pipeline.fuse_lora(components=[part])
    pipeline.unload_lora_weights()
    state: dict[str, Tensor] = getattr(pipeline, part).state_dict()
    return state


@pytest.mark.parametrize(("family", "form"), [*((family, "lora") for family in FAMILIES), *((f, "diffusers-lora") for f in MODERN)])
def test_diffusers_loads_what_was_changed(family: str, form: str, models: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    original, erased = models[family]
    rank = 4 * RANK if form == "lora" and family in ("sd3", "flux") else RANK  # of query, key, value and feed-forward together
    written = write_small(original, erased, tmp_path / "x.safetensors", Form(form, rank))
    before, after = weights_of(original), weights_of(erased)
    matrices = {name for name, tensor in before.items() if name.endswith(".weight") and tensor.ndim > 1}
    assert written.left_out == sorted(name for name in before if not torch.equal(before[name], after[name]) and name not in matrices)
    pairs = read_small(written.path, original).pairs()
    assert {f"{layer}.weight" for layer in pairs} == matrices
    for layer, (up, down) in pairs.items():
        change = after[f"{layer}.weight"] - before[f"{layer}.weight"]
        assert torch.allclose((up.flatten(1) @ down.flatten(1)).reshape(change.shape), change, atol=1e-4)
    if form == "lora" and family in ("sd3", "flux"):
        return  # diffusers reads no such names of Stable Diffusion 3, and those of FLUX.1 at one width: below
    state = loaded(original, written.path)
    for name in matrices:
        assert torch.allclose(state[name], after[name], atol=1e-4), name
    if form == "lora":
        for layer in layers_of(family, before):
            if (name := f"{layer.parts[0]}.weight") in matrices:
                change = change_of(written.path, kohya_name(layer)).reshape(before[name].shape)
                assert torch.allclose(state[name] - before[name], change, atol=1e-5), name


def test_names_of_flux_at_its_true_size_are_those_that_diffusers_renames() -> None:
    with torch.device("meta"):
        network = diffusers.FluxTransformer2DModel(num_layers=2, num_single_layers=2, guidance_embeds=True)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    file: dict[str, Tensor] = {}
    expected: dict[str, Tensor] = {}
    generator = torch.Generator().manual_seed(0)
    for layer in layers_of("flux", shapes):
        heights = [shapes[f"{part}.weight"][0] for part in layer.parts]
        if len(shapes[f"{layer.parts[0]}.weight"]) < 2:
            continue
        width = shapes[f"{layer.parts[0]}.weight"][1]
        up, down = torch.randn(sum(heights), 1, generator=generator), torch.randn(1, width, generator=generator)
        name = kohya_name(layer)
        file |= {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down, f"{name}.alpha": torch.tensor(1.0)}
        halves = torch.cat(up.chunk(2)[::-1]) if layer.swapped else up
        expected |= dict(zip(layer.parts, halves.split(heights), strict=True))
    renamed = {name.removeprefix("transformer."): value for name, value in _convert_kohya_flux_lora_to_diffusers(file).items()}
    ups = {name.removesuffix(".lora_B.weight"): value for name, value in renamed.items() if name.endswith(".lora_B.weight")}
    assert ups.keys() == expected.keys()
    assert all(torch.equal(ups[part], rows) for part, rows in expected.items())
    assert {name.removesuffix(".lora_A.weight") for name in renamed if name.endswith(".lora_A.weight")} == expected.keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_difference_is_exact_for_every_weight(family: str, models: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    original, erased = models[family]
    written = write_small(original, erased, tmp_path / "x.safetensors", Form("difference"))
    before, after = weights_of(original), weights_of(erased)
    differences = read_small(written.path, original).differences()
    assert differences.keys() == {name for name in before if not torch.equal(before[name], after[name])}
    assert all(torch.equal(before[name] + change.load(), after[name]) for name, change in differences.items())
    assert (written.inexact, written.kept) == (0, 100.0)
    model = with_small_file(open_model(original, size=64), written.path)
    assert all(torch.equal(value, after[name]) for name, value in model.edited.state_dict().items() if not name.startswith("pos_embed.pos"))


def norms(written: Written) -> tuple[list[int | None], list[float]]:
    return [row.rank for row in written.layers], [row.kept for row in written.layers]


def test_each_layer_keeps_the_norm_that_was_asked_for(tmp_path: Path, family_folders: dict[str, Path]) -> None:
    original = family_folders["sd1"]
    erased = changed_copy(original, tmp_path / "erased", r"attn2\.to_[kv]")
    written = write_small(original, erased, tmp_path / "x.safetensors", Form("lora", keep=80))
    ranks, kept = norms(written)
    assert all(share >= 80 for share in kept)
    assert len(set(ranks)) > 1
    before, state = weights_of(original), loaded(original, written.path)  # ranks that differ, and one alpha, which diffusers needs
    for row in written.layers:
        name = f"{row.layer}.weight"
        change = change_of(written.path, "lora_unet_" + row.layer.replace(".", "_"))
        assert torch.allclose(state[name] - before[name], change, atol=1e-5)
        assert 100 * float(change.norm()) / row.norm == pytest.approx(row.kept, rel=1e-4)
    whole = write_small(original, erased, tmp_path / "y.safetensors", Form("diffusers-lora", keep=80))
    assert {row.rank for row in whole.layers} == {max(rank for rank in ranks if rank)}


def test_what_tools_show_and_the_same_bytes_again(models: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    original, erased = models["sdxl"]
    one, two = (write_small(original, erased, tmp_path / name, Form("lora", 2)).path for name in ("a.safetensors", "b.safetensors"))
    assert one.read_bytes() == two.read_bytes()
    facts = metadata(one)
    assert (facts["ss_network_module"], facts["ss_network_dim"], facts["ss_network_alpha"]) == ("networks.lora", "2", "2")
    assert (facts["ss_base_model_version"], facts["ss_v2"]) == ("sdxl_base_v1-0", "False")
    assert facts["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert "leaves this file out" in facts["modelspec.description"]


@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_a_transformer_gets_every_layer_of_the_file_at_the_strength(
    family: str, models: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    original = models[family][0]
    erased = changed_copy(original, tmp_path / "erased", TEXT[family] + r"(?<!norm_added_q\.weight)(?<!norm_added_k\.weight)", 2)
    tensors = {name: tensor for name, tensor in weights_of(erased).items() if tensor.ndim > 1}
    assert any(not torch.equal(tensor, weights_of(original)[name]) for name, tensor in tensors.items())
    file = write_small(original, erased, tmp_path / "x.safetensors", Form("lora", 6)).path
    model = with_small_file(open_model(original, size=64), file, 0.5)
    assert "context_embedder" in read_small(file, original).pairs()  # which diffusers passes over under kohya's names
    layers = {name for name, module in model.edited.named_modules() if "erase" in getattr(module, "lora_A", {})}
    assert layers == set(read_small(file, original).pairs())
    assert {module.scaling["erase"] for module in model.edited.modules() if "erase" in getattr(module, "lora_A", {})} == {0.5}


def test_the_same_weights_leave_nothing_to_write(family_folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to write; give the erased model"):
        write_small(family_folders["sd1"], family_folders["sd1"], tmp_path / "x.safetensors", Form("lora"))
    with pytest.raises(InputError, match=r"is not made from .*sd1: .*; give the model before with --original"):
        write_small(family_folders["sd1"], family_folders["sd2"], tmp_path / "x.safetensors", Form("lora"))
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize("family", ["sd1", "flux"])
def test_the_factors_that_a_run_has_trained_are_written_as_they_are(
    family: str, models: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    original = models[family][0]
    generator, names = torch.Generator().manual_seed(2), [name for name, tensor in weights_of(original).items() if tensor.ndim == 2]
    trained = {name for name in names if "attn2.to_k" in name or "attn.add_" in name}
    tensors, factors = weights_of(original), {}
    for name in sorted(trained):
        rows, columns = tensors[name].shape
        factors[name.removesuffix(".weight")] = torch.randn(rows, 2, generator=generator), torch.randn(2, columns, generator=generator)
        up, down = factors[name.removesuffix(".weight")]
        tensors[name] = tensors[name] + 0.01 * up @ down
    factors = {layer: (0.1 * up, 0.1 * down) for layer, (up, down) in factors.items()}
    erased = changed_copy(original, tmp_path / "erased", r"^$")
    save_file(tensors, edited_part(erased) / WEIGHTS, {"format": "pt"})
    written = write_small(original, erased, tmp_path / "x.safetensors", Form("lora"), factors=factors)
    assert written.kept == pytest.approx(100, abs=1e-3)
    pairs = read_small(written.path, original).pairs()
    for layer, (up, down) in factors.items():
        assert torch.allclose(pairs[layer][0] @ pairs[layer][1], up @ down, atol=1e-5)
