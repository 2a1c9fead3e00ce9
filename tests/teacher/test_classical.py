"""The cheap teachers: physics by finite differences, refusals that stay with their structure."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule

from potstill.core.errors import InputError
from potstill.core.types import Labels, Refused, Structure, Teacher
from potstill.teacher import load_teacher
from potstill.teacher.options import AseTeacher


def rattled(atoms, seed=0, size=0.08) -> Structure:
    atoms = atoms.copy()
    atoms.positions += np.random.default_rng(seed).normal(0, size, size=atoms.positions.shape)
    return Structure.from_ase(atoms)


@pytest.fixture(params=["lennard-jones", "emt"])
def teacher(request) -> Teacher:
    return load_teacher(request.param)


COPPER = rattled(bulk("Cu", cubic=True) * (2, 1, 1))
SLAB = rattled(fcc111("Cu", (2, 2, 2), vacuum=5.0))
CLUSTER = Structure.from_ase(SLAB.to_ase()).with_(pbc=[False] * 3)


def energy(teacher, structure) -> float:
    (answer,) = teacher.label([structure])
    return answer.energy


@pytest.mark.parametrize("structure", [COPPER, SLAB, CLUSTER])
def test_forces_are_minus_the_gradient(teacher, structure):
    (labels,) = teacher.label([structure])
    step = 1e-4
    for atom, axis in ((0, 0), (3, 1), (5, 2)):
        move = np.zeros_like(structure.positions)
        move[atom, axis] = step
        up, down = (energy(teacher, structure.with_(positions=structure.positions + s * move)) for s in (1, -1))
        assert labels.forces[atom, axis] == pytest.approx(-(up - down) / (2 * step), abs=1e-5)


def test_stress_is_the_strain_derivative_and_tension_is_positive(teacher):
    (labels,) = teacher.label([COPPER])
    step = 1e-5
    for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2)):
        strain = np.zeros((3, 3))
        strain[a, b] += step / 2
        strain[b, a] += step / 2
        up, down = (
            energy(
                teacher,
                COPPER.with_(
                    positions=COPPER.positions @ (np.eye(3) + s * strain), cell=COPPER.cell @ (np.eye(3) + s * strain)
                ),
            )
            for s in (1, -1)
        )
        assert labels.stress[a, b] == pytest.approx((up - down) / (2 * step) / COPPER.volume, abs=1e-5)
    stretched = COPPER.with_(positions=COPPER.positions * 1.05, cell=COPPER.cell * 1.05)
    if teacher.fingerprint["name"] == "emt":
        (labels,) = teacher.label([stretched])
        assert np.trace(labels.stress) > 0


def test_stress_only_where_all_axes_are_periodic(teacher):
    crystal, slab, cluster = teacher.label([COPPER, SLAB, CLUSTER])
    assert crystal.stress.shape == (3, 3)
    np.testing.assert_allclose(crystal.stress, crystal.stress.T)
    assert slab.stress is None
    assert cluster.stress is None


def test_the_order_does_not_matter_and_the_input_is_untouched(teacher):
    structures = [COPPER, SLAB, rattled(bulk("Al")), CLUSTER]
    before = [s.positions.copy() for s in structures]
    forward, backward = teacher.label(structures), teacher.label(structures[::-1])[::-1]
    for a, b, s, positions in zip(forward, backward, structures, before, strict=True):
        assert a.energy == pytest.approx(b.energy, abs=1e-10)
        np.testing.assert_allclose(a.forces, b.forces, atol=1e-10)
        np.testing.assert_array_equal(s.positions, positions)


def test_labels_do_not_share_memory(teacher):
    first, second = teacher.label([COPPER, COPPER.with_(positions=COPPER.positions * 1.01)])
    copy = first.forces.copy()
    second.forces[:] = 0.0
    np.testing.assert_array_equal(first.forces, copy)


def test_an_unknown_element_refuses_that_structure_and_no_other():
    emt = load_teacher("emt")
    copper, aluminium = rattled(bulk("Cu", cubic=True)), rattled(bulk("Al", cubic=True))
    iron = [rattled(bulk("Fe", cubic=True) * (2, 1, 1), seed) for seed in range(3)]
    answers = emt.label([copper, *iron, aluminium, iron[0], copper])
    assert [type(a) for a in answers] == [Labels, Refused, Refused, Refused, Labels, Refused, Labels]
    assert all(a.reason == "unsupported_element" and "Fe" in a.detail for a in answers if isinstance(a, Refused))
    assert answers[0].energy == answers[6].energy
    assert answers[4].energy == energy(load_teacher("emt"), aluminium)


def test_a_calculator_that_fails_half_way_is_not_asked_again():
    class Sticky:
        """Fails once and is spoilt then, as calculators with a state may be."""

        def __init__(self):
            self.spoilt = False

        def get_potential_energy(self, atoms, **_):
            if len(atoms) == 1:
                self.spoilt = True
                raise RuntimeError("one atom")
            return np.nan if self.spoilt else 1.0

        def get_forces(self, atoms):
            return np.zeros((len(atoms), 3))

    teacher = AseTeacher(Sticky, {"name": "sticky"})
    two, one = CLUSTER, Structure([1], [[0, 0, 0]])
    first, second, third = teacher.label([two, one, two])
    assert isinstance(second, Refused)
    assert first.energy == third.energy == 1.0


def test_fingerprints_tell_teachers_apart():
    names = [
        load_teacher("emt"),
        load_teacher("lennard-jones"),
        load_teacher("lennard-jones", sigma_angstrom=1.7),
        load_teacher("lennard-jones", cutoff_angstrom=4.4),
    ]
    prints = [tuple(sorted(t.fingerprint.items())) for t in names]
    assert len(set(prints)) == 4
    assert prints[2] == tuple(sorted(load_teacher("lennard-jones", sigma_angstrom=1.7).fingerprint.items()))
    assert all({"name", "version", "weights", "dtype"} == set(t.fingerprint) for t in names)


def test_lennard_jones_is_smooth_at_its_cutoff():
    teacher = load_teacher("lennard-jones", cutoff_angstrom=4.0)
    gaps = np.linspace(3.98, 4.02, 41)
    structures = [Structure([18, 18], [[0, 0, 0], [0, 0, r]]) for r in gaps]
    energies = np.array([a.energy for a in teacher.label(structures)])
    forces = np.array([a.forces[0, 2] for a in teacher.label(structures)])
    assert np.abs(np.diff(energies)).max() < 1e-6
    assert np.abs(np.diff(forces)).max() < 1e-4
    assert energies[-1] == 0.0


def test_a_molecule(teacher):
    (labels,) = teacher.label([Structure.from_ase(molecule("CH4"))])
    assert labels.forces.shape == (5, 3)
    np.testing.assert_allclose(labels.forces.sum(axis=0), 0, atol=1e-6)


def test_unknown_teachers_and_options():
    with pytest.raises(InputError, match="unknown name 'lennard'"):
        load_teacher("lennard")
    with pytest.raises(InputError, match="did you mean 'sigma_angstrom'"):
        load_teacher("lennard-jones", sigma=1.0)
    with pytest.raises(InputError, match="greater than 0"):
        load_teacher("lennard-jones", sigma_angstrom=-1.0)
