"""Taking an erased model away: for each program the format that it loads, where its file goes, and what loads it. Without gradio or torch.

What is said here of a model comes from its configuration. The command that writes a file checks all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from erase.checkpoints.folder import edited_part
from erase.errors import InputError
from erase.files import read_object
from ui.web.shelf.listing import Shelved, folder_size
from ui.web.units import size

PUBLISHED = {
    "StableDiffusionPipeline": "Stable Diffusion", "StableDiffusionXLPipeline": "Stable Diffusion XL",
    "StableDiffusion3Pipeline": "Stable Diffusion 3", "FluxPipeline": "FLUX.1",
}  # fmt: skip
SMALL = ("lora", "diffusers-lora", "difference")
NO_PROTECTION = "It is no protection: whoever has the original leaves this file out. To pass on a model without the concept, take it whole."
FLUX_PLACE = "models/diffusion_models"
HEADS = 8  # of every attention of Stable Diffusion 1.x; a single file has no place to say otherwise


@dataclass(frozen=True)
class Tool:
    """A program: what it is called, the format it loads, the folder for the file, and what to do there."""

    label: str
    form: str
    place: str
    then: str


TOOLS = {
    "diffusers": Tool("diffusers (Python)", "folder", "", ""),
    "a1111": Tool(
        "A1111 or Forge", "single-file", "models/Stable-diffusion", "Refresh the list of checkpoints at the top left and choose it."
    ),
    "comfyui": Tool("ComfyUI", "single-file", "models/checkpoints", "Press R, then choose it in the node Load Checkpoint."),
    "invokeai": Tool("InvokeAI", "single-file", "any folder", "Models → Add Model → the path of the file → Install."),
    "unet": Tool("The changed network alone", "unet", "", ""),
    "comfyui-lora": Tool(
        "ComfyUI, as a LoRA", "lora", "models/loras",
        "Press R, then choose it in the node Load LoRA (model only), behind the original model.",
    ),
    "a1111-lora": Tool("A1111, Forge or InvokeAI, as a LoRA", "lora", "models/Lora", "Write <lora:{name}:1> into the prompt."),
    "diffusers-lora": Tool("diffusers, as a LoRA", "diffusers-lora", "", ""),
    "comfyui-difference": Tool(
        "ComfyUI, exact difference", "difference", "models/loras",
        "Press R, then choose it in the node Load LoRA (model only), behind the original model. A1111 and Forge read it from models/Lora.",
    ),
}  # fmt: skip


def choices() -> list[tuple[str, str]]:
    """(label, name) of the programs."""
    return [(tool.label, name) for name, tool in TOOLS.items()]


def obstacle(model: Path, form: str) -> str:
    """Why a format has no place for a model; empty where nothing is known that speaks against it."""
    if form not in ("single-file", "lora", "difference"):
        return ""
    index, unet, text = (_json(model / name) for name in ("model_index.json", "unet/config.json", "text_encoder/config.json"))
    kind = str(index.get("_class_name"))
    if kind not in PUBLISHED:
        return f"such a program reads one file only of {' and '.join(PUBLISHED.values())}, and this is a {kind}"
    heads = unet.get("attention_head_dim", HEADS)
    if kind == "StableDiffusionPipeline" and text.get("hidden_act") != "gelu" and heads != HEADS:
        return (
            "such a program builds the network by the published layout of Stable Diffusion, and this one is smaller "
            f"({heads} attention heads, not {HEADS}): the embedded models load in diffusers only"
        )
    return ""


def _json(path: Path) -> Mapping[str, Any]:
    try:
        return read_object(path)
    except (InputError, OSError, ValueError):
        return {}


def instructions(run: Shelved, name: str, private: bool) -> tuple[str, bool]:
    """What to do for a program, as HTML, and whether the file can be written. `private`: the page shows paths of this machine."""
    tool = TOOLS.get(name) or TOOLS["diffusers"]
    model = run.folder / "model"
    if not run.has_model:
        return "<p class=muted>No erased model is here yet.</p>", False
    if reason := obstacle(model, tool.form):
        return f'<p class="muted cannot">Not for {escape(tool.label)}: {escape(reason)}.</p>', False
    return _lines(run, tool, model, private), True


def _lines(run: Shelved, tool: Tool, model: Path, private: bool) -> str:
    kind, network = str(_json(model / "model_index.json").get("_class_name") or "DiffusionPipeline"), edited_part(model).name
    alone = tool.form == "unet" or (tool.form == "single-file" and kind == "FluxPipeline")
    room = folder_size(model if not alone else model / network)
    parts = [f"<p>About {size(room)}, half of it in float16.</p>"] if tool.form not in SMALL else []
    here = str(model.resolve()) if private else f"{run.name}, unpacked"
    if tool.form == "folder":
        code = f'from diffusers import {kind}\n\npipe = {kind}.from_pretrained("{here}")\npipe("a prompt").images[0].save("picture.png")'
        parts.append(f"<pre class=lines tabindex=0>{escape(code)}</pre>")
    elif tool.form == "unet":
        code = f'from safetensors.torch import load_file\n\npipe.{network}.load_state_dict(load_file("{run.name}.safetensors"))'
        parts.append(f"<p>Into the pipeline of the original:</p><pre class=lines tabindex=0>{escape(code)}</pre>")
    elif tool.form == "diffusers-lora":
        code = f'pipe.load_lora_weights("{run.name}-diffusers-lora.safetensors", adapter_name="erase")\npipe.set_adapters("erase", 1.0)'
        parts.append(f"<p>Into the pipeline of the original:</p><pre class=lines tabindex=0>{escape(code)}</pre>")
    elif tool.form == "single-file" and kind == "FluxPipeline":
        place = FLUX_PLACE if tool is TOOLS["comfyui"] else tool.place
        node = " Press R, then choose it in the node Load Diffusion Model." if tool is TOOLS["comfyui"] else ""
        parts.append(f"<p>Put the file into <b>{place}</b>.{node} It is the transformer alone: the other parts are those you have.</p>")
    else:
        parts.append(f"<p>Put the file into <b>{escape(tool.place)}</b>. {escape(tool.then.format(name=f'{run.name}-{tool.form}'))}</p>")
    if tool.form in SMALL:
        kept = "Every bit of the change." if tool.form == "difference" else "A part of the change."
        parts.append(f"<p>{kept} {NO_PROTECTION}</p>")
    if private and tool.form != "folder":
        parts.append(f"<p class=muted>On this machine: <code>{escape(str(model.resolve()))}</code></p>")
    return "".join(parts)
