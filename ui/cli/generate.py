"""`erase-concept generate`: images of a model."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from erase.errors import InputError
from erase.files import check_folder, check_own_folder
from erase.options import SAMPLING_STEPS, check, option
from ui.cli.display import Display, quiet_libraries
from ui.cli.flags import PROGRAM, Parser, add_flags

MARK = "manifest.jsonl"  # written before the first image


@dataclass(frozen=True)
class Generation:
    """How images are generated. None: the model's own default."""

    count: int = option(4, "images per prompt", low=1)
    seed: int = option(0, "seed of the noise", low=0)
    steps: int | None = option(None, "denoising steps (default: 25 for the embedded model, else 50)", low=1, high=SAMPLING_STEPS)
    guidance: float | None = option(None, "classifier-free guidance (default: 4 for the embedded model, else 7.5)", low=0.0)
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps")
    tokenizer: str | None = option(None, "folder with vocab.json and merges.txt of CLIP, for a .safetensors checkpoint")
    prediction_type: str | None = option(
        None, "what a .safetensors checkpoint predicts, if its metadata does not say so", choices=("epsilon", "v_prediction")
    )

    def __post_init__(self) -> None:
        check(self)


def generate(arguments: list[str]) -> int:
    """Generate images with a model, the original or an erased one."""
    example = f'example: {PROGRAM} generate demo --prompt "a striped red star" --count 8 --output pictures'
    parser = Parser(prog=f"{PROGRAM} generate", description=generate.__doc__, epilog=example)
    parser.add_argument("model", help="demo, a diffusers folder, a .safetensors checkpoint, or a hub name")
    parser.add_argument("--prompt", action="append", required=True, help="what the images show; repeat the flag for several prompts")
    parser.add_argument("--output", type=Path, required=True, help="folder for the images and manifest.jsonl")
    add_flags(parser, Generation)
    values = parser.parse_args(arguments)
    if not all(text.strip() for text in values.prompt):
        raise InputError(f"--prompt is {values.prompt}; expected prompts with words", option="prompt")
    check_folder(values.output)
    check_own_folder(values.output, MARK, "images of this command")
    options = Generation(**{item.name: value for item in fields(Generation) if (value := getattr(values, item.name)) is not None})
    from erase.demo import GUIDANCE, STEPS
    from erase.diffusion import locate, open_model, pick_device
    from erase.images import Callbacks, make_images
    from erase.pipeline.job import Event

    quiet_libraries()
    model = open_model(locate(values.model, options.tokenizer, options.prediction_type), pick_device(options.device))
    small = model.size <= 128
    sample = model.sampler(
        options.steps or (STEPS if small else 50), options.guidance if options.guidance is not None else GUIDANCE if small else 7.5
    )
    texts = [text for text in values.prompt for _ in range(options.count)]
    with Display() as display:
        callbacks = Callbacks(lambda done, total: display(Event("generate", done, total)))
        images = make_images(values.output, texts, options.seed, sample, 16 if small else 4, callbacks)
    print(f"{len(images)} images in {values.output}")
    return 0
