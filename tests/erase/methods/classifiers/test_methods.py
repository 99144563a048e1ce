"""Each method of the classifier table does what its paper says, on cases that can be worked by hand or computed another way."""

from collections import deque
from dataclasses import fields
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector
from toys import CLASSES, copied, same
from toys_classifier import INPUTS, Rows, build, right, samples, split, toy_task, whole

from erase.classifiers.task import LabelledSets, alongside, classifier_task
from erase.errors import Diverged, InputError
from erase.methods import CLASSIFIER_METHODS, make_method
from erase.methods.classifiers.boundary_expand import expanded, find_head, shadow
from erase.methods.classifiers.curvature import conjugate_gradients, curvature_product
from erase.methods.classifiers.influence import Influence
from erase.methods.classifiers.scissorhands import late
from erase.task import Step
from erase.training.optimizers import OptimizerConfig

SMALL = {"epochs": 2}


def method(name, **values):
    return make_method(name, table=CLASSIFIER_METHODS, **values)


def small(name, **values):
    """The method, short."""
    return method(name, **({**SMALL, **values} if name != "influence" else {"iterations": 3, **values}))


def one_weight(w=0.5, x=2.0):
    """Two classes with scores (w x, 0): p of class 0 is sigma(w x); one sample of class 0 to forget, one of class 1 to retain."""
    network = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[w], [0.0]]))
    forget, retain = Rows(torch.tensor([[x]]), torch.tensor([0])), Rows(torch.tensor([[1.0]]), torch.tensor([1]))
    return classifier_task(network, LabelledSets(forget, retain, 2), fresh=lambda: nn.Linear(1, 2, bias=False))


PLAIN = {"momentum": 0.0, "weight_decay": 0.0}


# --- what holds for all ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSIFIER_METHODS)
def test_the_same_seed_gives_the_same_weights_bit_for_bit(name):
    tasks = [toy_task(seed=1), toy_task(seed=1)]
    steps = [list(small(name)(task)) for task in tasks]
    assert same(*(copied(task.network) for task in tasks))
    assert steps[0]
    assert all(isinstance(step, Step) for step in steps[0])
    assert not same(copied(tasks[0].network), copied(toy_task().network))


@pytest.mark.parametrize("name", CLASSIFIER_METHODS)
def test_a_run_that_stopped_goes_on_exactly(name):
    task, other = toy_task(seed=1), toy_task(seed=1)
    steps = small(name)(task)
    for _ in range(1 if name == "influence" else 2):
        step = next(steps)
    kept = step.snapshot()
    rest = list(steps)
    again = list(small(name)(other, kept))
    assert len(rest) == len(again)
    assert same(copied(task.network), copied(other.network))


@pytest.mark.parametrize("name", CLASSIFIER_METHODS)
def test_between_steps_the_network_is_in_its_mode_and_has_its_classes(name):
    task = toy_task()
    task.network[4].eval()
    for _ in small(name)(task):
        assert [module.training for module in task.network] == [True, True, True, True, False, True]
        assert task.network(task.retain(0)["x"]).shape[1] == CLASSES


@pytest.mark.parametrize("name", sorted(set(CLASSIFIER_METHODS) - {"retrain"}))
def test_only_the_scope_changes(name):
    task = toy_task(scope=r"re:^[35]\.", norm=False)
    before = copied(task.network)
    list(small(name, **({"scope": r"re:^[35]\."} if name == "scissorhands" else {}))(task))
    after = copied(task.network)
    assert torch.equal(before["0.weight"], after["0.weight"])
    assert not torch.equal(before["5.weight"], after["5.weight"])


@pytest.mark.parametrize(
    "name", sorted(set(CLASSIFIER_METHODS) - {"retrain", "fine_tune", "l1_sparse", "random_label", "salun", "scissorhands"})
)
def test_methods_that_look_at_forget_data_alone_leave_batch_norms_alone(name):
    task = toy_task()
    before = {key: value.clone() for key, value in task.network.named_buffers()}
    list(small(name)(task))
    assert same(before, dict(task.network.named_buffers()))


@pytest.mark.parametrize("name", CLASSIFIER_METHODS)
def test_presets_for_the_papers_data_sets(name):
    assert {"balanced", "cifar10", "cifar100", "svhn", "celeba"} <= set(CLASSIFIER_METHODS[name].presets)
    for preset in CLASSIFIER_METHODS[name].presets:
        make_method(name, preset, CLASSIFIER_METHODS)


