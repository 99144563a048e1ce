"""A complete Stable Diffusion pipeline folder with random weights, small enough to sample in a tenth of a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from erase.demo import networks

SIZE = 64
CHANNELS = 4
WIDTH = 16


def build_family(family: str, folder: Path, seed: int = 0, prediction: str | None = None) -> Path:
    """A folder as its family has it (heads, widths, text encoders, schedule), but tiny: `sd1`, `sd2` or `sdxl`."""
    import diffusers
    import transformers

    xl, kind = family == "sdxl", prediction or ("v_prediction" if family == "sd2" else "epsilon")
    tokenizers = {}
    for part, pad in {"tokenizer": "!" if family == "sd2" else "<|endoftext|>", **({"tokenizer_2": "!"} if xl else {})}.items():
        networks.build_tokenizer(folder / part)
        tokenizers[part] = transformers.CLIPTokenizer.from_pretrained(folder / part, pad_token=pad, model_max_length=networks.TOKENS)
    words = tokenizers["tokenizer"]
    common = {
        "vocab_size": len(words),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "max_position_embeddings": networks.TOKENS,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        act = "gelu" if family == "sd2" else "quick_gelu"
        first = transformers.CLIPTextModel(
            transformers.CLIPTextConfig(**common, hidden_act=act, projection_dim=64, pad_token_id=tokenizers["tokenizer"].pad_token_id)
        )
        parts: dict[str, Any] = {"text_encoder": first, **tokenizers}
        if xl:
            parts["text_encoder_2"] = transformers.CLIPTextModelWithProjection(
                transformers.CLIPTextConfig(
                    **common, hidden_act="gelu", projection_dim=64, pad_token_id=tokenizers["tokenizer_2"].pad_token_id
                )
            )
        parts["vae"] = diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(32, 32, 64, 64),
            layers_per_block=1,
            latent_channels=CHANNELS,
            sample_size=SIZE,
            scaling_factor=0.13025 if xl else 0.18215,
        )
        parts["unet"] = diffusers.UNet2DConditionModel(
            sample_size=SIZE // 8,
            block_out_channels=(64, 64, 128) if xl else (64, 128),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D")
            if xl
            else ("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D") if xl else ("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=128 if xl else 64,
            attention_head_dim=8 if family == "sd1" else (1, 1, 2) if xl else (1, 2),
            use_linear_projection=family != "sd1",
            transformer_layers_per_block=(1, 1, 2) if xl else 1,
            **({"addition_embed_type": "text_time", "addition_time_embed_dim": 256} if xl else {}),
            projection_class_embeddings_input_dim=64 + 6 * 256 if xl else None,
        )
        for part in ("unet", "vae", "text_encoder"):
            for tensor in parts[part].parameters():  # norms and biases too, or swapped ones would look the same
                tensor.data += 0.02 * torch.randn_like(tensor)
    noise = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1, "prediction_type": kind}
    if xl:
        scheduler = diffusers.EulerDiscreteScheduler(**noise, timestep_spacing="leading")
        diffusers.StableDiffusionXLPipeline(**parts, scheduler=scheduler).save_pretrained(folder)
    else:
        pndm = {"skip_prk_steps": True, "set_alpha_to_one": False}
        ddim = {"clip_sample": False, "set_alpha_to_one": False}
        scheduler = diffusers.PNDMScheduler(**noise, **pndm) if family == "sd1" else diffusers.DDIMScheduler(**noise, **ddim)
        diffusers.StableDiffusionPipeline(
            **parts, scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        ).save_pretrained(folder)
    return folder


def build(folder: Path, seed: int = 0) -> Path:
    """Write the folder; the same seed gives the same weights."""
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = networks.build_tokenizer(folder / "tokenizer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=WIDTH,
                intermediate_size=2 * WIDTH,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=networks.TOKENS,
                projection_dim=WIDTH,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 16),
            layers_per_block=1,
            latent_channels=CHANNELS,
            norm_num_groups=4,
            sample_size=SIZE,
            mid_block_add_attention=False,
        )
        unet = UNet2DConditionModel(
            sample_size=SIZE // 8,
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            down_block_types=("CrossAttnDownBlock2D",) * 2,
            up_block_types=("CrossAttnUpBlock2D",) * 2,
            block_out_channels=(16, 32),
            layers_per_block=1,
            cross_attention_dim=WIDTH,
            attention_head_dim=4,
            norm_num_groups=8,
        )
    parts: dict[str, Any] = {"vae": vae, "text_encoder": text_encoder, "tokenizer": tokenizer, "unet": unet}
    StableDiffusionPipeline(
        **parts, scheduler=networks.build_sampler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False
    ).save_pretrained(folder)
    return folder


def build_stable_diffusion_3(folder: Path, seed: int = 0, t5: bool = False, dual: tuple[int, ...] = (0,)) -> Path:
    """A folder of Stable Diffusion 3.5 in small: two layers of width 32, the first with a second self-attention of the image (`dual`)."""
    import diffusers
    import transformers

    parts: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for suffix, act in (("", "quick_gelu"), ("_2", "gelu")):
            words = networks.build_tokenizer(folder / f"tokenizer{suffix}")
            config = transformers.CLIPTextConfig(
                vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, projection_dim=16,
                max_position_embeddings=networks.TOKENS, hidden_act=act, bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
                pad_token_id=words.pad_token_id,
            )  # fmt: skip
            parts |= {f"tokenizer{suffix}": words, f"text_encoder{suffix}": transformers.CLIPTextModelWithProjection(config)}
        parts |= {"tokenizer_3": None, "text_encoder_3": None} | (tiny_t5("_3", 48) if t5 else {})
        parts["vae"] = diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, block_out_channels=(8, 8, 8, 16),
            layers_per_block=1, latent_channels=16, norm_num_groups=4, sample_size=SIZE, mid_block_add_attention=False,
            use_quant_conv=False, use_post_quant_conv=False, scaling_factor=1.5305, shift_factor=0.0609,
        )  # fmt: skip
        parts["transformer"] = diffusers.SD3Transformer2DModel(
            sample_size=SIZE // 8, patch_size=2, in_channels=16, out_channels=16, num_layers=2, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=48, caption_projection_dim=32, pooled_projection_dim=32, pos_embed_max_size=8,
            dual_attention_layers=dual, qk_norm="rms_norm",
        )  # fmt: skip
        for tensor in parts["transformer"].parameters():
            tensor.data += 0.02 * torch.randn_like(tensor)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    diffusers.StableDiffusion3Pipeline(**parts, scheduler=scheduler).save_pretrained(folder)
    return folder


def tiny_t5(suffix: str, width: int) -> dict[str, Any]:
    """T5 of one layer, whose tokenizer knows letters."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    letters = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁", -3.0), *((letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz")]
    words = Tokenizer(models.Unigram(letters, unk_id=2))
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = transformers.T5TokenizerFast(tokenizer_object=words, model_max_length=512, extra_ids=0)
    config = transformers.T5Config(
        vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu", pad_token_id=0
    )
    return {f"tokenizer{suffix}": tokenizer, f"text_encoder{suffix}": transformers.T5EncoderModel(config)}


def build_flux(folder: Path, seed: int = 0, distilled: bool = True) -> Path:
    """A folder of FLUX.1 in small: one dual and one single block of width 32; dev, or schnell where it is not `distilled`."""
    import diffusers
    import transformers

    words = networks.build_tokenizer(folder / "tokenizer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = transformers.CLIPTextConfig(
            vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, projection_dim=16,
            max_position_embeddings=networks.TOKENS, bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        )  # fmt: skip
        parts: dict[str, Any] = {"tokenizer": words, "text_encoder": transformers.CLIPTextModel(config), **tiny_t5("_2", 24)}
        parts["vae"] = diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, block_out_channels=(8, 8, 8, 16),
            layers_per_block=1, latent_channels=16, norm_num_groups=4, sample_size=SIZE, mid_block_add_attention=False,
            use_quant_conv=False, use_post_quant_conv=False, scaling_factor=0.3611, shift_factor=0.1159,
        )  # fmt: skip
        parts["transformer"] = diffusers.FluxTransformer2DModel(
            in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=24,
            pooled_projection_dim=16, guidance_embeds=distilled, axes_dims_rope=(4, 6, 6),
        )  # fmt: skip
        for tensor in parts["transformer"].parameters():
            tensor.data += 0.02 * torch.randn_like(tensor)
    shifts = {"shift": 3.0, "use_dynamic_shifting": True} if distilled else {"shift": 1.0}
    diffusers.FluxPipeline(**parts, scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**shifts)).save_pretrained(folder)
    return folder
