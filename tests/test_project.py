"""The closed form is the solution of the quadratic program, found without leaving the device."""

import numpy as np
import pytest
import quadprog
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from erase.project import project


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
    for enabled in (True, False):
        g = project([torch.tensor([1.0, 2.0])], [torch.zeros(2)], 0.3, enabled)
        assert g.gradient[0].tolist() == [1.0, 2.0]
        assert (g.coefficient.item(), g.norm_u.item()) == (pytest.approx(0.3), 0)


def test_switched_off_it_adds_and_still_reports():
    g = project([torch.tensor([3.0, -4.0])], [torch.tensor([0.0, 2.0])], 0.5, enabled=False)
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