@pytest.mark.parametrize("name", CLASSIFIER_METHODS)
def test_every_option_has_its_help(name):
    assert all(item.metadata["help"] for item in fields(CLASSIFIER_METHODS[name]))


def test_an_unknown_method_or_option_is_named():
    with pytest.raises(InputError, match="--method 'salune' is unknown; expected one of retrain, fine_tune"):
        method("salune")
    with pytest.raises(InputError, match="influence has no option 'strenght', did you mean 'strength'"):
        method("influence", strenght=1)


FORGETTING = {
    "gradient_ascent": {"epochs": 20, "learning_rate": 0.1},
    "random_label": {},
    "salun": {},
    "boundary_shrink": {"learning_rate": 0.05},
    "boundary_expand": {"learning_rate": 0.05},
    "influence": {"strength": 5.0, "damping": 1e-3},
    "scissorhands": {},
}


@pytest.mark.parametrize("name", FORGETTING)
def test_these_forget(name):
    """The mean loss on what is to be forgotten rises above that of the original, a tenth of a nat at least."""
    task = toy_task()
    batch = whole(task, "forget")

    def lost():
        with torch.no_grad():
            found = float(F.cross_entropy(task.network.eval()(batch["x"]), batch["y"]))
        task.network.train()
        return found

    before = lost()
    list(method(name, **FORGETTING[name])(task))
    assert lost() > before + 0.1


@pytest.mark.parametrize("name", ["retrain", "fine_tune", "random_label", "salun", "scissorhands"])
def test_these_keep_the_retain_set(name):
    task = toy_task()
    list(method(name, **({"epochs": 60, "weight_decay": 0.0} if name == "retrain" else {}))(task))
    assert right(task, "retain") > 0.9


# --- one by one ------------------------------------------------------------------------------------------------------


