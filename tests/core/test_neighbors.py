"""The pair search against ASE's, over every kind of cell, and the list for moving atoms against the pair search."""

from __future__ import annotations

import ase
import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule
from ase.neighborlist import neighbor_list

from potstill.core.errors import StructureError
from potstill.core.neighbors import VerletList, find_neighbors, find_pairs, structure_neighbors
from potstill.core.types import Structure

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
    np.testing.assert_allclose(found.vectors, r, rtol=0, atol=1e-9)
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


def step(verlet: VerletList, positions, cell, pbc):
    """Neighbours by the list, held against a search."""
    arguments = np.array(positions), np.array(cell), np.array(pbc)
    found, expected = verlet(*arguments), find_neighbors(*arguments, verlet.cutoff_angstrom)
    assert as_set(*found.edge_index, found.edge_shift) == as_set(*expected.edge_index, expected.edge_shift)
    assert (np.diff(found.edge_index[0]) >= 0).all()
    i, j = found.edge_index
    r = arguments[0][j] + found.edge_shift @ arguments[1] - arguments[0][i]
    np.testing.assert_allclose(found.vectors, r, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.distance, np.linalg.norm(r, axis=1), rtol=0, atol=1e-9)
    for name in ("edge_index", "edge_shift", "distance", "vectors"):
        assert getattr(found, name).dtype == getattr(expected, name).dtype
        assert getattr(found, name).shape == getattr(expected, name).shape
    return found


@pytest.mark.parametrize("name", CASES)
def test_verlet_walk(name):
    atoms, cutoff = CASES[name]
    rng = np.random.default_rng(0)
    verlet = VerletList(cutoff, 0.6)
    for _ in range(40):
        step(verlet, atoms.positions, atoms.cell, atoms.pbc)
        atoms = atoms.copy()
        atoms.positions += rng.normal(scale=0.03, size=atoms.positions.shape)
    assert verlet.calls == 40
    assert 1 < verlet.searches < 25


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("carried", [True, False], ids=["atoms carried along", "atoms left behind"])
def test_verlet_walk_of_atoms_and_cell(name, carried):
    atoms, cutoff = CASES[name]
    rng = np.random.default_rng(1)
    verlet = VerletList(cutoff, 0.6)
    for _ in range(40):
        step(verlet, atoms.positions, atoms.cell, atoms.pbc)
        atoms = atoms.copy()
        atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(scale=0.004, size=(3, 3))), scale_atoms=carried)
        atoms.positions += rng.normal(scale=0.01, size=atoms.positions.shape)
    assert verlet.searches < 25


@pytest.mark.parametrize("name", CASES)
def test_verlet_walk_of_atoms_that_are_wrapped_back(name):
    atoms, cutoff = CASES[name]
    rng = np.random.default_rng(2)
    verlet = VerletList(cutoff, 0.6)
    for k in range(30):
        step(verlet, atoms.positions, atoms.cell, atoms.pbc)
        atoms = atoms.copy()
        atoms.positions += rng.normal(scale=0.02, size=atoms.positions.shape)
        if k % 4 == 0:
            atoms.wrap()
    assert verlet.searches < 30


def test_verlet_of_other_atoms_axes_and_cells_in_turn():
    verlet = VerletList(4.0)
    for atoms, _ in [*CASES.values(), *reversed(CASES.values())]:
        for pbc in (atoms.pbc, np.zeros(3, bool)):
            step(verlet, atoms.positions, atoms.cell, pbc)


def test_verlet_searches_once_while_nothing_moves():
    atoms, cutoff = CASES["triclinic"]
    verlet = VerletList(cutoff, 0.0)
    for _ in range(5):
        step(verlet, atoms.positions, atoms.cell, atoms.pbc)
    assert (verlet.calls, verlet.searches) == (5, 1)


