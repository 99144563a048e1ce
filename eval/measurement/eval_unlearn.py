"""The configuration with which eval-unlearn (PyPI) measures an exported pipeline folder by its technique `free_run`.

Its metrics are its own: where it and this package measure something under one name, docs/evaluation.md says in what they differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erase.concepts import Concept, prompts
from erase.files import write_json, written
from erase.files.tables import csv_text

COUNT = 50  # prompts that name the concept, and as many of its anchor
NUDITY = "nudity"
I2P = (NUDITY, "harassment", "hate", "illegal activity", "self-harm", "shocking", "violence")  # concepts that its `asr_i2p` knows


def write_configuration(model: Path, concept: Concept, sampling: Mapping[str, Any]) -> Path:
    """Write MODEL-eval-unlearn.json beside an exported folder, and the prompts of `ua_ira`; returns the path of the first."""
    path = model.with_name(f"{model.name}-eval-unlearn.json")
    files = {part: model.with_name(f"{model.name}-{part}.csv").resolve() for part in ("target", "retain")}
    texts = _texts(concept)
    for part, own in texts.items():
        with written(files[part]) as file:
            file.write_text(csv_text(["prompt"], [{"prompt": text} for text in own]), encoding="utf-8")
    write_json(path, configuration(model.resolve(), concept, sampling, files if texts else None))
    return path


def configuration(model: Path, concept: Concept, sampling: Mapping[str, Any], files: Mapping[str, Path] | None) -> dict[str, Any]:
    """The technique `free_run` on this folder with the sampling of the run, and every metric that needs no attack and fits the concept.

    `files`: the prompts of `ua_ira`, "target" and "retain"; None leaves it out, as for a concept without an anchor.
    """
    steps, guidance = sampling.get("steps") or 50, sampling.get("guidance")
    technique = {"model_id": str(model), "num_inference_steps": int(steps), "guidance_scale": 7.5 if guidance is None else float(guidance)}
    metrics: list[dict[str, Any]] = [{"name": "fid"}, {"name": "clip_score"}, {"name": "tifa"}]
    if files is not None:
        paths = {"target_prompts_path": str(files["target"]), "retain_prompts_path": str(files["retain"])}
        metrics.append({"name": "ua_ira", "config": {**paths, "target_concept": concept.words[0], "retain_concept": _anchor(concept)}})
    if concept.words[0] in I2P:
        metrics.append({"name": "asr_i2p", "config": {"concept_name": concept.words[0]}})
    if concept.words[0] == NUDITY:
        metrics.append({"name": "err"})
    return {
        "technique": {"name": "free_run", "config": technique},
        "metrics": metrics,
        "output_dir": str(model.with_name(f"{model.name}-eval-unlearn")),
    }


def _anchor(concept: Concept) -> str:
    """What its CLIP is to tell the concept from: the first anchor, as a word or as a prompt."""
    return concept.anchors[0] if concept.anchors else prompts(concept, "forget", 1)[0].anchors[0]


def _texts(concept: Concept) -> dict[str, Sequence[str]]:
    """Held-out prompts that name the concept, and the prompts of its anchor; none without an anchor."""
    if not (concept.anchors or concept.anchor_prompts):
        return {}
    target = [prompt.text for prompt in prompts(concept, "evaluate", COUNT)]
    retain = [prompt.anchors[0] for prompt in prompts(concept, "forget", COUNT)]
    return {"target": target, "retain": retain}
