"""Does a model still see the concept in a picture of it under noise? The error of what it denoises, by how much noise there is.

    python benchmarks/seen.py RUN RUN ... [--gold CONCEPT=FOLDER ...]

The pictures are those that the first run of a concept forgot, under their own prompts, with the same noise for every model: the original,
the gold standard if one is named, and what each run made. The error is the mean square of what is seen behind the noise minus what is
there, in latents of variance near 1. A model that never knew the concept makes something else of such pictures; one that only lost the
name does not. It also says how much a step of ordinary fine-tuning has to learn from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from host import Record, facts, parser, publish

from erase.diffusion import locate, open_model
from erase.images import load_pixels, read_images
from erase.run import Run
from eval.bench.finished_runs import label_of
from eval.gold import gold_folder
from ui.cli.flags import golds_of

TIMESTEPS = (50, 200, 400, 600, 800)  # of 1,000


@torch.no_grad()
def errors(folder: Path, pictures: Path, count: int) -> list[float]:
    """Mean squared error of the denoised latents at each of TIMESTEPS."""
    shown = read_images(pictures)[:count]
    model = open_model(folder, "cpu", "float32", None)
    latents = model.encode(load_pixels((one.path for one in shown), model.size))
    text, schedule, unet = model.embed([one.prompt for one in shown]), model.noise_scheduler(), model.network()
    found = []
    for t in TIMESTEPS:
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(t))
        times = torch.full((len(latents),), t)
        noisy = schedule.add_noise(latents, noise, times)
        share = schedule.alphas_cumprod[t]
        answer = unet(noisy, times, encoder_hidden_states=text).sample
        if schedule.config.prediction_type == "epsilon":
            seen = (noisy - (1 - share).sqrt() * answer) / share.sqrt()
        else:
            seen = share.sqrt() * noisy - (1 - share).sqrt() * answer
        found.append(float((seen - latents).square().mean()))
    return found


def table(concepts: Mapping[str, Mapping[str, Any]]) -> str:
    """As Markdown, a row a model of a concept."""
    lines = [f"| concept | model | {' | '.join(f'step {t}' for t in TIMESTEPS)} |", "|---|---|" + "---:|" * len(TIMESTEPS)]
    for concept, rows in concepts.items():
        lines += [f"| {concept} | {name} | {' | '.join(f'{error:.3f}' for error in found)} |" for name, found in rows.items()]
    return "\n".join(lines)


def models_of(runs: Sequence[Path], golds: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """Of each concept: the original, the gold standard if there is one, and what each run made."""
    found: dict[str, dict[str, Path]] = {}
    for run in runs:
        options = Run.read(run).options
        name = str(options["concept"])
        if name not in found:
            found[name] = {"original": locate(str(options["model"]), options.get("tokenizer"), options.get("prediction_type"))}
            found[name] |= {"never knew it": gold_folder(golds[name])} if name in golds else {}
        found[name][label_of(options)] = run / "model"
    return found


def main() -> None:
    given = parser(__doc__, device=False)
    given.add_argument("runs", nargs="+", type=Path)
    given.add_argument("--gold", nargs="+", default=[], metavar="CONCEPT=FOLDER", help="models that were trained without a concept")
    given.add_argument("--count", type=int, default=32, help="pictures")
    options = given.parse_args()
    golds = golds_of(options.gold)
    pictures = {str(Run.read(run).options["concept"]): run / "images" / "forget" for run in reversed(options.runs)}
    found = {
        concept: {name: errors(folder, pictures[concept], options.count) for name, folder in models.items()}
        for concept, models in models_of(options.runs, golds).items()
    }
    record: Record = facts() | {"timesteps": TIMESTEPS, "pictures": options.count, "errors": found}
    publish(record, table(found), options.json)


if __name__ == "__main__":
    main()
