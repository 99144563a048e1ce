"""The trim mask is the exact global top k, and only what it marks is drawn anew."""

import importlib
import math

import pytest
import torch
from torch import nn

from erase.errors import InputError
from erase.task import generator
from erase.trim import fraction_to_k, reinitialise, top_k_mask, trim

module = importlib.import_module("erase.trim")  # `erase.trim` by dots is the function
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def joined(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


def by_sorting(scores, k):
    """What top_k_mask must give, from a stable sort of everything in one piece."""
    flat = joined(scores).double()
    mask = torch.zeros(len(flat), dtype=torch.bool)
    mask[torch.sort(flat, descending=True, stable=True).indices[:k]] = True
    pieces = mask.split([score.numel() for score in scores.values()])
    return {name: piece.view(score.shape) for (name, score), piece in zip(scores.items(), pieces, strict=True)}


def draw(kind, seed):
    """Scores in tensors of several shapes: spread over decades, with many ties, nearly all zero, or all the same."""
    random = torch.Generator().manual_seed(seed)
    shapes = {"a": (17, 31), "bias": (5,), "kernel": (4, 3, 3, 3), "scalar": (), "none": (0, 4), "z": (1000,)}
    scores = {}
    for name, shape in shapes.items():
        if kind == "decades":
            scores[name] = torch.exp(3 * torch.randn(shape, generator=random))  # float16 ends at 65504, 3.7 deviations away
        elif kind == "ties":
            scores[name] = torch.randint(4, shape, generator=random) / 8
        elif kind == "sparse":
            scores[name] = torch.rand(shape, generator=random) * (torch.rand(shape, generator=random) < 0.02)
        elif kind == "neighbours":  # float32 numbers that differ in the last bits only
            scores[name] = 1 + torch.randint(50, shape, generator=random) * 2.0**-23
        else:
            scores[name] = torch.full(shape, 0.25)
    return scores


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["decades", "ties", "sparse", "neighbours", "same"])
@pytest.mark.parametrize("chunk", [64, 1 << 18])
def test_equals_a_stable_sort_of_everything(kind, dtype, chunk, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", chunk)
    scores = {name: score.to(dtype) for name, score in draw(kind, 1).items()}
    n = len(joined(scores))
    for k in (0, 1, 2, 7, n // 200, n // 3, n - 1, n):
        mask = top_k_mask(scores, k)
        expected = by_sorting(scores, k)
        assert mask.keys() == scores.keys()
        assert all(torch.equal(mask[name], expected[name]) for name in scores)
        assert joined(mask).sum() == k
        values = joined(scores)[joined(mask)].float().sort(descending=True).values
        assert torch.equal(values, torch.topk(joined(scores).float(), k).values)


@pytest.mark.parametrize("seed", range(20))
def test_equals_a_stable_sort_for_any_k(seed):
    scores = draw(["decades", "ties", "sparse"][seed % 3], seed)
    k = int(torch.randint(len(joined(scores)), (), generator=torch.Generator().manual_seed(seed)))
    mask, expected = top_k_mask(scores, k), by_sorting(scores, k)
    assert all(torch.equal(mask[name], expected[name]) for name in scores)


def test_order_of_tensors_matters_only_for_ties():
    scores = draw("decades", 3)
    assert len(joined(scores).unique()) == len(joined(scores))  # no ties here
    forward, backward = top_k_mask(scores, 300), top_k_mask(dict(reversed(scores.items())), 300)
    assert all(torch.equal(forward[name], backward[name]) for name in scores)
    tied = {"a": torch.ones(3), "b": torch.ones(3)}
    assert [m.tolist() for m in top_k_mask(tied, 4).values()] == [[True] * 3, [True, False, False]]
    swapped = top_k_mask({"b": tied["b"], "a": tied["a"]}, 4)
    assert (swapped["b"].sum(), swapped["a"].sum()) == (3, 1)


@pytest.mark.parametrize("k", [5, 20])
def test_a_misleading_sample_costs_time_and_nothing_else(k, monkeypatch):
    """Every eighth score is sampled, and just those are large: fewer than 20 reach the bar that the sample sets."""
    monkeypatch.setattr(module, "SAMPLE", 1024)
    scores = {"x": torch.rand(8192, generator=generator("small"))}
    scores["x"][::8] += 1
    given_up = module._contenders(scores, k) is scores
    assert given_up == (k == 20)
    assert torch.equal(top_k_mask(scores, k)["x"], by_sorting(scores, k)["x"])


def test_the_extremes_of_float32_are_in_order():
    tiny, huge = 2.0**-149, torch.finfo(torch.float32).max
    scores = {"x": torch.tensor([-0.0, tiny, 0.0, 2 * tiny, huge, 2.0**-126, torch.inf])}
    ranks = [6, 4, 5, 3, 1, 0, 2]  # infinity first; the two zeros are equal, and the one that comes first is taken first
    for k in range(8):
        assert top_k_mask(scores, k)["x"].nonzero().flatten().tolist() == sorted(ranks[:k])


def test_memory_layout_does_not_matter():
    score = torch.rand(4, 3, 5, 5, generator=generator("layout"))
    straight = top_k_mask({"w": score}, 50)["w"]
    assert torch.equal(straight, top_k_mask({"w": score.to(memory_format=torch.channels_last)}, 50)["w"])
    assert torch.equal(straight, top_k_mask({"w": score.permute(1, 0, 2, 3)}, 50)["w"].permute(1, 0, 2, 3))


def test_scores_are_left_alone():
    scores = draw("ties", 5)
    before = {name: score.clone() for name, score in scores.items()}
    top_k_mask(scores, 100)
    assert all(torch.equal(before[name], scores[name]) for name in scores)


@pytest.mark.parametrize("bad", [torch.nan, -1e-30, -torch.inf])
def test_scores_without_a_place_in_the_order_are_refused(bad):
    with pytest.raises(InputError, match="'w' reach"):
        top_k_mask({"v": torch.ones(3), "w": torch.tensor([1.0, bad, 2.0])}, 1)


def test_other_types_and_impossible_counts_are_refused():
    with pytest.raises(InputError, match="float64"):
        top_k_mask({"w": torch.ones(3, dtype=torch.float64)}, 1)
    for k in (-1, 4):
        with pytest.raises(InputError, match=f"{k} of 3"):
            top_k_mask({"w": torch.ones(3)}, k)


def test_fraction_to_k():
    assert fraction_to_k(1, 10) == 10
    assert fraction_to_k(0.005, 859_520_964) == 4_297_605
    assert fraction_to_k(0.26, 10) == 3
    for fraction in (0, -0.1, 1.001, 95, math.nan):
        with pytest.raises(InputError, match="above 0 and at most 1"):
            fraction_to_k(fraction, 10)
    with pytest.raises(InputError, match="none of 10"):
        fraction_to_k(0.01, 10)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "layer", [nn.Linear(50, 400), nn.Conv2d(6, 300, 3), nn.Conv2d(8, 800, 3, groups=4)], ids=["linear", "conv", "grouped"]
)
def test_uniform_has_the_bound_of_torchs_own_layers_and_normal_its_variance(layer, dtype):
    bound = 1 / math.sqrt(layer.weight[0].numel())
    assert 0.98 * bound < layer.weight.abs().max() <= bound  # what torch itself drew
    weight = {"w": layer.weight.detach().clone().to(dtype)}
    mask = {"w": torch.ones_like(weight["w"], dtype=torch.bool)}
    reinitialise(weight, mask, "uniform", generator(1))
    values = weight["w"].double()
    assert 0.98 * bound < values.abs().max() <= bound * (1 + 2**-8)
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert abs(values.mean()) < 0.02 * bound
    reinitialise(weight, mask, "normal", generator(1))
    values = weight["w"].double()
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert values.abs().max() > 1.5 * bound
    assert weight["w"].dtype == dtype


@pytest.mark.parametrize("how", ["uniform", "normal", "zero", "one"])
def test_only_masked_entries_change_and_the_same_seed_gives_the_same_values(how):
    old = {"a": torch.full((6, 5), 7.0), "b": torch.full((4, 3, 3, 3), 7.0)}
    mask = {name: torch.rand(w.shape, generator=generator(name)) < 0.3 for name, w in old.items()}
    results = []
    for dtype in (torch.float32, torch.float32, torch.bfloat16):
        weights = {name: w.to(dtype, copy=True) for name, w in old.items()}
        reinitialise(weights, mask, how, generator(9))
        results.append(weights)
    for name, m in mask.items():
        first, again, coarse = (weights[name] for weights in results)
        assert (first[~m] == 7).all()
        assert (first[m] != 7).all()
        assert torch.equal(first, again)
        assert torch.equal(first.bfloat16(), coarse)  # the same draws, rounded
    if how in ("zero", "one"):
        assert (first[m] == float(how == "one")).all()


def test_what_cannot_be_drawn_is_refused():
    weight, mask = {"bias": torch.ones(3)}, {"bias": torch.ones(3, dtype=torch.bool)}
    with pytest.raises(InputError, match="no fan-in"):
        reinitialise(weight, mask, "uniform", generator(0))
    with pytest.raises(InputError, match="'xavier' is unknown"):
        reinitialise(weight, mask, "xavier", generator(0))


def layers():
    network = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 4))
    weights = {name: weight for name, weight in network.named_parameters() if weight.ndim == 2}
    return weights, {name: torch.rand(weight.shape, generator=generator(name)) for name, weight in weights.items()}


