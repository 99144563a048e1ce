"""Whether a text encoder holds what its file says. transformers 4 puts `text_model.` before the names of a CLIPTextModel's weights,
transformers 5 does not and reads both; what transformers 4 does not find under its own name it fills with noise, in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from erase.checkpoints.folder import weight_files
from erase.checkpoints.safetensors_header import header, open_tensors
from erase.errors import InputError

PREFIX = "text_model."
WITNESS = "embeddings.position_embedding.weight"  # small, in every CLIP text encoder, and random before it is read
T5_LENGTH = 256
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


def check_tokens(component: Path, tokenizer: Any, encoder: Any) -> None:
    """InputError where the tokenizer in the folder `component` does not turn a prompt into tokens that its text encoder reads.

    A setting of the tokenizer may be of the wrong type, or name a word that gets a number of its own; nothing says so before a prompt.
    """
    positions = encoder.config.to_dict().get("max_position_embeddings")  # T5 has none, and no limit
    length = tokenizer.model_max_length if positions is not None else T5_LENGTH
    try:
        tokens = tokenizer(["a photo"], padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
    except Exception as error:  # the tokenizers raise a dozen kinds
        reason = next(iter(str(error).strip().splitlines()), "")[:160]
        problem = f"does not turn a prompt into tokens ({type(error).__name__}: {reason})"
        raise InputError(f"{component} {problem}; give the tokenizer that belongs to the model") from error
    words, positions = encoder.config.vocab_size, positions or T5_LENGTH
    if int(tokens.max()) >= words or tokens.shape[1] > positions:
        made = f"turns a prompt into {tokens.shape[1]} tokens with numbers up to {int(tokens.max())}"
        known = f"its text encoder reads {positions} with numbers below {words}"
        raise InputError(f"{component} {made}, and {known}; give the tokenizer that belongs to the model")


@contextmanager
def without_text_encoders(pipeline: Any) -> Iterator[None]:
    """Within, the pipeline has no text encoders, and computes where the parts are that it has: prompts are embedded before.

    T5 of Stable Diffusion 3 and FLUX has 4.8 billion weights, as many as a card may have left beside the transformer.
    """
    encoders = {name: part for name, part in pipeline.components.items() if name.startswith("text_encoder")}
    try:
        for name in encoders:
            setattr(pipeline, name, None)
        yield
    finally:
        for name, part in encoders.items():
            setattr(pipeline, name, part)


def _unread(component: Path) -> InputError:
    import transformers

    return InputError(
        f"transformers {transformers.__version__} does not read {component}, which a newer one has written, and would draw noise; "
        "pip install --upgrade transformers"
    )


def check_texts(folder: Path, pipeline: Any, parts: Sequence[str]) -> None:
    """InputError for a text encoder of a loaded pipeline that does not go with its files or with its tokenizer."""
    for part in parts:
        if part.startswith("text_encoder"):
            check_text_encoder(folder / part, getattr(pipeline, part))
            words = part.replace("text_encoder", "tokenizer")
            check_tokens(folder / words, getattr(pipeline, words), getattr(pipeline, part))
