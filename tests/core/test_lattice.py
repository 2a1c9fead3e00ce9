"""Crystals have a lattice, also hot, mixed and broken ones; liquids have none."""

import numpy as np
import pytest
from ase.build import bulk, fcc111

from potstill.core.dynamics import repeat_crystal
from potstill.core.lattice import has_lattice
from potstill.core.types import Structure


def lattice_of(atoms) -> bool:
    return has_lattice(atoms.numbers, atoms.positions, np.array(atoms.cell))


def gas(seed, atoms=48, edge=9.0):
    """Atoms at random places."""
    return Structure.from_ase(bulk("Ar", "sc", a=edge)).with_(
        atomic_numbers=np.full(atoms, 18), positions=np.random.default_rng(seed).uniform(0, edge, (atoms, 3))
    )


CRYSTALS = [
    bulk("Cu"),
    bulk("Si", cubic=True),
    bulk("NaCl", "rocksalt", a=5.64, cubic=True),
    bulk("ZnS", "wurtzite", a=3.82, c=6.26),
    fcc111("Cu", (2, 2, 4), vacuum=5.0, periodic=True),
]


@pytest.mark.parametrize("atoms", CRYSTALS, ids=[str(a.symbols) for a in CRYSTALS])
def test_crystals(atoms):
    hot = atoms.repeat((2, 2, 1))
    hot.rattle(0.15, seed=1)
    assert lattice_of(atoms)
    assert lattice_of(hot)
    del hot[3]
    assert lattice_of(hot)


@pytest.mark.parametrize("atoms", [20, 48])
@pytest.mark.parametrize("seed", range(5))
def test_random_places_have_none(seed, atoms):
    structure = gas(seed, atoms)
    assert not has_lattice(structure.atomic_numbers, structure.positions, np.asarray(structure.cell))
    assert repeat_crystal(structure, 1, image_angstrom=12.0) is structure


def test_crystals_are_repeated_for_distant_images():
    crystal = Structure.from_ase(bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    assert len(repeat_crystal(crystal, 1, image_angstrom=7.5)) == 2 * len(crystal)
    assert len(repeat_crystal(crystal, 20, image_angstrom=7.5)) == 4 * len(crystal)  # and then for enough atoms
