"""Reference energies."""

import numpy as np

from potstill.core.types import Labels, Structure
from potstill.dataset import Records
from potstill.stats import references
from potstill.testing import ethanol, rocksalt, silicon, triclinic, water


def with_energy(structure: Structure, energy: float) -> Structure:
    return structure.with_(labels=Labels(energy, np.zeros((len(structure), 3))))


def composition_matrix(structures, elements):
    return references.composition_matrix(Records.of([with_energy(s, 0.0) for s in structures]), elements)


def fit_reference_energies(structures, elements):
    records = Records.of(structures)
    return references.fit_reference_energies(references.composition_matrix(records, elements), records.energy)


def composed(structure: Structure, references: dict[int, float]) -> Structure:
    return with_energy(structure, sum(references[int(z)] for z in structure.atomic_numbers))


def test_composition_matrix_counts_atoms():
    assert composition_matrix([water(), ethanol()], [1, 6, 8, 14]).tolist() == [[2, 0, 1, 0], [6, 2, 1, 0]]


def test_references_are_recovered_exactly():
    truth = {1: -13.6, 6: -1030.2, 8: -2043.7, 12: 3.5, 14: 0.0}
    carbon = Structure(np.array([6]), np.zeros((1, 3)))
    training = [composed(s, truth) for s in (water(), ethanol(), carbon, silicon(), triclinic())]
    found = fit_reference_energies(training, list(truth))
    assert np.allclose(found, list(truth.values()), rtol=0, atol=1e-8)


def test_references_follow_the_order_of_the_elements():
    truth = {8: -5.0, 1: -1.0, 6: -3.0}
    carbon = Structure(np.array([6]), np.zeros((1, 3)))
    training = [composed(s, truth) for s in (water(), ethanol(), carbon)]
    assert np.allclose(fit_reference_energies(training, [8, 1, 6]), [-5.0, -1.0, -3.0])


def test_degenerate_compositions_stay_finite_and_small():
    """Na and Cl always come in pairs: only their sum is known, and it is shared out evenly."""
    training = [with_energy(rocksalt(), -8.0) for _ in range(3)]
    found = fit_reference_energies(training, [11, 17])
    assert np.allclose(found, [-4.0, -4.0])


def test_one_structure_and_many_elements():
    found = fit_reference_energies([with_energy(ethanol(), -90.0)], [1, 6, 8])
    assert np.isfinite(found).all()
    assert np.isclose(composition_matrix([ethanol()], [1, 6, 8]) @ found, -90.0)


def test_mean_error_of_noisy_energies_is_least():
    rng = np.random.default_rng(0)
    training = [with_energy(silicon(), -10.0 + rng.normal()) for _ in range(20)]
    mean = np.mean([s.labels.energy for s in training]) / 2
    assert np.isclose(fit_reference_energies(training, [14])[0], mean)


def test_compositions_are_those_of_all_structures(monkeypatch):
    monkeypatch.setattr(references, "STRUCTURES_AT_ONCE", 2)
    structures = [with_energy(s, k) for k, s in enumerate([water(), silicon(), ethanol()])]
    elements, amounts, energy = references.compositions(Records.of(structures))
    assert elements == [1, 6, 8, 14]
    assert amounts.tolist() == composition_matrix(structures, elements).tolist()
    assert energy.tolist() == [0.0, 1.0, 2.0]
