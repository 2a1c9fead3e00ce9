"""Fingerprints that do not change where the structure does not, and do where it does."""

from __future__ import annotations

import ase
import numpy as np
import pytest
from ase.build import bulk, make_supercell, molecule, niggli_reduce

from potstill.core.elements import covalent_radii
from potstill.core.geometry import content_hash, distance_fingerprint, smallest_scaled_distance
from potstill.core.types import Structure

TRICLINIC = np.array([[4.1, 0.0, 0.0], [1.7, 3.9, 0.0], [-1.1, 0.8, 4.3]])


def crystal(seed: int = 0, n: int = 5) -> ase.Atoms:
    rng = np.random.default_rng(seed)
    return ase.Atoms(rng.choice([8, 14, 22], size=n), scaled_positions=rng.random((n, 3)), cell=TRICLINIC, pbc=True)


def rotation(seed: int) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def turned(atoms: ase.Atoms, matrix: np.ndarray) -> ase.Atoms:
    atoms = atoms.copy()
    cell = atoms.cell[:] @ matrix.T
    atoms.positions = atoms.positions @ matrix.T
    atoms.cell = cell
    return atoms


def niggli(atoms: ase.Atoms) -> ase.Atoms:
    atoms = atoms.copy()
    niggli_reduce(atoms)
    return atoms


DISGUISES = {
    "rotation": lambda a: turned(a, rotation(1)),
    "reflection": lambda a: turned(a, np.diag([1.0, -1.0, 1.0])),
    "permutation": lambda a: a[np.random.default_rng(3).permutation(len(a))],
    "translation": lambda a: ase.Atoms(a.numbers, a.positions + np.array([1.3, -9.2, 0.7]), cell=a.cell, pbc=a.pbc),
    "wrapped": lambda a: ase.Atoms(a.numbers, a.get_positions(wrap=True), cell=a.cell, pbc=a.pbc),
    "supercell": lambda a: a * (2, 1, 3) if a.pbc.all() else a,
    "left-handed cell": lambda a: make_supercell(a, [[0, 1, 0], [1, 0, 0], [0, 0, 1]], wrap=False) if a.pbc.all() else a,
    "sheared cell": lambda a: make_supercell(a, [[1, 2, 0], [0, 1, 0], [-1, 0, 1]]) if a.pbc.all() else a,
    "niggli cell": lambda a: niggli(a) if a.pbc.all() else a,
}


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("atoms", [crystal(0), crystal(1, n=1), bulk("Si", a=5.43), molecule("CH3CH2OH")])
def test_the_fingerprint_is_invariant(atoms, disguise):
    original = Structure.from_ase(atoms)
    other = Structure.from_ase(DISGUISES[disguise](atoms))
    assert original.formula == other.formula
    np.testing.assert_allclose(distance_fingerprint(other), distance_fingerprint(original), atol=1e-7)


@pytest.mark.parametrize("atoms", [crystal(2), bulk("NaCl", "rocksalt", a=5.6), molecule("C6H6")])
def test_the_fingerprint_is_continuous(atoms):
    original = distance_fingerprint(Structure.from_ase(atoms))
    direction = np.random.default_rng(0).normal(size=(len(atoms), 3))
    direction /= np.abs(direction).max()
    for size in (1e-6, 1e-4, 1e-2):
        moved = atoms.copy()
        moved.positions += size * direction
        change = np.abs(distance_fingerprint(Structure.from_ase(moved)) - original).max()
        assert change <= 2 * np.sqrt(3) * size + 1e-12  # no distance changes by more than both its atoms move


def test_the_fingerprint_sees_a_difference():
    bond = 2.5
    fcc = bulk("Co", "fcc", a=bond * np.sqrt(2))
    others = [
        bulk("Co", "hcp", a=bond, covera=np.sqrt(8 / 3)),  # the same first two shells
        bulk("Co", "fcc", a=1.005 * bond * np.sqrt(2)),
        bulk("Co", "bcc", a=bond * 2 / np.sqrt(3)),
    ]
    known = distance_fingerprint(Structure.from_ase(fcc))
    for other in others:
        assert np.abs(distance_fingerprint(Structure.from_ase(other)) - known).max() > 0.005


def test_the_fingerprint_tells_decorations_of_one_lattice_apart():
    """Five random decorations of an alloy were copies of each other, since their distances are the same."""
    rng = np.random.default_rng(1)
    prints = []
    for _ in range(5):
        alloy = bulk("Cu", "fcc", a=3.57, cubic=True).repeat(2)
        alloy.numbers[rng.permutation(32)[:16]] = 28
        prints.append(distance_fingerprint(Structure.from_ase(alloy)))
    gaps = [np.abs(a - b).max() for k, a in enumerate(prints) for b in prints[:k]]
    assert min(gaps) > 0.005
    assert np.abs(np.array(prints).reshape(5, 2, 45)[:, :, :42].std(axis=0)).max() < 1e-9


