"""The search for an anchor: candidates are proposed, tested on a few images, and chosen.

The anchor decides the result. It must not produce the concept itself (a generic word produces every member of its domain, including
the concept) and it should not change the rest of the image. The model itself decides both: the text
encoder proposes neighbours, and the denoiser, used as a classifier (Li et al. 2023, arXiv 2303.16203), decides whether an
image is better explained by the concept's prompt than by the anchor's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from erase.concepts import Concept, members_of_domain, neutral_candidates, never_anchors, prompts, with_anchors
from erase.demo.worlds import KNOWN_MODELS
from erase.diffusion import StableDiffusion, predict
from erase.errors import InputError
from erase.task import generator

NAMED = "named in the concept's vocabulary"
CHOSEN = 3  # anchors at most


@dataclass(frozen=True)
class Candidate:
    """A word that might replace the concept, and what a few images of it show.

    `shows` is the share of its images that the concept's prompt explains at least as well (0: never shows it);
    `distance` is how far its predictions lie from the concept's on the same noise, in units of the noise.
    """

    word: str
    source: str
    shows: float
    distance: float
    chosen: bool = False

    def record(self) -> dict[str, Any]:
        return asdict(self)


def neighbours(concept: Concept, model: StableDiffusion, count: int = 8) -> list[str]:
    """Whole words of the model's vocabulary whose embeddings in the concept's own prompt lie nearest to the concept's.

    Function words, backgrounds and the like are none of them (`never_anchors`).
    """
    tokenizer, text_encoder = model.pipeline.tokenizer, model.pipeline.text_encoder
    words = {word[:-4] for word in tokenizer.get_vocab() if re.fullmatch(r"[a-z]{3,}</w>", word)}
    table = text_encoder.get_input_embeddings().weight.detach().float()
    own = tokenizer(concept.words[0], add_special_tokens=False).input_ids
    ids = {word: tokenizer.convert_tokens_to_ids(f"{word}</w>") for word in sorted(words - never_anchors(concept))}
    if not ids:
        return []
    near = torch.nn.functional.cosine_similarity(table[list(ids.values())], table[own].mean(0, keepdim=True))
    short = [list(ids)[i] for i in near.argsort(descending=True)[: 6 * count].tolist()]
    template = next((t for t in concept.forget if re.fullmatch(r"[^{}]*\{concept\}[^{}]*", t)), "a {concept}")
    embedded = model.embed([template.replace("{concept}", word) for word in [concept.words[0], *short]])
    closeness = torch.nn.functional.cosine_similarity(embedded[1:].flatten(1), embedded[:1].flatten(1))
    return [short[i] for i in closeness.argsort(descending=True)[:count].tolist()]


def propose(concept: Concept, model: StableDiffusion, limit: int = 10) -> dict[str, str]:
    """Candidate -> where it comes from, most specific first.

    In a known world these are members of its own groups, the nearest first: what else it has words for draws nothing in particular.
    """
    candidates = dict.fromkeys(members_of_domain(concept), NAMED)
    if len(candidates) < 4 and concept.model not in KNOWN_MODELS:
        candidates = {
            **candidates,
            **{word: "neighbour of the concept by text embedding" for word in neighbours(concept, model) if word not in candidates},
        }
    candidates = dict(list(candidates.items())[: limit - 2])
    generic = [word for word in neutral_candidates(concept) if word not in candidates][:2]
    return {**candidates, **dict.fromkeys(generic, "generic word")}


def choose_anchors(
    concept: Concept,
    model: StableDiffusion,
    network: torch.nn.Module,
    steps: int,
    guidance: float,
    seed: int = 0,
    images: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Concept, list[Candidate]]:
    """The concept with its anchors set, and the evidence: of the candidates that never show the concept, the nearest CHOSEN.

    Each candidate is tested on `images` images.
    Members of its own domain go before words that merely lie near: "a covered circle" draws something, but nothing in particular.
    """
    sample = model.sampler(steps, guidance)
    named = prompts(concept, "forget", images, seed)
    proposed = propose(concept, model)
    tested = []
    for done, (word, source) in enumerate(proposed.items()):
        swapped = prompts(with_anchors(concept, [word]), "forget", images, seed)
        drawn = sample([p.anchors[0] for p in swapped], [generator(seed, "anchor", i) for i in range(images)])
        latents = model.encode(_pixels(drawn))
        shows, distance = _compare(network, model, latents, [p.text for p in named], [p.anchors[0] for p in swapped], seed)
        tested.append(Candidate(word, source, shows, distance))
        if progress is not None:
            progress(done + 1, len(proposed))
    clear = sorted((c for c in tested if c.shows == 0), key=lambda c: (c.source != NAMED, c.distance))[:CHOSEN]
    if not clear:
        tried = ", ".join(proposed) or "none"
        raise InputError(
            f"no anchor was found for {concept.title!r}: every candidate may draw it (tried {tried}); name one with --anchor WORD"
        )
    words = [c.word for c in clear]
    return with_anchors(concept, words), [Candidate(c.word, c.source, c.shows, c.distance, c.word in words) for c in tested]


def _pixels(images: Sequence[Any]) -> Tensor:
    import numpy as np

    return torch.stack([torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 127.5 - 1 for image in images])


@torch.no_grad()
def _compare(
    network: torch.nn.Module, model: StableDiffusion, latents: Tensor, named: list[str], anchored: list[str], seed: int, draws: int = 8
) -> tuple[float, float]:
    """Share of the anchor's images that the concept explains at least as well, and the distance of the two predictions."""
    objective, own = model.objective(), network is model.edited
    device, dtype = (model.device, model.dtype) if own else (next(network.parameters()).device, torch.float32)
    conditionings = [model.conditioning(prompts, device) for prompts in (named, anchored)]
    if own:
        model.place(model.EDITED)
    errors, distance = torch.zeros(2, len(latents)), 0.0
    for draw in range(draws):
        noise = torch.randn(latents.shape, generator=generator(seed, "classify", draw))
        # Timesteps spread over the middle, where prompts matter most.
        t = objective.timesteps(torch.full((len(latents),), int(objective.levels * (0.2 + 0.6 * (draw + 0.5) / draws))))
        noisy, target = objective.noised(latents, noise, t).to(device), objective.target(latents, noise, t).to(device)
        predicted = [predict(network, noisy, t.to(device), conditioning, dtype).float() for conditioning in conditionings]
        errors += torch.stack([(p - target).pow(2).mean((1, 2, 3)).cpu() for p in predicted])
        distance += float((predicted[0] - predicted[1]).pow(2).mean()) / draws
    return float((errors[0] <= errors[1]).float().mean()), distance**0.5
