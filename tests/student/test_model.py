"""The student's physics, by the public kit and by its parts."""

import numpy as np
import pytest
import torch

from potstill.core.batch import make_batch
from potstill.core.types import Structure
from potstill.student.options import SIZES
from potstill.testing import FLOAT64, check_student, copper, one_atom, random_student, rattled, rocksalt, water

TIERS = ("nano", "small", "base", "large", "xl")


@pytest.mark.parametrize(
    ("elements", "sizes"),
    [
        *(([1, 8, 14], {**SIZES[tier], "layers": 2}) for tier in TIERS),
        ([1, 6, 8], {"layers": 1}),
        ([14], {"layers": 2}),
        ([1, 8, 11, 17, 79], {"layers": 3, "features": 12, "channels": 6, "radial": 5, "hidden": 24}),
        ([29, 8], {"layers": 1, "cutoff_angstrom": 6.0, "radial": 8, "channels": 16}),
        ([6, 14, 8], {"l_max": 3, "vectors": 5, "experts": 3}),
        ([6, 14, 8], {"layers": 4, "vectors": 3, "experts": 2}),
        ([6, 14, 8], {"vectors": 0}),
        ([1, 6, 55], {"radial_distance": "relative"}),
    ],
    ids=[*TIERS, "one layer", "one element", "three layers", "far", "l = 3", "four layers", "scalars only", "relative"],
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


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("loud", [1.0, 30.0], ids=["untrained", "large weights"])
def test_atoms_never_fuse_where_there_were_no_data(tier, loud):
    student = random_student([1, 8, 29], tier=tier)
    with torch.no_grad():
        for layer in student.model.layers:
            layer.gain *= loud
    pair = Structure(np.array([1, 8]), np.array([[0.0, 0.0, 0.0], [0.97, 0.0, 0.0]]), id="pair")
    for structure in (pair, water(), copper()):
        factors = (1.0, 0.6, 0.5, 0.4, 0.3, 0.2)
        scaled = [structure.with_(positions=f * structure.positions, cell=f * structure.cell) for f in factors]
        energies = np.array([labels.energy for labels in student.label(scaled)]) / len(structure)
        assert (np.diff(energies) > 0).all(), f"{structure.id}: {energies.round(1)} eV per atom at {factors}"
        assert energies[-1] > energies[0] + 50.0


def test_forces_add_up_to_nothing():
    student = random_student([11, 17])
    exact = type(student)(student.model, student.config, dtype=torch.float64)
    (labels,) = exact.label([rattled(rocksalt())])
    assert abs(labels.forces.sum(axis=0)).max() < FLOAT64.forces