def test_trim_reinitialises_the_most_sensitive_fraction():
    weights, scores = layers()
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    mask = trim(weights, scores, 0.125, "zero", generator(0))
    assert joined(mask).sum() == 192 / 8
    assert joined(scores)[joined(mask)].min() > joined(scores)[~joined(mask)].max()
    for name, weight in weights.items():
        assert torch.equal(weight == 0, mask[name])
        assert torch.equal(weight[~mask[name]], before[name][~mask[name]])
        assert weight.requires_grad


def test_trim_ranks_over_a_superset_and_touches_only_its_weights():
    weights, scores = layers()
    last = {"1.weight": weights["1.weight"]}
    first = weights["0.weight"].detach().clone()
    mask = trim(last, scores, 0.125, "zero", generator(0), rank_over=scores)
    assert mask.keys() == last.keys()
    assert torch.equal(mask["1.weight"], top_k_mask(scores, 24)["1.weight"])
    assert 0 < mask["1.weight"].sum() < 24
    assert torch.equal(weights["0.weight"], first)
    assert torch.equal(weights["1.weight"] == 0, mask["1.weight"])


def test_trim_refuses_to_rank_over_less_than_it_trims():
    weights, scores = layers()
    with pytest.raises(InputError, match=r"no scores for '1\.weight'"):
        trim(weights, scores, 0.1, "zero", generator(0), rank_over={"0.weight": scores["0.weight"]})
