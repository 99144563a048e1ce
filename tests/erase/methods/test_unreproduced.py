"""What no preset reproduces: each sentence has both values, is of a method that exists, and only of presets that carry a paper's name."""

from __future__ import annotations

import pytest

from erase.methods import CLASSIFIER_METHODS, METHODS
from erase.methods.unreproduced import CLASSIFIERS, DIFFUSION, TRAINING, of_classifiers, of_diffusion


@pytest.mark.parametrize("sentence", [*sum(DIFFUSION.values(), ()), *sum(CLASSIFIERS.values(), ()), *TRAINING])
def test_a_sentence_has_the_publications_value_and_ours(sentence: str) -> None:
    theirs, _, ours = sentence.partition("; here ")
    assert len(theirs) > 10
    assert len(ours) > 5


def test_they_are_of_methods_and_presets_that_exist() -> None:
    for name in DIFFUSION:
        method, _, preset = name.partition(":")
        assert not preset or preset in METHODS[method].presets
    assert set(CLASSIFIERS) <= set(CLASSIFIER_METHODS)


def test_presets_of_our_own_differ_from_nothing() -> None:
    assert of_diffusion("uce", "balanced") == of_diffusion("scissorhands", "robust") == of_classifiers("influence", "balanced") == []
    assert len(of_diffusion("uce", "paper")) == len(of_classifiers("influence", "svhn-reference")) == 1
