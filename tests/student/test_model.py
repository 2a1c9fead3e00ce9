"""The student's physics, by the public kit and by its parts."""

import itertools
import math

import numpy as np
import pytest
import torch

from potstill.student.batch import make_batch
from potstill.student.model import pad_by_receiver, quadratic_form, spherical_harmonics
from potstill.testing import FLOAT64, check_student, copper, one_atom, random_student, rattled, rocksalt, water


def random_rotation(seed: int) -> torch.Tensor:
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return torch.from_numpy(turn * np.sign(np.linalg.det(turn)))


def random_units(n: int, seed: int = 0) -> torch.Tensor:
    vectors = torch.from_numpy(np.random.default_rng(seed).normal(size=(n, 3)))
    return vectors / vectors.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(
    ("elements", "sizes"),
    [
        ([1, 6, 8], {"layers": 1}),
        ([14], {"layers": 2}),
        ([1, 8, 11, 17, 79], {"layers": 3, "features": 12, "channels": 6, "radial": 5, "hidden": 24}),
        ([29, 8], {"layers": 1, "cutoff_angstrom": 6.0, "radial": 8, "channels": 16}),
    ],
    ids=["one layer", "one element", "three layers", "far"],
)
def test_student_kit(elements, sizes):
    check_student(random_student(elements, **sizes))


def test_training_keeps_a_graph_to_the_weights_and_prediction_does_not():
    model = random_student([1, 8]).model.requires_grad_()
    batch = make_batch([water()], model.architecture.cutoff_angstrom)
    plain, trained = model.predict(batch), model.predict(batch, training=True)
    assert not any(x.requires_grad for x in (plain.energy, plain.forces, plain.stress, plain.local_energies))
    assert torch.allclose(plain.energy, trained.energy.detach(), rtol=0, atol=1e-6)
    assert torch.allclose(plain.forces, trained.forces.detach(), atol=1e-6)
    trained.forces.square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_predict_works_inside_no_grad():
    model = random_student([1, 8]).model
    batch = make_batch([water()], model.architecture.cutoff_angstrom)
    with torch.no_grad():
        assert model.predict(batch).forces.abs().max() > 0


def test_energy_is_local_energies_plus_references():
    student = random_student([11, 17])
    batch = make_batch([rocksalt(), rattled(rocksalt())], student.model.architecture.cutoff_angstrom)
    predicted = student.model.predict(batch)
    references = student.model.reference_energies.sum()
    sums = torch.zeros(2, dtype=torch.float64).index_add(0, batch.structure, predicted.local_energies.double())
    assert torch.allclose(predicted.energy, sums + references, rtol=0, atol=1e-6)
    assert predicted.energy.dtype == torch.float64


def test_large_reference_energies_cost_no_digits():
    student = random_student([1, 8])
    (before,) = student.label([water()])
    student.model.reference_energies += 1e7
    (after,) = student.label([water()])
    assert after.energy - before.energy == pytest.approx(3e7, abs=1e-6)


def test_one_atom_alone_has_its_own_energy_and_no_force():
    student = random_student([18])
    (labels,) = student.label([one_atom()])
    assert np.isfinite(labels.energy)
    assert np.array_equal(labels.forces, np.zeros((1, 3)))
    assert labels.stress is None


def test_atoms_repel_strongly_when_they_are_pushed_together():
    student = random_student([29])
    crystal = copper()
    (labels,) = student.label([crystal.with_(positions=0.3 * crystal.positions, cell=0.3 * crystal.cell)])
    assert labels.energy / len(crystal) > 100.0
    assert np.trace(labels.stress) < 0  # pressure


def test_pad_by_receiver_lays_rows_into_slots():
    rows = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    padded, neighbor = pad_by_receiver(rows, torch.tensor([1, 1, 3]), torch.tensor([0, 3, 1]), 5)
    assert padded.shape == (5, 2, 2)
    assert neighbor.shape == (5, 2)
    assert padded[1].T.tolist() == [[1.0, 10.0], [2.0, 20.0]]
    assert neighbor[1].tolist() == [0, 3]
    assert padded[3].T.tolist() == [[3.0, 30.0], [0.0, 0.0]]
    assert neighbor[3, 0] == 1
    assert padded[[0, 2, 4]].abs().max() == 0  # atoms without neighbours