def test_retrain_is_what_training_a_fresh_network_gives():
    """Against torch's own optimizer and scheduler, on the same batches."""
    task = toy_task(seed=5)
    list(method("retrain", epochs=3, learning_rate=0.1)(task))
    network, batches = build(2).train(), toy_task(seed=5).retain
    update = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(update, 3 * task.epoch_retain)
    for i in range(3 * task.epoch_retain):
        update.zero_grad()
        batch = batches(i)
        F.cross_entropy(network(batch["x"]), batch["y"]).backward()
        update.step()
        schedule.step()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(task.network.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_retrain_forgets_the_network_that_was_there():
    one, two = toy_task(), toy_task()
    with torch.no_grad():
        for weight in two.network.parameters():
            weight.fill_(torch.nan)
    for task in (one, two):
        list(small("retrain")(task))
    assert same(copied(one.network), copied(two.network))


def test_retrain_says_what_it_lacks():
    task = toy_task()
    task.fresh = None
    with pytest.raises(InputError, match="there is none; give fresh"):
        next(method("retrain")(task))
    with pytest.raises(InputError, match="expected the scope full"):
        next(method("retrain")(toy_task(scope="re:^5")))


def test_fine_tuning_never_looks_at_the_forget_set():
    task = toy_task()
    task.forget = None
    list(small("fine_tune")(task))


@pytest.mark.parametrize("name", ["gradient_ascent", "boundary_shrink", "boundary_expand"])
def test_these_never_look_at_the_retain_set(name):
    task = toy_task()
    task.retain = None
    list(small(name)(task))


def test_one_step_of_gradient_ascent_on_paper():
    """L = -log sigma(w x); dL/dw = -(1 - p) x, p = sigma(1): up by the rate, w falls by 0.1 (1 - p) 2."""
    task = one_weight(0.5, 2.0)
    (step,) = method("gradient_ascent", epochs=1, learning_rate=0.1, **PLAIN)(task)
    p = torch.tensor(1.0).sigmoid()
    torch.testing.assert_close(task.network.weight[0, 0].detach(), 0.5 - 0.1 * (1 - p) * 2)
    torch.testing.assert_close(task.network.weight[1, 0].detach(), 0.1 * (1 - p) * 2)
    assert step.unlearn_loss == pytest.approx(float(p.log()))


@pytest.mark.usefixtures("any_rate")
def test_ascent_without_end_stops_with_its_name_and_the_last_good_network():
    task = toy_task()
    states = (copied(task.network) for _ in method("gradient_ascent", epochs=500, learning_rate=1e12)(task))
    kept = deque(maxlen=1)
    with pytest.raises(Diverged, match="of gradient_ascent is not finite at step"):
        kept.extend(states)
    assert same(kept.pop(), copied(task.network))


def test_one_step_of_random_labels_on_paper():
    """Two classes: the wrong label is the other one. g = dL_r/dw + w dL_f'/dw, with p_f = sigma(1), p_r = sigma(0.5)."""
    task = one_weight(0.5, 2.0)
    list(method("random_label", epochs=1, learning_rate=0.1, forget_weight=3.0, **PLAIN)(task))
    p_f, p_r = torch.tensor(1.0).sigmoid(), torch.tensor(0.5).sigmoid()
    torch.testing.assert_close(task.network.weight[0, 0].detach(), 0.5 - 0.1 * (p_r * 1 + 3 * p_f * 2))


def test_salun_moves_the_weights_with_the_largest_gradients_and_no_others():
    task = toy_task()
    batch = whole(task, "forget")
    task.network.eval()
    found = torch.autograd.grad(F.cross_entropy(task.network(batch["x"]), batch["y"]), list(task.network.parameters()))
    task.network.train()
    size = parameters_to_vector(found).abs()
    expected = size >= size.sort(descending=True).values[round(0.3 * len(size)) - 1]
    before = parameters_to_vector(task.network.parameters()).detach().clone()
    salun = method("salun", fraction=0.3, epochs=3)
    mask = parameters_to_vector([m.float() for m in salun.mask(task).values()]).bool()
    assert torch.equal(mask, expected)
    list(salun(task))
    moved = parameters_to_vector(task.network.parameters()) != before
    assert not (moved & ~expected).any()
    assert moved.sum() > 0.9 * expected.sum()  # the rest feeds units that are silent


def test_salun_with_every_weight_is_random_labels():
    one, two = toy_task(), toy_task()
    list(small("salun", fraction=1.0)(one))
    list(small("random_label")(two))
    for name, value in copied(two.network).items():
        torch.testing.assert_close(copied(one.network)[name], value, rtol=1e-4, atol=1e-6)


def test_one_step_of_l1_is_the_subgradient():
    """w' = w - rate (dL/dw + gamma sign(w)), and a weight of 0 feels no pull."""
    tasks = [one_weight(-0.5), one_weight(-0.5)]
    for task, gamma in zip(tasks, (0.0, 0.3), strict=True):
        list(method("l1_sparse", epochs=1, learning_rate=0.1, l1=gamma, **PLAIN)(task))
    plain, pulled = (task.network.weight.detach() for task in tasks)
    torch.testing.assert_close(pulled - plain, torch.tensor([[0.1 * 0.3], [0.0]]))


def test_gamma_over_the_epochs():
    def course(schedule):
        return [method("l1_sparse", epochs=4, l1=1.0, schedule=schedule).gamma(e) for e in range(4)]

    assert course("decreasing") == [1.0, 0.75, 0.5, 0.25]
    assert course("constant") == [1.0] * 4
    assert course("increasing") == [0.25, 0.5, 0.75, 1.0]


def test_l1_makes_weights_small():
    one, two = toy_task(), toy_task()
    list(method("fine_tune", learning_rate=0.01)(one))
    list(method("l1_sparse", learning_rate=0.01, l1=1e-2, schedule="constant")(two))
    tiny = [int((parameters_to_vector(task.network.parameters()).abs() < 1e-3).sum()) for task in (one, two)]
    assert tiny[1] > tiny[0] + 50


def three_ways():
    """Scores are the products with three directions in the plane; a point of class 0 that leans towards class 1."""
    network = nn.Linear(2, 3, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, 0.0], [0.9, 1.0], [0.9, -1.0]]))
    forget = Rows(torch.tensor([[1.0, 0.04], [1.0, -0.04], [1.0, -0.3]]), torch.tensor([0, 0, 2]))
    return classifier_task(network, LabelledSets(forget, forget, 3))


@pytest.mark.parametrize("bound", [0.01, 0.1])
def test_boundary_shrink_finds_the_class_across_the_nearest_boundary(bound):
    """Up is class 1, down class 2. Rows 0 and 1 are class 0, rows 2 class 2 whose runner-up is class 0; a step of 0.01 crosses nothing."""
    assert method("boundary_shrink", bound=bound).nearest_labels(three_ways()).tolist() == [1, 2, 0]


def test_boundary_shrink_trains_towards_these_labels():
    task = three_ways()
    expected = task.network.weight.detach().clone().requires_grad_()
    batch = task.forget(0)
    F.cross_entropy(batch["x"] @ expected.T, torch.tensor([1, 2, 0])[batch["row"]]).backward()
    list(method("boundary_shrink", epochs=1, learning_rate=0.1, **PLAIN)(task))
    torch.testing.assert_close(task.network.weight.detach(), expected.detach() - 0.1 * expected.grad)


