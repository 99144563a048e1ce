"""Concepts as data: a TOML file or a few words become prompts to forget, to keep and to evaluate.

docs/concepts.md describes the file format. Nothing here knows a network: what an anchor is worth is measured elsewhere.
"""

from __future__ import annotations

import csv
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from itertools import count as rounds
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import erase
from erase.demo import DEMO as DEMO
from erase.demo.worlds import WORLDS, World, spoken
from erase.task import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

JUDGES = ("judge", "scenes")  # detectors of the embedded worlds, which see every domain of their pictures
DETECTORS = (*JUDGES, "nudenet", "imagenet", "clip")
ROLES = ("forget", "retain", "evaluate", "implicit", "evaluate-retain")

# key of a concept file -> what it holds, and whether the file must have it
KEYS: dict[str, tuple[str, bool]] = {
    "name": ("text", True),
    "domain": ("text", True),
    "model": ("text", True),
    "detector": ("text", True),
    "about": ("text", False),
    "words": ("list", False),
    "forget.prompts": ("list", True),
    "anchor.concepts": ("list", False),
    "anchor.prompts": ("list", False),
    "retain.prompts": ("list", True),
    "evaluate.prompts": ("list", True),
    "evaluate.implicit": ("list", False),
    "evaluate.retain": ("list", True),
    "vocabulary": ("table", False),
    "settings": ("table", False),
}
_HOLDS = {"text": "a text in quotes that is not empty", "list": "a list of texts, none of them empty", "table": "a table"}


@dataclass(frozen=True)
class Concept:
    """What to remove and how to speak of it. Prompts are templates: {slot} stands for a word of `vocabulary`, {concept} for one of `words`.

    `anchors` are words that take the concept's place in the forget prompts, `anchor_prompts` whole prompts that do;
    with neither, candidates are to be proposed and tested. `settings` recommends values for fields of a method.
    """

    name: str
    domain: str
    model: str
    detector: str
    words: tuple[str, ...]
    forget: tuple[str, ...]
    retain: tuple[str, ...]
    evaluate: tuple[str, ...]
    evaluate_retain: tuple[str, ...]
    implicit: tuple[str, ...] = ()
    anchors: tuple[str, ...] = ()
    anchor_prompts: tuple[str, ...] = ()
    vocabulary: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    about: str = ""
    source: str = ""


@dataclass(frozen=True)
class Prompt:
    """One line of text for the model, and what it should show.

    `anchors` are the prompts that may take a forget prompt's place. `attributes` says what was filled in (slot -> value);
    where the prompt means the concept, by name or implicitly, also domain -> concept. `seed` only where a CSV file gives it.
    """

    text: str
    role: str
    index: int
    anchors: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)
    seed: int | None = None


# --- finding and reading --------------------------------------------------------------------------------------------


def prompts_folder() -> Path:
    """Where the concept files are: inside the package when installed from a wheel, beside it in the repository."""
    package = Path(erase.__file__).parent
    return package / "prompts" if (package / "prompts").is_dir() else package.parent / "prompts"


def list_concepts(model: str | None = None) -> list[Concept]:
    """Every shipped concept, by name; those of an embedded model that has files of its own only where it is asked for."""
    folder = prompts_folder() / (WORLDS[model].prompts if model in WORLDS else "")
    return [read_concept(path) for path in sorted(folder.glob("*.toml"))]


def load_concept(text: str | Path, model: str | None = None) -> Concept:
    """A concept by the name of its file, by the path of a .toml file, or from any other text.

    `model` is where it is to be removed (None: not said). Concepts of an embedded world answer only to its model, by name or as
    a folder with its vocabulary, since their captions mean little to another; there the word is free text. Unsaid, it is the demo.
    """
    text = " ".join(str(text).split())
    if not text:
        raise InputError('the concept is empty; give a name (star), a .toml file or a few words ("Van Gogh style")')
    if text.endswith(".toml"):
        return read_concept(Path(text))
    world = spoken(model) if model is not None else None
    path = prompts_folder() / (world.prompts if world else "") / f"{_slug(text)}.toml"
    if path.exists():
        concept = read_concept(path)
        if model is None or (world.name if world else None) == (concept.model if concept.model in WORLDS else None):
            return concept
    known = (world or WORLDS[DEMO]).concepts
    if (model is None or world) and text.lower() in known:
        return _embedded_concept(text.lower(), world or WORLDS[DEMO])
    if world:
        raise InputError(f'the embedded model does not know "{text}"{_hint(text, known)}; it knows {", ".join(known)}')
    names = [*(file.stem for file in prompts_folder().glob("*.toml")), *known]
    if model is None and " " not in text and (near := _hint(text, names, 0.85)):
        raise InputError(f"--concept {text!r} is not the name of a concept{near}; to take it as a word of your own, name a --model too")
    return _free_concept(text, model)


