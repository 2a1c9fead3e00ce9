"""Radial functions, harmonics and slots of edges."""

import itertools
import math

import numpy as np
import pytest
import torch

from potstill.student.basis import (
    cutoff_envelope,
    radial_functions,
    relative_distance,
    slots_by_receiver,
    spherical_harmonics,
)

BLOCKS = ((0, 1), (1, 4), (4, 9), (9, 16))


def random_rotation(seed: int) -> torch.Tensor:
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return torch.from_numpy(turn * np.sign(np.linalg.det(turn)))


def random_units(n: int, seed: int = 0) -> torch.Tensor:
    vectors = torch.from_numpy(np.random.default_rng(seed).normal(size=(n, 3)))
    return vectors / vectors.norm(dim=1, keepdim=True)


def test_envelope_and_radial_functions_vanish_with_their_slopes_at_the_cutoff():
    distance = torch.tensor([[5.0]], dtype=torch.float64, requires_grad=True)
    for values in (cutoff_envelope(distance / 5.0), radial_functions(distance, 5.0, 6)):
        assert values.abs().max() < 1e-14
        (slope,) = torch.autograd.grad(values.sum(), distance)
        assert slope.abs().max() < 1e-12
    assert radial_functions(torch.tensor([[5.5]]), 5.0, 6).abs().max() == 0


