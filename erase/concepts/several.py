"""Several concepts in one job, at once or one after another: each without the others in what is retained, and one list of prompts for all.

With one concept, the functions return what those of a single concept return. Depends on no network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from erase.concepts import (
    JUDGES,
    Concept,
    Prompt,
    anchors_for,
    chosen_anchor,
    load_concept,
    prompts,
    slots_of,
    words_fit,
)
from erase.concepts.concept import deciding, domains_in, names_of, phrases_of
from erase.concepts.english import swap
from erase.errors import InputError

JOINT = " + "
"""Between the names of concepts that are erased together, in reports and names of folders."""

Concepts = tuple[Concept, ...]
Row = dict[str, Any]


# --- which concepts -------------------------------------------------------------------------------------------------


def load_concepts(names: Sequence[str], model: str | None = None) -> Concepts:
    """The concepts as `load_concept` finds each. InputError where they do not go together."""
    if joined := next((name for name in names if JOINT in name), None):
        each = " ".join(f'--concept "{part}"' for part in joined.split(JOINT))
        raise InputError(f'--concept "{joined}" names several concepts; give each by itself: {each}', option="concepts")
    if not names:
        raise InputError("--concept is missing; give a name (`erase-concept concepts` lists them) or a few words", option="concepts")
    concepts = tuple(load_concept(name, model) for name in names)
    for one, other in combinations(concepts, 2):
        if one.name == other.name or any(names_of(one).search(word) for word in other.words):
            raise InputError(f'--concept "{one.title}" and --concept "{other.title}" are the same concept; give each once')
        if model is None and one.model != other.model:
            what = f"{one.title} is meant for {one.model} and {other.title} for {other.model}"
            raise InputError(f"{what}; say with --model where both are to be removed from")
        if one.detector != other.detector:
            what = f"{one.title} has the detector {one.detector} and {other.title} has {other.detector}"
            raise InputError(f"{what}; erase them one after another: the second from the first run's folder, with --model RUN")
    return concepts


def together(concepts: Sequence[Concept]) -> str:
    """What they are called in a report."""
    return JOINT.join(concept.name for concept in concepts)


def _titles(concepts: Sequence[Concept]) -> str:
    return JOINT.join(concept.title for concept in concepts)


def settings_of(concepts: Sequence[Concept]) -> dict[str, Any]:
    """What the files recommend for the method; InputError where two recommend different values for one option."""
    settings: dict[str, Any] = {}
    for concept in concepts:
        for name, value in concept.settings.items():
            if settings.setdefault(name, value) != value:
                flag = f"--{name.replace('_', '-')}"
                raise InputError(
                    f"{_titles(concepts)} recommend different values for {flag}: {settings[name]} and {value}; give {flag} yourself"
                )
    return settings


def also_earlier(now: Concepts, earlier: Concepts) -> Concepts:
    """Those of the earlier concepts that are not erased again; InputError where one is part of another."""
    remaining = tuple(concept for concept in earlier if concept.name not in {c.name for c in now})
    for one in remaining:
        for other in now:
            if any(names_of(one).search(word) for word in other.words) or any(names_of(other).search(word) for word in one.words):
                raise InputError(f"{other.title} is a part of {one.title}, which is gone from this model already; give --no-stay-gone")
    return remaining


# --- each knows of the others ---------------------------------------------------------------------------------------


def apart(concept: Concept, others: Sequence[Concept]) -> Concept:
    """The concept with none of the others in its vocabulary, its anchors and its prompts to keep and to evaluate.

    For the judge no prompt to keep may leave open what is to be gone: prompts without a place for it are dropped.
    """
    if not others:
        return concept
    names = names_of(*others)
    vocabulary = {slot: tuple(w for w in words if not names.search(w)) for slot, words in concept.vocabulary.items()}
    open_to = {deciding(other) for other in others if deciding(other) in vocabulary} if concept.detector in JUDGES else set()

    def remaining(templates: Sequence[str], closed: set[str]) -> tuple[str, ...]:
        fit = [t for t in templates if not names.search(t) and closed <= domains_in(t)]
        return tuple(t for t in fit if all(vocabulary.get(slot, True) for slot in slots_of(t)))

    changed = replace(
        concept,
        vocabulary=vocabulary,
        anchors=tuple(a for a in concept.anchors if not names.search(a)),
        anchor_prompts=tuple(a for a in concept.anchor_prompts if not names.search(a)),
        retain=remaining(concept.retain, open_to),
        evaluate=remaining(concept.evaluate, set()),
        implicit=remaining(concept.implicit, set()),
        evaluate_retain=remaining(concept.evaluate_retain, open_to),
    )
    for role in ("retain", "evaluate", "evaluate_retain"):
        if not getattr(changed, role):
            raise InputError(f"every prompt ({role}) of {concept.title} concerns {_titles(others)} too; erase them one after another")
    return changed


def all_apart(concepts: Concepts) -> Concepts:
    """Every concept, apart from the others."""
    return tuple(apart(c, [o for o in concepts if o is not c]) for c in concepts)


# --- prompts --------------------------------------------------------------------------------------------------------


def forget_prompts(concepts: Concepts, whole: Concepts, count: int, seed: int = 0) -> list[Prompt]:
    """`count` prompts of each concept, in turn, each with the one prompt that replaces it, if there are anchors.

    `whole` are the concepts as in their files. A prompt of one concept may name another ("a red star"): then each of
    them is replaced by an anchor of its own. Where another has whole prompts for anchors, no prompt names both.
    """
    if len(concepts) == 1:
        forget = prompts(concepts[0], "forget", count, seed)
        return [replace(p, anchors=_chosen(concepts, concepts[0], p.text, p.anchors)) for p in forget]
    lists = []
    for i, concept in enumerate(concepts):
        closed = [o for o in concepts if o is not concept and not words_fit(o)]
        mine = replace(concept, vocabulary=whole[i].vocabulary, forget=whole[i].forget)
        drawn = (p for p in prompts(mine, "forget", 4 * count, seed) if not any(names_of(o).search(p.text) for o in closed))
        lists.append([replace(p, anchors=_chosen(concepts, concept, p.text, p.anchors)) for p, _ in zip(drawn, range(count), strict=False)])
    return _in_turn(lists)


def own_anchors(concepts: Concepts, caption: str) -> tuple[str, ...]:
    """The prompt that takes the place of a user's own caption."""
    concept = next((c for c in concepts if names_of(c).search(caption)), concepts[0])
    return _chosen(concepts, concept, caption, anchors_for(concept, caption))


