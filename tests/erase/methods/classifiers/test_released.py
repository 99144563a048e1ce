"""Presets named after papers: the values of each data set and share, and the steps, passes and labels of paper and script."""

from dataclasses import fields

import pytest
import torch
from torch import nn
from toys import copied, same
from toys_classifier import INPUTS, Rows, samples, toy_task

from erase.classifiers.networks import build_network
from erase.classifiers.task import LabelledSets, classifier_task, redrawn_labels, relabelled
from erase.methods import CLASSIFIER_METHODS, make_method
from erase.methods.classifiers.released import CELLS, DATASETS, Cell, cell_of, dataset_of, preset_on, reference_of, values_at
from erase.scope import in_scope


def method(name, preset="balanced", **values):
    return make_method(name, preset, CLASSIFIER_METHODS, **values)


def at(name, preset, share, classes=False):
    """The method as a preset has it for this share."""
    values, _ = values_at(CLASSIFIER_METHODS[name], preset, share, classes)
    return method(name, preset, **values)


# --- which values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "share", "classes", "strength"),
    [
        ("cifar10", 0.1, False, 10),
        ("cifar10", 0.5, False, 10),
        ("cifar100", 0.1, False, 20),
        ("cifar100", 0.2, False, 5),
        ("cifar100-reference", 0.5, False, 2),
        ("svhn", 0.1, False, 15),
        ("svhn", 0.2, False, 5),
        ("svhn", 0.07, True, 2),
        ("celeba", 0.1, True, 5),
        ("balanced", 0.5, False, 1),
    ],
)
def test_the_strength_of_influence_follows_data_set_and_share(preset, share, classes, strength):
    assert at("influence", preset, share, classes).strength == strength


@pytest.mark.parametrize(
    ("preset", "share", "classes", "values"),
    [
        ("cifar10", 0.1, False, (5e-3, 0.03, 0.05)),
        ("cifar10", 0.2, False, (4e-3, 0.01, 0.01)),
        ("paper", 0.5, False, (1e-3, 0.03, 0.01)),
        ("cifar100", 0.2, False, (5e-3, 0.01, 1.0)),
        ("cifar100-reference", 0.5, False, (1e-3, 0.1, 0.01)),
        ("svhn", 0.1, True, (1e-3, 0.1, 0.1)),
        ("celeba-reference", 0.1, True, (2e-4, 0.005, 0.3)),
    ],
)
def test_rate_share_trimmed_and_lambda_of_scissorhands(preset, share, classes, values):
    made = at("scissorhands", preset, share, classes)
    assert (made.learning_rate, made.fraction, made.forget_weight) == values


def test_what_the_script_trims_and_projects_where():
    layers = {preset: at("scissorhands", preset, 0.1, preset.startswith("celeba")) for preset in map(reference_of, DATASETS)}
    assert {p: (m.trim_scope, m.projection_scope, m.projection_every) for p, m in layers.items()} == {
        "cifar10-reference": (r"re:^(layer3|layer4|fc|head)\.", r"re:^(layer3|layer4|fc|head)\.", 1),
        "cifar100-reference": (r"re:^(layer4|fc|head)\.", r"re:^(layer3|layer4|fc|head)\.", 1),
        "svhn-reference": (r"re:^(layer3|layer4|fc|head)\.", r"re:^(layer3|layer4|fc|head)\.", 1),
        "celeba-reference": (r"re:^(layer4|fc|head)\.", r"re:^(layer4|fc|head)\.", 10),
    }
    assert at("scissorhands", "reference", 0.5).projection_every == 10
    assert at("scissorhands", "svhn-reference", 0.1, True).trim_scope == r"re:^(layer4|fc|head)\."
    paper = at("scissorhands", "cifar10", 0.5)
    assert (paper.trim_scope, paper.projection_scope, paper.projection_every, paper.projection_margin) == (None, None, 1, 0.0)


@pytest.mark.parametrize("preset", map(reference_of, DATASETS))
def test_the_scripts_layers_are_there_in_the_networks_by_name(preset):
    made = at("scissorhands", preset, 0.1, True)
    for network in (build_network("small", 4, 3, 16), build_network("resnet18", 4, 3, 32)):
        for scope in (made.trim_scope, made.projection_scope):
            parts = {name.partition(".")[0] for name in in_scope(network, scope)}
            assert parts == {"layer3", "layer4", "fc", "head"} & set(dict(network.named_children())) - (
                {"layer3"} if "3" not in scope else set()
            )


def test_where_paper_and_script_disagree():
    assert (method("fine_tune", "cifar10").learning_rate, method("fine_tune", "reference").learning_rate) == (0.1, 0.01)
    assert (method("l1_sparse", "svhn").learning_rate, method("l1_sparse", "svhn-reference").learning_rate) == (0.1, 0.01)
    assert (at("l1_sparse", "cifar100", 0.5).l1, at("l1_sparse", "cifar100-reference", 0.5).l1) == (1e-4, 2e-4)
    assert [method("random_label", preset).order for preset in ("cifar10", "reference", "svhn-reference")] == ["turns", "together", "turns"]