def test_pad_by_receiver_without_edges():
    empty = torch.zeros(0, dtype=torch.int64)
    padded, neighbor = pad_by_receiver(torch.zeros(0, 7), empty, empty, 3)
    assert padded.shape[0] == neighbor.shape[0] == 3
    assert padded.shape[1] == 7
    assert padded.numel() == 0 or padded.abs().max() == 0


def test_pad_by_receiver_sums_as_the_edges_do():
    rng = np.random.default_rng(0)
    receiver = torch.from_numpy(np.sort(rng.integers(0, 9, 40)))
    sender = torch.from_numpy(rng.integers(0, 9, 40))
    rows, features = torch.from_numpy(rng.normal(size=(40, 3))), torch.from_numpy(rng.normal(size=(9, 4)))
    padded, neighbor = pad_by_receiver(rows, receiver, sender, 9)
    found = torch.einsum("nkm,nmc->nkc", padded, features[neighbor])
    expected = torch.zeros(9, 3, 4, dtype=torch.float64).index_add(
        0, receiver, rows[:, :, None] * features[sender][:, None, :]
    )
    assert torch.allclose(found, expected, atol=1e-12)


def sphere_rule() -> tuple[torch.Tensor, torch.Tensor]:
    """Points and weights (sum 1) on the unit sphere, exact for polynomials up to degree 7."""
    z, w = np.polynomial.legendre.leggauss(8)
    phi = 2 * math.pi * np.arange(16) / 16
    r = np.sqrt(1 - z**2)
    points = [[r[i] * math.cos(p), r[i] * math.sin(p), z[i]] for i, p in itertools.product(range(8), phi)]
    return torch.tensor(points, dtype=torch.float64), torch.from_numpy(np.repeat(w / 2 / 16, 16))


def test_spherical_harmonics_are_orthonormal():
    points, weights = sphere_rule()
    harmonics = spherical_harmonics(points)
    gram = harmonics.T @ (weights[:, None] * harmonics)
    assert torch.allclose(gram, torch.eye(9, dtype=torch.float64), atol=1e-12)


def test_spherical_harmonics_of_each_l_have_constant_length():
    harmonics = spherical_harmonics(random_units(50))
    for start, stop in ((0, 1), (1, 4), (4, 9)):
        length = harmonics[:, start:stop].square().sum(1)
        assert torch.allclose(length, torch.full_like(length, stop - start), atol=1e-12)


def test_spherical_harmonics_turn_within_their_l():
    units, turn = random_units(40), random_rotation(1)
    before, after = spherical_harmonics(units), spherical_harmonics(units @ turn.T)
    for start, stop in ((0, 1), (1, 4), (4, 9)):
        matrix = torch.linalg.lstsq(before[:, start:stop], after[:, start:stop]).solution
        assert torch.allclose(before[:, start:stop] @ matrix, after[:, start:stop], atol=1e-10)
        assert torch.allclose(matrix @ matrix.T, torch.eye(stop - start, dtype=torch.float64), atol=1e-10)


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
        harmonics = spherical_harmonics(directions)
        u, v, q = harmonics[:5, 1:4].sum(0), (weights[:, None] * harmonics[:, 1:4]).sum(0), harmonics[3:, 4:].sum(0)
        return quadratic_form(u[None, :, None], v[None, :, None], q[None, :, None])

    assert invariant(units).abs() > 1e-3
    assert torch.allclose(invariant(units), invariant(units @ turn.T), atol=1e-10)
    assert torch.allclose(invariant(units), invariant(-units), atol=1e-10)


def test_forces_add_up_to_nothing():
    student = random_student([11, 17])
    exact = type(student)(student.model, student.config, dtype=torch.float64)
    (labels,) = exact.label([rattled(rocksalt())])
    assert abs(labels.forces.sum(axis=0)).max() < FLOAT64.forces