def silicon(seed: int | None = None, repeat: int = 4) -> Structure:
    atoms = bulk("Si", a=5.43, cubic=True).repeat(repeat)
    if seed is not None:
        atoms.positions += np.random.default_rng(seed).normal(0.0, 0.07, atoms.positions.shape)  # as at 300 K
    return Structure.from_ase(atoms)


def test_the_fingerprint_tells_frames_of_a_large_cell_apart():
    """Averages over 512 atoms were within 0.005 Å in most pairs of frames: MD of large cells was left out as copies."""
    prints = [distance_fingerprint(silicon(seed)) for seed in range(8)]
    gaps = [np.abs(a - b).max() for k, a in enumerate(prints) for b in prints[:k]]
    assert min(gaps) > 0.02


@pytest.mark.parametrize("direction", [[1, 0, 0], [1, 1, 0], [1, 1, 1]])
def test_the_fingerprint_sees_one_displaced_atom(direction):
    """Finite displacements of 0.01 Å, from which phonons are computed, were left out as copies of the crystal."""
    perfect = silicon()
    moved = silicon()
    moved.positions[100] += 0.01 * np.array(direction) / np.linalg.norm(direction)
    assert np.abs(distance_fingerprint(moved) - distance_fingerprint(perfect)).max() > 0.005


def test_the_first_distance_is_the_bond():
    fingerprint = distance_fingerprint(Structure.from_ase(bulk("Cu", "fcc", a=3.6)))
    np.testing.assert_allclose(fingerprint[:12], 3.6 / np.sqrt(2))
    np.testing.assert_allclose(fingerprint[12:18], 3.6)
    water = distance_fingerprint(Structure.from_ase(molecule("H2O")))
    assert water.shape == (90,)
    assert (water[2:24] == 0).all()  # a molecule of three has two neighbours


@pytest.mark.parametrize("pbc", [[True, True, False], [False, False, True]])
def test_slabs_and_wires(pbc):
    atoms = crystal(4)
    atoms.pbc = pbc
    repeat = [2 if p else 1 for p in pbc]
    a, b = distance_fingerprint(Structure.from_ase(atoms)), distance_fingerprint(Structure.from_ase(atoms * repeat))
    np.testing.assert_allclose(a, b, atol=1e-7)
    assert (a > 0).all()


class TestScaledDistance:
    def test_a_bond(self):
        scaled, pair = smallest_scaled_distance(Structure([1, 1], [[0, 0, 0], [0, 0, 0.558]]))
        assert scaled == pytest.approx(0.9)
        assert sorted(pair) == [0, 1]

    def test_pairs_of_elements_have_their_own_radii(self):
        # Al-Al at 2.0 Å is closer, in radii, than C-H at 1.0 Å
        positions = [[0, 0, 0], [0, 0, 2.0], [9, 0, 0], [9, 0, 1.0]]
        scaled, pair = smallest_scaled_distance(Structure([13, 13, 6, 1], positions))
        assert sorted(pair) == [0, 1]
        assert scaled == pytest.approx(2.0 / 2.42)

    def test_through_the_border(self):
        structure = Structure([29, 29], [[0, 0, 0.2], [0, 0, 9.7]], np.eye(3) * 10, [True] * 3)
        assert smallest_scaled_distance(structure)[0] == pytest.approx(0.5 / 2.64)
        assert smallest_scaled_distance(structure.with_(pbc=[True, True, False]))[0] > 1

    def test_an_atom_with_its_own_image(self):
        structure = Structure([29], [[0, 0, 0]], np.diag([2.0, 9.0, 9.0]), [True] * 3)
        scaled, pair = smallest_scaled_distance(structure)
        assert scaled == pytest.approx(2.0 / 2.64)
        assert pair == (0, 0)

    def test_nothing_near(self):
        assert smallest_scaled_distance(Structure([1], [[0, 0, 0]])) == (float("inf"), None)

    def test_every_element_has_a_radius(self):
        assert covalent_radii().shape == (119,)
        assert (covalent_radii()[1:] > 0.2).all()


class TestContentHash:
    def test_equal_for_copies_only(self):
        structure = Structure.from_ase(crystal())
        first = content_hash(structure)
        assert content_hash(structure.with_(id="other", source="x")) == first
        assert content_hash(structure.with_(positions=structure.positions + 1e-3)) != first
        assert content_hash(structure.with_(cell=structure.cell * 1.001)) != first
        assert content_hash(structure.with_(pbc=[True, True, False])) != first
        numbers = structure.atomic_numbers.copy()
        numbers[0] = 92
        assert content_hash(structure.with_(atomic_numbers=numbers)) != first