def test_envelope_vanishes_with_two_derivatives():
    x = torch.tensor([1.0 - 1e-12], dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(cutoff_envelope(x), x, create_graph=True)
    (second,) = torch.autograd.grad(first, x)
    assert max(abs(first.item()), abs(second.item())) < 1e-9
    assert cutoff_envelope(torch.tensor([0.0])).item() == 1.0
    assert (cutoff_envelope(torch.linspace(0.0, 1.0, 50, dtype=torch.float64)).diff() < 0).all()


def test_radial_functions_and_their_slopes_are_continuous_across_the_cutoff():
    distance = torch.linspace(4.9, 5.1, 401, dtype=torch.float64)[None].requires_grad_()
    values = radial_functions(distance, 5.0, 8)
    slopes = torch.stack([torch.autograd.grad(row.sum(), distance, retain_graph=True)[0][0] for row in values.unbind(1)])
    assert values.diff(dim=2).abs().max() < 1e-4
    assert slopes.diff(dim=1).abs().max() < 0.05


def test_functions_of_relative_distances_are_the_same_for_bonds_of_all_elements_but_for_the_envelope():
    bond = torch.tensor([[0.62, 1.5, 3.1]], dtype=torch.float64)
    assert torch.allclose(relative_distance(bond, bond), torch.full_like(bond, 1 / 2.6))  # students in files rely on it
    found = radial_functions(bond, 5.0, 6, bond) / cutoff_envelope(bond / 5.0)
    assert torch.allclose(found, found[:, :, :1].expand_as(found))
    assert (radial_functions(torch.full_like(bond, 5.0), 5.0, 6, bond) == 0).all()


def test_radial_functions_of_atoms_at_the_same_place_are_finite():
    distance = torch.tensor([[0.0, 1e-6]], requires_grad=True)
    values = radial_functions(distance, 5.0, 8)
    (slope,) = torch.autograd.grad(values.sum(), distance)
    assert values.isfinite().all()
    assert slope.isfinite().all()


def test_radial_functions_have_one_row_each():
    distance = torch.linspace(0.5, 4.5, 12, dtype=torch.float64).view(3, 4)
    found = radial_functions(distance, 5.0, 6)
    assert found.shape == (3, 6, 4)
    x = distance[1, 2] / 5.0
    expected = math.sqrt(2.0) * torch.sin(3 * math.pi * x) / x * cutoff_envelope(x)
    assert found[1, 2, 2] == pytest.approx(float(expected), rel=1e-5)


def test_slots_by_receiver_give_every_edge_its_own_place():
    slot, n_slots = slots_by_receiver(torch.tensor([[1, 1, 3], [0, 3, 1]]), 5)
    assert n_slots == 2
    assert slot.tolist() == [2, 3, 6]


def test_slots_by_receiver_without_edges():
    slot, n_slots = slots_by_receiver(torch.zeros(2, 0, dtype=torch.int64), 3)
    assert len(slot) == 0
    assert n_slots == 2


def test_slots_by_receiver_leave_room_for_atoms_without_neighbours():
    slot, n_slots = slots_by_receiver(torch.tensor([[2, 2, 2], [0, 1, 4]]), 6)
    assert n_slots == 3
    assert slot.tolist() == [6, 7, 8]


def test_sums_over_slots_are_sums_over_edges():
    rng = np.random.default_rng(0)
    receiver = torch.from_numpy(np.sort(rng.integers(0, 9, 40)))
    rows = torch.from_numpy(rng.normal(size=(40, 3)))
    slot, n_slots = slots_by_receiver(torch.stack([receiver, receiver]), 9)
    assert n_slots == receiver.bincount().max()
    assert len(set(slot.tolist())) == 40
    padded = torch.zeros(9 * n_slots, 3, dtype=torch.float64).index_copy_(0, slot, rows).view(9, n_slots, 3)
    assert torch.allclose(padded.sum(1), torch.zeros(9, 3, dtype=torch.float64).index_add(0, receiver, rows), atol=1e-12)


def sphere_rule() -> tuple[torch.Tensor, torch.Tensor]:
    """Points and weights (sum 1) on the unit sphere, exact for polynomials up to degree 7."""
    z, w = np.polynomial.legendre.leggauss(8)
    phi = 2 * math.pi * np.arange(16) / 16
    r = np.sqrt(1 - z**2)
    points = [[r[i] * math.cos(p), r[i] * math.sin(p), z[i]] for i, p in itertools.product(range(8), phi)]
    return torch.tensor(points, dtype=torch.float64), torch.from_numpy(np.repeat(w / 2 / 16, 16))


def test_spherical_harmonics_are_orthonormal():
    points, weights = sphere_rule()
    harmonics = spherical_harmonics(points, 3)
    gram = harmonics.T @ (weights[:, None] * harmonics)
    assert torch.allclose(gram, torch.eye(16, dtype=torch.float64), atol=1e-12)


def test_spherical_harmonics_of_each_l_have_constant_length():
    harmonics = spherical_harmonics(random_units(50), 3)
    for start, stop in BLOCKS:
        length = harmonics[:, start:stop].square().sum(1)
        assert torch.allclose(length, torch.full_like(length, stop - start), atol=1e-12)


def test_spherical_harmonics_turn_within_their_l():
    units, turn = random_units(40), random_rotation(1)
    before, after = spherical_harmonics(units, 3), spherical_harmonics(units @ turn.T, 3)
    for start, stop in BLOCKS:
        matrix = torch.linalg.lstsq(before[:, start:stop], after[:, start:stop]).solution
        assert torch.allclose(before[:, start:stop] @ matrix, after[:, start:stop], atol=1e-10)
        assert torch.allclose(matrix @ matrix.T, torch.eye(stop - start, dtype=torch.float64), atol=1e-10)


@pytest.mark.parametrize("l_max", [1, 2, 3])
def test_spherical_harmonics_of_a_table_of_edges(l_max):
    units = random_units(12)
    table = spherical_harmonics(units.view(3, 4, 3).transpose(1, 2), l_max)
    assert table.shape == (3, (l_max + 1) ** 2, 4)
    expected = spherical_harmonics(units, 3)[:, : (l_max + 1) ** 2]
    assert torch.allclose(table.transpose(1, 2).reshape(12, -1), expected, atol=1e-14)


def test_spherical_harmonics_of_the_opposite_direction():
    units = random_units(20)
    parity = torch.tensor([(-1.0) ** order for order in range(4) for _ in range(2 * order + 1)], dtype=torch.float64)
    assert torch.allclose(spherical_harmonics(-units, 3), parity * spherical_harmonics(units, 3), atol=1e-13)


def test_first_harmonics_are_the_direction():
    units = random_units(5)
    assert torch.allclose(spherical_harmonics(units, 1)[:, 1:], math.sqrt(3.0) * units, atol=1e-14)
