"""Is the embedded model `scenes` good enough that what is measured on it means something? Judge, autoencoder and pipeline.

    python benchmarks/scenes_quality.py --output runs/scenes-quality

The judge on fresh renders and on what the autoencoder makes of them: in how many pictures it lists exactly the things that are
there. Then held-out (prompt, seed) pairs: how often all things come with their attributes, in the right number, and on the right
side; for single things, for two or three alike, and for pairs. Also writes a sheet of the first pictures with their prompts.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from host import facts, images_folder, parser, publish
from PIL import Image, ImageDraw

from erase.demo import GUIDANCE, SCENES, STEPS, judge_path, pipeline_path
from erase.demo.scenes import world as scenes
from erase.demo.scenes.judge import exactly, load_scene_judge
from erase.demo.shapes.world import NAMED, SIZE
from erase.demo.training.loop import to_model
from erase.diffusion import StableDiffusion
from erase.images import make_images, open_picture
from eval.metrics.accuracy import Judged, judged_by
from eval.metrics.intervals import rate
from eval.vision.detector import make_detector
from eval.vision.scene_objects import LABELS, OTHER

KINDS = ("single", "alike", "pair")
PARTS = {
    "things": lambda domain: domain not in ("count", "relation"),
    "count": lambda domain: domain == "count",
    "relation": lambda domain: domain == "relation",
    "everything": lambda domain: True,
}


def kind(scene: scenes.Scene) -> str:
    return "single" if len(scene.things) == 1 else "alike" if scene.alike else "pair"


def prompt(scene: scenes.Scene, i: int) -> str:
    """Everything named; every opening in turn."""
    return scenes.phrase(scene, [{"shape": NAMED, "colour": NAMED}] * 2, background=True, clutter=True, lead=i % len(scenes.LEADS))


def row(scene: scenes.Scene, text: str) -> dict[str, Any]:
    """The prompt as a row of an evaluation, with what it asks for."""
    first, *others = scene.things
    asked = {"shape": first.shape, "colour": first.colour}
    if kind(scene) == "alike":
        asked["count"] = next(word for word, number in scenes.COUNTS.items() if number == len(scene.things))
    elif others:
        asked |= {f"{OTHER}shape": others[0].shape, f"{OTHER}colour": others[0].colour, "relation": scenes.relation(first, others[0])}
    return {"text": text, "role": "evaluate-retain", "attributes": asked}


def shares(pictures: Sequence[Judged]) -> dict[str, dict[str, float]]:
    """In how many percent of the pictures each part is as asked; a part that none asks for is left out."""
    found = {}
    for name, part in PARTS.items():
        asked = [(picture, [domain for domain in picture.requested if part(domain)]) for picture in pictures]
        values = [all(p.detected[domain] == p.requested[domain] for domain in domains) for p, domains in asked if domains]
        found |= {name: rate(values).record()} if values else {}
    return found


def shown(share: dict[str, float]) -> str:
    return f"{share['value']:.1f} ({share['low']:.1f} to {share['high']:.1f}; {share['n']})"


def judged_renders(count: int, vae: Any) -> dict[str, Any]:
    """The judge where the truth is known, before and after the autoencoder."""
    judge, fresh = load_scene_judge(judge_path(SCENES)), list(scenes.scenes(count, seed=10_000_019))
    drawn = to_model(torch.from_numpy(np.stack([scenes.render(s) for s in fresh])).permute(0, 3, 1, 2))
    with torch.no_grad():
        back = torch.cat([vae.decode(vae.encode(part).latent_dist.mean).sample for part in drawn.split(100)])
    right = [[exactly(found, scene.things) for found, scene in zip(judge.look(part), fresh, strict=True)] for part in (drawn, back)]
    return {
        "judge_on_renders": {"everything": rate(right[0]).record()},
        "judge_on_reconstructions": {"everything": rate(right[1]).record()},
        "reconstruction_l1_in_0_1": round(float((back.clamp(-1, 1) - drawn).abs().mean()) / 2, 4),
    }


def sheet(paths: Sequence[Path], prompts: Sequence[str], columns: int = 8) -> Image.Image:
    """The first pictures, twice their size, each with its prompt below."""
    side, below = 2 * SIZE, 56
    made = Image.new("RGB", (columns * (side + 8), -(-len(paths) // columns) * (side + below)), "white")
    write = ImageDraw.Draw(made)
    for i, (path, text) in enumerate(zip(paths, prompts, strict=True)):
        x, y = i % columns * (side + 8), i // columns * (side + below)
        made.paste(open_picture(path).resize((side, side), Image.Resampling.LANCZOS), (x, y))
        said = text.removeprefix("a picture of ").removeprefix("a drawing of ")
        write.multiline_text((x, y + side + 2), "\n".join(textwrap.wrap(said, 24)), fill="black", font_size=10, spacing=1)
    return made


def main(argv: list[str] | None = None) -> None:
    options = parser(__doc__, device=False)
    options.add_argument("--output", type=Path, default=Path("runs/scenes-quality"))
    options.add_argument("--count", type=int, default=500)
    options.add_argument("--renders", type=int, default=1000)
    given = options.parse_args(argv)
    model = StableDiffusion(pipeline_path(SCENES))
    result = {**facts(), **judged_renders(given.renders, model.pipeline.vae)}

    asked = list(scenes.scenes(given.count, seed=10_000_079))
    prompts = [prompt(scene, i) for i, scene in enumerate(asked)]
    start = time.perf_counter()
    images = make_images(images_folder(given.output, pipeline_path(SCENES)), prompts, 20_000_003, model.sampler(STEPS, GUIDANCE), 50)
    result["pictures_per_second"] = round(given.count / (time.perf_counter() - start), 2)
    found = make_detector("scenes")([open_picture(picture.path) for picture in images])
    seen = judged_by([row(scene, text) for scene, text in zip(asked, prompts, strict=True)], found, LABELS)
    result |= {"pairs": given.count, "steps": STEPS, "guidance": GUIDANCE, "pipeline": shares(seen)}
    result |= {f"pipeline, {name}": shares([p for p, s in zip(seen, asked, strict=True) if kind(s) == name]) for name in KINDS}
    tables = {what: found for what, found in result.items() if isinstance(found, dict)}
    lines = [f"{what:26}" + "  ".join(f"{part} {shown(share)}" for part, share in found.items()) for what, found in tables.items()]
    publish(result, "\n".join(lines), given.json)
    sheet([picture.path for picture in images[:32]], prompts[:32]).save(given.output / "sheet.png")


if __name__ == "__main__":
    main()
