"""The networks of the embedded model, at the size that two CPU cores can train: a Stable Diffusion in miniature.

Every part is the class that a real checkpoint holds (CLIPTokenizer, CLIPTextModel, AutoencoderKL with 8x reduction,
UNet2DConditionModel with cross-attention, a diffusers scheduler), so whatever works here meets the real thing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from erase.demo.shapes import world
from erase.files import write_tensors
from erase.torchvision_compat import check_torchvision

check_torchvision()  # before diffusers and transformers are imported

LATENT_CHANNELS = 8
TOKENS = 32
PREFIX = "text_model."
WIDTH = 96


def save_pipeline(pipeline: Any, folder: Path) -> None:
    """A pipeline folder for every transformers: `text_model.` before the text encoder's weights, as released checkpoints have it.

    transformers 5 reads these names but does not write them; transformers 4 reads no others, and fills what it misses with noise.
    """
    from safetensors.torch import load_file

    pipeline.save_pretrained(folder)
    path = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    write_tensors(path, {f"{PREFIX}{name.removeprefix(PREFIX)}": tensor for name, tensor in tensors.items()}, {"format": "pt"})


def build_tokenizer(folder: Path, words: Iterable[str] | None = None) -> Any:
    """A CLIPTokenizer whose every caption word is one token, `words` or those of the demo; other text falls back to letters.

    Learned once, then read: the numbers of the tokens belong to the weights.
    """
    from transformers import CLIPTokenizer

    if not (folder / "merges.txt").exists():
        _learn_tokens(folder, world.words() if words is None else words)
    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=TOKENS)
    tokenizer.save_pretrained(folder)
    return tokenizer


def _learn_tokens(folder: Path, words: Iterable[str]) -> None:
    """vocab.json and merges.txt of a byte-level BPE over the words of captions."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters += [f"{letter}</w>" for letter in letters]
    trainer = trainers.BpeTrainer(  # ties go by the numbers of letters, which the learner would otherwise order differently in each process
        vocab_size=5000, min_frequency=0, special_tokens=letters, end_of_word_suffix="</w>", show_progress=False
    )
    bpe.train_from_iterator(iter(words), trainer)
    learned = json.loads(bpe.to_str())["model"]
    tokens = [*sorted(learned["vocab"], key=learned["vocab"].get), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False), encoding="utf-8")
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in learned["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")


def build_text_encoder(tokenizer: Any, layers: int = 3, width: int = WIDTH) -> Any:
    """CLIPTextModel, trained along with the UNet."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            projection_dim=width,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_autoencoder() -> Any:
    """AutoencoderKL, 64 x 64 x 3 to 8 x 8 x 8."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 24, 48, 96),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=world.SIZE,
        mid_block_add_attention=False,
    )
    initialise_autoencoder(vae)
    return vae


def initialise_autoencoder(vae: Any) -> None:
    """Variance kept, biases zero, residual branches silent: an autoencoder learns in a tenth of the steps.

    The default initialisation shrinks the signal at every convolution until biases drown it, and the group norms then learn
    nothing for a long time.
    """
    from torch import nn

    for name, layer in vae.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        if name.endswith("conv2"):
            nn.init.zeros_(layer.weight)
    channels = vae.config.latent_channels
    vae.decoder.conv_out.weight.data.mul_(0.3)
    vae.quant_conv.weight.data[channels:].mul_(0.1)
    vae.quant_conv.bias.data[channels:] = -6.0  # log variance: start nearly without noise


def build_unet(depth: int = 1) -> Any:
    """UNet2DConditionModel on 8 x 8 latents, cross-attention at both resolutions, `depth` times in a row at the finer one."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=world.SIZE // 8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(64, 128),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
        transformer_layers_per_block=1 if depth == 1 else (depth, 1),
    )


SCHEDULE = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "prediction_type": "v_prediction"}


def build_forward() -> Any:
    """The forward process of training. Linear betas end near pure noise, so white and black backgrounds can be drawn."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(**SCHEDULE, clip_sample=False)


def build_sampler() -> Any:
    """Euler's ancestral sampler: fresh noise at every step.

    Where the dots of a dotted shape lie is free, so the mean over all places is no dots. A deterministic sampler that has
    once come near this mean stays there, and solid shapes come out where dots were asked for.
    """
    from diffusers import EulerAncestralDiscreteScheduler

    return EulerAncestralDiscreteScheduler(
        **SCHEDULE,
        timestep_spacing="trailing",
        steps_offset=1,  # what Stable Diffusion has; with trailing spacing it changes nothing
    )