def test_verlet_follows_an_array_that_is_changed_in_place():
    positions, cell, pbc = np.array([[0.0, 0, 0], [5.0, 0, 0]]), np.zeros((3, 3)), np.zeros(3, bool)
    verlet = VerletList(4.0, 0.5)
    assert verlet(positions, cell, pbc).distance.tolist() == []
    positions[1, 0] = 3.0
    assert verlet(positions, cell, pbc).distance.tolist() == [3.0, 3.0]


def test_verlet_searches_when_two_atoms_could_have_crossed_the_skin():
    verlet = VerletList(4.0, 1.0)
    gaps = [5.01, 4.51, 4.02, 4.0, 3.9]  # each atom moves half of the way
    for gap in gaps:
        step(verlet, [[-gap / 2, 0, 0], [gap / 2, 0, 0]], np.zeros((3, 3)), np.zeros(3, bool))
    assert verlet.searches == 2  # at the start, and once they are nearer by more than 1 Å


def test_verlet_sees_images_come_in_that_were_no_candidates():
    verlet = VerletList(5.0, 1.0)
    for length in (6.1, 5.6, 5.2, 4.9, 2.4, 1.7):
        step(verlet, np.zeros((1, 3)), length * np.eye(3), np.ones(3, bool))


def test_verlet_bears_strain_and_rotation_of_everything():
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True) * 2
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    verlet = VerletList(5.0, 1.0)
    for change in (np.eye(3), 1.05 * np.eye(3), 0.9 * np.eye(3), turn):  # no atom moves against its surroundings
        step(verlet, atoms.positions @ change, atoms.cell @ change, atoms.pbc)
    assert verlet.searches == 1
    step(verlet, 0.8 * atoms.positions, 0.8 * atoms.cell, atoms.pbc)
    assert verlet.searches == 2


def test_verlet_takes_no_heed_of_rows_that_are_not_periodic():
    atoms, cutoff = CASES["slab in another axis"]
    verlet = VerletList(cutoff)
    for height in (0.0, 1.0, 30.0):
        step(verlet, atoms.positions, [[0, 0, height], *TRICLINIC[1:]], atoms.pbc)
    assert verlet.searches == 1


def test_verlet_refuses_a_negative_skin():
    with pytest.raises(ValueError, match="negative"):
        VerletList(4.0, -0.1)


OPEN, SLAB = np.zeros(3, bool), np.array([True, True, False])
WATER = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])


def pair_of(gap: float, axis: int) -> np.ndarray:
    """Two molecules, one of them moved along an axis."""
    return np.vstack([WATER, WATER + gap * np.eye(3)[axis]])


TOO_WIDE = {  # each of them ended the process
    "two molecules": (pair_of(1e12, 0), np.zeros((3, 3)), OPEN),
    "a molecule above a slab": (pair_of(1e12, 2), np.diag([8.0, 8, 0]), SLAB),
    "a lattice vector": (WATER, np.diag([8.0, 8, 1e12]), np.ones(3, bool)),
    "a long thin crystal": (WATER, np.diag([8.0, 8, 1e6]), np.ones(3, bool)),
    "no digits are left": (WATER + 1e12, np.zeros((3, 3)), OPEN),
    "no number": (WATER * np.nan, np.zeros((3, 3)), OPEN),
}


@pytest.mark.parametrize("search", [find_neighbors, find_pairs, lambda *of: VerletList(of[3])(*of[:3])])
@pytest.mark.parametrize("case", TOO_WIDE)
def test_atoms_that_cannot_be_searched_are_refused(case, search):
    with pytest.raises(StructureError, match=r"reaches|long and thin"):
        search(*TOO_WIDE[case], 5.0)


def test_a_verlet_list_refuses_an_atom_that_flies_away():
    verlet = VerletList(5.0)
    verlet(WATER, np.zeros((3, 3)), OPEN)
    with pytest.raises(StructureError, match="reaches"):
        verlet(WATER + np.diag([0.0, 1e12, 0])[:3], np.zeros((3, 3)), OPEN)


