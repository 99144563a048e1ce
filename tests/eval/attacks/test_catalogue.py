"""The catalogue, which forms and help read without torch, is that of the attacks themselves."""

from __future__ import annotations

from eval.attacks.catalogue import CATALOGUE, FAMILIES, QUICK, Entry
from eval.attacks.registry import ATTACKS
from eval.attacks.registry import QUICK as ROUND


def test_the_catalogue_says_of_each_attack_what_its_class_says():
    assert {name: Entry(attack.family, attack.assumes, attack.about) for name, attack in ATTACKS.items()} == CATALOGUE
    assert tuple(ROUND) == QUICK
    assert {entry.family for entry in CATALOGUE.values()} == set(FAMILIES)
