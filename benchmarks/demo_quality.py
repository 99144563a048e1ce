"""Is the embedded model good enough that what is measured on it means something? Judge, autoencoder and pipeline.

    python benchmarks/demo_quality.py --output runs/demo-quality
    python benchmarks/demo_quality.py --model flow            the flow model, which draws the same world
    python benchmarks/demo_quality.py --without heart         the gold standard: the model that was trained without the concept

The judge on fresh renders and on what the autoencoder makes of them; then held-out (prompt, seed) pairs: how often the
judge agrees with the prompt in shape, colour and style. With --without, none of these pairs has the concept, and as many more name
it: what is drawn there. Also writes a sheet of pictures.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from host import facts, images_folder, parser, publish
from PIL import Image

from erase.demo import DEMO, FLOW, GUIDANCE, STEPS, gold_path, judge_path, pipeline_path
from erase.demo.shapes import world
from erase.demo.shapes.judge import load_judge
from erase.demo.training.loop import to_model
from erase.demo.worlds import KNOWN_MODELS
from erase.diffusion import open_model
from erase.images import load_pixels, make_images
from eval.metrics.intervals import rate


def agreement(found: dict[str, list[str]], scenes: list[world.Scene]) -> dict[str, dict[str, float]]:
    """Share of pictures, in %, in which each head says what the scene says."""
    return {d: rate([name == s.attribute(d) for name, s in zip(names, scenes, strict=True)]).record() for d, names in found.items()}


def prompts_of(scenes: list[world.Scene]) -> list[str]:
    """Prompts that name everything, in every order of words."""
    named = dict.fromkeys((*world.DOMAINS, "background"), world.NAMED)
    return [world.phrase(scene, named, order=i % world.ORDERS) for i, scene in enumerate(scenes)]


def main(argv: list[str] | None = None) -> None:
    options = parser(__doc__, device=False)
    options.add_argument("--output", type=Path, default=Path("runs/demo-quality"))
    options.add_argument("--model", choices=(DEMO, FLOW), default=DEMO)
    options.add_argument("--count", type=int, default=500)
    options.add_argument("--without", metavar="CONCEPT", help="measure the shipped model that was trained without it")
    given = options.parse_args(argv)
    folder = gold_path(given.without, given.model) / "pipeline" if given.without else pipeline_path(given.model)
    if not folder.is_dir():
        command = KNOWN_MODELS[given.model].training_command(given.without)
        options.error(f"no model without {given.without!r} is shipped; `{command}` makes one")
    judge, model = load_judge(judge_path()), open_model(folder)

    fresh = list(world.scenes(1000, seed=10_000_019))
    drawn = to_model(torch.from_numpy(np.stack([world.render(s) for s in fresh])).permute(0, 3, 1, 2))
    with torch.no_grad():
        back = torch.cat([model.pipeline.vae.decode(model.pipeline.vae.encode(part).latent_dist.mean).sample for part in drawn.split(100)])
    result = {
        **facts(),
        "judge_on_renders": agreement(judge.name(drawn), fresh),
        "judge_on_reconstructions": agreement(judge.name(back), fresh),
        "reconstruction_l1_in_0_1": round(float((back.clamp(-1, 1) - drawn).abs().mean()) / 2, 4),
    }

    sample = model.sampler(STEPS, GUIDANCE)
    asked = list(world.scenes(given.count, 10_000_079, given.without))
    start = time.perf_counter()
    pictures = images_folder(given.output, folder)
    images = make_images(pictures / "all", prompts_of(asked), 20_000_003, sample, 50)
    result["pictures_per_second"] = round(given.count / (time.perf_counter() - start), 2)
    pixels = load_pixels([p.path for p in images], world.SIZE)
    result |= {"model": given.model, "pairs": given.count, "steps": STEPS, "guidance": GUIDANCE}
    result["pipeline"] = agreement(judge.name(pixels), asked)
    if given.without:
        domain = str(world.domain_of(given.without))
        naming = [replace(scene, **{domain: given.without}) for scene in asked]
        drawn_instead = make_images(pictures / "named", prompts_of(naming), 20_000_003, sample, 50)
        seen = judge.name(load_pixels([p.path for p in drawn_instead], world.SIZE))
        result |= {"without": given.without, "where_it_is_named": dict(Counter(seen[domain]).most_common())}
        result["others_where_it_is_named"] = {d: share for d, share in agreement(seen, naming).items() if d != domain}
        images = [picture for pair in zip(images, drawn_instead, strict=True) for picture in pair]
    shares = {what: found for what, found in result.items() if isinstance(found, dict)}
    lines = [f"{what:26}" + "  ".join(f"{d} {share['value'] if isinstance(share, dict) else share}" for d, share in found.items())
             for what, found in shares.items()]  # fmt: skip
    publish(result, "\n".join(lines), given.json)

    rows = [np.concatenate([np.asarray(Image.open(images[12 * r + c].path)) for c in range(12)], 1) for r in range(5)]
    sheet = Image.fromarray(np.concatenate(rows, 0))
    sheet.resize((sheet.width * 3 // 2, sheet.height * 3 // 2), Image.Resampling.LANCZOS).save(given.output / "sheet.png")


if __name__ == "__main__":
    main()
