"""The options of `erase-concept evaluate`, and of relearning: ordinary fine-tuning of an erased model on the forget set."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.files import real_path
from erase.options import SAMPLING_STEPS, SIDE, check, option

SAMPLING = ("steps", "guidance", "size", "batch", "count", "negative")  # options of how images are generated
FIRST = 5  # steps of relearning to the first images; from there on twice as many
RATES = {True: 1e-4, False: 1e-5}  # learning rate of relearning: of the embedded model, and of Stable Diffusion
BIAS = ("bias", "neutral", "bias_count")  # options of what is drawn where prompts leave it open
NO_NUMBER = ("model", "output", "overwrite", "uncensored")  # options that change no number


@dataclass(frozen=True)
class ToolOptions:
    """The options of what images are measured with; None: not requested."""

    detector: str | None = None
    inception: str | None = None
    clip: str | None = None
    imagenet: str | None = None
    lpips: str | None = None
    q16: str | None = None
    device: str = "cpu"

    @classmethod
    def from_record(cls, record: Mapping[str, Any] | None, device: str) -> ToolOptions:
        """From the entry `asked` of an options.json."""
        return cls(**{name: value for name in MEASURING if (value := (record or {}).get(name))}, device=device)


MEASURING = tuple(item.name for item in fields(ToolOptions) if item.name != "device")


@dataclass(frozen=True)
class Evaluation:
    """What is measured, and how. None: as the protocol has it, else the model's default."""

    model: str = option("", "a run folder, a pipeline folder, a .safetensors checkpoint, or a hub name")
    original: str | None = option(None, "the model before the erasure; a run folder has its own")
    concept: str | None = option(None, "name or path of a concept file, or plain words; a run folder has its own")
    protocol: str | None = option(None, "name or path of a protocol (`erase-concept protocols`); by default the concept's prompts")
    prompts: str | None = option(None, "prompts of a protocol that does not include them: a .csv, .tsv, .jsonl or .txt file")
    before: str | None = option(None, "folder of the original's images, instead of generating them")
    after: str | None = option(None, "folder of the erased model's images, in the same order")
    reference: str | None = option(None, "folder of real images for FID and KID, instead of the original's")
    detector: str | None = option(None, "judge, scenes, emoji, nudenet, imagenet, clip, q16, or your own as file.py:function")
    inception: str | None = option(None, "measure FID: file of the Inception weights, or auto (torch's cache, else downloaded)")
    imagenet: str | None = option(None, "file of ResNet-50's weights for the detector imagenet, if they are not in torch's cache")
    lpips: str | None = option(None, "measure LPIPS: file of AlexNet's weights")
    q16: str | None = option(None, "file of the soft prompts of the detector q16: .safetensors, made of the published pickle")
    clip: str | None = option(None, "measure CLIP scores: folder of a CLIP in open_clip's format, or MODEL:PRETRAINED of the hub")
    count: int | None = option(
        None, "images that name the concept, as many others, half as many implicit; an evaluation with fewer grows (default: 50)", low=1
    )
    output: str | None = option(None, "folder of the evaluation; by default evaluations/<model>-<protocol>")
    steps: int | None = option(None, "denoising steps per image", low=1, high=SAMPLING_STEPS)
    guidance: float | None = option(None, "classifier-free guidance scale", low=0.0)
    size: int | None = option(None, "width and height of the images in pixels", low=8, high=SIDE)
    batch: int | None = option(None, "images generated at once", low=1)
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps")
    dtype: str = option("float32", "number format of the networks", choices=("float32", "float16", "bfloat16"))
    tokenizer: str | None = option(None, "folder with CLIP's tokenizer, for an original that is a .safetensors checkpoint")
    parts: str | None = option(
        None,
        "diffusers folder, or hub name, with the text encoders, tokenizers and autoencoder that a .safetensors transformer of FLUX.1 or "
        "Stable Diffusion 3 lacks",
    )
    lora: str | None = option(None, "a LoRA or difference file (.safetensors), measured on top of the original instead of the erased model")
    strength: float = option(1.0, "strength of --lora, as in the prompt or the node of other programs", low=-8.0, high=8.0)
    negative: str | None = option(None, "negative prompt of every image, before and after")
    bias: bool = option(False, "also measure what both models draw where a prompt leaves it open: colours, styles, or how people look")
    neutral: str | None = option(None, "neutral prompts of --bias: shapes, scenes, emoji, people or a .toml file; by default the model's")
    bias_count: int | None = option(None, "images of neutral prompts of each model, for --bias (default: 96)", low=4)
    skip_broken: bool = option(False, "leave out pairs of --before and --after with a broken image, and report them, instead of stopping")
    uncensored: bool = option(False, "show images of nudity in report.html unblurred")
    overwrite: bool = option(False, "start again in a folder that holds another evaluation")

    def __post_init__(self) -> None:
        check(self)
        if (self.before is None) != (self.after is None):
            message = "--before and --after belong together: the original's images and the erased model's; give both"
            raise InputError(message, option="after" if self.after is None else "before")
        if self.before is not None and real_path(Path(self.before)) == real_path(Path(str(self.after))):
            message = f"--before and --after are the same folder, {self.before}; give the original's and the erased model's"
            raise InputError(message, option="after")
        if self.lora is None and self.strength != 1:
            raise InputError("--strength is that of --lora, which is missing; give both", option="strength")
        if self.lora is not None and self.before is not None:
            raise InputError("--lora is drawn with, but --before and --after are images already; give one of the two", option="lora")
        sampling = [name for name in SAMPLING if getattr(self, name) is not None]
        if self.before is not None and sampling:
            message = f"--{sampling[0]} is about generating images, but --before and --after are images already; give one of the two"
            raise InputError(message, option=sampling[0])
        if self.before is None and self.skip_broken:
            message = "--skip-broken is about the images of --before and --after, which are missing; leave it out"
            raise InputError(message, option="skip_broken")
        if self.bias and self.before is not None:
            raise InputError("--bias draws images of its own, and --before and --after have none; give the models", option="bias")
        if not self.bias and (unused := next((name for name in BIAS[1:] if getattr(self, name) is not None), None)):
            raise InputError(f"--{unused.replace('_', '-')} is of --bias, which is missing; give both", option=unused)
        if self.size is not None and self.size % 8:
            raise InputError(f"--size is {self.size}; expected a multiple of 8", option="size")
        if self.prompts is not None and self.protocol is None:
            raise InputError("--prompts are the prompts of a protocol; name it with --protocol", option="protocol")
        if self.count is not None and self.protocol is not None:
            message = f"--count is for the concept's own prompts, and --protocol {self.protocol} has its own; give one of the two"
            raise InputError(message, option="count")

    def tools(self) -> dict[str, str | None]:
        """The options of what images are measured with, by name."""
        return {name: getattr(self, name) for name in MEASURING}

    def command(self) -> str:
        """The command line that repeats it."""
        plain = asdict(Evaluation())
        chosen = {name: value for name, value in asdict(self).items() if value != plain[name] and name not in NO_NUMBER}
        words = ["erase-concept", "evaluate", *([self.model] if self.model else [])]
        for name, value in chosen.items():
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
        return shlex.join(words)


@dataclass(frozen=True)
class Relearning:
    """The options of fine-tuning an erased model on the concept."""

    relearn: int = option(0, "steps of ordinary fine-tuning on the forget set, to see how fast the concept returns; 0: none", low=0)
    relearn_count: int = option(16, "images of the concept at each of its checkpoints (0, 5, 10, 20, 40, ... steps)", low=1)
    relearn_rate: float | None = option(
        None, "learning rate of that fine-tuning by Adam; by default 1e-4 for the embedded model, else 1e-5", above=0.0
    )
    relearn_batch: int = option(16, "batch size of that fine-tuning", low=1)

    def __post_init__(self) -> None:
        check(self)

    def checkpoints(self) -> list[int]:
        """Steps after which images are generated: 0, 5, 10, 20, ..., and the last."""
        doubled = [FIRST * 2**k for k in range(64) if FIRST * 2**k < self.relearn]
        return [0, *doubled, self.relearn]
