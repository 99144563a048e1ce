"""`erase-concept generate`: images of a model."""

from __future__ import annotations

from pathlib import Path

from erase.errors import InputError
from ui.cli.display import Display, quiet_libraries
from ui.cli.flags import PROGRAM, Parser


def generate(arguments: list[str]) -> int:
    """Generate images with a model, the original or an erased one."""
    example = f'example: {PROGRAM} generate demo --prompt "a striped red star" --count 8 --output pictures'
    parser = Parser(prog=f"{PROGRAM} generate", description=generate.__doc__, epilog=example)
    parser.add_argument("model", help="demo, a diffusers folder, a .safetensors checkpoint, or a hub name")
    parser.add_argument("--prompt", action="append", required=True, help="what the images show; repeat the flag for several prompts")
    parser.add_argument("--output", type=Path, required=True, help="folder for the images and manifest.jsonl")
    parser.add_argument("--count", type=int, default=4, help="images per prompt (default: 4)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise (default: 0)")
    parser.add_argument("--steps", type=int, help="denoising steps (default: 25 for the embedded model, else 50)")
    parser.add_argument("--guidance", type=float, help="classifier-free guidance (default: 4 for the embedded model, else 7.5)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    parser.add_argument("--tokenizer", help="folder with vocab.json and merges.txt of CLIP, for a .safetensors checkpoint")
    parser.add_argument(
        "--prediction-type",
        choices=("epsilon", "v_prediction"),
        help="what a .safetensors checkpoint predicts, if its metadata does not say so",
    )
    options = parser.parse_args(arguments)
    if options.count < 1 or not all(p.strip() for p in options.prompt):
        raise InputError(f"--count is {options.count} and --prompt {options.prompt}; expected a count of at least 1 and prompts with words")
    if options.steps is not None and options.steps < 1:
        raise InputError(f"--steps is {options.steps}; expected at least 1")
    if options.guidance is not None and not 0 <= options.guidance < float("inf"):
        raise InputError(f"--guidance is {options.guidance}; expected a number of at least 0")
    from erase.demo import GUIDANCE, STEPS
    from erase.diffusion import locate, open_model, pick_device
    from erase.images import Callbacks, make_images
    from erase.pipeline.job import Event

    quiet_libraries()
    model = open_model(locate(options.model, options.tokenizer, options.prediction_type), pick_device(options.device))
    small = model.size <= 128
    sample = model.sampler(
        options.steps or (STEPS if small else 50), options.guidance if options.guidance is not None else GUIDANCE if small else 7.5
    )
    texts = [text for text in options.prompt for _ in range(options.count)]
    with Display() as display:
        callbacks = Callbacks(lambda done, total: display(Event("generate", done, total)))
        images = make_images(options.output, texts, options.seed, sample, 16 if small else 4, callbacks)
    print(f"{len(images)} images in {options.output}")
    return 0
