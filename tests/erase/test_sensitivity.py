"""Connection sensitivity is |E[g] w|, and taking it leaves no trace on the network."""

import pytest
import torch
from torch import nn
from toys import CLASSES, FORGET, Product, build_classifier, classification_task, copied, cross_entropy, points, regression, same

from erase.errors import Diverged, InputError
from erase.sensitivity import connection_sensitivity


def scalar(x, y):
    return {"x": torch.tensor([[float(x)]]), "y": torch.tensor([[float(y)]])}


def test_two_weights_on_paper():
    """y = b a x with a = 2, b = 3. At x = 1, y* = 5: e = 1, dL/da = 2 e b x = 6, dL/db = 2 e a x = 4.

    At x = 1, y* = 8: e = -2, dL/da = -12, dL/db = -8. So |E g w|: a: |-3| 2 = 6, b: |-2| 3 = 6,
    and E|g| |w|: a: 9 · 2 = 18, b: 6 · 3 = 18.
    """
    network = Product()
    weights = dict(network.named_parameters())
    batches = [scalar(1, 5), scalar(1, 8)]
    one = connection_sensitivity(network, batches[:1], regression, weights)
    assert (one["a"].item(), one["b"].item()) == (12, 12)
    signed = connection_sensitivity(network, batches, regression, weights)
    assert (signed["a"].item(), signed["b"].item()) == (6, 6)
    unsigned = connection_sensitivity(network, batches, regression, weights, signed=False)
    assert (unsigned["a"].item(), unsigned["b"].item()) == (18, 18)


def test_matches_autograd_over_the_joined_batch():
    network = build_classifier()
    weights = dict(network.named_parameters())
    batches = [points((FORGET,), number) for number in range(4)]
    joined = {key: torch.cat([batch[key] for batch in batches]) for key in ("x", "y")}
    gradient = torch.autograd.grad(cross_entropy(network, joined), list(weights.values()))
    scores = connection_sensitivity(network, batches, cross_entropy, weights)
    for (name, weight), g in zip(weights.items(), gradient, strict=True):
        torch.testing.assert_close(scores[name], (g * weight).abs().detach(), rtol=1e-5, atol=1e-8)


def test_signed_lets_batches_cancel_and_unsigned_does_not():
    network = Product()
    weights = dict(network.named_parameters())
    batches = [scalar(1, 5), scalar(1, 7)]  # errors 1 and -1
    assert all(s == 0 for s in connection_sensitivity(network, batches, regression, weights).values())
    assert all(s > 0 for s in connection_sensitivity(network, batches, regression, weights, signed=False).values())


@pytest.mark.parametrize("signed", [True, False])
def test_unchanged_when_a_layer_is_scaled_up_and_the_next_one_down(signed):
    """The network computes the same, so |g w| must be the same; |g| alone would not be."""
    network = nn.Sequential(nn.Linear(2, 16, bias=False), nn.ReLU(), nn.Linear(16, CLASSES, bias=False))
    batches = [points((0, FORGET), number) for number in range(3)]
    before = connection_sensitivity(network, batches, cross_entropy, dict(network.named_parameters()), signed)
    with torch.no_grad():
        network[0].weight.mul_(8)
        network[2].weight.div_(8)
    after = connection_sensitivity(network, batches, cross_entropy, dict(network.named_parameters()), signed)
    for name in before:
        torch.testing.assert_close(before[name], after[name], rtol=1e-5, atol=1e-9)


def test_repeats_exactly_and_hardly_minds_the_order_of_batches():
    task = classification_task()
    batches = [task.forget(number) for number in range(5)]
    first, again, backwards = (
        connection_sensitivity(task.network, some, task.loss, task.weights) for some in (batches, batches, batches[::-1])
    )
    assert same(first, again)
    for name in first:
        torch.testing.assert_close(first[name], backwards[name], rtol=1e-4, atol=1e-9)


class Restless(nn.Module):
    """Everything that a careless sweep would disturb: batch norm, dropout, mixed flags, a gradient, a frozen weight."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.drop, self.last = nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.last(self.drop(self.norm(self.first(x)).relu()))


@pytest.mark.parametrize("fails", [False, True])
def test_leaves_no_trace(fails):
    network = Restless().train()
    network.norm.eval()
    network.last.weight.grad = kept = torch.ones_like(network.last.weight)
    network.first.weight.requires_grad_(False)
    before, flags = copied(network), [module.training for module in network.modules()]
    batches = [points((0, 1, 2, 3), number) for number in range(2)]
    if fails:
        batches[1]["x"] = batches[1]["x"] * torch.nan
        with pytest.raises(Diverged):
            connection_sensitivity(network, batches, cross_entropy, dict(network.named_parameters()))
    else:
        scores = connection_sensitivity(network, batches, cross_entropy, dict(network.named_parameters()))
        assert scores["first.weight"].sum() > 0
    assert same(before, copied(network))
    assert flags == [module.training for module in network.modules()]
    assert network.last.weight.grad is kept
    assert all(weight.grad is None for weight in network.parameters() if weight is not network.last.weight)
    assert [name for name, weight in network.named_parameters() if not weight.requires_grad] == ["first.weight"]
    network(points((0,), 0)["x"]).sum().backward()  # no hook is left that would eat the gradient
    assert network.norm.weight.grad is not None


def test_dropout_does_not_blur_it():
    network = Restless().train()
    batches = [points((0, 1, 2, 3), 0)]
    weights = dict(network.named_parameters())
    assert same(*(connection_sensitivity(network, batches, cross_entropy, weights) for _ in range(2)))


def test_scores_are_float32_for_half_precision_weights_and_zero_for_unused_ones():
    network = build_classifier().to(torch.bfloat16)
    network.spare = nn.Linear(2, 2)
    network.forward = lambda x: nn.Sequential(*list(network)[:5])(x.bfloat16()).float()
    scores = connection_sensitivity(network, [points((FORGET,), 0)], cross_entropy, dict(network.named_parameters()))
    assert {score.dtype for score in scores.values()} == {torch.float32}
    assert scores["spare.weight"].sum() == 0 < scores["0.weight"].sum()


def test_only_the_weights_asked_for():
    task = classification_task()
    assert connection_sensitivity(task.network, [task.forget(0)], task.loss, {"4.bias": task.weights["4.bias"]}).keys() == {"4.bias"}


def test_no_batches_is_the_users_mistake():
    task = classification_task()
    with pytest.raises(InputError, match="at least one forget batch"):
        connection_sensitivity(task.network, [], task.loss, task.weights)


def test_diverged_names_the_batch():
    task = classification_task()
    bad = dict(task.forget(1), x=torch.full((32, 2), torch.inf))
    with pytest.raises(Diverged) as error:
        connection_sensitivity(task.network, [task.forget(0), bad], task.loss, task.weights)
    assert error.value.step == 2


def test_an_infinite_gradient_of_a_finite_loss_is_noticed():
    network = Product(a=0.0)

    def root(network, batch):
        return network.a.abs().sqrt().sum()

    with pytest.raises(Diverged, match="sensitivity of a"):
        connection_sensitivity(network, [scalar(1, 1)], root, dict(network.named_parameters()))
