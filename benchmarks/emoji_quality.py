"""Is the emoji model good enough that what is measured on it means something? Judge, autoencoder and pipeline.

    python benchmarks/emoji_quality.py --weights DIR --output runs/emoji-quality

DIR is a finished training (`python -m erase.demo.emoji.train`). The judge on fresh renders and on what the autoencoder makes of them,
and which objects it confuses; then held-out (prompt, seed) pairs: in how many pictures object, style and background are as asked for,
for pairs of object and style that training showed and for those that it did not. Also writes a sheet of the first pictures.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from host import facts, images_folder, parser, publish
from PIL import Image
from torch import Tensor

from erase.demo import GUIDANCE, STEPS
from erase.demo.emoji import captions, pictures, world
from erase.demo.emoji.judge import MEMBERS, Judge, load_judge
from erase.demo.training.loop import to_model
from erase.diffusion import StableDiffusion
from erase.images import make_images, open_picture
from eval.metrics.intervals import rate

NAMED = {"object": captions.NAMED, "style": captions.NAMED, "background": captions.NAMED}


def shares(judge: Judge, x: Tensor, scenes: Sequence[world.Scene]) -> dict[str, dict[str, float]]:
    """In how many percent of the pictures the judge sees what the scene has, a domain."""
    names = judge.name(x)
    return {domain: rate([n == s.attribute(domain) for n, s in zip(names[domain], scenes, strict=True)]).record() for domain in MEMBERS}


def confusions(judge: Judge, x: Tensor, scenes: Sequence[world.Scene], domain: str, most: int = 10) -> list[tuple[str, int]]:
    """What is most often taken for what."""
    names = judge.name(x)[domain]
    wrong = Counter(f"{s.attribute(domain)} as {n}" for n, s in zip(names, scenes, strict=True) if n != s.attribute(domain))
    return wrong.most_common(most)


@torch.no_grad()
def judged_renders(count: int, vae: Any, judge: Judge) -> dict[str, Any]:
    """The judge where the truth is known, before and after the autoencoder; half of the pairs each that training left out."""
    scenes = [*world.scenes(count // 2, seed=10_000_019), *world.scenes(count - count // 2, seed=10_000_033, unseen=True)]
    drawn = torch.cat([pictures.draw(scenes[i : i + 100]) for i in range(0, count, 100)])
    back = torch.cat([vae.decode(vae.encode(part).latent_dist.mean).sample for part in drawn.split(100)]).clamp(-1, 1)
    return {
        "judge_on_renders": shares(judge, drawn, scenes),
        "judge_on_reconstructions": shares(judge, back, scenes),
        "confused": {domain: confusions(judge, torch.cat([drawn, back]), scenes * 2, domain) for domain in ("object", "style")},
        "reconstruction_l1_in_0_1": round(float((back - drawn).abs().mean()) / 2, 4),
    }


def sheet(paths: Sequence[Path], columns: int = 10) -> Image.Image:
    """Pictures in rows, at their own size."""
    canvas = Image.new("RGB", (columns * world.SIZE, -(-len(paths) // columns) * world.SIZE), "white")
    for i, path in enumerate(paths):
        canvas.paste(open_picture(path), (i % columns * world.SIZE, i // columns * world.SIZE))
    return canvas


def main(argv: list[str] | None = None) -> None:
    options = parser(__doc__, device=False)
    options.add_argument("--weights", type=Path, required=True, help="the folder of a finished training")
    options.add_argument("--output", type=Path, default=Path("runs/emoji-quality"))
    options.add_argument("--count", type=int, default=600)
    options.add_argument("--renders", type=int, default=1000)
    chosen = options.parse_args(argv)
    model, judge = StableDiffusion(chosen.weights / "pipeline"), load_judge(chosen.weights / "judge.safetensors")
    result = {**facts(), **judged_renders(chosen.renders, model.pipeline.vae, judge)}
    pictures, start = images_folder(chosen.output, chosen.weights / "pipeline"), time.perf_counter()
    for name, unseen in (("trained_pairs", False), ("unseen_pairs", True)):
        scenes = list(world.scenes(chosen.count, seed=10_000_079 + unseen, unseen=unseen))
        prompts = [captions.phrase(scene, NAMED, i) for i, scene in enumerate(scenes)]
        drawn = make_images(pictures / name, prompts, 20_000_003, model.sampler(STEPS, GUIDANCE), 50)
        pixels = np.stack([np.asarray(open_picture(picture.path)) for picture in drawn])
        result[name] = shares(judge, to_model(torch.from_numpy(pixels).permute(0, 3, 1, 2)), scenes)
        sheet([picture.path for picture in drawn[:100]]).save(chosen.output / f"{name}.png")
    result["pictures_per_second"] = round(2 * chosen.count / (time.perf_counter() - start), 2)
    result |= {"pairs": chosen.count, "steps": STEPS, "guidance": GUIDANCE}
    tables = {what: table for what, table in result.items() if isinstance(table, dict) and "object" in table and what != "confused"}
    lines = [f"{what:26}" + "  ".join(f"{part} {share['value']:.1f}" for part, share in table.items()) for what, table in tables.items()]
    publish(result, "\n".join(lines), chosen.json)


if __name__ == "__main__":
    main()
