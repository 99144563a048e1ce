"""A ClassifierTask: batches by number, epochs that hold every sample once, batch norms handled on purpose."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from toys import CLASSES, copied, same
from toys_classifier import INPUTS, Rows, build, samples, split, toy_task, whole

from erase.classifiers.task import (
    LabelledSets,
    absent,
    alongside,
    ascent,
    by_row,
    classifier_task,
    mixed,
    norm_momentum,
    relabelled,
    running_statistics,
    with_running_statistics,
)
from erase.errors import InputError
from erase.sensitivity import connection_sensitivity


def test_a_batch_is_the_same_whenever_it_is_asked_for():
    one, two = toy_task(seed=3), toy_task(seed=3)
    for i in (5, 0, 7, 5):
        assert same(dict(one.retain(i)), dict(two.retain(i)))
        assert same(dict(one.forget(i)), dict(two.forget(i)))
    assert not torch.equal(one.retain(0)["row"], toy_task(seed=4).retain(0)["row"])


def test_an_epoch_has_every_sample_once_and_the_next_one_another_order():
    task = toy_task(batch=16)  # 72 samples to retain
    epochs = [torch.cat([task.retain(5 * e + i)["row"] for i in range(5)]) for e in range(2)]
    assert task.epoch_retain == 5
    assert all(torch.equal(epoch.sort().values, torch.arange(72)) for epoch in epochs)
    assert not torch.equal(*epochs)


def test_no_batch_is_left_with_a_single_sample():
    forget, retain = split(70)
    task = classifier_task(build(), LabelledSets(forget, retain[:33], CLASSES), batch=32)
    assert [len(task.retain(i)["y"]) for i in range(2)] == [17, 16]


def test_rows_say_which_sample_it_is():
    forget, _ = split()
    batch = toy_task().forget(0)
    assert torch.equal(forget.x[batch["row"]], batch["x"])
    assert torch.equal(forget.y[batch["row"]], batch["y"])


def test_augmentation_depends_on_seed_and_batch_alone():
    def shaken(x, source):
        return x + torch.randn(x.shape, generator=source)

    one, two, plain = toy_task(augment=shaken), toy_task(augment=shaken), toy_task()
    assert torch.equal(one.retain(2)["x"], two.retain(2)["x"])
    assert not torch.equal(one.retain(2)["x"], plain.retain(2)["x"])
    assert torch.equal(one.retain(2)["y"], plain.retain(2)["y"])


def test_ascent_is_the_negated_training_loss_under_the_running_statistics():
    task = toy_task()
    batch = task.forget(0)
    with torch.no_grad():
        expected = -F.cross_entropy(task.network.eval()(batch["x"]), batch["y"])
    task.network.train()
    torch.testing.assert_close(ascent(task.network, batch), expected)


def test_forget_passes_leave_statistics_alone_and_retain_passes_update_them():
    task = toy_task()
    before = copied(task.network)
    with_running_statistics(task.loss)(task.network, task.forget(0))
    task.unlearn(task.network, task.forget(0))
    connection_sensitivity(task.network, [task.forget(0)], task.loss, task.weights)
    by_row(task, lambda batch: task.network(batch["x"]))
    assert same(before, copied(task.network))
    assert all(module.training for module in task.network.modules())
    task.loss(task.network, task.retain(0))
    changed = {name for name, value in copied(task.network).items() if not torch.equal(value, before[name])}
    assert changed == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_running_statistics_spares_what_keeps_none_and_puts_flags_back():
    network = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False), nn.Dropout(), nn.BatchNorm1d(2))
    network[3].eval()
    seen = []

    def fails():
        with running_statistics(network):
            seen.extend(module.training for module in network)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert seen == [False, True, True, False]
    assert [module.training for module in network] == [True, True, True, False]


def test_wrong_labels_are_never_right_stay_with_their_sample_and_are_spread():
    n = 400
    many = Rows(torch.randn(n, INPUTS), torch.arange(n) % CLASSES)
    task = classifier_task(build(), LabelledSets(many, samples(), CLASSES), batch=50)
    wrong = relabelled(task)
    first, later = (
        {int(r): int(y) for i in numbers for r, y in zip(*map(wrong(i).get, ("row", "y")), strict=True)}
        for numbers in (range(8), range(16, 24))
    )
    assert first == later
    assert len(first) == n
    counts = torch.zeros(CLASSES, CLASSES)
    for row, label in first.items():
        counts[row % CLASSES, label] += 1
    assert counts.diag().sum() == 0
    assert (counts + 100 * torch.eye(CLASSES)).min() > 20  # a third of 100 each


def test_what_is_said_of_forget_samples_is_filed_by_row():
    forget, _ = split()
    assert torch.equal(by_row(toy_task(batch=3), lambda batch: batch["x"].sum(1)), forget.x.sum(1))


@pytest.mark.parametrize(
    ("network", "forget", "retain", "message"),
    [
        (build(), samples(size=4)[:0], samples(), "the forget set is empty"),
        (build(), samples(size=4), samples()[:0], "the retain set is empty"),
        (nn.Linear(INPUTS, 3), samples(size=4), samples(), r"Linear returns \(4, 3\) for 4 samples; expected \(4, 4\)"),
        (nn.Sequential(nn.Linear(INPUTS, 4), nn.Unflatten(1, (2, 2))), samples(size=4), samples(), r"returns \(4, 2, 2\)"),
        (build(), Rows(torch.zeros(4, INPUTS), torch.tensor([0, 1, 4, 2])), samples(), "a label is 4; expected 0 to 3"),
        (build(), Rows(torch.zeros(4, INPUTS), torch.tensor([0, -1, 3, 2])), samples(), "a label is -1; expected 0 to 3"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(network, forget, retain, message):
    with pytest.raises(InputError, match=message) as error:
        classifier_task(network, LabelledSets(forget, retain, CLASSES))
    assert "\n" not in str(error.value)


def test_a_task_without_a_forget_set_trains_on_the_retain_set_alone():
    task = classifier_task(build(), LabelledSets(None, samples(size=40), CLASSES), batch=16)
    assert (task.forget_size, task.epoch_forget, task.retain_size, task.epoch_retain) == (0, 0, 40, 3)
    with pytest.raises(InputError, match="this task has no forget set"):
        task.forget(0)
    wrong = Rows(torch.zeros(4, INPUTS), torch.tensor([0, 1, 4, 2]))
    with pytest.raises(InputError, match="a label is 4; expected 0 to 3"):
        classifier_task(build(), LabelledSets(None, wrong, CLASSES))


def test_wrong_labels_need_two_classes():
    one = Rows(torch.randn(4, INPUTS), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(InputError, match="wrong labels need at least two classes; the network has 1"):
        relabelled(classifier_task(nn.Linear(INPUTS, 1), LabelledSets(one, one, 1)))


def test_only_the_weights_in_scope_are_editable():
    task = toy_task(scope=r"re:^5\.")
    assert set(task.weights) == {"5.weight", "5.bias"}
    assert [name for name, weight in task.network.named_parameters() if weight.requires_grad] == ["5.weight", "5.bias"]


def test_there_is_something_to_forget():
    task = toy_task()
    forget, retain = whole(task, "forget"), whole(task, "retain")
    with torch.no_grad():
        known = [float((task.network.eval()(b["x"]).argmax(1) == b["y"]).float().mean()) for b in (forget, retain)]
    assert known == [1.0, 1.0]


def test_alongside_an_epoch_over_the_retain_set_passes_once_over_the_forget_set():
    for forget, batch in ((8, 8), (8, 16), (3, 4), (30, 16)):
        task = classifier_task(build(), LabelledSets(samples(size=forget), samples(size=64), CLASSES), batch=batch)
        pieces = alongside(task)
        rows = torch.cat([pieces(i)["row"] for i in range(task.epoch_retain)])
        assert set(rows.tolist()) == set(range(forget)) if task.epoch_retain % task.epoch_forget == 0 else len(rows)
        assert all(len(pieces(i)["row"]) for i in range(3 * task.epoch_retain))
    assert len(rows) < 64
    task = classifier_task(build(), LabelledSets(samples(size=64), samples(size=64), CLASSES), batch=16)
    half = alongside(task, 0.5)
    assert {len(half(i)["y"]) for i in range(8)} == {8}
    assert torch.cat([half(i)["row"] for i in range(8)]).sort().values.tolist() == list(range(64))


def test_absent_are_the_classes_that_no_retain_sample_has():
    _, retain = split()
    kept = retain[retain.y != 1]
    assert absent(classifier_task(build(), LabelledSets(samples(size=4), kept, CLASSES))).tolist() == [False, True, False, False]


def test_mixed_is_both_losses_from_one_pass():
    task = toy_task()
    task.network.eval()
    retain, forget = task.retain(0), task.forget(0)
    for value, batch in zip(mixed(task, retain, forget), (retain, forget), strict=True):
        torch.testing.assert_close(value, task.loss(task.network, batch))


def test_the_momentum_of_norms_is_put_back():
    network = nn.Sequential(nn.BatchNorm1d(2, momentum=0.2), nn.BatchNorm1d(2, momentum=None), nn.Linear(2, 2))
    with norm_momentum(network, 0.5):
        assert [network[0].momentum, network[1].momentum] == [0.5, 0.5]
    assert [network[0].momentum, network[1].momentum] == [0.2, None]