def read_concept(path: Path) -> Concept:
    """A concept file, checked; InputError names the file, the key and what is allowed."""
    return _parse(_read(path), str(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in prompts_folder().glob("*.toml")))
        raise InputError(f"{path}: no such concept file; give the path of one, or a name: {known}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}); a concept file is TOML in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}; texts stand in double quotes, lists in square brackets") from None


def _parse(raw: Mapping[str, Any], source: str) -> Concept:
    values: dict[str, Any] = {}
    for key, value in raw.items():
        inner = isinstance(value, dict) and KEYS.get(key, ("", False))[0] != "table"
        values |= {f"{key}.{k}": v for k, v in value.items()} if inner else {key: value}
    _check_keys(values, source)

    def listed(key: str) -> tuple[str, ...]:
        return tuple(values.get(key, ()))

    concept = Concept(
        name=values["name"],
        domain=values["domain"],
        model=values["model"],
        detector=values["detector"],
        words=listed("words") or (values["name"].replace("-", " "),),
        forget=listed("forget.prompts"),
        retain=listed("retain.prompts"),
        evaluate=listed("evaluate.prompts"),
        evaluate_retain=listed("evaluate.retain"),
        implicit=listed("evaluate.implicit"),
        anchors=listed("anchor.concepts"),
        anchor_prompts=listed("anchor.prompts"),
        vocabulary={slot: tuple(words) for slot, words in values.get("vocabulary", {}).items()},
        settings=dict(values.get("settings", {})),
        about=values.get("about", ""),
        source=source,
    )
    _check(concept)
    return concept


# --- what may be wrong with a file ----------------------------------------------------------------------------------


def _hint(word: str, known: Sequence[str], likeness: float = 0.6) -> str:
    close = get_close_matches(word, known, 1, likeness)
    return f', did you mean "{close[0]}"?' if close else ""


def _check_keys(values: Mapping[str, Any], source: str) -> None:
    allowed = ", ".join(KEYS)
    for key in values:
        if key not in KEYS:
            raise InputError(f'{source}: unknown key "{key}"{_hint(key, list(KEYS))}; allowed: {allowed}')
    for key, (kind, required) in KEYS.items():
        if key in values:
            _check_value(values[key], kind, key, source)
        elif required:
            raise InputError(f'{source}: the key "{key}" is missing; it holds {_HOLDS[kind]}')
    for slot, words in values.get("vocabulary", {}).items():
        _check_value(words, "list", f"vocabulary.{slot}", source)


def _check_value(value: Any, kind: str, key: str, source: str) -> None:
    def is_text(item: Any) -> bool:
        return isinstance(item, str) and bool(item.strip())

    good = {
        "text": is_text(value),
        "list": isinstance(value, list) and bool(value) and all(map(is_text, value)),
        "table": isinstance(value, dict),
    }
    if not good[kind]:
        raise InputError(f'{source}: the key "{key}" holds {value!r}; expected {_HOLDS[kind]}')


def _check(concept: Concept) -> None:
    """What must hold between the keys of a concept: InputError otherwise."""
    fail = partial(_fail, concept)
    if not re.fullmatch(r"[^\W_]+(-[^\W_]+)*", concept.name) or concept.name != concept.name.lower():
        fail("name", f'"{concept.name}" is not a name; use small letters, digits and "-", it becomes part of a folder\'s name')
    if concept.detector not in DETECTORS:
        fail("detector", f'"{concept.detector}" is unknown{_hint(concept.detector, DETECTORS)}; allowed: {", ".join(DETECTORS)}')
    if concept.anchors and concept.anchor_prompts:
        fail("anchor", "has both concepts and prompts; keep one: words that take the concept's place, or whole prompts")
    _check_slots(concept)
    _check_meaning(concept)


