"""Invariants, and linear maps that differ between elements."""

import math

import numpy as np
import pytest
import torch

from potstill.student.basis import spherical_harmonics
from potstill.student.layer import ElementGroups, ElementLinear, quadratic_form, soft_norm, traceless


def random_rotation(seed: int) -> torch.Tensor:
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return torch.from_numpy(turn * np.sign(np.linalg.det(turn)))


def random_units(n: int, seed: int = 0) -> torch.Tensor:
    vectors = torch.from_numpy(np.random.default_rng(seed).normal(size=(n, 3)))
    return vectors / vectors.norm(dim=1, keepdim=True)


def explicit_matrix(q: torch.Tensor) -> torch.Tensor:
    """(N, 3, 3, C) traceless symmetric matrix of the components xy, yz, z2, xz, x2-y2, as the harmonics order them."""
    xy, yz, z2, xz, x2y2 = q.unbind(1)
    third = z2 / math.sqrt(3.0)
    rows = [[x2y2 - third, xy, xz], [xy, -x2y2 - third, yz], [xz, yz, 2 * third]]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def test_quadratic_form_is_the_matrix_between_two_vectors():
    rng = np.random.default_rng(2)
    u, v, q = (torch.from_numpy(rng.normal(size=(6, k, 4))) for k in (3, 3, 5))
    expected = torch.einsum("nac,nabc,nbc->nc", u, explicit_matrix(q), v)
    assert torch.allclose(quadratic_form(u, v, q), expected, atol=1e-12)


def test_quadratic_form_of_densities_does_not_turn():
    units, turn, weights = random_units(12), random_rotation(3), torch.from_numpy(np.random.default_rng(4).normal(size=12))

    def invariant(directions: torch.Tensor) -> torch.Tensor:
        harmonics = spherical_harmonics(directions, 2)
        u, v, q = harmonics[:5, 1:4].sum(0), (weights[:, None] * harmonics[:, 1:4]).sum(0), harmonics[3:, 4:].sum(0)
        return quadratic_form(u[None, :, None], v[None, :, None], q[None, :, None])

    assert invariant(units).abs() > 1e-3
    assert torch.allclose(invariant(units), invariant(units @ turn.T), atol=1e-10)
    assert torch.allclose(invariant(units), invariant(-units), atol=1e-10)


def test_traceless_keeps_the_symmetric_part_without_its_trace():
    matrix = torch.from_numpy(np.random.default_rng(5).normal(size=(4, 3, 3, 2)))
    both = matrix + matrix.transpose(1, 2)
    third = torch.einsum("naac->nc", both)[:, None, None] * torch.eye(3, dtype=torch.float64)[None, :, :, None] / 3
    assert torch.allclose(explicit_matrix(traceless(matrix)), both - third, atol=1e-12)


def test_soft_norm_leaves_short_vectors_and_bounds_long_ones():
    vectors = torch.tensor([[[1e-4, 0.0], [0.0, -2e-4], [3e-4, 1e-4]]], dtype=torch.float64)
    assert torch.allclose(soft_norm(vectors), vectors, rtol=1e-6)
    assert soft_norm(1e9 * vectors).square().sum(1).mean() == pytest.approx(1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_atom_gets_the_matrix_of_its_element(dtype):
    torch.manual_seed(0)
    linear = ElementLinear(5, 8, 12, experts=3).to(dtype)
    species = torch.tensor([4, 0, 2, 0, 4, 2, 2])
    x = torch.randn(len(species), 8, dtype=dtype)
    found = linear(x, ElementGroups.of(species))
    for row, z, y in zip(x, species, found, strict=True):
        matrix = sum(a * w for a, w in zip(linear.coefficients[z], linear.weight, strict=True)).view(8, 12)
        assert torch.allclose(y, row @ matrix + linear.bias, atol=1e-5)


def test_one_expert_is_a_plain_linear_map_and_needs_no_groups():
    linear = ElementLinear(5, 8, 12, experts=1)
    x = torch.randn(4, 8)
    assert torch.allclose(linear(x, None), x @ linear.weight.view(8, 12) + linear.bias, atol=1e-6)


def test_frozen_matrices_follow_a_change_of_weights():
    linear = ElementLinear(2, 4, 4, experts=2).requires_grad_(requires_grad=False)
    x, groups = torch.randn(3, 4), ElementGroups.of(torch.tensor([0, 1, 0]))
    before = linear(x, groups)
    linear.coefficients *= 2.0
    assert torch.allclose(linear(x, groups) - linear.bias, 2 * (before - linear.bias), atol=1e-6)
    assert linear(x, ElementGroups.of(torch.tensor([1, 1, 1]))).shape == (3, 4)


def test_derivatives_reach_experts_and_coefficients():
    linear = ElementLinear(3, 4, 4, experts=2)
    x = torch.randn(5, 4, requires_grad=True)
    (slope,) = torch.autograd.grad(
        linear(x, ElementGroups.of(torch.tensor([2, 0, 2, 0, 0]))).square().sum(), x, create_graph=True
    )
    slope.square().sum().backward()
    assert linear.weight.grad.abs().min() > 0
    assert linear.coefficients.grad[[0, 2]].abs().min() > 0
    assert linear.coefficients.grad[1].abs().max() == 0
