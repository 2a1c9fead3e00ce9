"""The pair search against ASE's, over every kind of cell."""

from __future__ import annotations

import ase
import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule
from ase.neighborlist import neighbor_list

from potstill.neighbors import find_neighbors, structure_neighbors
from potstill.types import Structure

TRICLINIC = np.array([[3.1, 0.0, 0.0], [1.7, 2.9, 0.0], [-1.1, 0.8, 3.3]])


def random_atoms(n: int, cell, pbc, seed: int = 0) -> ase.Atoms:
    rng = np.random.default_rng(seed)
    scaled = rng.uniform(-1.5, 2.5, size=(n, 3))  # atoms outside of their cell too
    return ase.Atoms(numbers=[6] * n, positions=scaled @ np.asarray(cell), cell=cell, pbc=pbc)


CASES = {
    "triclinic": (random_atoms(5, TRICLINIC, True), 4.0),
    "left-handed": (random_atoms(5, TRICLINIC[[1, 0, 2]], True), 4.0),
    "cell smaller than the cutoff": (bulk("Cu", a=3.6), 9.0),
    "one atom, long cutoff": (random_atoms(1, TRICLINIC, True), 10.0),
    "flat cell": (random_atoms(3, [[12.0, 0, 0], [9.0, 2.0, 0], [5.0, 1.0, 2.0]], True), 5.0),
    "large": (bulk("NaCl", "rocksalt", a=5.6, cubic=True) * 3, 5.0),
    "slab": (fcc111("Al", (2, 2, 3), vacuum=6.0), 5.0),
    "slab without a third vector": (random_atoms(6, [[3.0, 0, 0], [1.0, 3.2, 0], [0, 0, 8.0]], [True, True, False]), 4.5),
    "slab in another axis": (random_atoms(6, TRICLINIC, [False, True, True]), 4.5),
    "wire": (random_atoms(4, TRICLINIC, [False, False, True]), 5.0),
    "molecule": (molecule("C6H6"), 5.0),
    "molecule in a box": (random_atoms(8, TRICLINIC * 2, False), 4.0),
    "far apart": (ase.Atoms("H2", [[0, 0, 0], [0, 0, 50]]), 5.0),
    "lone atom": (ase.Atoms("H"), 5.0),
}


def as_set(i, j, shift) -> list[tuple[int, ...]]:
    return sorted(map(tuple, np.column_stack([i, j, shift]).astype(int).tolist()))


@pytest.mark.parametrize("name", CASES)
def test_the_same_pairs_as_ase(name):
    atoms, cutoff = CASES[name]
    before = atoms.copy()
    found = find_neighbors(atoms.positions, np.array(atoms.cell), atoms.pbc, cutoff)
    i, j, shift = neighbor_list("ijS", atoms, cutoff)
    assert as_set(*found.edge_index, found.edge_shift) == as_set(i, j, shift)
    assert atoms == before


@pytest.mark.parametrize("name", CASES)
def test_the_formula_of_the_shift(name):
    atoms, cutoff = CASES[name]
    found = find_neighbors(atoms.positions, np.array(atoms.cell), atoms.pbc, cutoff)
    i, j = found.edge_index
    r = atoms.positions[j] + found.edge_shift @ np.array(atoms.cell) - atoms.positions[i]
    np.testing.assert_allclose(np.linalg.norm(r, axis=1), found.distance, atol=1e-9)
    assert (found.distance < cutoff + 1e-9).all()
    assert (found.distance > 0).all()
    assert (np.diff(i) >= 0).all()
    assert found.edge_index.dtype == found.edge_shift.dtype == np.int64
    assert found.edge_index.shape == (2, len(found.distance))
    assert found.edge_shift.shape == (len(found.distance), 3)
    assert not found.edge_shift[:, ~atoms.pbc].any()


@pytest.mark.parametrize("name", CASES)
def test_every_pair_has_its_reverse(name):
    atoms, cutoff = CASES[name]
    found = structure_neighbors(Structure.from_ase(atoms), cutoff)
    forward = as_set(*found.edge_index, found.edge_shift)
    assert forward == as_set(*found.edge_index[::-1], -found.edge_shift)
    assert len(set(forward)) == len(forward)


def test_a_slab_with_zero_third_vector():
    cell = np.array([[3.0, 0, 0], [1.0, 3.2, 0], [0, 0, 0]])
    atoms = random_atoms(4, [[3.0, 0, 0], [1.0, 3.2, 0], [0, 0, 6.0]], [True, True, False])
    found = find_neighbors(atoms.positions, cell, np.array([True, True, False]), 4.0)
    i, j, shift = neighbor_list("ijS", atoms, 4.0)
    assert as_set(*found.edge_index, found.edge_shift) == as_set(i, j, shift)


@pytest.mark.parametrize("seed", range(10))
def test_random_cells(seed):
    rng = np.random.default_rng(seed)
    cell = rng.normal(size=(3, 3)) * 2 + np.eye(3) * 3
    atoms = random_atoms(int(rng.integers(1, 9)), cell, rng.random(3) < 0.6, seed)
    cutoff = float(rng.uniform(1.0, 6.0))
    found = find_neighbors(atoms.positions, cell, atoms.pbc, cutoff)
    i, j, shift = neighbor_list("ijS", atoms, cutoff)
    assert as_set(*found.edge_index, found.edge_shift) == as_set(i, j, shift)