def _fail(concept: Concept, key: str, what: str) -> None:
    raise InputError(f'{concept.source or concept.name}: the key "{key}": {what}')


def _templates(concept: Concept) -> dict[str, tuple[str, ...]]:
    """Key in the file -> its templates."""
    return {
        "forget.prompts": concept.forget,
        "anchor.prompts": concept.anchor_prompts,
        "retain.prompts": concept.retain,
        "evaluate.prompts": concept.evaluate,
        "evaluate.implicit": concept.implicit,
        "evaluate.retain": concept.evaluate_retain,
    }


def _check_slots(concept: Concept) -> None:
    known = [*concept.vocabulary, "concept"]
    used = {"concept"}
    for key, templates in _templates(concept).items():
        for template in templates:
            if re.search(r"[{}]", re.sub(_SLOT, "", template)):
                _fail(concept, key, f'"{template}" has a loose brace; a slot is {{word}} in small letters')
            for slot in slots_of(template):
                if slot not in known:
                    have = ", ".join(known)
                    _fail(concept, key, f'"{template}" has a slot {{{slot}}} without a vocabulary{_hint(slot, known)}; there are: {have}')
                used.add(slot)
    for slot in known:
        if slot not in used or (slot == "concept" and slot in concept.vocabulary):
            why = "the concept's words belong in the key words" if slot == "concept" else "no prompt has this slot"
            _fail(concept, f"vocabulary.{slot}", f"{why}; remove it")


def _check_meaning(concept: Concept) -> None:
    """Prompts that name the concept have a place for it and no other member there; prompts to keep do not name it."""
    names, templates = naming(concept.words), _templates(concept)
    for key in ("forget.prompts", "evaluate.prompts", "evaluate.implicit"):
        for template in templates[key]:
            if concept.domain in slots_of(template):
                wanted = "{concept}" if key != "evaluate.implicit" else "a description"
                _fail(concept, key, f'"{template}" means other members of its domain; write {wanted} instead of {{{concept.domain}}}')
    for key in ("anchor.prompts", "retain.prompts", "evaluate.implicit", "evaluate.retain"):
        for template in templates[key]:
            slots = slots_of(template)
            named = names.search(template) or "concept" in slots
            if named or any(names.search(word) for slot in slots for word in concept.vocabulary[slot]):
                _fail(concept, key, f'"{template}" names the concept ({", ".join(concept.words)}); these prompts must not')
            # a model is free to draw the concept where its domain is left open
            if concept.detector in JUDGES and "retain" in key and concept.domain not in slots:
                _fail(concept, key, f'"{template}" leaves the {concept.domain} open, so it may show the concept; add {{{concept.domain}}}')
    if not concept.anchor_prompts and not words_fit(concept):
        odd = next(template for template in concept.forget if "concept" not in slots_of(template))
        _fail(concept, "forget.prompts", f'"{odd}" has no {{concept}}, so an anchor has no place in it; add it, or give anchor.prompts')
    for anchor in concept.anchors:
        if names.search(anchor):
            _fail(concept, "anchor.concepts", f'"{anchor}" names the concept itself; an anchor is what should be drawn instead')
    for template in sorted({*concept.forget, *concept.retain} & {*concept.evaluate, *concept.implicit, *concept.evaluate_retain}):
        _fail(concept, "evaluate", f'"{template}" is also a training prompt; evaluation needs other wording')


def words_fit(concept: Concept) -> bool:
    return all("concept" in slots_of(template) for template in concept.forget)


def naming(words: Sequence[str]) -> re.Pattern[str]:
    """Finds any of the words in a text, in the singular or the plural."""
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?:e?s|'s)?(?!\w)", re.IGNORECASE)


# --- free text ------------------------------------------------------------------------------------------------------

_STYLE = re.compile(r"(?:in )?(?:the )?style of (?P<of>.+)|(?P<before>.+?)(?:'s)? style", re.IGNORECASE)
_UNCOUNTED = re.compile(r"blood|fire|fog|food|gore|grass|hair|ice|money|nudity|rain|sand|smoke|snow|violence|water", re.IGNORECASE)


def _slug(text: str) -> str:
    return re.sub(r"[\W_]+", "-", text.lower())[:60].strip("-")


