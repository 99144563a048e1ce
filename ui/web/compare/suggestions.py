"""What Compare suggests: the first comparison when the page is opened, settings and example prompts of a chosen model, a random prompt."""

from __future__ import annotations

import os

from erase.concepts import EMBEDDED
from erase.errors import InputError
from ui.web.compare.handlers import ComparisonRequest
from ui.web.context import Page
from ui.web.runs import OWN, SMALL, concept_of, erased, erased_runs, examples, first_choice, prompt_to_keep


def first(page: Page) -> tuple[ComparisonRequest, list[str], bool]:
    """The first comparison, the runs to choose from, and whether to draw at once: the embedded model is quick."""
    name = first_choice(page)
    chosen = [erased(page, name)] if name else []
    steps, guidance = (chosen[0].steps, chosen[0].guidance) if chosen else SMALL
    prompt = default_prompt(examples(concept_of(OWN, chosen)))
    quick = not chosen or chosen[0].original in EMBEDDED
    return ComparisonRequest([name] if name else [], prompt=prompt, steps=steps, guidance=guidance), erased_runs(page), quick


def settings_for(page: Page, models: list[str], concept: str) -> tuple[int, float, list[tuple[str, str]]]:
    """Steps and guidance of the first chosen model, and example prompts of the erased concept; of a first visit where none is chosen."""
    try:
        chosen = [erased(page, str(name)) for name in models or []]
        record = concept_of(concept, chosen)
    except InputError:  # reported when Draw is clicked
        return *SMALL, []
    steps, guidance = (chosen[0].steps, chosen[0].guidance) if chosen else SMALL
    return steps, guidance, examples(record)


def default_prompt(prompts: list[tuple[str, str]]) -> str:
    """A prompt in unseen wording that names the concept."""
    return next((text for label, text in prompts if label.startswith("names it, unseen wording")), "")


def random_prompt(page: Page, models: list[str], concept: str) -> str:
    """A random prompt that should still work."""
    try:
        record = concept_of(concept, [erased(page, str(name)) for name in models or []])
    except InputError:
        record = None
    return prompt_to_keep(record, int.from_bytes(os.urandom(4), "big"))