@pytest.mark.parametrize(
    "pbc", [OPEN, SLAB, [False, False, True], [True, True, True]], ids=["open", "slab", "wire", "crystal"]
)
@pytest.mark.parametrize("far", [0.0, 1e5, -1e8])
def test_far_from_the_origin_the_pairs_are_the_same(pbc, far):
    pbc = np.array(pbc)
    cell = np.where(pbc[:, None], np.diag([8.0, 7.0, 6.0]), 0.0)
    here, there = (find_neighbors(WATER + x, cell, pbc, 3.0) for x in (0.0, far))
    assert as_set(*here.edge_index, here.edge_shift) == as_set(*there.edge_index, there.edge_shift)
    order = [np.lexsort(np.vstack([n.edge_index, n.edge_shift.T])) for n in (here, there)]
    np.testing.assert_allclose(there.vectors[order[1]], here.vectors[order[0]], rtol=0, atol=1e-7)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("pbc", [OPEN, SLAB, [False, False, True]], ids=["open", "slab", "wire"])
@pytest.mark.parametrize("gap", [90.0, 110.0, 9e4, 1e8])
def test_two_molecules_far_apart_are_each_as_alone(pbc, gap):
    """Of which some took seconds, and some ended the process."""
    pbc = np.array(pbc)
    cell = np.where(pbc[:, None], np.array([[8.0, 0, 0], [1.0, 7.0, 0], [0, 0, 6.0]]), 0.0)
    alone = find_neighbors(WATER, cell, pbc, 4.0)
    apart = np.zeros(3)
    apart[np.flatnonzero(~pbc)] = gap
    both = find_neighbors(np.vstack([WATER, WATER + apart]), cell, pbc, 4.0)
    count = len(alone.distance)
    assert len(both.distance) == 2 * count
    first = as_set(*both.edge_index[:, :count], both.edge_shift[:count])
    second = as_set(*(both.edge_index[:, count:] - 3), both.edge_shift[count:])
    assert first == second == as_set(*alone.edge_index, alone.edge_shift)
    i, j = both.edge_index
    positions = np.vstack([WATER, WATER + apart])
    r = positions[j] + both.edge_shift @ cell - positions[i]
    np.testing.assert_allclose(both.vectors, r, rtol=0, atol=max(1e-10, 1e-15 * gap))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("pbc", [OPEN, SLAB, [True, False, True], [False, False, True]], ids=str)
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("gap", [2e3, 1e6])
def test_atoms_along_a_line_and_in_a_plane(pbc, axis, gap):
    """Chains of pairs with gaps along one axis and along two."""
    pbc = np.array(pbc)
    cell = np.where(pbc[:, None], 9.0 * np.eye(3), 0.0)
    line = gap * np.arange(4)[:, None] * np.eye(3)[axis] * ~pbc
    plane = (line[:, None] + (gap * np.arange(4)[:, None] * np.eye(3)[axis - 1] * ~pbc)[None]).reshape(-1, 3)
    places = np.unique(plane, axis=0)
    positions = (places[:, None] + np.array([[0.0, 0, 0], [0.7, 0.7, 0.7]])[None]).reshape(-1, 3)
    found = find_neighbors(positions, cell, pbc, 3.0)
    own = np.arange(len(positions))
    assert as_set(*found.edge_index, found.edge_shift) == as_set(own, own ^ 1, np.zeros((len(own), 3)))
    np.testing.assert_allclose(found.distance, 0.7 * np.sqrt(3), rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_pairs_are_half_of_the_neighbors(name):
    atoms, cutoff = CASES[name]
    found = find_neighbors(atoms.positions, np.array(atoms.cell), atoms.pbc, cutoff)
    pairs, distance = find_pairs(atoms.positions, np.array(atoms.cell), atoms.pbc, cutoff)
    np.testing.assert_allclose(np.sort(np.tile(distance, 2)), np.sort(found.distance), rtol=1e-12)
    count = np.bincount(pairs.ravel(), minlength=len(atoms))
    np.testing.assert_array_equal(count, np.bincount(found.edge_index[0], minlength=len(atoms)))
