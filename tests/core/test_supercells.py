"""Supercells by the distance of an atom to its own images."""

import numpy as np
import pytest
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT

from potstill.core.supercells import image_distance, with_distant_images
from potstill.core.types import Structure
from potstill.testing import ethanol, triclinic


def cube(edge: float, atoms: int = 1) -> Structure:
    return Structure.from_ase(bulk("Po", "sc", a=edge).repeat((atoms, 1, 1)))


@pytest.mark.parametrize(("angstrom", "cells"), [(3.0, 1), (4.2, 2), (4.25, 4), (5.1, 4), (6.0, 8), (8.4, 16)])
def test_a_cube_grows_as_sparse_lattices_do(angstrom, cells):
    """The sublattices of the cubic lattice: face-centred of index 2, body-centred of 4, cubic of 8, face-centred of 16."""
    assert len(with_distant_images(cube(3.0), angstrom)) == cells


@pytest.mark.parametrize("atoms", [bulk("Ti"), bulk("Cu"), bulk("NaCl", "rocksalt", a=5.64), bulk("Si", cubic=True)])
def test_no_image_is_nearer_and_the_crystal_is_the_same(atoms):
    parent = Structure.from_ase(atoms)
    large = with_distant_images(parent, 10.0)
    assert image_distance(large) >= 10.0
    assert large.volume / len(large) == pytest.approx(parent.volume / len(parent))
    assert np.linalg.det(large.cell) > 0
    assert np.linalg.norm(large.cell, axis=1).max() < 3 * 10.0  # a reduced cell, no needle


def test_energy_and_forces_are_those_of_the_small_cell():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    large = with_distant_images(Structure.from_ase(atoms), 8.0).to_ase()
    atoms.calc, large.calc = EMT(), EMT()
    assert large.get_potential_energy() / len(large) == pytest.approx(atoms.get_potential_energy() / len(atoms))
    assert np.abs(large.get_forces()).max() == pytest.approx(np.abs(atoms.get_forces()).max())


def test_only_periodic_directions_are_repeated():
    thin = fcc111("Cu", (1, 1, 3), vacuum=2.0)
    slab = Structure.from_ase(thin)
    large = with_distant_images(slab, 10.0)
    assert image_distance(large) >= 10.0
    assert len(large) == 16 * len(slab)  # the hexagonal lattice at four times its distance
    assert large.cell[2] == pytest.approx(slab.cell[2])
    assert image_distance(ethanol()) == np.inf
    assert len(with_distant_images(ethanol(), 10.0)) == len(ethanol())


def test_names_and_metadata_stay_and_labels_do_not(labelled):
    parent = next(s for s in labelled if s.pbc.all() and image_distance(s) < 8.0)
    large = with_distant_images(parent, 8.0)
    assert (large.id, large.family, large.source) == (parent.id, parent.family, parent.source)
    assert large.labels is None


def test_a_limit_of_atoms():
    parent = triclinic()
    assert with_distant_images(parent, 12.0, largest=2 * len(parent) - 1) is parent
    assert len(with_distant_images(parent, 12.0, largest=400)) > len(parent)
    for largest, atoms, distance in ((3, 2, 2), (5, 4, 3), (7, 4, 3), (17, 16, 8)):  # of squares of the edge
        nearer = with_distant_images(cube(3.0), 100.0, largest=largest)
        assert (len(nearer), image_distance(nearer)) == (atoms, pytest.approx(3.0 * np.sqrt(distance)))
    copper = Structure.from_ase(bulk("Cu"))
    assert image_distance(with_distant_images(copper, 16.0, largest=200)) > 12.0  # in two steps


def test_wires_and_cells_without_all_vectors():
    cell = np.array([[3.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    wire = cube(3.0).with_(cell=cell, pbc=np.array([True, False, False]))
    assert len(with_distant_images(wire, 10.0)) == 4
    sheet = cube(3.0).with_(cell=np.diag([3.0, 3.0, 0.0]), pbc=np.array([True, True, False]))
    assert image_distance(with_distant_images(sheet, 4.2)) == pytest.approx(3.0 * np.sqrt(2))


def test_the_hand_of_a_cell_stays():
    parent = triclinic()
    left = parent.with_(cell=np.asarray(parent.cell)[[1, 0, 2]])
    for structure in (parent, left):
        large = with_distant_images(structure, 12.0)
        assert np.sign(np.linalg.det(large.cell)) == np.sign(np.linalg.det(structure.cell))


def test_it_stops_where_images_are_far():
    parent = triclinic()
    far = image_distance(parent)
    assert with_distant_images(parent, far) is parent
