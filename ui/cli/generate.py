"""`erase-concept generate`: images of a model."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.files import check_folder, check_own_folder
from erase.options import SAMPLING_STEPS, check, option
from ui.cli.display import Display, quiet_libraries
from ui.cli.flags import PROGRAM, Parser, add_flags

MARK = "manifest.jsonl"  # written before the first image


@dataclass(frozen=True)
class Generation:
    """How images are generated. None: the model's own default."""

    count: int | None = option(None, "images per prompt (default: 4, and 1 of each row of --prompts)", low=1)
    seed: int | None = option(
        None,
        "seed of the noise (default: 0), from which each image takes another part; a seed in a row of --prompts is of its image alone, and "
        "so are those of the web page, which counts them up (its prompts.csv draws the same images)",
        low=0,
    )
    steps: int | None = option(None, "denoising steps (default: 25 for the embedded model, else 50)", low=1, high=SAMPLING_STEPS)
    guidance: float | None = option(
        None,
        "classifier-free guidance (default: that of the row of --prompts, else 4 for the embedded model, 3.5 for FLUX.1, 7.5 for others)",
        low=0.0,
    )
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps")
    tokenizer: str | None = option(None, "folder with vocab.json and merges.txt of CLIP, for a .safetensors checkpoint")
    parts: str | None = option(
        None,
        "diffusers folder, or hub name, with the text encoders, tokenizers and autoencoder that a .safetensors transformer of FLUX.1 or "
        "Stable Diffusion 3 lacks",
    )
    prediction_type: str | None = option(
        None, "what a .safetensors checkpoint predicts, if its metadata does not say so", choices=("epsilon", "v_prediction")
    )

    def __post_init__(self) -> None:
        check(self)


def generate(arguments: list[str]) -> int:
    """Generate images with a model, the original or an erased one."""
    example = f"""examples:
  {PROGRAM} generate demo --prompt "a striped red star" --count 8 --output pictures
  {PROGRAM} generate runs/nudity-1/model --prompts nudity.csv --output pictures    each row with its own seed and guidance"""
    parser = Parser(
        prog=f"{PROGRAM} generate", description=generate.__doc__, epilog=example, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="demo, a diffusers folder, a .safetensors checkpoint, or a hub name")
    parser.add_argument("--prompt", action="append", default=[], help="what the images show; repeat the flag for several prompts")
    parser.add_argument(
        "--prompts", type=Path, metavar="FILE", help="a prompt set instead: .csv, .tsv, .jsonl, or .txt with one prompt per line"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the images and manifest.jsonl")
    add_flags(parser, Generation)
    values = parser.parse_args(arguments)
    if bool(values.prompt) == (values.prompts is not None):
        raise InputError("generate draws the prompts of --prompt or those of the file --prompts; give one of the two", option="prompt")
    if not all(text.strip() for text in values.prompt):
        raise InputError(f"--prompt is {values.prompt}; expected prompts with words", option="prompt")
    check_folder(values.output)
    check_own_folder(values.output, MARK, "images of this command")
    options = Generation(**{item.name: value for item in fields(Generation) if (value := getattr(values, item.name)) is not None})
    images = _draw(values.model, options, values.output, *_prompts(values.prompt, values.prompts, options))
    print(f"{images} images in {values.output}")
    return 0


def _prompts(texts: list[str], file: Path | None, options: Generation) -> tuple[list[Mapping[str, Any]], bool]:
    """One row per image, and whether each starts from the noise of its own seed alone, as published scripts draw a prompt set."""
    if file is None:
        return [{"text": text, "seed": options.seed or 0} for text in texts for _ in range(options.count or 4)], False
    from eval.prompt_sets import GUIDANCE, PROMPTS, SEEDS, Columns, read_prompt_file, spread

    read = read_prompt_file(file, Columns(PROMPTS, SEEDS, GUIDANCE))
    rows = spread(read.rows, () if options.seed is None else (options.seed,), options.count or 1)
    return list(rows), read.seed is not None and options.seed is None and (options.count or 1) == 1


def _draw(source: str, options: Generation, folder: Path, rows: list[Mapping[str, Any]], seed_alone: bool) -> int:
    """Generate the images of the rows that are missing; returns how many there are."""
    from erase.checkpoints.folder import drawing_scheduler, short_hash
    from erase.demo import GUIDANCE, STEPS
    from erase.diffusion import locate, open_model, pick_device
    from erase.images import ByRow, Callbacks, Parameters, make_images
    from erase.pipeline.job import Event
    from eval.measurement.drawing import NOISE
    from eval.samples import scales_of

    quiet_libraries()
    model = open_model(locate(source, options.parts or options.tokenizer, options.prediction_type), pick_device(options.device))
    small = model.size <= 128
    steps = options.steps or (STEPS if small else 50)
    usual = model.USUAL.get("guidance", GUIDANCE if small else 7.5)
    scales = scales_of(rows, usual) if options.guidance is None else [options.guidance] * len(rows)
    sample, noise = ByRow(scales, lambda scale: model.sampler(steps, scale)), NOISE["seed alone" if seed_alone else "seed and index"]
    texts, seeds = [str(row["text"]) for row in rows], [int(row["seed"]) for row in rows]
    sampler, digest, name = drawing_scheduler(model.folder), short_hash(model.folder), Path(source).name

    def parameters(i: int) -> str:
        index = None if seed_alone else i
        return Parameters(texts[i], seeds[i], steps, sampler, scales[i], model.size, name, digest, index=index).text()

    with Display() as display:
        callbacks = Callbacks(lambda done, total: display(Event("generate", done, total)), parameters=parameters)
        return len(make_images(folder, texts, seeds, sample, 16 if small else 4, callbacks, noise=noise))
