"""Taking an erased model away: for each program the format that it loads, where its file goes, and what loads it. Without gradio or torch.

What is said here of a model comes from its configuration. The command that writes a file checks all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.files import read_object
from ui.web.shelf.listing import Shelved, folder_size
from ui.web.units import size

PUBLISHED = {"StableDiffusionPipeline": "Stable Diffusion", "StableDiffusionXLPipeline": "Stable Diffusion XL"}
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
    "unet": Tool("The changed UNet alone", "unet", "", ""),
}


def choices() -> list[tuple[str, str]]:
    """(label, name) of the programs."""
    return [(tool.label, name) for name, tool in TOOLS.items()]


def obstacle(model: Path, form: str) -> str:
    """Why a format has no place for a model; empty where nothing is known that speaks against it."""
    if form != "single-file":
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
    room = folder_size(model if tool.form != "unet" else model / "unet")
    parts = [f"<p>About {size(room)}, half of it in float16.</p>"]
    here = str(model.resolve()) if private else f"{run.name}, unpacked"
    if tool.form == "folder":
        kind = str(_json(model / "model_index.json").get("_class_name") or "DiffusionPipeline")
        code = f'from diffusers import {kind}\n\npipe = {kind}.from_pretrained("{here}")\npipe("a prompt").images[0].save("picture.png")'
        parts.append(f"<pre class=lines>{escape(code)}</pre>")
    elif tool.form == "unet":
        code = f'from safetensors.torch import load_file\n\npipe.unet.load_state_dict(load_file("{run.name}.safetensors"))'
        parts.append(f"<p>Into the pipeline of the original:</p><pre class=lines>{escape(code)}</pre>")
    else:
        parts.append(f"<p>Put the file into <b>{escape(tool.place)}</b>. {escape(tool.then)}</p>")
    if private and tool.form != "folder":
        parts.append(f"<p class=muted>On this machine: <code>{escape(str(model.resolve()))}</code></p>")
    return "".join(parts)
