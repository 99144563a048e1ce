"""`erase-concept concepts`: the concept files, and the prompts of one."""

from __future__ import annotations

import json

from erase.errors import InputError
from ui.cli.display import print_rows
from ui.cli.flags import PROGRAM, Parser


def concepts(arguments: list[str]) -> int:
    """List the concept files, or show the prompts of one concept."""
    from erase.concepts import EMBEDDED, ROLES, list_concepts, load_concept, prompts
    from erase.demo.worlds import KNOWN_MODELS

    parser = Parser(prog=f"{PROGRAM} concepts", description=concepts.__doc__, epilog=f"example: {PROGRAM} concepts star --count 3")
    parser.add_argument("concept", nargs="?", help="show the prompts of this one: a name, a .toml file or plain words")
    parser.add_argument("--model", help="the model that it is meant for, as for the main job")
    parser.add_argument("--count", type=int, default=5, help="prompts of each role (default: 5)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    if options.count < 0:
        raise InputError(f"--count is {options.count}; expected at least 0")
    if options.concept is None:
        others = [load_concept(word, known.name) for known in map(KNOWN_MODELS.get, EMBEDDED) if known.prompts for word in known.concepts]
        listed = [concept for concept in [*list_concepts(), *others] if options.model in (None, concept.model)]
        rows = [{"name": c.name, "domain": c.domain, "model": c.model, "detector": c.detector, "about": c.about} for c in listed]
        print_rows(rows, options.json)
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