def _each(value: Any, change: Callable[[str], str]) -> Any:
    """The same nested lists and tables with every text changed."""
    if isinstance(value, dict):
        return {key: _each(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_each(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def _embedded_concept(word: str, world: World) -> Concept:
    """A concept of an embedded world that has no file: its domain's example, the two having changed places.

    Which neighbours are near is a fact about a word: anchors are those of the demo's file of it, where there is one.
    """
    domain = next(domain for domain, members in world.domains.items() if word in members)
    example, implicit = world.examples[domain], world.drawing.IMPLICIT
    swap = {example: word, word: example}
    swap |= {old.removeprefix("a "): new.removeprefix("a ") for old, new in zip(implicit[example], implicit[word], strict=True)}
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, swap))})(?=s?\b)")
    raw = _each(_read(prompts_folder() / world.prompts / f"{example}.toml"), lambda text: pattern.sub(lambda found: swap[found[0]], text))
    del raw["anchor"]
    own = prompts_folder() / f"{word}.toml"
    near = [other for other in _read(own)["anchor"]["concepts"] if other in world.domains[domain]] if own.is_file() else []
    if near:
        raw["anchor"] = {"concepts": near}
    return _parse(raw | {"about": f"the {domain} {word} of the embedded world"}, f'the word "{word}" of the embedded world')


def _free_concept(text: str, model: str | None) -> Concept:
    """Any words: "... style" fills the templates of prompts/free/style.toml, the rest those of prompts/free/object.toml."""
    if not _slug(text) or re.search(r"[{}]", text):
        raise InputError(f'the concept "{text}" is not words; give a name, a .toml file or plain words such as "Van Gogh style"')
    style = _STYLE.fullmatch(text)
    word = (style["of"] or style["before"]) if style else re.sub(r"^an? ", "", text, flags=re.IGNORECASE)
    raw = _read(prompts_folder() / "free" / f"{'style' if style else 'object'}.toml")
    _leave_out(raw, word)
    if not style and _bare(word):
        raw = _each(raw, lambda template: template.replace("a {concept}", "{concept}"))
    raw |= {"name": _slug(text if style else word), "words": [word], "about": "made from free text"} | ({"model": model} if model else {})
    return _parse(raw, f'the concept "{text}"')


def _leave_out(raw: dict[str, Any], word: str) -> None:
    """Take what names the concept out of the prompts to keep and of the vocabulary, then the vocabulary that no prompt uses."""
    names = naming([word])
    for section, key in (("retain", "prompts"), ("evaluate", "retain")):
        raw[section][key] = [template for template in raw[section][key] if not names.search(template)]
        if not raw[section][key]:
            raise InputError(f'the concept "{word}" is a word of every prompt; say more precisely what should go, or write a concept file')
    used = slots_of(" ".join(t for section in ("forget", "retain", "evaluate") for templates in raw[section].values() for t in templates))
    kept = {slot: [w for w in words if not names.search(w)] for slot, words in raw["vocabulary"].items()}
    raw["vocabulary"] = {slot: words for slot, words in kept.items() if slot in used}


def _plural(word: str) -> bool:
    return re.search(r"[^sui]s$", word) is not None


def _bare(word: str) -> bool:
    """Words that take no "a": names, plurals, what has an article of its own, what cannot be counted."""
    last = word.split()[-1]
    return word[:1].isupper() or _plural(last) or word.lower().startswith("the ") or _UNCOUNTED.fullmatch(last) is not None


# --- anchors --------------------------------------------------------------------------------------------------------

_NEUTRAL = {
    "shape": ("shape", "thing", "object"),
    "colour": ("coloured", "plain"),
    "style": ("plain", "ordinary", "realistic"),
    "artist": ("a painter", "an unknown painter", "an amateur painter"),
    "person": ("person", "man", "woman"),
}


def neutral_candidates(concept: Concept) -> list[str]:
    """Generic words for what the concept is, to be tested as anchors beside its neighbours. They fit its templates' grammar."""
    word = concept.words[0]
    things: tuple[str, ...] = ("thing", "object")
    if _plural(word):
        things = ("things", "objects")
    elif word[:1].isupper():
        things = ("a person", "a place", "an object")
    elif _bare(word):
        things = ("a thing", "an object")
    candidates = _NEUTRAL.get(concept.domain, things)
    if concept.model in WORLDS:
        spoken_words = WORLDS[concept.model].words()
        candidates = tuple(c for c in candidates if c in spoken_words)
    return [c for c in candidates if not naming(concept.words).search(c)]


