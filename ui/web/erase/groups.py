"""The options of the form in groups, by what they do."""

from __future__ import annotations

from collections.abc import Sequence

from ui.web.forms import Field

WEIGHTS, LEARNED, SAFEGUARDS = "What is trimmed and may change", "What is learned", "Safeguards"
EDITED, DRAWN, MACHINE, FILES = "What is edited", "How much is drawn", "Precision and memory", "Files"
GROUPS = {
    WEIGHTS: (
        "scope", "trimming", "fraction", "trim_scope", "rank_over", "initialisation", "signed", "sensitivity_batches",
        "saliency_batches", "spare", "layers",
    ),
    SAFEGUARDS: (
        "projected", "two_sided", "per_layer", "project_update", "guard", "gone", "redirect", "relapse", "adversarial", "unnamed",
    ),
    EDITED: ("part", "lora_rank", "stay_gone"),
    DRAWN: ("forget_count", "retain_count", "evaluate_count", "sampling_steps", "guidance", "size", "seed", "preview_every"),
    MACHINE: ("dtype", "sampling_batch", "micro_batch", "checkpointing"),
    FILES: (
        "gold", "tokenizer", "parts", "prediction_type", "forget_images", "forget_image_captions", "retain_images",
        "retain_image_captions",
    ),
}  # fmt: skip
ORDER = (WEIGHTS, LEARNED, SAFEGUARDS, EDITED, DRAWN, MACHINE, FILES)


def grouped(fields: Sequence[Field]) -> dict[str, list[Field]]:
    """Title -> its fields, in the order of the page; what no group names is about what is learned."""
    titles = {name: title for title, names in GROUPS.items() for name in names}
    found: dict[str, list[Field]] = {title: [] for title in ORDER}
    for field in fields:
        found[titles.get(field.name, LEARNED)].append(field)
    for title, names in GROUPS.items():
        found[title].sort(key=lambda field: names.index(field.name))
    return {title: members for title, members in found.items() if members}