@pytest.mark.parametrize("name", CLASSIFIER_METHODS)
def test_every_method_has_the_preset_of_every_data_set_and_share(name):
    known = {item.name for item in fields(CLASSIFIER_METHODS[name])}
    for preset in ("paper", "reference", *DATASETS, *map(reference_of, DATASETS)):
        assert preset in CLASSIFIER_METHODS[name].presets
        for cell in CELLS[dataset_of(preset)]:
            values, found = values_at(CLASSIFIER_METHODS[name], preset, 0.1 if cell == "class" else float(cell) / 100, cell == "class")
            assert found.name == cell
            assert set(values) <= known
            method(name, preset, **values)


def test_the_cell_is_that_of_the_nearest_share():
    assert cell_of("cifar10", 0.2, False) == Cell("20", True)
    assert cell_of("cifar10", 4500 / 45000, False) == Cell("10", True)
    assert cell_of("cifar10", 0.3, False) == Cell("20", False)  # a factor of 1.5, and 1.67 to 50 %
    assert cell_of("cifar10", 0.1, True) == Cell("10", False)  # no settings for whole classes
    assert cell_of("svhn", 0.5, False) == Cell("20", False)
    assert cell_of("svhn", 0.01, True) == Cell("class", True)
    assert cell_of("celeba", 30 / 307, True) == Cell("10", True)
    assert cell_of("celeba", 0.5, True) == Cell("10", False)


def test_paper_and_reference_are_those_of_the_data_set_at_hand():
    assert [preset_on(preset, "svhn") for preset in ("paper", "reference", "balanced", "celeba")] == [
        "svhn",
        "svhn-reference",
        "balanced",
        "celeba",
    ]
    assert [preset_on(preset, "digits") for preset in ("paper", "reference")] == ["paper", "reference"]


# --- how many steps, and what they see -------------------------------------------------------------------------------


def cifar10(forget=4500, retain=40500):
    """As many samples as in a tenth of CIFAR-10, of one number each."""
    x = torch.linspace(-1, 1, forget + retain)[torch.randperm(forget + retain, generator=torch.Generator().manual_seed(0))][:, None]
    y = (x[:, 0] > 0).long()
    sets = LabelledSets(Rows(x[:forget], y[:forget]), Rows(x[forget:], y[forget:]), 2)
    torch.manual_seed(0)
    return classifier_task(nn.Linear(1, 2), sets, batch=256)


@pytest.mark.parametrize("preset", ["cifar10", "reference"])
def test_18_of_159_steps_carry_the_forget_term_on_a_tenth_of_cifar10(preset):
    whole = {"epochs": 1, "trimming": False, "projection_scope": None}
    steps = list(method("scissorhands", preset, **whole)(cifar10()))
    assert len(steps) == 159
    assert [step.step for step in steps if step.unlearn_loss] == list(range(1, 19))
    assert not any(step.projected for step in steps[18:])


def test_by_default_every_step_carries_a_piece_of_the_forget_set():
    steps = list(method("scissorhands", unlearn="ascent", trimming=False, epochs=1)(cifar10(450, 4050)))
    assert all(step.unlearn_loss for step in steps)


@pytest.mark.parametrize("preset", ["cifar10", "svhn-reference"])
def test_the_trim_score_sees_one_forget_batch(preset):
    task = toy_task(batch=4)
    seen, forget = set(), task.forget

    def counted(i):
        seen.add(i)
        return forget(i)

    task.forget = counted
    assert task.epoch_forget == 2
    method("scissorhands", preset, trim_scope=None, fraction=0.1).trim(task)
    assert seen == {0}


@pytest.mark.parametrize("name", ["gradient_ascent", "boundary_shrink", "boundary_expand"])
def test_forget_passes_of_the_scripts_move_the_running_statistics(name):
    task = toy_task()
    before, batch = task.network[1].running_mean.clone(), task.forget(0)
    inner = task.network[0](batch["x"]).detach()
    next(method(name, "cifar10")(task))
    torch.testing.assert_close(task.network[1].running_mean, 0.9 * before + 0.1 * inner.mean(0))


def test_scissorhands_has_both_passes_of_a_step_in_training_mode():
    task = toy_task()
    running, passes = task.network[1].running_mean.clone(), [task.retain(0), task.forget(0)]
    for batch in passes:
        running = 0.9 * running + 0.1 * task.network[0](batch["x"]).detach().mean(0)
    next(method("scissorhands", "cifar10", trimming=False)(task))
    torch.testing.assert_close(task.network[1].running_mean, running)


# --- random labels ---------------------------------------------------------------------------------------------------


def ten_classes(n=2000):
    rows = Rows(torch.randn(n, INPUTS), torch.arange(n) % 10)
    return classifier_task(nn.Linear(INPUTS, 10), LabelledSets(rows, rows, 10), batch=500)


def test_redrawn_labels_are_drawn_from_all_classes_in_each_epoch():
    task = ten_classes()
    drawn = torch.stack([redrawn_labels(task, epoch) for epoch in range(10)])
    assert torch.equal(drawn[3], redrawn_labels(task, 3))
    assert not torch.equal(drawn[0], drawn[1])
    true = (drawn == torch.arange(2000) % 10).float().mean()
    assert abs(float(true) - 0.1) < 0.01
    distinct = torch.tensor([len(set(column.tolist())) for column in drawn.T]).float().mean()
    assert abs(float(distinct) - 10 * (1 - 0.9**10)) < 0.1  # 6.5 of ten


