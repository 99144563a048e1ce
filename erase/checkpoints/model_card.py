"""The model card of an exported model: what was erased, how, from what, what was measured, how to load it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from erase.checkpoints.folder import FLOW, GUIDANCE, model_index, read_provenance
from erase.files import written

GUIDED = """# A model with guidance, and the weights of the source

Nothing was erased here: erase-concept leads away from a text (safe_guidance.json) while it draws images with this folder. Whatever else
loads it draws the concept as before.

## How it was made
"""


def markdown(value: object) -> str:
    """A text from elsewhere (a folder, a concept, a prompt) as one line of Markdown that shows it, whatever it holds."""
    return re.sub(r"([\\`*_\[\]<>|#~$&])", r"\\\1", " ".join(str(value).split()))


def code(value: object) -> str:
    """A text from elsewhere as code in a cell of a table."""
    line = " ".join(str(value).split()).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"{fence}{line}{fence}"


def write_card(folder: Path, measured: str = "") -> None:
    """README.md of an exported folder; call it again once there are numbers (`measured`, a block of Markdown)."""
    index = model_index(folder)
    card = model_card(read_provenance(folder), measured, pipeline=str(index.get("_class_name")), arguments=absent_parts(index))
    if (folder / GUIDANCE).is_file():
        card = f"{GUIDED}\n{card.partition('## How it was made')[2].partition('## What it is for')[0]}"
    with written(folder / "README.md") as part:
        part.write_text(card, encoding="utf-8")


def absent_parts(index: Mapping[str, Any]) -> str:
    """What has to be said when a pipeline is loaded that lacks T5: diffusers asks for every part."""
    names = ("text_encoder_3", "tokenizer_3")
    return "".join(f", {name}=None" for name in names if index.get(name) == [None, None])


LOADING = {  # format -> how it is loaded
    "folder": 'pipeline = {pipeline}.from_pretrained("this/folder"{arguments})',
    "single-file": "pipeline = {pipeline}.from_single_file({file})",
    "unet": 'pipeline = {pipeline}.from_pretrained("the/source/model")\npipeline.{part}.load_state_dict(load_file({file}))',
    "transformer": "transformer = {network}.from_single_file({file})\n"
    'pipeline = {pipeline}.from_pretrained("the/source/model", transformer=transformer)',
}
NETWORKS = {"FluxPipeline": "FluxTransformer2DModel", "StableDiffusion3Pipeline": "SD3Transformer2DModel"}


def model_card(
    provenance: Mapping[str, Any],
    measured: str = "",
    form: str = "folder",
    file: str = "",
    pipeline: str = "StableDiffusionPipeline",
    arguments: str = "",
) -> str:
    """Markdown: what was erased, how, from what, what was measured, what that does not tell, and how to load it."""
    concept, method = provenance.get("concept", "a concept"), provenance.get("method", "an unlearning method")
    rows = {markdown(name): code(value) for name, value in provenance.items() if not name.startswith("modelspec.")}
    part, tag = ("transformer", "flow-matching") if pipeline in FLOW else ("UNet", "stable-diffusion")
    where, kept = ("text encoder", f"the {part}") if "edited" in provenance else (part, "the text encoder")
    facts = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    loading, network = LOADING["transformer" if form == "single-file" and pipeline in FLOW else form], NETWORKS.get(pipeline, "")
    classes = f"{network}, {pipeline}" if "{network}" in loading else pipeline
    imports = f"from diffusers import {classes}" + ("\nfrom safetensors.torch import load_file" if form == "unet" else "")
    return f"""---
library_name: diffusers
pipeline_tag: text-to-image
tags: [{tag}, concept-erasure, machine-unlearning]
---

# {markdown(provenance.get("source", "A diffusion model"))} without {markdown(concept)}

The concept **{markdown(concept)}** was removed from the weights of the {where} with {markdown(method)} (erase-concept).
The other parts, including {kept} and the autoencoder, are those of the source model. Its licence and its limitations
apply here too.

```python
{imports}
{loading.format(pipeline=pipeline, file=json.dumps(file), arguments=arguments, network=network, part=part.lower())}
pipeline("a prompt").images[0].save("picture.png")
```

## How it was made

| | |
|---|---|
{facts}

`source_sha256` is the hash of the original {part} weights. The metadata of the weight files has the same facts.
Which weights were changed is not published here: that list helps to restore the concept (arXiv 2603.06640).

{measured.strip() + chr(10) + chr(10) if measured else ""}## What it is for

For publishing or running the model without this concept, together with other safeguards. **It is not a proof of absence**: the
measurements cover the prompts, seeds and detector that they name. Indirect descriptions, adversarial prompts or further
training may restore the concept; test it for your own use.
"""
