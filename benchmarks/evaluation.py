"""What measuring costs beside drawing: the protocol `demo` (320 pictures of each model), with every metric.

    python benchmarks/evaluation.py

Draws the pictures of both models without looking at them, then the same pictures again while everything is measured, report
and all. The libraries that only measuring needs are imported inside its time.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import torch
from host import facts, parser, publish

from erase.concepts import load_concept
from erase.diffusion import StableDiffusion, locate
from erase.images import make_images
from eval.evaluate import evaluate
from eval.measurement.drawing import NOISE
from eval.options import Evaluation
from eval.prompt_sets import protocol_rows
from eval.protocols import load_protocol


def draw(folder: Path, models: dict[str, str], concept: str, batch: int) -> float:
    """Seconds for the pictures alone."""
    protocol = load_protocol("demo")
    rows, _ = protocol_rows(protocol, load_concept(concept))
    start = time.perf_counter()
    for which, name in models.items():
        sample = StableDiffusion(locate(name)).sampler(protocol.steps, protocol.guidance, protocol.sampler)
        texts, seeds = [row["text"] for row in rows], [row["seed"] for row in rows]
        make_images(folder / which, texts, seeds, sample, batch, noise=NOISE[protocol.noise])
    return time.perf_counter() - start


def main(argv: list[str] | None = None) -> None:
    options = parser(__doc__, device=False)
    options.add_argument("--erased", default="demo", help="the erased model's folder (default: the original itself)")
    options.add_argument("--concept", default="star")
    options.add_argument("--output", type=Path, default=Path("runs/benchmark-evaluation"))
    given = options.parse_args(argv)
    begun = facts()
    shutil.rmtree(given.output, ignore_errors=True)
    StableDiffusion(locate("demo")).sampler(1, 1.0)(["a star"], [torch.Generator()])  # diffusers is imported for both
    drawing = draw(given.output / "drawn", {"before": "demo", "after": given.erased}, given.concept, 32)
    start = time.perf_counter()
    job = Evaluation(given.erased, "demo", given.concept, "demo", output=str(given.output / "measured"), batch=32)
    report = json.loads((evaluate(job) / "report.json").read_text(encoding="utf-8"))
    everything = time.perf_counter() - start
    result = {
        "metrics": [name for name in report["after"] if name != "became"],
        "drawing_seconds": round(drawing, 1),
        "drawing_and_measuring_seconds": round(everything, 1),
        "measuring_adds_percent": round(100 * (everything / drawing - 1), 1),
    } | begun
    said = f"drawing {drawing:.1f} s, drawing and measuring {everything:.1f} s: measuring adds {result['measuring_adds_percent']} %"
    publish(result, said, given.json)


if __name__ == "__main__":
    main()
