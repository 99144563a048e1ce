"""How much there is to forget decides how hard the default forgets: by the data, not by its name."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from toys import copied, same
from toys_classifier import Rows, samples, toy_task

from erase.classifiers.task import LabelledSets, classifier_task
from erase.methods import CLASSIFIER_METHODS, make_method
from erase.methods.classifiers.memorised import excess, share_to_forget


def method(**values):
    return make_method("scissorhands", table=CLASSIFIER_METHODS, **values)


def by_hand(forget_y, retain_y):
    """Two classes with scores (x, 0): the probability of class 0 is sigma(x), 0.8 on forget samples and 0.5 on held-out ones."""
    network = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0], [0.0]]))
    x = torch.log(torch.tensor(4.0)).expand(4, 1).clone()
    forget, held = Rows(x, torch.tensor(forget_y)), Rows(torch.zeros(3, 1), torch.tensor([0, 0, 1]))
    return classifier_task(network, LabelledSets(forget, Rows(x, torch.tensor(retain_y)), 2, held))


def test_the_excess_by_hand():
    """Three samples at 0.8, one of class 1 at 0.2, against 0.5; where class 1 has no retain sample, that one against 0."""
    assert excess(by_hand([0, 0, 0, 1], [0, 1, 0, 1])) == pytest.approx((3 * 0.3 - 0.3) / 4)
    assert excess(by_hand([0, 0, 0, 1], [0, 0, 0, 0])) == pytest.approx((3 * 0.3 + 0.2) / 4)


@pytest.mark.parametrize(("full", "share"), [(0.6, 1 / 8), (0.1, 1.0), (0.0, 1.0)])
def test_half_the_excess_of_full_strength_is_an_eighth(full, share):
    assert share_to_forget(by_hand([0] * 4, [0, 1] * 2), full) == pytest.approx(share)


def test_nothing_is_to_be_forgotten_that_is_known_no_better_than_the_unseen():
    assert share_to_forget(by_hand([1] * 4, [0, 1] * 2), 0.1) == 0.0
    task = by_hand([1] * 4, [0, 1] * 2)
    assert share_to_forget(replace(task, held_out=None), 0.1) == 1.0  # not known


def test_without_anything_to_forget_only_the_repair_is_left():
    """Held-out samples that are the forget set itself: no weight is trimmed, and the forget term has no weight."""
    networks = []
    for values in ({}, {"trimming": False, "forget_weight": 0.0, "full_excess": 0.0}):
        task = toy_task(norm=False)
        task.held_out, task.epoch_held_out = task.forget, task.epoch_forget
        list(method(epochs=2, **values)(task))
        networks.append(copied(task.network))
    for name, value in networks[0].items():
        torch.testing.assert_close(value, networks[1][name])


def test_where_there_is_much_to_forget_the_rule_changes_nothing():
    """Noisy labels learned by heart: the network knows the forget set far better than unseen samples."""
    one, two = (toy_task(held_out=samples(number=7, size=200)) for _ in range(2))
    assert excess(one) > 0.3
    list(method(epochs=2)(one))
    list(method(epochs=2, full_excess=0.0)(two))
    assert same(copied(one.network), copied(two.network))


def test_less_to_forget_trims_fewer_weights():
    one, two = (toy_task(held_out=samples(number=7, size=200)) for _ in range(2))
    wanted = method(fraction=0.2, full_excess=1.0)
    strength = share_to_forget(one, wanted.full_excess)
    assert 0.01 < strength < 0.9
    trimmed = sum(int(mask.sum()) for mask in wanted.trim(one, strength).values())
    whole = sum(int(mask.sum()) for mask in wanted.trim(two).values())
    assert trimmed == pytest.approx(strength * whole, abs=1)
