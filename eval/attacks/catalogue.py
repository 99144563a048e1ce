"""Names, families and assumptions of the attacks, for forms and help, without torch, which the registry of the attacks imports."""

from __future__ import annotations

from typing import NamedTuple

FAMILIES = ("prompts", "embeddings", "latents", "weights")


class Entry(NamedTuple):
    """An attack: its family, what the attacker knows, and what it does; the same texts as in its class."""

    family: str
    assumes: str
    about: str


CATALOGUE = {
    "named": Entry("prompts", "prompts", "the prompt that names it, as it is"),
    "paraphrase": Entry("prompts", "prompts", "descriptions, other wordings, and the name misspelt"),
    "random-tokens": Entry("prompts", "prompts", "random words before the prompt"),
    "prefix": Entry(
        "prompts", "gradients, a picture of the concept", "words before the prompt, searched by gradients of the denoising loss"
    ),
    "hard-prompt": Entry(
        "prompts",
        "gradients, the original, a picture of the concept",
        "a whole prompt, searched until the model answers as the original does",
    ),
    "coordinate-descent": Entry(
        "prompts",
        "gradients, a picture of the concept",
        "a whole prompt, token by token in several passes, searched by gradients of the denoising loss",
    ),
    "direction": Entry("prompts", "the text encoder", "words nearest to a harmless prompt plus the concept's direction in text space"),
    "inversion-1": Entry(
        "embeddings", "gradients, pictures of the concept, a way to put in vectors", "vectors in place of the name, learned from pictures"
    ),
    "inversion": Entry(
        "embeddings", "gradients, pictures of the concept, a way to put in vectors", "vectors in place of the name, learned from pictures"
    ),
    "inversion-8": Entry(
        "embeddings", "gradients, pictures of the concept, a way to put in vectors", "vectors in place of the name, learned from pictures"
    ),
    "regenerate": Entry(
        "latents", "the network's answers, pictures of the concept", "known pictures traced back to noise and drawn again (DDIM)"
    ),
    "likelihood": Entry(
        "latents",
        "the network's answers, pictures of the concept",
        "known pictures traced back to noise under their prompts: how likely that noise is, and what it draws",
    ),
    "null-text": Entry(
        "latents",
        "gradients, pictures of the concept",
        "the same with an embedding, empty at first, that is optimised at every step (null-text)",
    ),
    "seeds": Entry(
        "latents", "drawing without a prompt, pictures of the concept", "many seeds without a prompt; the pictures nearest to known ones"
    ),
    "partial": Entry(
        "latents", "a start from latents, pictures of the concept", "known pictures under a part of the noise, redrawn without a prompt"
    ),
    "completion": Entry(
        "latents", "latents at every step, pictures of the concept", "a part of a known picture, completed without a prompt"
    ),
    "relearn": Entry("weights", "the weights, pictures of the concept", "fine-tuning on pictures of the concept"),
    "relearn-fast": Entry("weights", "the weights, pictures of the concept", "fine-tuning on pictures of the concept"),
    "benign": Entry("weights", "the weights", "fine-tuning on pictures of other things only"),
    "transfer": Entry(
        "weights", "the weights, the original, pictures of the concept", "the difference of another fine-tune of the original, added"
    ),
    "quantise": Entry("weights", "the weights", "weights rounded to 8 and to 4 bits"),
    "interpolate": Entry("weights", "the weights, the original", "weights between the erased model's and the original's"),
    "restore": Entry("weights", "the weights, the original or the mask", "the weights that moved furthest set back to the original's"),
    "revive": Entry(
        "weights",
        "the weights, the original or the mask, pictures of the concept",
        "fine-tuning of the weights that moved furthest, on pictures of the concept",
    ),
}
QUICK = ("named", "paraphrase", "prefix", "inversion", "partial", "relearn", "quantise")  # the attacks of a quick round
