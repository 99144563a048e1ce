"""Weight names in two layouts: the original single file, and a diffusers folder with one part per network.

Both directions, for the UNet, the autoencoder, CLIP and OpenCLIP. Where the layouts store a weight in different shapes (1x1
convolution or matrix, one matrix for query, key and value or three) it is reshaped, never computed on, so a round trip is
exact to the bit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from erase.checkpoints.safetensors_file import LazyTensor, stacked

UNET, VAE = "model.diffusion_model.", "first_stage_model."
Tensors = Mapping[str, LazyTensor]

RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2", "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}  # fmt: skip
VAE_RESNET = {**{name: name for name in ("norm1", "conv1", "norm2", "conv2")}, "nin_shortcut": "conv_shortcut"}
VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
OLD_VAE_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # folders from before 2023
OPEN_CLIP = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2", "attn.out_proj": "self_attn.out_proj",
}  # fmt: skip
QKV = ("q_proj", "k_proj", "v_proj")
ORIGINAL = re.compile(
    r"model\.diffusion_model\.(time_embed|label_emb\.0|input_blocks\.\d+|middle_block|output_blocks\.\d+|out)\.(?!resnets|attentions)"
    r"|first_stage_model\.((encoder|decoder)\.(conv_in|conv_out|norm_out|mid|down|up)|quant_conv|post_quant_conv)\."
    r"|(?!model\.|first_stage_model\.)"
)


def strays(names: Iterable[str]) -> list[str]:
    """Names in a single file's UNet and autoencoder that the original layout does not have."""
    return [name for name in names if not ORIGINAL.match(name)]


def under(tensors: Tensors, prefix: str) -> dict[str, LazyTensor]:
    """The tensors whose names have this prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def unet_to_folder(tensors: Tensors) -> dict[str, LazyTensor]:
    """The UNet of a single file, without its prefix -> names of diffusers. Other names stay."""
    modules = _unet_modules(tensors, original=True)
    return {_renamed(name, modules): tensor for name, tensor in tensors.items()}


def unet_to_file(tensors: Tensors) -> dict[str, LazyTensor]:
    """The reverse."""
    modules = {new: old for old, new in _unet_modules(tensors, original=False).items()}
    return {_renamed(name, modules): tensor for name, tensor in tensors.items()}


def unet_file_names(names: Iterable[str]) -> dict[str, str]:
    """Weight of a UNet under its name of diffusers -> its name in a single file, without the prefix."""
    names = list(names)
    modules = {new: old for old, new in _unet_modules(names, original=False).items()}
    return {name: _renamed(name, modules) for name in names}


def vae_to_folder(tensors: Tensors) -> dict[str, LazyTensor]:
    """The autoencoder of a single file, without its prefix -> names of diffusers, its attention as matrices."""
    modules = _vae_modules(count(tensors, r"decoder\.up\.(\d+)\."), count(tensors, r"encoder\.down\.0\.block\.(\d+)\."))
    return {_renamed(name, modules): _matrix(tensor) if _is_vae_attention(name) else tensor for name, tensor in tensors.items()}


def vae_to_file(tensors: Tensors) -> dict[str, LazyTensor]:
    """The reverse, with its attention as 1x1 convolutions."""
    layers = count(tensors, r"encoder\.down_blocks\.0\.resnets\.(\d+)\.")
    modules = {new: old for old, new in _vae_modules(count(tensors, r"decoder\.up_blocks\.(\d+)\."), layers).items()}
    renamed = {_renamed(modern_attention(name), modules): tensor for name, tensor in tensors.items()}
    return {name: _convolution(tensor) if _is_vae_attention(name) else tensor for name, tensor in renamed.items()}


def clip_to_folder(tensors: Tensors) -> dict[str, LazyTensor]:
    """CLIP's text encoder: the names are those of transformers; position ids are not weights."""
    renamed = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in renamed.items() if not name.endswith("position_ids")}


def open_clip_to_folder(tensors: Tensors, layers: int) -> dict[str, LazyTensor]:
    """OpenCLIP's text encoder -> names of transformers; only the first `layers` blocks."""
    modules = _open_clip_modules(layers)
    renamed: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        block = re.match(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)$", name)
        if block and int(block[1]) < layers:
            third = tensor.shape[0] // 3
            for i, part in enumerate(QKV):
                target = f"text_model.encoder.layers.{block[1]}.self_attn.{part}.{block[2]}"
                renamed[target] = tensor.rows(i * third, (i + 1) * third)
        elif name == "text_projection":
            renamed["text_projection.weight"] = tensor.transposed()
        elif (new := _renamed(name, modules)) != name:
            renamed[new] = tensor
    return renamed


def open_clip_to_file(tensors: Tensors) -> dict[str, LazyTensor]:
    """The reverse: query, key and value in one matrix."""
    modules = {new: old for old, new in _open_clip_modules(count(tensors, r"text_model\.encoder\.layers\.(\d+)\.")).items()}
    renamed: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        part = re.match(r"text_model\.encoder\.layers\.(\d+)\.self_attn\.q_proj\.(weight|bias)$", name)
        if part:
            three = [tensors[name.replace("q_proj", other)] for other in QKV]
            renamed[f"transformer.resblocks.{part[1]}.attn.in_proj_{part[2]}"] = stacked(three)
        elif name == "text_projection.weight":
            renamed["text_projection"] = tensor.transposed()
        elif (old := _renamed(name, modules)) != name:
            renamed[old] = tensor
    return renamed


