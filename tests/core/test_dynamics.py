"""Velocities, Langevin dynamics and repeated cells."""

import ase
import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule

from potstill.core.dynamics import draw_velocities, enlarge, langevin, repeat_crystal
from potstill.testing import copper, slab, water


def test_velocities_have_the_temperature_and_no_drift():
    atoms = bulk("Cu", cubic=True) * 2
    draw_velocities(atoms, 300.0, np.random.default_rng(0))
    assert atoms.get_momenta().sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-10)
    assert 2 * atoms.get_kinetic_energy() / (3 * len(atoms) * units.kB) == pytest.approx(300.0, rel=0.05)


@pytest.mark.parametrize(("symbol", "expected"), [("H2O", 0.5), ("CO", 1.0)])
def test_the_time_step_is_halved_with_hydrogen(symbol, expected):
    atoms: ase.Atoms = molecule(symbol)
    dynamics, timestep = langevin(atoms, 300.0, timestep_fs=1.0, friction_per_ps=10.0, rng=np.random.default_rng(0))
    assert timestep == expected
    assert dynamics.dt == pytest.approx(expected * units.fs)


def test_crystals_grow_until_they_have_enough_atoms():
    large = enlarge(copper(), 32)
    assert len(large) >= 32
    assert large.volume / len(large) == pytest.approx(copper().volume / len(copper()))
    assert enlarge(water(), 32) is not None
    assert len(enlarge(water(), 32)) == len(water())
    assert len(enlarge(slab(), 100)) == len(slab())


def test_a_repeated_crystal_stays_within_the_largest_and_keeps_its_name():
    found = repeat_crystal(copper(), 32, 3 * len(copper()))
    assert len(found) == 2 * len(copper())
    assert found.id == copper().id
    assert len(repeat_crystal(water(), 32, 100)) == len(water())