def with_anchors(concept: Concept, anchors: Sequence[str]) -> Concept:
    """The concept with these anchors: words if every forget prompt has a place for them ({concept}), whole prompts otherwise."""
    anchors = tuple(" ".join(anchor.split()) for anchor in anchors)
    if not anchors or not all(anchors):
        raise InputError(f"{concept.name}: an anchor is empty; give a word or a prompt that should take the concept's place")
    fits = words_fit(concept)
    changed = replace(concept, anchors=anchors if fits else (), anchor_prompts=() if fits else anchors)
    _check_meaning(changed)
    return changed


# --- prompts --------------------------------------------------------------------------------------------------------

_SLOT = re.compile(r"(?:\b([Aa])n? )?\{([a-z_]+)\}")  # with the article before it, which depends on what is filled in
_VOWEL = re.compile(r"(?!uni[^ndm]|us[aeiu]|ut[ei]|eu|one\b|once)[aeiou]|h(?:our|onest|eir|onou?r)", re.IGNORECASE)


def chosen_anchor(concept: Concept, text: str, anchors: Sequence[str]) -> str:
    """Which of several anchors takes the place of a prompt: it follows from a word of the prompt, so that a network can learn it.

    Sent to all of them in turn, a prompt would learn their mean, and the mean of three colours is none. The word is that from
    the longest list of the vocabulary beside the concept's own domain; without such lists the choice follows from the whole text.
    """
    others = [words for slot, words in concept.vocabulary.items() if slot != concept.domain]
    if not others:
        return anchors[crc32(text.encode()) % len(anchors)]
    words = max(others, key=len)
    said = next((i for i, word in enumerate(words) if naming([word]).search(text)), 0)
    return anchors[said % len(anchors)]


def anchors_for(concept: Concept, caption: str) -> list[str]:
    """What may take the place of a user's own caption: the caption with each anchor for the concept's words.

    A caption that does not name the concept, and anchors that are whole prompts, leave nothing to replace: then the anchors alone.
    """
    named = naming(concept.words)
    if concept.anchors and named.search(caption):
        return [named.sub(anchor.replace("\\", r"\\"), caption) for anchor in concept.anchors]
    return list(concept.anchors) or [p for p in concept.anchor_prompts if not slots_of(p)] or list(prompts(concept, "forget", 1)[0].anchors)


def prompts(concept: Concept, role: str, count: int, seed: int = 0) -> list[Prompt]:
    """`count` prompts of a role, the same for the same seed, and the first of a longer list.

    Templates take turns, values of a slot come equally often, and no text comes twice before all have come. The list is
    empty only for "implicit" where the concept has no such prompts.
    """
    if role not in ROLES:
        raise ValueError(f'role "{role}" is unknown; allowed: {", ".join(ROLES)}')
    if not _of_role(concept, role):
        return []
    endless = (item for again in rounds() for item in _round(concept, role, f"{seed} {again}"))
    return [_prompt(concept, role, index, *item) for index, item in enumerate(islice(endless, count))]


def captions(concept: Concept, role: str) -> list[str]:
    """Every different text that the prompts of a role can have."""
    return [text for text, _, _ in _round(concept, role, "0 0")]


def _of_role(concept: Concept, role: str) -> tuple[str, ...]:
    found: tuple[str, ...] = getattr(concept, role.replace("-", "_"))
    return found


