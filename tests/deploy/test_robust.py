"""A student in hard use: odd structures, batches, many calls."""

import gc

import numpy as np
import psutil
import pytest
from ase.build import bulk

from potstill.core.errors import InputError
from potstill.core.types import Structure
from potstill.evaluate.sanity import fused_pairs
from potstill.testing import copper, ethanol, lone_crystal, one_atom, random_student, rattled, rocksalt, water

CALLS, GROWTH_BYTES = 2000, 2e6


@pytest.fixture(scope="module", params=["torch", "auto"])
def student(request):
    return random_student([1, 6, 8, 11, 17, 18, 29], backend=request.param)


def crystal_of_200() -> Structure:
    return Structure.from_ase(bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (3, 3, 3))


STRAINS = {
    "stretched": 1.5 * np.eye(3),
    "compressed": 0.5 * np.eye(3),
    "along one axis": np.diag([1.5, 1.0, 1.0]),
    "sheared": np.eye(3) + np.array([[0, 0.5, 0], [0, 0, 0.5], [0.5, 0, 0]]),
}


@pytest.mark.parametrize("strain", STRAINS.values(), ids=STRAINS)
def test_a_crystal_of_200_atoms_through_half_its_length(student, strain):
    crystal = crystal_of_200()
    assert len(crystal) > 200
    (labels,) = student.label([crystal.with_(cell=crystal.cell @ strain, positions=crystal.positions @ strain)])
    assert np.isfinite(labels.energy)
    assert np.isfinite(labels.forces).all()
    assert np.isfinite(labels.stress).all()


@pytest.mark.parametrize("make", [one_atom, lone_crystal], ids=["in vacuum", "in a cell"])
def test_one_atom_has_its_reference_energy_and_no_force(student, make):
    (labels,) = student.label([make()])
    place = student.model.architecture.atomic_numbers.index(18)
    assert labels.energy == pytest.approx(float(student.model.reference_energies[place]), abs=1.0)
    assert np.abs(labels.forces).max() == 0.0
    assert labels.stress is None or np.abs(labels.stress).max() == 0.0


def test_no_neighbors_at_all(student):
    apart = Structure(np.array([29, 29, 8]), np.diag([0.0, 50.0, 100.0]))
    alone = [Structure(np.array([z]), np.zeros((1, 3))) for z in (29, 29, 8)]
    (labels,) = student.label([apart])
    assert np.abs(labels.forces).max() == 0.0
    assert labels.energy == pytest.approx(sum(x.energy for x in student.label(alone)), abs=1e-4)


def test_a_crystal_cut_out_and_put_into_vacuum(student):
    cluster = crystal_of_200().with_(pbc=np.zeros(3, bool), cell=np.zeros((3, 3)))
    (labels,) = student.label([cluster])
    assert np.isfinite(labels.forces).all()
    assert labels.stress is None


def test_an_element_outside_is_refused_by_its_name_also_within_a_batch(student):
    gold = Structure(np.array([79]), np.zeros((1, 3)), id="x")
    with pytest.raises(InputError, match="not trained on Au"):
        student.label([water(), gold])
    bulk_gold = bulk("Au")
    bulk_gold.calc = student.calculator()
    with pytest.raises(InputError, match="not trained on Au"):
        bulk_gold.get_potential_energy()


def test_fused_pairs_are_driven_apart(student):
    (row,) = fused_pairs(student.calculator(), student.calculator(), student.model.architecture.atomic_numbers)
    assert row.candidate["pairs that it does not drive apart"] == 0


def test_a_batch_of_all_kinds_is_each_by_itself(student):
    kinds = [water(), one_atom(), rattled(copper()), ethanol(), lone_crystal(), rocksalt(), crystal_of_200()]
    together = student.label(kinds)
    for structure, found in zip(kinds, together, strict=True):
        (alone,) = student.label([structure])
        assert found.energy == pytest.approx(alone.energy, abs=1e-4 * len(structure))
        assert np.allclose(found.forces, alone.forces, atol=1e-4)


def test_memory_does_not_grow():
    """A leak of one kilobyte in each call would be seen; benchmarks/student/memory_growth.py makes a million calls."""
    atoms = water().to_ase()
    atoms.calc = random_student([1, 8]).calculator()
    start, rng, process = atoms.get_positions(), np.random.default_rng(0), psutil.Process()
    resident = []
    for _ in range(2):  # the first round warms up
        for _ in range(CALLS):
            atoms.set_positions(start + rng.normal(0, 0.2, start.shape))
            atoms.get_forces()
        gc.collect()
        resident.append(process.memory_info().rss)
    assert resident[1] - resident[0] < GROWTH_BYTES