def _chosen(concepts: Concepts, concept: Concept, text: str, anchors: Sequence[str]) -> tuple[str, ...]:
    """The anchor of a prompt, with every other concept that it names replaced by one of its own."""
    if not anchors:
        return ()
    anchor = chosen_anchor(concept, text, anchors)
    for other in concepts:
        if other is not concept and other.anchors:
            anchor = swap(anchor, names_of(other), chosen_anchor(other, text, other.anchors), phrases_of(other))
    return (anchor,)


def retain_prompts(concepts: Concepts, count: int, seed: int = 0) -> list[Prompt]:
    """`count` prompts in all that name none of the concepts, from each of them in turn."""
    if len(concepts) == 1:
        return prompts(concepts[0], "retain", count, seed)
    share = -(-count // len(concepts))
    return _in_turn([prompts(c, "retain", share, seed) for c in concepts])[:count]


def evaluation_rows(concepts: Concepts, whole: Concepts, count: int, seed: int = 0) -> list[Row]:
    """The evaluation prompts: `count` that name each concept, half as many that mean it, and `count` that are to survive.

    With several concepts each row records its concept (`concept`) and the domains in which the concept should be missing (`means`); half
    of `count` more name two at once, where one concept's vocabulary has the other.
    """
    if len(concepts) == 1:
        shares = (("evaluate", count), ("implicit", count // 2), ("evaluate-retain", count))
        return [_row(p) for role, share in shares for p in prompts(concepts[0], role, share, seed)]
    rows: list[Row] = []
    for role, share in (("evaluate", count), ("implicit", count // 2)):
        for c in concepts:
            rows += [_row(p) | {"concept": c.name, "means": [c.domain]} for p in prompts(c, role, share, seed)]
    for one, other in _meeting(concepts, whole):
        domains = [one.domain, other.domain]
        rows += [_row(p) | {"concept": together((one, other)), "means": domains} for p in prompts(one, "evaluate", count // 2, seed)]
    retained = _in_turn([prompts(c, "evaluate-retain", -(-count // len(concepts)), seed) for c in concepts])[:count]
    return rows + [_row(p) for p in retained]


def _meeting(concepts: Concepts, whole: Concepts) -> Iterator[tuple[Concept, Concept]]:
    """Pairs that one prompt can name, the first with nothing but the second where its vocabulary has it."""
    for i, j in combinations(range(len(concepts)), 2):
        for a, b in ((i, j), (j, i)):
            one, other = concepts[a], concepts[b]
            slot, names = other.domain, names_of(other)
            words = tuple(word for word in whole[a].vocabulary.get(slot, ()) if names.fullmatch(word))
            templates = tuple(t for t in one.evaluate if slot in slots_of(t))
            if words and templates:
                yield replace(one, vocabulary={**one.vocabulary, slot: words}, evaluate=templates), other
                break


def _row(prompt: Prompt) -> Row:
    return {"text": prompt.text, "role": prompt.role, "attributes": dict(prompt.attributes)}


def _in_turn(lists: Sequence[Sequence[Prompt]]) -> list[Prompt]:
    longest = max(map(len, lists), default=0)
    mixed = [prompts[i] for i in range(longest) for prompts in lists if i < len(prompts)]
    return [replace(p, index=i) for i, p in enumerate(mixed)]
