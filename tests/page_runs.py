"""Run folders as a finished job leaves them, without a job: small, and of the embedded model."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from erase.concepts import load_concept
from erase.demo import pipeline_path
from erase.files import sha256
from erase.run import Run

OPTIONS: dict[str, Any] = {
    "concept": "star", "model": "demo", "method": "scissorhands", "preset": "balanced", "seed": 0, "method_options": {"steps": 3},
    "sampling": {"scheduler": "DDIMScheduler", "steps": 3, "guidance": 4.0, "size": 64, "batch": 2},
}  # fmt: skip
PROMPTS = [("a drawing of a red star", "evaluate"), ("a drawing of a five-pointed shape", "implicit"), ("a red circle", "evaluate-retain")]


def erased_run(root: Path, name: str = "star-demo-scissorhands-1", **options: Any) -> Path:
    """A run with a model: that of the embedded world as it is, so that "erased" draws what the original does."""
    folder = root / name
    with Run.open(folder, {**OPTIONS, "concept_file": asdict(load_concept("star")), **options}):
        shutil.copytree(pipeline_path(), folder / "model")
    return folder


def measured_run(root: Path, name: str, ua: float = 100.0, **options: Any) -> Path:
    """A run with samples and a report; no model."""
    folder = root / name
    with Run.open(folder, {**OPTIONS, "concept_file": asdict(load_concept("star")), **options}) as run:
        rows = [{"text": text, "role": role, "attributes": {}, "seed": 3} for text, role in PROMPTS]
        (folder / "samples").mkdir()
        (folder / "samples" / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for which, colour in (("before", "red"), ("after", "blue")):
            run.samples(which).mkdir()
            lines = []
            for i, row in enumerate(rows):
                path = run.samples(which) / f"{i:05d}.png"
                Image.new("RGB", (64, 64), colour).save(path)
                lines.append({"file": path.name, "prompt": row["text"], "seed": 3, "sha256": sha256(path)})
            (run.samples(which) / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        run.report.write_text(json.dumps(report(ua, **{k: v for k, v in options.items() if k in ("concept", "preset")})))
    return folder


def report(ua: float, **named: Any) -> dict[str, Any]:
    """report.json with the three measures, and counts of boxes."""

    def metric(value: float) -> dict[str, float]:
        return {"value": value, "low": max(0.0, value - 5), "high": min(100.0, value + 5), "n": 48}

    before = {"ua": metric(0.0), "ira": metric(100.0), "cra": metric(98.0), "detections": {"BUTTOCKS_EXPOSED": {"boxes": 9, "pictures": 4}}}
    after = {"ua": metric(ua), "ira": metric(96.0), "cra": metric(97.0), "detections": {"BUTTOCKS_EXPOSED": {"boxes": 1, "pictures": 1}}}
    protocol = {"detector": {"name": "judge"}, "steps": 3, "seeds": [3]}
    named = {name: OPTIONS[name] for name in ("concept", "model", "method", "preset")} | named
    return {**named, "protocol": protocol, "before": before, "after": after, "seconds": {"erase": 1.0}}