def test_a_sample_has_one_label_for_an_epoch_and_another_in_the_next():
    task = ten_classes()
    batches = relabelled(task, "redrawn")
    epochs = [{int(r): int(y) for i in range(4) for r, y in zip(*map(batches(4 * e + i).get, ("row", "y")), strict=True)} for e in (0, 1)]
    assert [epochs[e][7] for e in (0, 1)] == [int(redrawn_labels(task, e)[7]) for e in (0, 1)]
    assert 0.8 < sum(epochs[0][row] != epochs[1][row] for row in range(2000)) / 2000 < 0.97


def test_turns_first_the_forget_set_then_the_retain_set():
    task = toy_task(batch=4)  # 2 forget batches and 18 retain batches
    seen, sources = [], {"forget": task.forget, "retain": task.retain}

    def logged(name):
        def batch(i):
            seen.append((name, i))
            return sources[name](i)

        return batch

    task.forget, task.retain = logged("forget"), logged("retain")
    steps = list(method("random_label", "cifar10", epochs=2)(task))
    assert len(steps) == 2 * 20
    assert seen == [("forget", 0), ("forget", 1), *(("retain", i) for i in range(18)), ("forget", 2), ("forget", 3)] + [
        ("retain", i) for i in range(18, 36)
    ]
    assert [step.step for step in steps if step.unlearn_loss] == [1, 2, 21, 22]


# --- boundary shrink -------------------------------------------------------------------------------------------------


def test_the_moved_image_by_hand():
    """A step of 0.1 in images from 0 to 1, here of 0.2: of 255 levels 25.5, cut off at the ends and to whole levels."""
    x = torch.tensor([0.95, -0.95, 100 / 127.5 - 1, 100 / 127.5 - 1])
    slope = torch.tensor([3.0, -0.1, 2.0, -2.0])
    expected = {
        "free": [1.15, -1.15, 125.5 / 127.5 - 1, 74.5 / 127.5 - 1],
        "clamped": [1.0, -1.0, 125.5 / 127.5 - 1, 74.5 / 127.5 - 1],
        "8-bit": [1.0, -1.0, 125 / 127.5 - 1, 74 / 127.5 - 1],
    }
    for moved, values in expected.items():
        torch.testing.assert_close(method("boundary_shrink", bound=0.2, moved=moved).move(x, slope), torch.tensor(values))
    assert [(m.bound, m.moved) for m in (method("boundary_shrink", p) for p in ("svhn", "svhn-reference"))] == [
        (0.2, "clamped"),
        (0.2, "8-bit"),
    ]


def test_a_step_that_crosses_no_boundary_keeps_the_true_label_where_published_code_does():
    """Scores are x and -x: at 0.5 a step of 0.2 stays on the side of class 0, at 0.1 it crosses."""
    network = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    rows = Rows(torch.tensor([[0.5], [0.1]]), torch.tensor([0, 0]))
    task = classifier_task(network, LabelledSets(rows, rows, 2))
    labels = {
        kept: method("boundary_shrink", bound=0.2, uncrossed=kept).nearest_labels(task).tolist() for kept in ("true label", "runner-up")
    }
    assert labels == {"true label": [0, 1], "runner-up": [1, 1]}


# --- what holds for all ----------------------------------------------------------------------------------------------

ANY_LAYERS = {"trim_scope": None, "projection_scope": r"re:^[35]\.", "fraction": 0.1}


@pytest.mark.parametrize(
    ("name", "preset", "values"),
    [
        ("scissorhands", "cifar10", {"fraction": 0.1}),
        ("scissorhands", "reference", ANY_LAYERS),
        ("random_label", "cifar10", {}),
        ("salun", "reference", {}),
    ],
)
def test_a_run_with_such_a_preset_goes_on_exactly(name, preset, values):
    task, other = toy_task(batch=4, seed=1), toy_task(batch=4, seed=1)
    steps = method(name, preset, epochs=2, **values)(task)
    for _ in range(20):
        step = next(steps)
    kept = step.snapshot()
    rest = list(steps)
    again = list(method(name, preset, epochs=2, **values)(other, kept))
    assert len(rest) == len(again) > 10
    assert same(copied(task.network), copied(other.network))


def test_the_network_has_its_own_buffers_afterwards():
    task = toy_task()
    before = [name for name, _ in task.network.named_buffers()]
    list(method("scissorhands", "reference", epochs=1, **ANY_LAYERS)(task))
    assert [name for name, _ in task.network.named_buffers()] == before


def test_a_bounded_loss_takes_whole_batches_too():
    task = toy_task(held_out=samples(number=7, size=40), batch=4)
    steps = list(method("scissorhands", forget_batches="whole", epochs=3)(task))
    assert len(steps) == 3 * 18
    assert all(step.unlearn_loss == 0 for step in steps if (step.step - 1) % 18 > 1)
