"""Where to cut: exact on hand-worked cases, and never where only keeping is concerned."""

import pytest
import torch

from erase.errors import InputError
from erase.methods.diffusion.layer_selection import best_layers, candidates, in_modules, layer_scores, spare
from erase.methods.requirements import timestep_range

FORGET = {"a": torch.tensor([4.0, 1.0, 0.5]), "b": torch.tensor([[2.0]])}
RETAIN = {"a": torch.tensor([1.0, 3.0, 0.5]), "b": torch.tensor([[3.5]])}


def test_exclude_on_paper():
    """4 >= 1 stays, 1 < 3 goes, equals stay, 2 < 3.5 goes."""
    left = spare(FORGET, RETAIN, "exclude")
    assert [left["a"].tolist(), left["b"].tolist()] == [[4.0, 0.0, 0.5], [[0.0]]]
    assert candidates(left) == 2


def test_divide_on_paper():
    """The mean of the four retain scores is 2: 4/3, 1/5, 0.5/2.5, 2/5.5."""
    left = spare(FORGET, RETAIN, "divide")
    assert left["a"].tolist() == pytest.approx([4 / 3, 1 / 5, 1 / 5])
    assert left["b"].item() == pytest.approx(2 / 5.5)
    assert candidates(left) == 4


def test_nothing_is_spared_where_keeping_leans_on_nothing():
    zero = {name: torch.zeros_like(s) for name, s in RETAIN.items()}
    for how in ("divide", "exclude"):
        left = spare(FORGET, zero, how)
        assert all(torch.equal(left[name], FORGET[name]) for name in FORGET)


def test_an_unknown_way_is_refused():
    with pytest.raises(InputError, match="give none, divide or exclude"):
        spare(FORGET, RETAIN, "some")


def test_layer_scores_on_paper():
    """x: g_f = (3, 4) in two tensors, ||w|| = 10, g_r = (4, 3): ½ (1 - 24/25). y: g_f = 2, ||w|| = 1, g_r = -2: 2 · (1 + 1).

    z is not reached by keeping, so nothing is moved along: 1 / 2 · 1. v has no weights to lean on.
    """
    forget = {"x.weight": [3.0], "x.bias": [4.0], "y.weight": [2.0], "z.weight": [1.0], "v.weight": [1.0]}
    retain = {"x.weight": [4.0], "x.bias": [3.0], "y.weight": [-2.0], "z.weight": [0.0], "v.weight": [1.0]}
    weights = {"x.weight": [6.0], "x.bias": [8.0], "y.weight": [1.0], "z.weight": [2.0], "v.weight": [0.0]}
    f, r, w = ({name: torch.tensor(value) for name, value in part.items()} for part in (forget, retain, weights))
    scores = layer_scores(f, r, w)
    assert scores == pytest.approx({"x": 0.02, "y": 4.0, "z": 0.5, "v": 0.0})
    assert best_layers(scores, 2) == ["y", "z"]
    assert in_modules(list(w), ["x", "z"]) == ["x.weight", "x.bias", "z.weight"]
    with pytest.raises(InputError, match="--layers is 5, but the scope has 4 layers"):
        best_layers(scores, 5)


def test_shares_of_the_schedule():
    assert [timestep_range(text) for text in ("0-1", "0-0.85", " .2 - 0.8")] == [(0.0, 1.0), (0.0, 0.85), (0.2, 0.8)]
    for text in ("", "1", "0-2", "0.5-0.5", "a-b", "-1-0.5", "0-1-1", "nan-1", "0-inf"):
        with pytest.raises(InputError, match="expected LOW-HIGH with 0 <= LOW < HIGH <= 1") as caught:
            timestep_range(text)
        assert "\n" not in str(caught.value)
