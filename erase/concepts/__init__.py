"""Concepts as data: a TOML file or a few words become prompts to forget, to keep and to evaluate.

Nothing here knows a network: what an anchor is worth is measured elsewhere.
"""

from __future__ import annotations

from erase.concepts.anchors import anchors_for, chosen_anchor, members_of_domain, neutral_candidates, never_anchors, with_anchors
from erase.concepts.concept import DETECTORS, JUDGES, ROLES, Concept, Prompt, names_of, words_fit
from erase.concepts.english import naming, slots_of
from erase.concepts.files import KEYS, list_concepts, own_words, prompts_folder, read_concept
from erase.concepts.load import load_concept
from erase.concepts.prompt_csv import read_prompt_csv
from erase.concepts.templates import captions, prompts
from erase.demo import DEMO, EMBEDDED

__all__ = [
    "DEMO", "DETECTORS", "EMBEDDED", "JUDGES", "KEYS", "ROLES", "Concept", "Prompt", "anchors_for", "captions", "chosen_anchor",
    "list_concepts", "load_concept", "members_of_domain", "names_of", "naming", "neutral_candidates", "never_anchors", "own_words",
    "prompts",
    "prompts_folder", "read_concept", "read_prompt_csv", "slots_of", "with_anchors", "words_fit",
]  # fmt: skip
