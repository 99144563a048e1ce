"""The embedded worlds: each a renderer, a Stable Diffusion pipeline in miniature trained on it, and its judge.

`flow` draws the world of `demo` in the layout of Stable Diffusion 3, and has its autoencoder, judge and CLIP.
"""

from pathlib import Path

STEPS = 25
GUIDANCE = 4.0
EMBEDDED = DEMO, SCENES, EMOJI, FLOW = "demo", "scenes", "emoji", "flow"  # the embedded models' names


def _weights(model: str) -> Path:
    return Path(__file__).parent / ("shapes" if model == DEMO else model) / "weights"


def _world(model: str) -> str:
    """The model that was trained beside the judge of its pictures."""
    return DEMO if model == FLOW else model


def pipeline_path(model: str = DEMO) -> Path:
    """The folder of an embedded model; plain DiffusionPipeline.from_pretrained loads it."""
    return _weights(model) / "pipeline"


def gold_path(concept: str, model: str = DEMO) -> Path:
    """Where a model that was trained without a concept is kept, if it is: a folder with `pipeline/`."""
    return _weights(model) / "without" / concept


def clip_path(model: str = DEMO) -> Path:
    """A small CLIP of a world, a folder in open_clip's format, for CLIP scores and features; `scenes` has none of its own."""
    return _weights(_world(model)) / f"{_world(model)}_clip"


def judge_path(model: str = DEMO) -> Path:
    """The weights of the judge of its pictures."""
    return _weights(_world(model)) / "judge.safetensors"
