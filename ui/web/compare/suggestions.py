"""What Compare suggests: the first comparison when the page is opened, settings and prompts of a chosen model, one more prompt to keep."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from random import Random

from erase.concepts import EMBEDDED, prompts
from erase.errors import InputError
from ui.web.compare.address import restored
from ui.web.compare.asking import EACH, HELD_OUT, Record, held_out, lines_of, loaded
from ui.web.compare.choices import chosen, concept_choices, looked_for, world_of
from ui.web.compare.handlers import ComparisonRequest, order_of
from ui.web.compare.reading import draws, note
from ui.web.context import Page
from ui.web.drawing.order import Order
from ui.web.runs import LARGE, OWN, SMALL, Erased, brief, erased_runs, original_of

SETS = {"": HELD_OUT, "that name it": ("evaluate",), "that describe it": ("implicit",), "to keep": ("evaluate-retain",)}
SINGLE = {"evaluate": "names it", "implicit": "describes it", "evaluate-retain": "to keep"}
MORE = 2  # times as many prompts in a set of one role


@dataclass(frozen=True)
class Setting:
    """What the form follows when models are chosen: sampling, lists to choose from, a first comparison's prompts, what the model draws."""

    steps: int = SMALL[0]
    guidance: float = SMALL[1]
    examples: tuple[tuple[str, str], ...] = ()
    concepts: tuple[str, ...] = (OWN,)
    prompts: str = ""
    about: str = ""
    concept: str = OWN


def first(page: Page, address: Iterable[tuple[str, str]] = ()) -> tuple[ComparisonRequest, bool]:
    """The comparison of the address, else a first one; and whether to draw it at once: the embedded models are quick."""
    named = restored(address)
    if named:
        setting = setting_for(page, named["models"], str(named.get("original", OWN)), str(named.get("concept", OWN)))
        request = ComparisonRequest(**{"steps": setting.steps, "guidance": setting.guidance, **named})
        return request, _is_quick(page, request)
    name = first_choice(page)
    setting = setting_for(page, [name] if name else [])
    request = ComparisonRequest([name] if name else [], prompts=setting.prompts, steps=setting.steps, guidance=setting.guidance)
    return request, name is None or _original(page, name) in EMBEDDED


def expected(page: Page) -> Order | None:
    """The comparison of a page that is opened without an address, where it is quick: it may be drawn before anybody asks."""
    try:
        request, quick = first(page)
        return order_of(page, request) if quick else None
    except InputError:
        return None


def _is_quick(page: Page, request: ComparisonRequest) -> bool:
    """Whether an address may be drawn without a click: by embedded models and runs of them, nothing that has to be fetched."""
    try:
        opened = [chosen(page, str(name)) for name in request.models]
        return all(world_of(source) for source in (original_of(page, request.original, opened), *(model.source for model in opened)))
    except InputError:
        return True  # which says what is wrong


def first_choice(page: Page) -> str | None:
    """The newest run of an embedded model, which draws in a second; else the newest."""
    names = erased_runs(page)
    return next((name for name in names if _original(page, name) in EMBEDDED), next(iter(names), None))


def _original(page: Page, name: str) -> str | None:
    return (brief(page.runs / name) or {}).get("model")


def setting_for(page: Page, models: Iterable[str], original: str = OWN, concept: str = OWN) -> Setting:
    """What goes with the chosen models; that of a first visit where they cannot be opened, which is reported when Draw is clicked."""
    try:
        opened = [chosen(page, str(name)) for name in models or []]
        source, record = _source_and_concept(page, opened, original, concept)
    except InputError:
        return setting_for(page, models, original) if concept != OWN else Setting()  # the concept may be one of another world
    world = world_of(source)
    steps, guidance = (opened[0].steps, opened[0].guidance) if opened else SMALL if world else LARGE
    lines = _first_prompts(record, bool(opened)) if record else []
    about = f"{draws(world)}." if world else ""
    return Setting(steps, guidance, tuple(examples(record)), tuple(concept_choices(world)), "\n".join(lines), about, concept)


def _source_and_concept(page: Page, opened: list[Erased], original: str, concept: str) -> tuple[str, Record | None]:
    source = original_of(page, original, opened)
    return source, looked_for(concept, opened, world_of(source))


def _first_prompts(record: Record, pairs: bool) -> list[str]:
    """One prompt of each kind; without an erased model, what it shows when it is named."""
    return held_out(record, 1) if pairs else held_out(record, 1, ("evaluate", "evaluate-retain"))


def examples(record: Record | None) -> list[tuple[str, str]]:
    """(what they are, prompts one a line) to fill the field with: sets that no erasure has seen, then single ones of them."""
    if record is None:
        return []
    found = []
    for words, roles in SETS.items():
        each = EACH if len(roles) > 1 else MORE * EACH
        if texts := held_out(record, each, roles):
            name = f"Held-out set: {len(texts)} prompts {words}".strip() if words else f"Held-out set: {len(texts)} prompts of every kind"
            found.append((name, "\n".join(texts)))
    single = [(role, text) for role in HELD_OUT for text in held_out(record, EACH, (role,))]
    return found + [(f"{SINGLE[role]}: {text}", text) for role, text in single]


def one_more(page: Page, text: str, models: Iterable[str], original: str, concept: str) -> str:
    """The prompts with one more to keep, another one at each press."""
    try:
        record = _source_and_concept(page, [chosen(page, str(name)) for name in models or []], original, concept)[1]
    except InputError:
        record = None
    if record is None:
        return text
    lines = lines_of(text)
    others = [prompt.text for prompt in prompts(loaded(record), "retain", 200) if prompt.text not in lines]
    return "\n".join([*lines, *([Random(os.urandom(8)).choice(others)] if others else [])])


def read(page: Page, text: str, models: Iterable[str], original: str) -> str:
    """What to know of the prompts before they are drawn: tokens, what is cut, words that the model does not know."""
    try:
        source = original_of(page, original, [chosen(page, str(name)) for name in models or []])
    except InputError:
        return ""
    return note(lines_of(text), source, world_of(source))


def with_show(request: ComparisonRequest, current: ComparisonRequest) -> ComparisonRequest:
    """A suggested comparison with what the visitor has already: the key, the counts, and whether nudity is shown."""
    return replace(request, key=current.key, seen=current.seen, show=current.show)
