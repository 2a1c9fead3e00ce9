"""Invariants, and linear maps that differ between elements."""

import math

import numpy as np
import pytest
import torch

from potstill.student.basis import spherical_harmonics
from potstill.student.layer import (
    AtomicEnvironments,
    ElementGroups,
    ElementLinear,
    Layer,
    RadialWeights,
    grouped_product,
    quadratic_form,
    soft_norm,
    traceless,
)
from potstill.student.options import StudentArchitecture


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


def test_soft_norm_does_not_turn_vectors():
    vectors, turn = torch.from_numpy(np.random.default_rng(6).normal(size=(4, 3, 5))), random_rotation(7)
    turned = torch.einsum("ab,nbv->nav", turn, vectors)
    assert torch.allclose(soft_norm(turned), torch.einsum("ab,nbv->nav", turn, soft_norm(vectors)), atol=1e-12)


@pytest.mark.parametrize("experts", [1, 2, 5])
@pytest.mark.parametrize("widths", [(8, 12), (7, 5)], ids=["whole", "odd"])
def test_order_of_atoms_does_not_matter(experts, widths):
    generator = torch.Generator().manual_seed(0)
    linear = ElementLinear(4, *widths, experts=experts)
    species = torch.randint(0, 4, (20,), generator=generator)
    x, order = torch.randn(20, widths[0], generator=generator), torch.randperm(20, generator=generator)
    found = linear(x[order], ElementGroups.of(species[order]))
    assert torch.allclose(found, linear(x, ElementGroups.of(species))[order], atol=1e-5)


@pytest.mark.parametrize("species", [[0], [3], [2, 2, 2], [3, 2, 1, 0]])
def test_groups_of_few_atoms(species):
    linear = ElementLinear(4, 8, 4, experts=3)
    x, numbers = torch.randn(len(species), 8), torch.tensor(species)
    groups = ElementGroups.of(numbers)
    assert torch.equal(numbers[groups.order][groups.inverse], numbers)
    expected = torch.einsum("ni,nio->no", x, linear.matrices(numbers)) + linear.bias
    assert torch.allclose(linear(x, groups), expected, atol=1e-5)


def test_grouped_product_in_both_precisions():
    generator = torch.Generator().manual_seed(1)
    x, matrices = torch.randn(9, 8, generator=generator), torch.randn(3, 8, 4, generator=generator)
    ends = torch.tensor([2, 3, 9], dtype=torch.int32)
    low, high = grouped_product(x, matrices, ends), grouped_product(x.double(), matrices.double(), ends)
    expected = torch.cat([x[:2] @ matrices[0], x[2:3] @ matrices[1], x[3:] @ matrices[2]]).double()
    assert torch.allclose(low.double(), expected, atol=1e-5)
    assert torch.allclose(high, expected, atol=1e-5)


def frozen_linear() -> ElementLinear:
    return ElementLinear(3, 4, 4, experts=2).requires_grad_(requires_grad=False)


def test_frozen_matrices_can_be_differentiated_through_after_inference_mode():
    linear, groups = frozen_linear(), ElementGroups.of(torch.tensor([0, 1, 0]))
    with torch.inference_mode():
        expected = linear(torch.ones(3, 4), groups).clone()
    x = torch.ones(3, 4, requires_grad=True)
    found = linear(x, groups)
    assert torch.equal(found, expected)
    found.square().sum().backward()
    assert x.grad.abs().max() > 0


def test_coefficients_can_be_trained_while_experts_are_frozen():
    linear, groups = frozen_linear(), ElementGroups.of(torch.tensor([0, 1, 0]))
    linear.coefficients.requires_grad_()
    slopes = []
    for _ in range(2):
        linear.coefficients.grad = None
        linear(torch.ones(3, 4), groups).square().sum().backward()
        slopes.append(linear.coefficients.grad.clone())
    assert torch.equal(*slopes)
    assert slopes[0][:2].abs().min() > 0


class Interrupted(ElementLinear):
    """Right after it has kept matrices, another thread asks for those of other elements."""

    other: torch.Tensor | None = None

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == "_frozen" and self.other is not None:
            other, self.other = self.other, None
            self.matrices(other)


def test_matrices_of_one_python_thread_do_not_reach_another():
    linear = Interrupted(3, 4, 4, experts=2).requires_grad_(requires_grad=False)
    asked = torch.tensor([0])
    expected = linear.matrices(asked).clone()
    linear.matrices(torch.tensor([1]))
    linear.other = torch.tensor([2, 1])
    assert torch.equal(linear.matrices(asked), expected)


def test_radial_weights_are_shared_times_the_gain_of_the_element():
    weights = RadialWeights(3, 2, 4, 5)
    with torch.no_grad():
        weights.element_gain[1] = torch.randn(2, 1, 5)
    tables = weights.tables(torch.tensor([1, 0, 1]))
    assert tables.shape == (3, 2, 4, 5)
    assert torch.equal(tables[1], weights.weight)
    assert torch.allclose(tables[0, 1, 2], weights.weight[1, 2] * weights.element_gain[1, 1, 0])


@pytest.mark.parametrize("l_max", [2, 3])
@pytest.mark.parametrize("experts", [1, 3])
def test_a_layer_turns_its_vectors_with_the_atoms_and_leaves_its_features(l_max, experts):
    torch.manual_seed(0)
    sizes = {"features": 8, "channels": 4, "vectors": 3, "products": 4, "hidden": 8, "radial": 3}
    architecture = StudentArchitecture(**sizes, l_max=l_max, experts=experts, atomic_numbers=(1, 8))
    layer = Layer(architecture, 2, receives=True, makes=True).double()
    n_atoms, n_slots = 5, 6
    species, neighbor = torch.randint(0, 2, (n_atoms,)), torch.randint(0, n_atoms, (n_atoms, n_slots))
    units, radial = random_units(n_atoms * n_slots).view(n_atoms, n_slots, 3), torch.rand(n_atoms, 3, n_slots).double()
    features, vectors = torch.randn(n_atoms, 8).double(), torch.randn(n_atoms, 3, 3).double()

    def after(turn: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        harmonics = spherical_harmonics((units @ turn.T).transpose(1, 2), l_max)
        around = AtomicEnvironments(species, neighbor, harmonics[:, :, None] * radial[:, None], ElementGroups.of(species))
        return layer(features, torch.einsum("ab,nbv->nav", turn, vectors), around)

    plain_features, plain_vectors = after(torch.eye(3, dtype=torch.float64))
    assert (plain_vectors - vectors).abs().max() > 1e-3
    for turn in (random_rotation(8), -torch.eye(3, dtype=torch.float64)):
        turned_features, turned_vectors = after(turn)
        assert torch.allclose(turned_features, plain_features, atol=1e-10)
        assert torch.allclose(turned_vectors, torch.einsum("ab,nbv->nav", turn, plain_vectors), atol=1e-10)