def _round(concept: Concept, role: str, salt: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Every different text once, with its template and what fills it."""
    rng = Random(f"{salt} {concept.name} {role}")  # seeded by text: the same on every machine and Python
    templates = list(_of_role(concept, role))
    rng.shuffle(templates)
    extra = {slot for prompt in concept.anchor_prompts for slot in slots_of(prompt)} if role == "forget" else set()
    decks = {slot: rng.sample(words, len(words)) for slot, words in {"concept": concept.words, **concept.vocabulary}.items()}
    # each template begins elsewhere in a deck, evenly spread over it, so that short lists of prompts are balanced too
    starts = {slot: rng.sample(range(len(templates)), len(templates)) for slot in decks}
    turns = []
    for k, template in enumerate(templates):
        slots = sorted(slots_of(template) | extra)
        cuts = [starts[slot][k] * len(decks[slot]) // len(templates) for slot in slots]
        cut_decks = {slot: decks[slot][cut:] + decks[slot][:cut] for slot, cut in zip(slots, cuts, strict=True)}
        turns.append(_texts(template, cut_decks))
    seen: set[str] = set()
    while turns:
        for turn in list(turns):
            found = next((item for item in turn if item[0] not in seen), None)
            if found is None:
                turns.remove(turn)
            else:
                seen.add(found[0])
                yield found


def _texts(template: str, decks: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Every way to fill a template with one word from each deck, once, in balanced order."""
    for picks in _balanced([len(deck) for deck in decks.values()]):
        values = {slot: deck[pick] for (slot, deck), pick in zip(decks.items(), picks, strict=True)}
        yield _fill(template, values), template, values


def _balanced(sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every combination of indices once, in an order in which each index of each slot comes about equally often from the start.

    Two slots of sizes a and b advance together (t mod a, t mod b), which meets a new pair lcm(a, b) times; then the second is
    shifted by one. More slots: the first ones, in this order, are one slot of size a.
    """
    for t in range(math.prod(sizes)):
        picks, i = [], t
        for k in reversed(range(len(sizes))):
            a, b = math.prod(sizes[:k]), sizes[k]
            picks.append((i + i // math.lcm(a, b)) % b)
            i %= a
        yield tuple(reversed(picks))


def _prompt(concept: Concept, role: str, index: int, text: str, template: str, values: dict[str, str]) -> Prompt:
    attributes = {slot: value for slot, value in values.items() if slot != "concept" and slot in slots_of(template)}
    if role in ("forget", "evaluate", "implicit"):
        attributes[concept.domain] = concept.words[0]
    anchors: list[str] = []
    if role == "forget":
        anchors = [_fill(template, values | {"concept": anchor}) for anchor in concept.anchors]
        anchors += [_fill(prompt, values) for prompt in concept.anchor_prompts]
    return Prompt(text, role, index, tuple(anchors), attributes)


def slots_of(template: str) -> set[str]:
    return {found[2] for found in _SLOT.finditer(template)}


def _fill(template: str, values: Mapping[str, str]) -> str:
    def put(found: re.Match[str]) -> str:
        word = values[found[2]]
        return f"{found[1]}n {word}" if found[1] and _VOWEL.match(word) else f"{found[1]} {word}" if found[1] else word

    return _SLOT.sub(put, template)


# --- prompt sets ----------------------------------------------------------------------------------------------------


def read_prompt_csv(path: Path) -> list[Prompt]:
    """A prompt set: a CSV file with the columns prompt, role and seed; other columns become attributes where they are filled."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            for column in ("prompt", "role", "seed"):
                if column not in columns:
                    raise InputError(f'{path}: the column "{column}" is missing; the first line must name prompt, role and seed')
            found = [_csv_prompt(row, index, f"{path}, line {reader.line_num}") for index, row in enumerate(reader)]
    except FileNotFoundError:
        raise InputError(f"{path}: no such prompt set; give a CSV file with the columns prompt, role and seed") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV in UTF-8 ({error})") from None
    if not found:
        raise InputError(f"{path}: has no prompts, only the line with the columns")
    return found


def _csv_prompt(row: dict[str | Any, Any], index: int, where: str) -> Prompt:
    if None in row or None in row.values():
        raise InputError(f"{where}: has not as many cells as there are columns; a prompt with a comma in it stands in double quotes")
    text, role, seed = row.pop("prompt").strip(), row.pop("role").strip(), row.pop("seed").strip()
    if not text:
        raise InputError(f"{where}: the prompt is empty")
    if role not in ROLES:
        raise InputError(f'{where}: the role is "{role}"{_hint(role, ROLES)}; allowed: {", ".join(ROLES)}')
    if not re.fullmatch(r"[0-9]+", seed):
        raise InputError(f'{where}: the seed is "{seed}"; expected a whole number that is not negative')
    return Prompt(text, role, index, attributes={k: v.strip() for k, v in row.items() if v.strip()}, seed=int(seed))
