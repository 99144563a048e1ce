"""The closed form is the solution of the quadratic program, found without leaving the device."""

import numpy as np
import pytest
import quadprog
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from erase.project import Projection, project, project_update


def pieces(flat):
    """A vector as a list of tensors of several shapes."""
    sizes = [1, 2, len(flat) - 3] if len(flat) > 3 else [len(flat)]
    return [piece.clone() for piece in flat.split(sizes)]


def joined(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors])


def pair(seed, n=12, scale_r=1.0, scale_u=1.0):
    """Two random gradients, float64."""
    g_r, g_u = torch.randn(2, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return g_r * scale_r, g_u * scale_u


@pytest.mark.parametrize("scale_r", [1e-4, 1.0, 1e3])
@pytest.mark.parametrize("scale_u", [1e-3, 1.0, 1e2])
def test_solves_the_papers_primal(scale_r, scale_u):
    """min ½||g - (g_r + λ g_u)||² subject to <g, g_u> >= 0, by a solver that knows nothing of the closed form."""
    active = 0
    for seed in range(40):
        n, weight = 2 + seed % 19, [0.0, 0.01, 0.3, 2.0][seed % 4] * scale_r / scale_u
        g_r, g_u = pair(seed, n, scale_r, scale_u)
        got = project(pieces(g_r), pieces(g_u), weight)
        # The solver works near unit scale: lengths in units of scale_r, the constraint in units of g_u.
        target = ((g_r + weight * g_u) / scale_r).numpy()
        normal = (g_u / scale_u).numpy()[:, None]
        expected, _, _, _, multiplier, _ = quadprog.solve_qp(np.eye(n), target, normal, np.zeros(1))
        np.testing.assert_allclose(joined(got.gradient).numpy() / scale_r, expected, rtol=1e-9, atol=1e-11)
        assert got.coefficient.item() == pytest.approx(weight + multiplier[0] * scale_r / scale_u, rel=1e-9, abs=1e-12)
        active += bool(multiplier[0] > 0)
    assert 5 < active < 35  # both faces of the solution were met


def test_solves_the_dual_of_eq_5():
    """min_v ½ v² ||g_u||² + v <g_r + λ g_u, g_u>, v >= 0, searched on a fine grid."""
    for seed in range(20):
        g_r, g_u = pair(seed)
        grid = torch.linspace(0, 3, 300_001, dtype=torch.float64)
        values = 0.5 * grid**2 * (g_u @ g_u) + grid * ((g_r + 0.1 * g_u) @ g_u)
        c = project(pieces(g_r), pieces(g_u), 0.1).coefficient
        assert c.item() - 0.1 == pytest.approx(grid[values.argmin()].item(), abs=2e-5)


def test_on_paper():
    """g_r = (3, -4), g_u = (0, 2): <g_r, g_u> = -8, ||g_u||² = 4, so c = 2 and g = (3, 0)."""
    g = project([torch.tensor([3.0]), torch.tensor([-4.0])], [torch.tensor([0.0]), torch.tensor([2.0])], 0.5)
    assert [part.tolist() for part in g.gradient] == [[3.0], [0.0]]
    assert (g.dot.item(), g.norm_r.item(), g.norm_u.item(), g.coefficient.item()) == (-8, 5, 2, 2)


def test_agreeing_gradients_are_only_added():
    """g_r = (3, 4), g_u = (0, 2), λ = 0.5: c = λ and g = (3, 5)."""
    g = project([torch.tensor([3.0, 4.0])], [torch.tensor([0.0, 2.0])], 0.5)
    assert g.gradient[0].tolist() == [3.0, 5.0]
    assert g.coefficient.item() == 0.5


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_never_undoes_forgetting_to_first_order_and_moves_g_no_more_than_that_takes(weight):
    for seed in range(100):
        g_r, g_u = pair(seed)
        g = joined(project(pieces(g_r), pieces(g_u), weight).gradient)
        target = g_r + weight * g_u
        assert g @ g_u >= -1e-12
        assert torch.allclose(g, target, rtol=1e-12) or abs(g @ g_u) < 1e-12
        for _ in range(5):  # no other feasible direction is nearer
            other = g + 0.1 * torch.randn(len(g), dtype=g.dtype)
            if other @ g_u >= 0:
                assert (other - target).norm() >= (g - target).norm() - 1e-12


def test_the_length_of_the_unlearn_gradient_does_not_matter_where_the_constraint_acts():
    acted = 0
    for seed in range(50):
        g_r, g_u = pair(seed)
        results = [project(pieces(g_r), pieces(scale * g_u), 1e-9) for scale in (1e-6, 1.0, 1e6)]
        if results[2].coefficient > 1e-9:
            acted += 1
            for result in results[:2]:
                torch.testing.assert_close(joined(result.gradient), joined(results[2].gradient), rtol=1e-9, atol=1e-9)
    assert acted > 10


def test_the_split_into_tensors_does_not_matter():
    g_r, g_u = pair(3)
    whole = project([g_r.clone()], [g_u.clone()], 0.1)
    split = project(pieces(g_r), pieces(g_u), 0.1)
    torch.testing.assert_close(whole.gradient[0], joined(split.gradient))


def test_a_zero_unlearn_gradient_leaves_the_retain_gradient():
    for projection in (Projection(), Projection("none")):
        g = project([torch.tensor([1.0, 2.0])], [torch.zeros(2)], 0.3, projection)
        assert g.gradient[0].tolist() == [1.0, 2.0]
        assert (g.coefficient.item(), g.norm_u.item()) == (pytest.approx(0.3), 0)


def test_switched_off_it_adds_and_still_reports():
    g = project([torch.tensor([3.0, -4.0])], [torch.tensor([0.0, 2.0])], 0.5, Projection("none"))
    assert g.gradient[0].tolist() == [3.0, -3.0]
    assert (g.dot.item(), g.coefficient.item()) == (-8, 0.5)


def test_writes_into_the_retain_tensors_and_leaves_the_unlearn_tensors():
    g_r, g_u = pair(0)
    retain, unlearn = pieces(g_r), pieces(g_u)
    result = project(retain, unlearn, 1.0)
    assert all(a is b for a, b in zip(result.gradient, retain, strict=True))
    assert torch.equal(joined(unlearn), g_u)
    torch.testing.assert_close(joined(retain), g_r + result.coefficient * g_u)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_sums_and_scales_in_float32(dtype):
    """c is 2e5 here, beyond float16; 4096 ones summed in bfloat16 would stop at 256."""
    g_r, g_u = torch.full((4096,), -20.0, dtype=dtype), torch.full((4096,), 1e-4, dtype=dtype)
    u = g_u.double()
    g = project([g_r], [g_u], 0.0)
    assert g.norm_r.item() == pytest.approx(20 * 64, rel=1e-6)
    assert g.coefficient.item() == pytest.approx((20 * u.sum() / (u @ u)).item(), rel=1e-5)
    assert g.coefficient > 1e5
    assert g_r.dtype == dtype
    assert g_r.abs().max() < 1e-3


def test_mixed_precision_in_one_list():
    retain = [torch.tensor([3.0]), torch.tensor([-4.0], dtype=torch.float16), torch.tensor([1.0], dtype=torch.bfloat16)]
    unlearn = [torch.zeros(1), torch.tensor([2.0], dtype=torch.float16), torch.zeros(1, dtype=torch.bfloat16)]
    g = project(retain, unlearn, 0.0).gradient
    assert [part.item() for part in g] == [3.0, 0.0, 1.0]
    assert [part.dtype for part in g] == [torch.float32, torch.float16, torch.bfloat16]


def test_float32_feasible_up_to_rounding_at_a_million_weights():
    random = torch.Generator().manual_seed(0)
    g_u = torch.randn(1_000_000, generator=random)
    g_r = torch.randn(1_000_000, generator=random) - 0.5 * g_u
    norm = g_r.norm() * g_u.norm()
    g = project([g_r], [g_u], 0.0).gradient[0]
    assert abs(g.double() @ g_u.double()) < 1e-5 * norm


def test_no_number_is_copied_to_the_host():
    """Tensors without data: reading a value from one raises."""
    with FakeTensorMode():
        retain, unlearn = [torch.empty(3), torch.empty(2, 2)], [torch.empty(3), torch.empty(2, 2)]
        with pytest.raises(DataDependentOutputException):
            retain[0].sum().item()
        assert project(retain, unlearn, 0.1).coefficient.shape == ()


# --- two-sided: the restricted gradient -----------------------------------------------------------------------------


def test_two_sided_on_paper():
    """g_r = (3, -4), g_u = (0, 2), λ = 1/2. <g_r, g_u> = -8, ||g_r||² = 25, ||g_u||² = 4.

    g_r without its part along g_u is (3, 0); g_u without its part along g_r is (0, 2) + 8/25 (3, -4) = (0.96, 0.72). So
    g = (3, 0) + ½ (0.96, 0.72) = (3.48, 0.36): <g, g_u> = 0.72 and <g, g_r> = 9. c = ½ + 2.
    """
    retain, unlearn = torch.tensor([3.0, -4.0], dtype=torch.float64), torch.tensor([0.0, 2.0], dtype=torch.float64)
    g = project([retain], [unlearn], 0.5, Projection(two_sided=True))
    assert g.gradient[0].tolist() == pytest.approx([3.48, 0.36])
    assert g.coefficient.item() == 2.5


@pytest.mark.parametrize("weight", [0.1, 1.0, 10.0])
def test_two_sided_raises_neither_loss_to_first_order_and_only_adds_what_agrees(weight):
    opposed = 0
    for seed in range(100):
        g_r, g_u = pair(seed, n=5)
        g = joined(project(pieces(g_r), pieces(g_u), weight, Projection(two_sided=True)).gradient)
        assert g @ g_u >= -1e-12
        assert g @ g_r >= -1e-12
        if g_r @ g_u >= 0:
            assert torch.equal(g, joined(project(pieces(g_r), pieces(g_u), weight).gradient))
        else:
            opposed += 1
            part_r, part_u = g_r - (g_r @ g_u) / (g_u @ g_u) * g_u, g_u - (g_r @ g_u) / (g_r @ g_r) * g_r
            torch.testing.assert_close(g, part_r + weight * part_u)
    assert 30 < opposed < 70


def test_one_sided_may_hurt_what_is_kept_where_two_sided_does_not():
    """λ = 10: the unlearning gradient outweighs the other."""
    g_r, g_u = torch.tensor([1.0, -1.0]), torch.tensor([0.0, 2.0])
    one, two = (project([g_r.clone()], [g_u], 10.0, Projection(two_sided=sides)).gradient[0] for sides in (False, True))
    assert one @ g_r < 0 <= two @ g_r


# --- per layer ------------------------------------------------------------------------------------------------------


def test_per_layer_on_paper():
    """Two tensors, λ = 0: (3, -4) against (0, 2) needs c = 2 and becomes (3, 0); (1) with (1) agrees, so c = 0 and it stays.

    Together <g_r, g_u> = -8 + 1 = -7 and ||g_u||² = 5: c = 7/5. The mean of the two c by ||g_u||² is (2·4 + 0·1) / 5.
    """

    def gradients():
        return [torch.tensor([3.0, -4.0]), torch.tensor([1.0])], [torch.tensor([0.0, 2.0]), torch.tensor([1.0])]

    alone = project(*gradients(), 0.0, Projection(per_layer=True))
    assert [part.tolist() for part in alone.gradient] == [[3.0, 0.0], [1.0]]
    assert alone.coefficient.item() == pytest.approx(1.6)
    together = project(*gradients(), 0.0)
    assert together.coefficient.item() == pytest.approx(1.4)
    assert joined(together.gradient).tolist() == pytest.approx([3.0, -1.2, 2.4])


@pytest.mark.parametrize("two_sided", [False, True])
def test_per_layer_each_tensor_is_as_if_it_were_alone(two_sided):
    for seed in range(20):
        g_r, g_u = pair(seed)
        whole = project(pieces(g_r), pieces(g_u), 0.1, Projection(two_sided=two_sided, per_layer=True))
        for r, u, g in zip(pieces(g_r), pieces(g_u), whole.gradient, strict=True):
            torch.testing.assert_close(g, project([r], [u], 0.1, Projection(two_sided=two_sided)).gradient[0])
            assert g.flatten() @ u.flatten() >= -1e-12
        g = joined(whole.gradient)
        assert whole.dot == pytest.approx((g_r @ g_u).item())
        if not two_sided:  # what the mean of the c means
            assert (g_r + whole.coefficient * g_u) @ g_u == pytest.approx((g @ g_u).item())


def test_per_layer_a_tensor_that_unlearning_does_not_reach_stays():
    g = project([torch.tensor([1.0]), torch.tensor([2.0])], [torch.zeros(1), torch.tensor([-1.0])], 0.5, Projection(per_layer=True))
    assert [part.item() for part in g.gradient] == [1.0, 0.0]
    assert g.coefficient.item() == 2.0
    nothing = project([torch.tensor([1.0])], [torch.zeros(1)], 0.5, Projection(per_layer=True))
    assert (nothing.gradient[0].item(), nothing.coefficient.item()) == (1.0, 0.5)


# --- the optimizer's step -------------------------------------------------------------------------------------------


def test_update_on_paper():
    """Docs' example: g_u = (1, -2), Adam's first step from g = (1, 0.4) is Δ = -η (1, 1), and <Δ, g_u> = η: U would rise.

    v = η / 5, and Δ' = -η (1, 1) - η/5 (1, -2) = -η (1.2, 0.6), for which <Δ', g_u> = 0.
    """
    before, g_u = torch.tensor([1.0, 1.0], dtype=torch.float64), torch.tensor([1.0, -2.0], dtype=torch.float64)
    w = before - 0.1
    v = project_update([w], [before.clone()], [g_u])
    assert v.item() == pytest.approx(0.02)
    assert (w - before).tolist() == pytest.approx([-0.12, -0.06])


def test_update_is_the_nearest_step_that_forgets_and_no_longer_than_the_wanted_one():
    """By a solver that knows nothing of the closed form."""
    acted = 0
    for seed in range(40):
        before, g_u = pair(seed)
        wanted = torch.randn(len(before), generator=torch.Generator().manual_seed(1000 + seed), dtype=torch.float64)
        w = pieces(before + wanted)
        v = project_update(w, pieces(before), pieces(g_u))
        step = joined(w) - before
        expected, _, _, _, multiplier, _ = quadprog.solve_qp(np.eye(len(before)), wanted.numpy(), -g_u.numpy()[:, None], np.zeros(1))
        np.testing.assert_allclose(step.numpy(), expected, rtol=1e-9, atol=1e-9)
        assert v.item() == pytest.approx(multiplier[0], abs=1e-9)
        assert step @ g_u <= 1e-9
        assert step.norm() <= wanted.norm() + 1e-12
        acted += bool(v > 0)
    assert 5 < acted < 35


def test_after_a_plain_step_it_is_the_same_as_projecting_the_gradient():
    for seed in range(30):
        g_r, g_u = pair(seed)
        w = pair(seed + 500)[0]
        moved = w - 0.1 * (g_r + 0.3 * g_u)
        v = project_update([moved], [w.clone()], [g_u])
        g = project([g_r.clone()], [g_u], 0.3)
        torch.testing.assert_close(moved, w - 0.1 * g.gradient[0])
        assert 0.3 + v.item() / 0.1 == pytest.approx(g.coefficient.item())


def test_update_per_layer_and_without_an_unlearn_gradient():
    before = [torch.zeros(2), torch.zeros(1)]
    w = [torch.tensor([1.0, 1.0]), torch.tensor([-5.0])]
    v = project_update(w, [b.clone() for b in before], [torch.tensor([1.0, 0.0]), torch.tensor([1.0])], per_layer=True)
    assert [x.tolist() for x in w] == [[0.0, 1.0], [-5.0]]  # together nothing would have been taken
    assert v.item() == 0.5
    w = [torch.tensor([1.0])]
    assert project_update(w, [torch.zeros(1)], [torch.zeros(1)]).item() == 0
    assert w[0].item() == 1.0


def test_an_update_is_bent_without_a_copy_to_the_host():
    with FakeTensorMode():
        weights, before, unlearn = ([torch.empty(3), torch.empty(2, 2)] for _ in range(3))
        assert project_update(weights, before, unlearn).shape == ()
