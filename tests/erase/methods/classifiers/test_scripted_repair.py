"""Repair as the released script does it, against a plain loop and a quadratic programme's solver."""

import copy

import numpy as np
import pytest
import quadprog
import torch
from torch.nn import functional as F
from toys_classifier import build, toy_task

from erase.errors import InputError
from erase.methods import CLASSIFIER_METHODS, make_method
from erase.methods.classifiers.scripted_repair import RIDGE, multiplier

RATE, WEIGHT, MARGIN = 0.05, 0.01, 0.5


@pytest.mark.parametrize("margin", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(6))
def test_the_multiplier_is_the_solvers(margin, seed):
    """min ½ v² P - q v for v >= margin, where the angle is obtuse; elsewhere nothing is added."""
    source = np.random.default_rng(seed)
    g, m = source.normal(size=20), source.normal(size=20) * (0.1 if seed % 2 else 3.0)
    dot, square = float(g @ m), float(m @ m)
    found = float(multiplier(torch.tensor(dot, dtype=torch.float64), torch.tensor(square, dtype=torch.float64), margin))
    P = np.array([[square + (RIDGE if margin else 0.0)]])
    solved = quadprog.solve_qp(P, np.array([-dot]), np.eye(1), np.array([margin]))[0][0]
    assert found == pytest.approx(solved if dot < 0 else 0.0, rel=1e-6, abs=1e-9)


def script(memory, every, steps):
    """The released loop, written plainly: retain pass, forget pass, projection of two layers, a plain SGD step."""
    task = toy_task(batch=4)
    network = build(2).train()  # untrained: what helps the retain set helps the forget set, so the gradients oppose
    projected = []
    for i in range(steps):
        weights = dict(network.named_parameters())
        late = [name for name in weights if name[0] in "35"]
        epoch, within = divmod(i, task.epoch_retain)
        retain, forget = task.retain(i), task.forget(epoch * 2 + within) if within < 2 else None
        if not within:
            frozen = copy.deepcopy(network).eval()
            batch = task.forget(epoch * 2)
            kept = torch.autograd.grad(-F.cross_entropy(frozen(batch["x"]), batch["y"]), [dict(frozen.named_parameters())[n] for n in late])
        loss = F.cross_entropy(network(retain["x"]), retain["y"])
        if forget is not None:
            loss = loss - WEIGHT * F.cross_entropy(network(forget["x"]), forget["y"])
        before = copy.deepcopy(network)
        g = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
        if forget is not None and (within + 1) % every == 0:
            m = kept
            if memory == "step":
                own = -F.cross_entropy(before(forget["x"]), forget["y"])
                m = torch.autograd.grad(own, [dict(before.named_parameters())[n] for n in late])
            dot, square = (sum(float((a * b).sum()) for a, b in zip(x, m, strict=True)) for x in ([g[n] for n in late], m))
            if dot < 0:
                projected.append(i + 1)
                for name, direction in zip(late, m, strict=True):
                    g[name] = g[name] + max(MARGIN, -dot / (square + RIDGE)) * direction
        with torch.no_grad():
            for name, weight in weights.items():
                weight -= RATE * g[name]
    return network, projected


@pytest.mark.parametrize(("memory", "every"), [("epoch", 1), ("step", 1), ("epoch", 2)])
def test_two_epochs_are_those_of_the_released_loop(memory, every):
    task = toy_task(batch=4)  # 18 steps an epoch, two of them with a forget batch
    task.network.load_state_dict(build(2).state_dict())
    options = {"trimming": False, "scope": "full", "projection_scope": r"re:^[35]\.", "projection_every": every}
    options |= {"projection_memory": memory, "momentum": 0.0, "weight_decay": 0.0, "learning_rate": RATE, "forget_weight": WEIGHT}
    steps = list(make_method("scissorhands", "reference", CLASSIFIER_METHODS, epochs=2, **options)(task))
    network, projected = script(memory, every, 36)
    assert [step.step for step in steps if step.projected] == projected
    assert every == 2 or 1 in projected
    assert all((step - 1) % 18 in (0, 1) for step in projected)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(task.network.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_a_projection_of_layers_that_are_not_repaired_is_refused():
    options = {"trimming": False, "scope": r"re:^5\.", "projection_scope": r"re:^3\."}
    method = make_method("scissorhands", "reference", CLASSIFIER_METHODS, **options)
    with pytest.raises(InputError, match=r"--projection-scope re:\^3\\. has no weights that repair may change"):
        next(method(toy_task(scope=r"re:^5\.")))


def test_layers_outside_the_scope_are_not_projected():
    """One step with and without the projection: only the two layers in its scope differ."""
    networks = []
    for projected in (True, False):
        task = toy_task(batch=4)
        task.network.load_state_dict(build(2).state_dict())
        options = {"trimming": False, "projection_scope": r"re:^[35]\.", "projected": projected}
        step = next(make_method("scissorhands", "reference", CLASSIFIER_METHODS, **options)(task))
        assert step.projected is projected
        networks.append(dict(task.network.named_parameters()))
    moved = {name for name, weight in networks[0].items() if not torch.equal(weight, networks[1][name])}
    assert moved == {"3.weight", "3.bias", "5.weight", "5.bias"}
