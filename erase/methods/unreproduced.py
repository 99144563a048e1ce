"""What no preset that carries a paper's name reproduces of the paper or of its released code: one sentence each, with both values.

Reports list them, beside docs/methods.md and docs/classify.md. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping

from erase.methods.classifiers.released import dataset_of

PUBLISHED = ("paper", "reference", "esd-u", "speed")
"""Presets of the methods for diffusion models that follow a publication."""

_TARGET = "the target of forgetting is the prediction of the network as it is at that step; here that of the original, computed once"
_EMPTY = "the empty prompt is not trained; here a tenth of the retain images has it"

DIFFUSION: Mapping[str, tuple[str, ...]] = {  # by method, or METHOD:PRESET
    "scissorhands:reference": (
        "the script ranks every parameter, biases and norms too; here matrices and kernels are ranked",
        "the script's fresh values are uniform up to √(6 / fan_in); here up to 1/√fan_in",
        "the script takes the anchor's prediction of the network at that step; here it is that of the original, computed once",
    ),
    "salun": (
        _TARGET,
        _EMPTY,
        "the mask ranks gradients of a loss with guidance 7.5; here those of the training loss, without guidance",
    ),
    "esd": (
        "x_t is sampled by the network itself with guidance 3; here the original's images of the concept are noised",
    ),
    "uce": (
        "the vector of the concept's last token is edited, for a few prompts; here every token of every forget prompt is, position by "
        "position, and every retain prompt is preserved",
    ),
    "uce:speed": (
        "the last token of the concept's name is edited, and of words to preserve only the last token is kept; here all tokens of the "
        "forget prompts that differ from their anchors', and all tokens of the retain prompts but the first",
        "words to preserve are a list of 100 or more of the same kind; here the retain prompts",
    ),
    "concept_ablation": (
        _TARGET,
        "images and words of the anchor are from prompts of a language model, flipped and cropped; here from the concept file, neither "
        "flipped nor cropped",
    ),
    "erasediff": (
        _TARGET,
        _EMPTY,
        "the script's inner steps use the optimizer of the outer ones; here they are plain gradient descent",
    ),
    "munba": (
        _TARGET,
        _EMPTY,
        "the script weighs both losses by the gradients of the first tensor alone, adds an l1 penalty and clips; here by the gradients of "
        "all weights in scope, without penalty or clipping",
    ),
    "orthograd": (
        "its numbers for diffusion models are not known to us; here rate, steps and images per step are our own",
    ),
    "concept_prune": (
        "inputs are measured along 10 denoising steps with guidance, from the same noise under both prompts; here of noised images of the "
        "concept in 10 ranges of as noisy timesteps, without the unconditional half",
        "the base is a list of prompts without the concept; here the forget prompts with the anchor in its place",
    ),
    "selective_amnesia": (
        "images of the surrogate are of one caption, and captions of a language model are replayed; here the anchors and retain prompts of "
        "the concept file",
        "replay and surrogate are zipped by index, so that a fifth of the replay images is trained on; here all are",
    ),
    "aegis": (
        "a reconstruction from the paper's formulas: adversarial prompt and target are token embeddings that are kept from step to step; "
        "here text embeddings, searched again in each step",
    ),
    "hirm": (
        "prompts are templates around the concept's name; here the forget prompts of the concept file",
    ),
    "few_shot": (
        "two images at a time under textual-inversion templates, weight decay 1e-8; here all at once under the forget prompts, without",
    ),
    "adv_unlearn": (
        "x_t is sampled by the network itself with guidance 3; here the original's images of the concept are noised",
        "the prefix is found by 30 steps of Adam, each under a fresh x_t; here by as many signed steps under the x_t of the step",
    ),
    "sld": (
        "the text is twenty words about inappropriate content; here it is the concept's words",
    ),
    "forget_me_not": (
        "the norm of the attention is a sum over pixels; here it is divided by the root of their number, which Adam does not notice",
        "gradients are clipped at 1 and weights decay by 0.01; here neither is done",
        "textual inversion of the concept may come first; here its tokens are those of its name",
    ),
}  # fmt: skip

_DRAWN = (
    "forget and retain samples of one step are drawn together, about n_f : n_r in a batch; here a piece of the forget set is beside each "
    "retain batch, weighted n_f : n_r (not on cifar10 and svhn, where one set follows the other)"
)

CLASSIFIERS: Mapping[str, tuple[str, ...]] = {
    "boundary_expand": (
        "the script keeps the extra output when accuracy is measured, so forget samples count as wrong; here it is removed, as the "
        "method's own paper says",
    ),
    "influence": ("WoodFisher's recursion over 1,000 samples; here conjugate gradients over about 1,000 samples",),
    "random_label": (_DRAWN,),
    "salun": (_DRAWN,),
    "scissorhands": (
        "the script scores in training mode and ranks batch norms and biases too; here the score is in eval mode, of matrices and kernels",
    ),
}  # fmt: skip

TRAINING = (
    "Original and retrained network: 185 and 160 epochs in the script (50 on SVHN) with steps at epochs 91 and 136, one original for all "
    "seeds; here the paper's 182, 160 and 50 epochs with a cosine, one original a seed.",
    "Batches: the last one of an epoch is smaller in the script; here an epoch is split evenly.",
    "MIA: as many retain samples as there are test samples in the paper, and all of these (26,032 on SVHN); here at most 10,000 of each.",
)
"""Of every table on CIFAR and SVHN, whatever the method."""


def of_diffusion(method: str, preset: str) -> list[str]:
    """What a run with this preset does otherwise than the publication; none for presets of our own."""
    return list(DIFFUSION.get(f"{method}:{preset}", DIFFUSION.get(method, ()))) if preset in PUBLISHED else []


def of_classifiers(method: str, preset: str) -> list[str]:
    """The same of a method for classifiers."""
    return list(CLASSIFIERS.get(method, ())) if dataset_of(preset) is not None else []
