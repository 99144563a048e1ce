"""The embedded world: a renderer, a Stable Diffusion pipeline in miniature trained on it, and its judge."""

from pathlib import Path

STEPS = 25
GUIDANCE = 4.0


def pipeline_path() -> Path:
    """The folder of the embedded model; plain StableDiffusionPipeline.from_pretrained loads it."""
    return Path(__file__).parent / "weights" / "pipeline"


def gold_path(concept: str) -> Path:
    """Where a model that was trained without a concept is kept, if it is: a folder with `pipeline/`."""
    return Path(__file__).parent / "weights" / "without" / concept


def clip_path() -> Path:
    """A small CLIP of this world, a folder in open_clip's format, for CLIP scores and features."""
    return Path(__file__).parent / "weights" / "demo_clip"


def judge_path() -> Path:
    """The weights of the judge that was trained beside it."""
    return Path(__file__).parent / "weights" / "judge.safetensors"
