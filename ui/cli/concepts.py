"""`erase-concept concepts`: the concept files, and the prompts of one."""

from __future__ import annotations

import json

from erase.errors import InputError
from ui.cli.display import print_rows
from ui.cli.flags import PROGRAM, Parser, at_most


def listed(model: str | None) -> list[dict[str, str]]:
    """Name, domain, model, detector and about of every concept that has a file or is a word of an embedded model.

    Of a model with a language of its own, which knows hundreds of words, all of them only where it is named.
    """
    from erase.concepts import EMBEDDED, list_concepts, load_concept
    from erase.demo.worlds import KNOWN_MODELS

    found = list_concepts()
    rows: list[dict[str, str]] = []
    for known in (KNOWN_MODELS[name] for name in KNOWN_MODELS if name in (*EMBEDDED, model)):
        if known.language:
            found += list_concepts(known.name)
        elif known.prompts or known.shares:
            found += [load_concept(word, known.name) for word in known.concepts]
        if known.language and known.name == model:
            names = {name: domain for domain, names in known.language.names().items() for name in names}
            filed = {concept.name for concept in list_concepts(known.name)}
            more = {name: domain for name, domain in names.items() if known.slug(name) not in filed}
            about = "its prompts: erase-concept concepts NAME --model " + known.name
            rows = [_row(name, domain, known.name, known.detector, about) for name, domain in more.items()]
    rows = [*(_row(c.name, c.domain, c.model, c.detector, c.about) for c in found), *rows]
    return [row for row in rows if model in (None, row["model"])]


def _row(name: str, domain: str, model: str, detector: str, about: str) -> dict[str, str]:
    return {"name": name, "domain": domain, "model": model, "detector": detector, "about": about}


def concepts(arguments: list[str]) -> int:
    """List the concept files, or show the prompts of one concept."""
    from erase.concepts import ROLES, load_concept, prompts

    parser = Parser(prog=f"{PROGRAM} concepts", description=concepts.__doc__, epilog=f"example: {PROGRAM} concepts star --count 3")
    parser.add_argument("concept", nargs="?", help="show the prompts of this one: a name, a .toml file or plain words")
    parser.add_argument("--model", help="the model that it is meant for, as for the main job")
    parser.add_argument("--count", type=at_most(int, 10_000), default=5, help="prompts of each role (default: 5)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    if options.count < 0:
        raise InputError(f"--count is {options.count}; expected at least 0")
    if options.concept is None:
        print_rows(listed(options.model), options.json)
        return 0
    concept = load_concept(options.concept, options.model)
    said = {role: [p.text for p in prompts(concept, role, options.count)] for role in ROLES}
    said["anchors"] = [*concept.anchors, *concept.anchor_prompts]
    if options.json:
        print(json.dumps(said, indent=1, ensure_ascii=False))
        return 0
    print(f"{concept.name} ({concept.domain}; model {concept.model}): {concept.about}")
    for role, texts in said.items():
        print(f"\n{role}", *(f"  {text}" for text in texts or ["(none: proposed and tested when the job starts)"]), sep="\n")
    return 0