def test_boundary_expand_is_training_a_wider_head_towards_the_extra_class():
    """Against a copy whose head really has one more output, cut off at the end."""
    task = toy_task(norm=False)
    head = find_head(task)
    weight, bias = shadow(head, task.seed)
    wide = build(norm=False)
    wide.load_state_dict(task.network.state_dict())
    wide[5] = nn.Linear(32, CLASSES + 1)
    with torch.no_grad():
        wide[5].weight.copy_(torch.cat([head.weight, weight]))
        wide[5].bias.copy_(torch.cat([head.bias, bias]))
    update = torch.optim.SGD(wide.parameters(), lr=0.05, momentum=0.9)
    for i in range(4 * task.epoch_forget):
        update.zero_grad()
        batch = task.forget(i)
        F.cross_entropy(wide(batch["x"]), torch.full_like(batch["y"], CLASSES)).backward()
        update.step()
    list(method("boundary_expand", epochs=4, learning_rate=0.05, weight_decay=0.0)(task))
    torch.testing.assert_close(task.network[0].weight, wide[0].weight, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(task.network[5].weight, wide[5].weight[:CLASSES], rtol=1e-4, atol=1e-6)
    assert right(task, "forget") < 1


def test_the_shadow_class_is_there_only_within():
    task = toy_task()
    head = find_head(task)
    with expanded(head, *shadow(head, 0)):
        assert task.network(task.forget(0)["x"]).shape[1] == CLASSES + 1
    assert task.network(task.forget(0)["x"]).shape[1] == CLASSES


def test_boundary_expand_needs_a_head_it_can_widen():
    network = nn.Sequential(nn.Unflatten(1, (INPUTS, 1)), nn.Conv1d(INPUTS, CLASSES, 1), nn.Flatten())
    with pytest.raises(InputError, match="has none; choose another method"):
        next(method("boundary_expand")(classifier_task(network, LabelledSets(*split(), CLASSES))))


def logistic(decay=0.05):
    """Softmax regression trained to its optimum on all points, with a penalty in the loss: strictly convex."""
    task = classifier_task(nn.Linear(INPUTS, CLASSES), LabelledSets(*split(), CLASSES), batch=16)

    def loss(network, batch):
        return F.cross_entropy(network(batch["x"]), batch["y"]) + decay / 2 * sum((w**2).sum() for w in network.parameters())

    task.loss = loss
    return task


def optimum(task, *which):
    """The weights that minimise the loss over these sets, by Newton's method in float64."""
    parts = [whole(task, name) for name in which]
    batch = {name: torch.cat([p[name] for p in parts]) for name in ("x", "y")}
    shapes = [w.shape for w in task.network.parameters()]

    def value(vector):
        weight, bias = vector[: INPUTS * CLASSES].view(shapes[0]), vector[INPUTS * CLASSES :]
        return F.cross_entropy(batch["x"].double() @ weight.T + bias, batch["y"]) + 0.05 / 2 * (vector**2).sum()

    vector = torch.zeros((INPUTS + 1) * CLASSES, dtype=torch.float64)
    for _ in range(30):
        g, H = torch.autograd.functional.jacobian(value, vector), torch.autograd.functional.hessian(value, vector)
        vector = vector - torch.linalg.solve(H, g)
    return vector


def test_influence_is_the_newton_step_towards_retraining():
    """Softmax regression at its optimum: the Gauss-Newton matrix is the Hessian, and the step solves the quadratic exactly."""
    task = logistic()
    start, goal = optimum(task, "forget", "retain"), optimum(task, "retain")
    torch.nn.utils.vector_to_parameters(start.float(), task.network.parameters())
    batch, n_f, n = whole(task, "retain"), 8, 80
    weights = dict(task.network.named_parameters())

    def mean_loss(vector, data):
        w, b = vector[: INPUTS * CLASSES].view(CLASSES, INPUTS), vector[INPUTS * CLASSES :]
        return F.cross_entropy(data["x"].double() @ w.T + b, data["y"])

    H = torch.autograd.functional.hessian(lambda v: mean_loss(v, batch), start) + 0.05 * torch.eye((INPUTS + 1) * CLASSES)
    slope = [torch.autograd.functional.jacobian(partial(mean_loss, data=whole(task, name)), start) for name in ("forget", "retain")]
    newton = start + torch.linalg.solve(H, n_f / n * (slope[0] - slope[1]))

    (step,) = Influence(curvature="gauss-newton", damping=0.05, iterations=40)(task)
    found = parameters_to_vector(weights.values()).detach().double()
    torch.testing.assert_close(found, newton, rtol=1e-3, atol=1e-4)
    assert (found - goal).norm() < 0.15 * (start - goal).norm()
    assert step.step == 1


def test_the_fisher_matrix_is_that_of_the_samples_gradients():
    task = toy_task(norm=True)
    task.network.eval()
    batch, held = whole(task, "retain"), list(task.weights.values())
    rows = [
        parameters_to_vector(torch.autograd.grad(F.cross_entropy(task.network(x[None]), y[None]), held))
        for x, y in zip(batch["x"], batch["y"], strict=True)
    ]
    g = torch.stack(rows)
    F_ = g.T @ g / len(g) + 0.5 * torch.eye(g.shape[1])
    v = [torch.randn(w.shape, generator=torch.Generator().manual_seed(1)) for w in held]
    found = parameters_to_vector(curvature_product(task, task.epoch_retain, gauss_newton=False, damping=0.5)(v))
    torch.testing.assert_close(found, F_ @ parameters_to_vector(v), rtol=1e-3, atol=1e-5)


def test_conjugate_gradients_solve():
    source = torch.Generator().manual_seed(0)
    A = torch.randn(12, 12, generator=source, dtype=torch.float64)
    A = A @ A.T + torch.eye(12)
    b = torch.randn(12, generator=source, dtype=torch.float64)
    found = conjugate_gradients(lambda v: list((A @ torch.cat(v)).split(6)), list(b.split(6)), 40)
    torch.testing.assert_close(torch.cat(found), torch.linalg.solve(A, b))
    assert all((x == 0).all() for x in conjugate_gradients(lambda v: v, [torch.zeros(3)], 5))


def test_scissorhands_with_the_papers_loss_is_the_three_primitives():
    """Sensitivity, trim and repair by hand; a forget batch comes in pieces alongside the retain batches."""
    from erase.repair import repair
    from erase.scope import trimmable
    from erase.sensitivity import connection_sensitivity
    from erase.task import generator
    from erase.trim import trim

    one, two = toy_task(seed=2), toy_task(seed=2)
    paper = {"trim_scope": None, "unlearn": "ascent", "cosine": False, "norm_momentum": 0.1}
    list(method("scissorhands", epochs=2, fraction=0.1, forget_weight=0.2, learning_rate=0.02, weight_decay=0.0, **paper)(one))
    inside = trimmable(two.weights)
    scores = connection_sensitivity(two.network, [two.forget(i) for i in range(two.epoch_forget)], two.loss, inside)
    trim(inside, scores, 0.1, "uniform", generator(2, "trim"))
    two.forget = alongside(two)
    for _ in repair(two, 2 * two.epoch_retain, optimizer=OptimizerConfig("sgd", 0.02), forget_weight=0.2):
        pass
    assert same(copied(one.network), copied(two.network))


def test_forgotten_samples_end_up_as_samples_never_seen_do():
    """The default, with held-out samples: forget and held-out accuracy meet, and the retain set is still known by heart."""
    held = samples(number=7, size=200)
    task = toy_task(held_out=held)
    list(method("scissorhands", epochs=20)(task))
    assert right(task, "retain") > 0.95
    assert abs(right(task, "forget") - right(task, "held_out")) < 0.3


def test_late_is_the_half_of_the_weights_nearest_to_the_output():
    network = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 4), nn.Linear(4, 5))  # 100, 40 + 4, 20 + 5
    assert late(network) == r"re:^(2\.bias|2\.weight|1\.bias|1\.weight|0\.weight)$"
    wide = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 30))
    assert late(wide) == r"re:^(1\.bias|1\.weight)$"


@pytest.mark.parametrize("name", ["random_label", "salun"])
def test_what_is_taught_shares_its_batch_norm_with_what_is_kept(name):
    """One pass over both: the first step's statistics are those of the mixture."""
    task = toy_task()
    retain, forget = task.retain(0), alongside(task)(0)
    inner = task.network[0](torch.cat([retain["x"], forget["x"]])).detach()
    before = task.network[1].running_mean.clone()
    next(method(name)(task))
    torch.testing.assert_close(task.network[1].running_mean, 0.9 * before + 0.1 * inner.mean(0))
