"""What a job is: its options and their defaults, its stages, and the events it shows while it runs. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erase.errors import InputError
from erase.options import SAMPLING_STEPS, SIDE, check, option

if TYPE_CHECKING:
    from erase.task import Step

DTYPES = ("float32", "float16", "bfloat16")
TEXT = "text-encoder"
PARTS = ("network", TEXT)
STAGES = ("images", "before", "latents", "erase", "export", "after")  # each reads and writes the run folder
PREVIEWED = ("evaluate", "evaluate-retain")  # roles of the prompts of which a preview draws the first


@dataclass(frozen=True)
class Event:
    """Something to show: `done` of `total` in a stage, the step where there is one, and the run folder whose stage it is."""

    stage: str
    done: int
    total: int
    step: Step | None = None
    note: str = ""
    folder: Path | None = None


Show = Callable[[Event], None]


@dataclass(frozen=True)
class Job:
    """What to erase, from what, and how much of everything. None: the model's own default."""

    concepts: tuple[str, ...] = option(
        (), "what to erase: the name of a concept file, its path, or plain words; repeat the flag to erase several concepts together"
    )
    model: str | None = option(
        None,
        "demo, a diffusers folder, a .safetensors checkpoint, a hub name, or the folder of an earlier run; by default the one that the "
        "concept file names",
    )
    tokenizer: str | None = option(None, "folder with vocab.json and merges.txt of CLIP, which a .safetensors checkpoint does not hold")
    parts: str | None = option(
        None,
        "diffusers folder, or hub name, with the text encoders, tokenizers and autoencoder that a .safetensors transformer of FLUX.1 or "
        "Stable Diffusion 3 lacks",
    )
    prediction_type: str | None = option(
        None, "what a .safetensors checkpoint predicts, if its metadata does not say so", choices=("epsilon", "v_prediction")
    )
    method: str = option("scissorhands", "how to erase; `erase-concept methods` lists them")
    preset: str = option("balanced", "a named set of values for the method's options")
    part: str = option(
        "network", "what is edited: the UNet or transformer (network), or the text encoders of CLIP in front of it", choices=PARTS
    )
    output: str | None = option(None, "run folder; by default runs/<concept>-<model>-<method>-<n>")
    seed: int = option(0, "seed of everything random", low=0)
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps")
    dtype: str = option("float32", "precision of the forward passes; weights are trained in float32", choices=DTYPES)
    anchor: str | None = option(None, "what replaces the concept in prompts: words, separated by commas")
    stay_gone: bool = option(
        True, "if --model is an earlier run, also keep its concepts erased: their prompts are part of the forget set and of the evaluation"
    )
    forget_images: str | None = option(None, "folder of images of the concept, instead of generating them")
    forget_image_captions: str | None = option(None, "captions of --forget-images: a .csv (file,prompt) or .jsonl file")
    retain_images: str | None = option(None, "folder of images to retain, with captions, instead of generating them")
    retain_image_captions: str | None = option(None, "captions of --retain-images: a .csv (file,prompt) or .jsonl file")
    forget_count: int | None = option(None, "images of the concept to generate", low=1)
    retain_count: int | None = option(None, "images to retain to generate", low=1)
    evaluate_count: int | None = option(
        None,
        "evaluation images before and after whose prompts name the concept; as many that do not, and half as many that describe it",
        low=1,
    )
    size: int | None = option(
        None, "side of the images in pixels, a multiple of 8; by default the size that the model was trained on", low=8, high=SIDE
    )
    sampling_steps: int | None = option(None, "denoising steps per image", low=1, high=SAMPLING_STEPS)
    guidance: float | None = option(None, "classifier-free guidance scale", low=0.0)
    sampling_batch: int | None = option(None, "images generated at once", low=1)
    lora_rank: int | None = option(
        None,
        "train low-rank factors (LoRA) of this rank in place of the weights in --scope, which stay as they are, in the dtype of their file "
        "where --dtype is the same",
        low=1,
        added_in="0.1.1",
    )
    micro_batch: int | None = option(
        None, "images per forward and backward pass in repair, by default as many as fit in memory; the batch size stays the same", low=1
    )
    checkpointing: bool | None = option(
        None, "gradient checkpointing: less memory for a third more time; by default only if nothing else fits in memory"
    )
    preview_every: int = option(0, "while erasing, generate two images with the current model every N steps; 0: never", low=0)
    overwrite: bool = option(False, "start again in a run folder that holds another run")

    def __post_init__(self) -> None:
        check(self)
        if isinstance(self.concepts, str):
            raise InputError(f"concepts is {self.concepts!r}; expected a tuple of names, as ({self.concepts!r},)", option="concepts")
        if self.size is not None and self.size % 8:
            raise InputError(
                f"--size is {self.size}; expected a multiple of 8, as {self.size // 8 * 8} or {self.size // 8 * 8 + 8}", option="size"
            )
        for role in ("forget", "retain"):
            if getattr(self, f"{role}_image_captions") is not None and getattr(self, f"{role}_images") is None:
                raise InputError(f"--{role}-image-captions describes the images of --{role}-images, which is missing; give both")
            if getattr(self, f"{role}_count") is not None and getattr(self, f"{role}_images") is not None:
                raise InputError(
                    f"--{role}-count is the number of images to generate, and --{role}-images provides them; give one of the two"
                )


EVALUATED = 80  # with fewer than 73, no result whatever excludes a loss of 5 points in what is kept, and no verdict is sure
DEFAULTS = {  # of options that are None: the embedded model, and Stable Diffusion (400 and 400 images as in the paper)
    True: {
        "forget_count": 96, "retain_count": 288, "evaluate_count": EVALUATED, "sampling_steps": 25, "guidance": 4.0, "sampling_batch": 48,
    },
    False: {
        "forget_count": 400, "retain_count": 400, "evaluate_count": EVALUATED, "sampling_steps": 50, "guidance": 7.5, "sampling_batch": 4,
    },
}  # fmt: skip
EARLIER: dict[str, tuple[Any, ...]] = {"evaluate_count": (48, 50)}  # defaults that earlier versions had


def as_begun(job: Job, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults of an earlier version, of options that the job leaves open: a folder that was begun with them is resumed with them."""
    return {name: recorded[name] for name, values in EARLIER.items() if getattr(job, name) is None and recorded.get(name) in values}
