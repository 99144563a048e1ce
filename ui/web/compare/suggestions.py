"""What Compare proposes: what is drawn when the page is opened, settings and example prompts of a chosen model, a prompt by chance."""

from __future__ import annotations

import os

from erase.concepts import EMBEDDED
from erase.errors import InputError
from ui.web.compare.handlers import Asked
from ui.web.context import Page
from ui.web.runs import OWN, SMALL, concept_of, erased, erased_runs, examples, first_choice, surprise


def first(page: Page) -> tuple[Asked, list[str], bool]:
    """What is asked when the page is opened, the runs to choose from, and whether to draw at once: the embedded model is quick."""
    names = erased_runs(page)
    name = first_choice(page)
    chosen = [erased(page, name)] if name else []
    offered = examples(concept_of(OWN, chosen))
    steps, guidance = (chosen[0].steps, chosen[0].guidance) if chosen else SMALL
    prompt = default_prompt(offered)
    quick = not chosen or chosen[0].original in EMBEDDED
    return Asked([name] if name else [], prompt=prompt, steps=steps, guidance=guidance), names, quick


def settings_for(page: Page, models: list[str], concept: str) -> tuple[int, float, list[tuple[str, str]]]:
    """Steps and guidance of the first chosen model, and example prompts of what was erased; of a first visit where none is chosen."""
    try:
        chosen = [erased(page, str(name)) for name in models or []]
        looked_for = concept_of(concept, chosen)
    except InputError:  # said when Draw is pressed
        return *SMALL, []
    steps, guidance = (chosen[0].steps, chosen[0].guidance) if chosen else SMALL
    return steps, guidance, examples(looked_for)


def default_prompt(offered: list[tuple[str, str]]) -> str:
    """A held-out prompt that names the concept."""
    return next((text for said, text in offered if said.startswith("names it, held out")), "")


def surprise_for(page: Page, models: list[str], concept: str) -> str:
    """A prompt to keep, by chance."""
    try:
        chosen = [erased(page, str(name)) for name in models or []]
        looked_for = concept_of(concept, chosen)
    except InputError:
        looked_for = None
    return surprise(looked_for, int.from_bytes(os.urandom(4), "big"))
