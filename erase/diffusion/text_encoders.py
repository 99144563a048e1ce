"""Whether a text encoder holds what its file says. transformers 4 puts `text_model.` before the names of a CLIPTextModel's weights,
transformers 5 does not and reads both; what transformers 4 does not find under its own name it fills with noise, in silence.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from erase.checkpoints.folder import weight_files
from erase.checkpoints.safetensors_header import header, open_tensors
from erase.errors import InputError

PREFIX = "text_model."
WITNESS = "embeddings.position_embedding.weight"  # small, in every CLIP text encoder, and random before it is read
NEAR = 0.1  # relative distance: rounding to bfloat16 stays below 0.01, noise is beyond 1


def check_text_encoder(component: Path, encoder: nn.Module) -> None:
    """InputError where the weights in the folder `component` did not reach `encoder`, fresh from `from_pretrained`."""
    value = {name.removeprefix(PREFIX): tensor for name, tensor in encoder.state_dict().items()}.get(WITNESS)
    for path in weight_files(component).values():
        name = next((name for name in (WITNESS, PREFIX + WITNESS) if path.suffix == ".safetensors" and name in header(path)[0]), None)
        if value is None or name is None:
            continue
        with open_tensors(path) as file:
            stored = file.get_tensor(name).float()
        if (value.float().cpu() - stored).norm() > NEAR * stored.norm():
            raise _unread(component)


def _unread(component: Path) -> InputError:
    import transformers

    return InputError(
        f"transformers {transformers.__version__} does not read {component}, which a newer one has written, and would draw noise; "
        "pip install --upgrade transformers"
    )
