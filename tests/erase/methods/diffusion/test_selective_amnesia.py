"""Selective Amnesia: the Fisher information on paper and from single images, and a step with replay and penalty."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusion_toys import made_up, task_of
from toys import Product, regression

from erase.diffusion import StableDiffusion
from erase.errors import InputError
from erase.methods import make_method
from erase.methods.diffusion.selective_amnesia import LEVELS, fisher
from erase.task import Task
from erase.training.optimizers import gradient_of


def product() -> Task:
    """y = b relu(a x) at (2, 3): forget x = 1 -> 0, retain x = 2 -> 10; image i of the Fisher pass is x = 1 + i -> 0."""
    network = Product()

    def example(x: float, y: float) -> dict[str, torch.Tensor]:
        return {"x": torch.tensor([[x]]), "y": torch.tensor([[y]])}

    def one_image(i: int, timesteps: int) -> dict[str, torch.Tensor]:
        return {name: tensor.expand(timesteps, 1) for name, tensor in example(1.0 + i, 0.0).items()}

    forget, retain = example(1.0, 0.0), example(2.0, 10.0)
    weights = dict(network.named_parameters())
    return Task(network, lambda i: forget, lambda i: retain, regression, regression, weights, one_image=one_image)


def test_the_information_on_paper_is_the_mean_square_of_single_images_gradients() -> None:
    """dL/da = 2 b (b a x - y) x = 36 x^2: over x = 1 and 2 the mean square is (36^2 + 144^2) / 2, times 1,000 squared for all timesteps."""
    found = fisher(product(), 2, 3)
    assert found[0].item() == pytest.approx(LEVELS**2 * (36**2 + 144**2) / 2)
    assert found[1].item() == pytest.approx(LEVELS**2 * (24**2 + 96**2) / 2)  # by b: 2 a^2 b x^2 = 24 x^2


def test_two_steps_on_paper() -> None:
    """g = (36, 24) + gamma (24, 16); after the first step the penalty pulls back by 2 lambda F (w - w0)."""
    task, rate, penalty = product(), 1e-3, 1e-12
    method = make_method(
        "selective_amnesia",
        retain_weight=0.5,
        penalty=penalty,
        fisher_images=1,
        fisher_timesteps=1,
        steps=2,
        optimizer="sgd",
        learning_rate=rate,
    )
    first, second = method(task)
    assert (first.unlearn_loss, first.retain_loss) == (36.0, 2.0)
    plain = product()
    velocity = torch.zeros(2)
    for _ in range(2):
        u = torch.cat([g.flatten() for g in gradient_of(regression, plain.network, plain.weights, plain.forget(0), 1)[1]])
        r = torch.cat([g.flatten() for g in gradient_of(regression, plain.network, plain.weights, plain.retain(0), 1)[1]])
        now = torch.tensor([plain.network.a.item(), plain.network.b.item()])
        pull = 2 * penalty * LEVELS**2 * torch.tensor([36.0**2, 24.0**2]) * (now - torch.tensor([2.0, 3.0]))
        velocity = 0.9 * velocity + u + 0.5 * r + pull
        now = now - rate * velocity
        plain.network.a.data.fill_(now[0])
        plain.network.b.data.fill_(now[1])
    assert task.network.a.item() == pytest.approx(plain.network.a.item(), rel=1e-5)
    assert task.network.b.item() == pytest.approx(plain.network.b.item(), rel=1e-5)
    assert second.step == 2


def test_a_large_penalty_holds_the_weights_that_retain_images_depend_on(tiny_pipeline: Path) -> None:
    moved = []
    for penalty in (0.0, 1e3):
        task = task_of(StableDiffusion(tiny_pipeline))
        before = {name: weight.detach().clone() for name, weight in task.weights.items()}
        method = make_method("selective_amnesia", penalty=penalty, fisher_images=2, fisher_timesteps=2, steps=6, learning_rate=1e-2)
        list(method(task))
        information = fisher(task_of(StableDiffusion(tiny_pipeline)), 2, 2)
        moved.append(
            sum(float((f * (w.detach() - before[n]) ** 2).sum()) for f, (n, w) in zip(information, task.weights.items(), strict=True))
        )
    assert moved[1] < 0.5 * moved[0]


def test_a_batch_of_one_image_is_that_image_under_other_timesteps_each(tiny_pipeline: Path) -> None:
    latents = made_up()
    task = task_of(StableDiffusion(tiny_pipeline), latents=latents)
    assert task.one_image is not None
    batch, again, other = task.one_image(2, 5), task.one_image(2, 5), task.one_image(9, 5)  # image 9 of 7 is image 2 once more
    assert batch.noisy.shape == (5, 4, 8, 8)
    assert torch.equal(batch.noisy, again.noisy)
    assert not torch.equal(batch.noisy, other.noisy)
    assert len(set(batch.timesteps.tolist())) > 2
    assert torch.equal(batch.prompt.text, latents.text[latents.retain.text[[2]]].expand(5, -1, -1))
    assert torch.equal(other.prompt.text, batch.prompt.text)


def test_a_task_without_single_images_is_refused_in_a_line() -> None:
    task = product()
    task.one_image = None
    with pytest.raises(InputError, match=r"^the Fisher information needs retain images one at a time.*diffusion model$"):
        list(make_method("selective_amnesia", steps=1)(task))
