"""Defects change what they say and nothing else, and keep the family of their parent."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ase.build import bulk

from potstill.core.elements import atomic_numbers_of
from potstill.core.types import Refused, Structure
from potstill.generate.defects import Defects, largest_void
from potstill.testing import check_source, copper, lone_crystal, rocksalt, silicon, slab, triclinic, water


def made(answers) -> list[Structure]:
    return [a for a in answers if isinstance(a, Structure)]


def reasons(answers) -> set[str]:
    return {a.reason for a in answers if isinstance(a, Refused)}


def defects(kind: str, parent: Structure, n: int = 12, **options) -> list[Structure]:
    source = Defects(count=1, kinds=(kind,), **options)
    return made(source.propose(range(n), 1, [parent]))


def supercell_counts(parent: Structure, defect: Structure) -> Counter[int]:
    cells = int(np.prod(defect.generator_metadata["repeats"]))
    return Counter({z: n * cells for z, n in Counter(parent.atomic_numbers.tolist()).items()})


def test_it_is_a_source():
    check_source(Defects(count=8))
    check_source(Defects(count=8, max_atoms=12), parents=[rocksalt(), water(), copper()])


def test_vacancies():
    parent = rocksalt()
    structures = defects("vacancy", parent, max_defects=3)
    assert len({len(s.generator_metadata["removed"]) for s in structures}) > 1
    for structure in structures:
        removed = Counter(atomic_numbers_of(structure.generator_metadata["removed"]))
        assert supercell_counts(parent, structure) - removed == Counter(structure.atomic_numbers.tolist())
        # the others stay where they were in the parent's lattice
        fraction = structure.positions @ np.linalg.inv(parent.cell)
        sites = parent.positions @ np.linalg.inv(parent.cell)
        gap = fraction[:, None] - sites[None]
        assert np.abs(gap - np.round(gap)).max(axis=-1).min(axis=-1).max() < 1e-9


@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        (copper(), 3.61 / 2),  # octahedral
        (silicon(), 5.43 * 3**0.5 / 4),  # tetrahedral
        (Structure.from_ase(bulk("Fe", "bcc", a=2.87)), 2.87 * 5**0.5 / 4),  # tetrahedral
        (lone_crystal(), 20.0 * 3**0.5 / 2),
    ],
)
def test_the_largest_void(parent, expected):
    position, distance = largest_void(parent)
    assert distance == pytest.approx(expected)
    atoms = parent.to_ase() * (3, 3, 3)
    inside = position + parent.cell.sum(axis=0)
    assert np.linalg.norm(atoms.positions - inside, axis=1).min() == pytest.approx(expected)


def test_no_random_point_is_freer_than_the_largest_void():
    parent = triclinic()
    _, distance = largest_void(parent)
    atoms = parent.to_ase() * (5, 5, 5)
    points = np.random.default_rng(0).random((2000, 3)) @ parent.cell + 2 * parent.cell.sum(axis=0)
    free = np.linalg.norm(atoms.positions[None] - points[:, None], axis=-1).min(axis=1)
    assert 0.8 * distance < free.max() <= distance + 1e-9


def test_interstitials():
    parent = copper()
    structures = defects("interstitial", parent, elements=("Cu", "H"))
    assert {s.generator_metadata["element"] for s in structures} == {"Cu", "H"}
    for structure in structures:
        extra = Counter(structure.atomic_numbers.tolist()) - supercell_counts(parent, structure)
        assert extra == Counter(atomic_numbers_of([structure.generator_metadata["element"]]))
        distance = structure.to_ase().get_distances(len(structure) - 1, range(len(structure) - 1), mic=True)
        assert distance.min() >= 1.6  # 0.8 of the radii of Cu and H are 1.30 Å, those of two Cu 2.11 Å
        if structure.generator_metadata["element"] == "H":
            assert distance.min() == pytest.approx(3.61 / 2)


def test_antisites_keep_the_composition():
    parent = rocksalt()
    for structure in defects("antisite", parent):
        assert Counter(structure.atomic_numbers.tolist()) == supercell_counts(parent, structure)
        ideal = parent.to_ase().repeat(structure.generator_metadata["repeats"])
        changed = int((ideal.numbers != structure.atomic_numbers).sum())
        assert changed == 2 * structure.generator_metadata["pairs"] > 0


def test_substitutions():
    parent = silicon()
    for structure in defects("substitution", parent, elements=("Si", "Ge", "C")):
        ((old, new),) = structure.generator_metadata["substitution"].items()
        assert (old, new) in {("Si", "Ge"), ("Si", "C")}
        sites = structure.generator_metadata["sites"]
        assert Counter(structure.atomic_numbers.tolist())[atomic_numbers_of([new])[0]] == sites in {1, 2}


def test_family_and_parent():
    parents = [rocksalt().with_(family="mother", source="salts"), copper(), water(), slab()]
    structures = made(Defects(count=1).propose(range(24), 1, parents))
    assert {s.generator_metadata["parent"] for s in structures} == {"rocksalt", "copper"}
    assert {s.family for s in structures} == {"mother", "copper"}
    salts = made(Defects(count=1, parents=("salts",)).propose(range(8), 1, parents))
    assert {s.family for s in salts} == {"mother"}
    assert all(len(s) >= 7 for s in structures)


def test_supercells_are_compact_and_within_their_size():
    structures = defects("vacancy", rocksalt(), 40, max_atoms=64, max_defects=1)
    assert max(len(s) for s in structures) <= 63
    for structure in structures:
        repeats = structure.generator_metadata["repeats"]
        assert max(repeats) - min(repeats) <= 1


def test_refusals():
    assert reasons(Defects(count=1).propose([0], 1, [water()])) == {"no_parent"}
    assert reasons(Defects(count=1, max_atoms=6).propose([0], 1, [copper()])) == {"cell_too_small"}
    assert reasons(Defects(count=1, kinds=("antisite",)).propose([0], 1, [copper()])) == {"no_defect"}
    assert reasons(Defects(count=1, max_atoms=3).propose([0], 1, [copper()])) == {"too_many_atoms"}
    assert reasons(Defects(count=1, kinds=("substitution",), elements=("Cu",)).propose([0], 1, [copper()])) == {
        "no_substitute"
    }
