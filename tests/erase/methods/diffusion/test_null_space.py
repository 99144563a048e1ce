"""SPEED's edit is the constrained minimiser that another solver finds, and moves nothing of what every prompt has."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from erase.methods.diffusion.null_space import NullSpace, centres, moved_most, projector
from erase.task import generator

WIDTH = 12


def texts(rank: int = 5) -> tuple[dict[str, Tensor], Tensor]:
    """Prompts whose retain tokens fill `rank` of 12 directions, and the target of the forget prompts."""
    source = generator("null space")

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=source, dtype=torch.float64)

    start = draw(1, 1, WIDTH)
    retain = torch.cat([start.expand(9, 1, -1), draw(9, 6, rank) @ draw(rank, WIDTH)], dim=1)
    forget, target = (torch.cat([start.expand(2, 1, -1), draw(2, 6, WIDTH)], dim=1) for _ in range(2))
    return {"forget": forget, "retain": retain, "empty": torch.cat([start, draw(1, 6, WIDTH)], dim=1)}, target


def null_space(copies: int = 0) -> NullSpace:
    prompts, target = texts()
    return NullSpace.of_texts(prompts, target, forget_weight=0.7, ridge=0.3, threshold=1e-6, copies=copies, seed=1)


def constrained(weight: Tensor, space: NullSpace, kept: Tensor) -> Tensor:
    """The same minimiser by elimination: D = F N' U', U the null space of the kept tokens, N that of the fixed ones within it."""
    u = torch.linalg.svd(kept, full_matrices=True).Vh[torch.linalg.matrix_rank(kept) :].T
    inside = space.fixed @ u
    n = torch.linalg.svd(inside, full_matrices=True).Vh[torch.linalg.matrix_rank(inside) :].T
    base, a = u @ n, space.forget_weight / space.prompts
    x = torch.cat([a**0.5 * space.concept @ base, space.ridge**0.5 * torch.eye(base.shape[1], dtype=base.dtype)])
    y = torch.cat([a**0.5 * (space.target - space.concept) @ weight.T, torch.zeros(base.shape[1], len(weight), dtype=base.dtype)])
    return weight + torch.linalg.lstsq(x, y, driver="gelsd").solution.T @ base.T


def test_the_edit_is_the_constrained_minimiser_that_another_solver_finds() -> None:
    space = null_space()
    weight = torch.randn(8, WIDTH, generator=generator("weight"), dtype=torch.float64)
    edited = space.edited("w", weight)
    assert (edited - weight).norm() > 0.1
    torch.testing.assert_close(edited, constrained(weight, space, space.retain))
    torch.testing.assert_close(edited @ space.fixed.T, weight @ space.fixed.T)
    torch.testing.assert_close(edited @ space.retain.T, weight @ space.retain.T)
    assert ((edited @ space.concept.T) - weight @ space.target.T).norm() < ((weight @ space.concept.T) - weight @ space.target.T).norm()


def test_by_hand_the_concept_is_read_as_the_anchor_where_nothing_else_is() -> None:
    """Concept (1, 0, 0), target (0, 1, 0), kept (0, 1, 0), fixed (0, 0, 1): column 0 becomes half of itself and half of column 1."""
    one, two, three = torch.eye(3, dtype=torch.float64)
    space = NullSpace(one[None], two[None], 1, two[None], three[None], forget_weight=1.0, ridge=1.0, threshold=0.1, copies=0)
    weight = torch.tensor([[2.0, 4.0, 8.0]], dtype=torch.float64)
    torch.testing.assert_close(space.edited("w", weight), torch.tensor([[3.0, 4.0, 8.0]], dtype=torch.float64))
    torch.testing.assert_close(replace(space, forget_weight=3.0).edited("w", weight)[0, 0], torch.tensor(3.5, dtype=torch.float64))


def test_noisy_copies_differ_only_where_the_matrix_is_blind_and_are_of_its_name() -> None:
    space = null_space(copies=2)
    weight = torch.randn(8, WIDTH, generator=generator("weight"), dtype=torch.float64)
    plain = torch.ones(1, WIDTH, dtype=torch.float64)
    once, again, other = (space.kept(weight, plain, generator(name)) for name in ("a", "a", "b"))
    assert torch.equal(once, again)
    assert once.shape != other.shape or not torch.equal(once, other)
    rows = moved_most(space.retain, plain)
    noise = once[len(rows) :, None] - rows
    nearest = noise[torch.arange(len(noise)), noise.norm(dim=2).argmin(dim=1)]
    assert nearest.norm() > 0.1
    torch.testing.assert_close(nearest @ weight.T, torch.zeros(len(nearest), 8, dtype=torch.float64))


@pytest.mark.parametrize(("threshold", "rank"), [(0.5, 1), (2.5, 2), (0.1, 0)])
def test_directions_with_little_of_the_text_are_free(threshold: float, rank: int) -> None:
    tokens = torch.diag(torch.tensor([1.0, 2.0])).double()  # mean squares 0.5 and 2
    assert round(float(projector(tokens, threshold + 1e-9).trace())) == rank


def test_what_moves_more_than_the_mean_is_kept_and_centres_are_the_means_of_clusters() -> None:
    tokens = torch.tensor([[0.0, 1.0], [3.0, 0.0], [1.0, 5.0]]).double()
    assert moved_most(tokens, torch.tensor([[1.0, 0.0]]).double()).tolist() == [[3.0, 0.0]]
    assert torch.equal(moved_most(tokens, torch.zeros(1, 2).double()), tokens)
    points = torch.tensor([[0.0], [1.0], [10.0], [12.0], [-20.0]]).double()
    assert sorted(centres(points, 3).flatten().tolist()) == [-20.0, 0.5, 11.0]
