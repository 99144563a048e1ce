"""What a job is: its options, what stands for those that are not given, and what there is to show while it runs.

Knows the configuration of a model folder, loads nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from erase.errors import InputError
from erase.options import check, option

if TYPE_CHECKING:
    from erase.task import Step

DTYPES = ("float32", "float16", "bfloat16")
STAGES = ("images", "before", "latents", "erase", "export", "after")  # each reads and writes the run folder


@dataclass(frozen=True)
class Event:
    """Something to show: `done` of `total` in a stage, and the step where there is one."""

    stage: str
    done: int
    total: int
    step: Step | None = None
    note: str = ""


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
    prediction_type: str | None = option(
        None, "what a .safetensors checkpoint predicts, where it does not say so itself", choices=("epsilon", "v_prediction")
    )
    method: str = option("scissorhands", "how to erase; `erase-concept methods` lists them")
    preset: str = option("balanced", "a named set of values for the method's options")
    output: str | None = option(None, "run folder; by default runs/<concept>-<model>-<method>-<n>")
    seed: int = option(0, "everything random follows from it", low=0)
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps")
    dtype: str = option("float32", "arithmetic of the networks; weights are trained in float32", choices=DTYPES)
    anchor: str | None = option(None, "what takes the concept's place: words, separated by commas")
    stay_gone: bool = option(
        True, "where --model is an earlier run, what it erased stays gone: its prompts are forgotten along, and the evaluation checks it"
    )
    forget_images: str | None = option(None, "folder of pictures of the concept, instead of drawing them")
    forget_image_captions: str | None = option(None, "captions of --forget-images: a .csv (file,prompt) or .jsonl file")
    retain_images: str | None = option(None, "folder of pictures to keep, with captions, instead of drawing them")
    retain_image_captions: str | None = option(None, "captions of --retain-images: a .csv (file,prompt) or .jsonl file")
    forget_count: int | None = option(None, "pictures of the concept that are drawn", low=1)
    retain_count: int | None = option(None, "pictures to keep that are drawn", low=1)
    evaluate_count: int | None = option(
        None, "pictures before and after that name the concept; as many that do not, and half as many implicit", low=1
    )
    size: int | None = option(None, "side of the pictures in pixels, a multiple of 8; by default that of the model's training", low=8)
    sampling_steps: int | None = option(None, "denoising steps a picture", low=1)
    guidance: float | None = option(None, "classifier-free guidance of sampling", low=0.0)
    sampling_batch: int | None = option(None, "pictures drawn at once", low=1)
    micro_batch: int | None = option(
        None, "pictures through the network at once in repair; by default as many as fit. The batch stays what it is", low=1
    )
    checkpointing: bool | None = option(
        None, "gradient checkpointing: less memory for a third more time; by default only where nothing else fits"
    )
    preview_every: int = option(0, "while erasing, draw two pictures with the model as it is now, every so many steps; 0: never", low=0)
    overwrite: bool = option(False, "start anew in a run folder that holds another run")

    def __post_init__(self) -> None:
        check(self)
        if isinstance(self.concepts, str):
            raise InputError(f"concepts is {self.concepts!r}; expected a tuple of names, as ({self.concepts!r},)", option="concepts")
        if self.size is not None and self.size % 8:
            raise InputError(f"--size is {self.size}; expected a multiple of 8, as {self.size // 8 * 8} or {self.size // 8 * 8 + 8}")
        for role in ("forget", "retain"):
            if getattr(self, f"{role}_image_captions") is not None and getattr(self, f"{role}_images") is None:
                raise InputError(f"--{role}-image-captions describes the pictures of --{role}-images, which is not given; give both")
            if getattr(self, f"{role}_count") is not None and getattr(self, f"{role}_images") is not None:
                raise InputError(
                    f"--{role}-count is how many pictures are drawn, but --{role}-images brings them along; give one of the two"
                )


DEFAULTS = {  # what None stands for: the embedded model, and Stable Diffusion (400 and 400 pictures as in the paper)
    True: {"forget_count": 96, "retain_count": 288, "evaluate_count": 48, "sampling_steps": 25, "guidance": 4.0, "sampling_batch": 48},
    False: {"forget_count": 400, "retain_count": 400, "evaluate_count": 50, "sampling_steps": 50, "guidance": 7.5, "sampling_batch": 4},
}


# --- facts about the model and the machine --------------------------------------------------------------------------