def count(names: Iterable[str], pattern: str) -> int:
    """One more than the largest number that the pattern finds in any name; 0 where it finds none."""
    return max((int(match[1]) + 1 for name in names if (match := re.match(pattern, name))), default=0)


def _renamed(name: str, modules: Mapping[str, str]) -> str:
    """A weight's name with its module replaced: the longest prefix that names a module."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        if (module := ".".join(parts[:cut])) in modules:
            return ".".join([modules[module], *parts[cut:]])
    return name


def _unet_modules(names: Iterable[str], original: bool) -> dict[str, str]:
    """Original module -> diffusers module, for every module that may exist."""
    names = list(names)
    if original:
        layers = min((int(m[1]) for n in names if (m := re.match(r"input_blocks\.(\d+)\.0\.op\.", n))), default=1) - 1
        levels = count(names, r"output_blocks\.(\d+)\.") // (layers + 1)
        attentive = {int(m[1]) // (layers + 1) for n in names if (m := re.match(r"output_blocks\.(\d+)\.1\.norm\.", n))}
    else:
        layers, levels = count(names, r"down_blocks\.0\.resnets\.(\d+)\."), count(names, r"up_blocks\.(\d+)\.")
        attentive = {int(m[1]) for n in names if (m := re.match(r"up_blocks\.(\d+)\.attentions\.", n))}
    modules = {
        "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2", "label_emb.0.0": "add_embedding.linear_1",
        "label_emb.0.2": "add_embedding.linear_2", "input_blocks.0.0": "conv_in", "middle_block.1": "mid_block.attentions.0",
        "out.0": "conv_norm_out", "out.2": "conv_out",
    }  # fmt: skip
    resnets = {"middle_block.0": "mid_block.resnets.0", "middle_block.2": "mid_block.resnets.1"}
    for level in range(levels):
        for layer in range(layers + 1):
            block = level * (layers + 1) + layer
            resnets[f"output_blocks.{block}.0"] = f"up_blocks.{level}.resnets.{layer}"
            modules[f"output_blocks.{block}.1"] = f"up_blocks.{level}.attentions.{layer}"
            if layer < layers:
                resnets[f"input_blocks.{block + 1}.0"] = f"down_blocks.{level}.resnets.{layer}"
                modules[f"input_blocks.{block + 1}.1"] = f"down_blocks.{level}.attentions.{layer}"
        last = (level + 1) * (layers + 1)
        modules[f"input_blocks.{last}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
        modules[f"output_blocks.{last - 1}.{2 if level in attentive else 1}.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
    return modules | {f"{old}.{a}": f"{new}.{b}" for old, new in resnets.items() for a, b in RESNET.items()}


def _vae_modules(levels: int, layers: int) -> dict[str, str]:
    modules, resnets, attentions = {}, {}, {}
    for half in ("encoder", "decoder"):
        modules[f"{half}.norm_out"] = f"{half}.conv_norm_out"
        attentions[f"{half}.mid.attn_1"] = f"{half}.mid_block.attentions.0"
        for i in (0, 1):
            resnets[f"{half}.mid.block_{i + 1}"] = f"{half}.mid_block.resnets.{i}"
    for level in range(levels):
        up = levels - 1 - level  # the original numbers the decoder's levels from the image down, diffusers in the order of execution
        modules[f"encoder.down.{level}.downsample.conv"] = f"encoder.down_blocks.{level}.downsamplers.0.conv"
        modules[f"decoder.up.{up}.upsample.conv"] = f"decoder.up_blocks.{level}.upsamplers.0.conv"
        for layer in range(layers + 1):
            resnets[f"encoder.down.{level}.block.{layer}"] = f"encoder.down_blocks.{level}.resnets.{layer}"
            resnets[f"decoder.up.{up}.block.{layer}"] = f"decoder.up_blocks.{level}.resnets.{layer}"
    modules |= {f"{old}.{a}": f"{new}.{b}" for old, new in resnets.items() for a, b in VAE_RESNET.items()}
    return modules | {f"{old}.{a}": f"{new}.{b}" for old, new in attentions.items() for a, b in VAE_ATTENTION.items()}


def _is_vae_attention(name: str) -> bool:
    return re.search(r"\.mid\.attn_1\.(q|k|v|proj_out)\.weight$", name) is not None


def modern_attention(name: str) -> str:
    """The current diffusers name of a weight of the autoencoder's attention."""
    head, dot, last = name.rpartition(".")
    module, _, part = head.rpartition(".")
    return f"{module}.{OLD_VAE_ATTENTION[part]}{dot}{last}" if ".attentions." in name and part in OLD_VAE_ATTENTION else name


def _matrix(tensor: LazyTensor) -> LazyTensor:
    return tensor.reshaped(*tensor.shape[:2])


def _convolution(tensor: LazyTensor) -> LazyTensor:
    return tensor.reshaped(*tensor.shape[:2], 1, 1)


def _open_clip_modules(layers: int) -> dict[str, str]:
    modules = {
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "token_embedding": "text_model.embeddings.token_embedding",
        "ln_final": "text_model.final_layer_norm",
    }
    blocks = {f"transformer.resblocks.{i}": f"text_model.encoder.layers.{i}" for i in range(layers)}
    return modules | {f"{old}.{a}": f"{new}.{b}" for old, new in blocks.items() for a, b in OPEN_CLIP.items()}
