"""Velocities, Langevin dynamics and repeated cells."""

import ase
import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule

from potstill.core.dynamics import draw_velocities, langevin, repeat_crystal
from potstill.testing import copper, ethanol, slab, triclinic, water


def test_velocities_have_the_temperature_and_no_drift():
    atoms = bulk("Cu", cubic=True) * 2
    draw_velocities(atoms, 300.0, np.random.default_rng(0))
    assert atoms.get_momenta().sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-10)
    assert 2 * atoms.get_kinetic_energy() / (3 * len(atoms) * units.kB) == pytest.approx(300.0, rel=0.05)


def test_a_lone_atom_keeps_the_velocity_that_was_drawn():
    atoms = ase.Atoms("Cu")
    draw_velocities(atoms, 300.0, np.random.default_rng(0))
    assert np.isfinite(atoms.get_momenta()).all()
    assert np.abs(atoms.get_momenta()).max() > 0


@pytest.mark.parametrize(("symbol", "expected"), [("H2O", 0.5), ("CO", 1.0)])
def test_the_time_step_is_halved_with_hydrogen(symbol, expected):
    atoms: ase.Atoms = molecule(symbol)
    dynamics, timestep = langevin(atoms, 300.0, timestep_fs=1.0, friction_per_ps=10.0, rng=np.random.default_rng(0))
    assert timestep == expected
    assert dynamics.dt == pytest.approx(expected * units.fs)


def test_velocities_as_drawn_are_canonical():
    """Their temperature fluctuates, with the variance 2 / (3 N), and their total momentum is not removed."""
    atoms = bulk("Cu", cubic=True)
    rng = np.random.default_rng(0)
    scaled = []
    for _ in range(2000):
        draw_velocities(atoms, 300.0, rng, exact=False)
        scaled.append(2 * atoms.get_kinetic_energy() / (3 * len(atoms) * units.kB * 300.0))
    assert np.mean(scaled) == pytest.approx(1.0, abs=0.03)
    assert np.var(scaled) == pytest.approx(2 / (3 * len(atoms)), rel=0.15)
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() > 1e-3


def test_velocities_as_drawn_are_those_of_earlier_trajectories():
    """The random numbers, their order and the formula decide the frames that a seed gives; they must not change."""
    atoms: ase.Atoms = molecule("H2O")
    draw_velocities(atoms, 300.0, np.random.default_rng(1), exact=False)
    numbers = np.random.default_rng(1).standard_normal((3, 3))
    assert np.array_equal(atoms.get_momenta(), np.sqrt(units.kB * 300.0 * atoms.get_masses())[:, None] * numbers)


def test_crystals_grow_until_they_have_enough_atoms():
    parent = triclinic()
    large = repeat_crystal(parent, 40)
    assert len(large) >= 40
    assert large.volume / len(large) == pytest.approx(parent.volume / len(parent))
    assert large.formula == parent.formula
    assert (large.id, large.source, large.family) == (parent.id, parent.source, parent.family)
    assert large.generator_metadata == parent.generator_metadata
    lengths = np.linalg.norm(large.cell, axis=1)
    assert lengths.max() / lengths.min() < 2.5


@pytest.mark.parametrize("structure", [ethanol(), water(), slab()], ids=["molecule", "water", "slab"])
def test_no_crystal_is_left_as_it_is(structure):
    assert repeat_crystal(structure, 1000) is structure
    assert repeat_crystal(structure, 1000, 2000) is structure


def test_a_crystal_of_enough_atoms_is_left_as_it_is():
    parent = copper()
    assert repeat_crystal(parent, len(parent)) is parent


def test_a_repeated_crystal_stays_within_the_largest_and_keeps_its_name():
    found = repeat_crystal(copper(), 32, 3 * len(copper()))
    assert len(found) == 2 * len(copper())
    assert found.id == copper().id
