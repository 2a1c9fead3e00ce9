"""Pairs of atoms at the distances they state, and pairs of whole molecules in contact."""

from __future__ import annotations

import numpy as np
from ase.build import molecule
from ase.data import covalent_radii
from ase.data.vdw_alvarez import vdw_radii

from potstill.core.types import Refused, Structure
from potstill.generate.dimers import Dimers
from potstill.stats.bonds import lacks_hydrogen
from potstill.testing import check_source


def made(answers) -> list[Structure]:
    return [a for a in answers if isinstance(a, Structure)]


def test_it_is_a_source():
    check_source(Dimers(count=8))
    check_source(Dimers(count=8, elements=("H", "O"), max_atoms=10))


def test_pairs_of_atoms():
    source = Dimers(count=1, elements=("H", "C", "Na"), kinds=("atoms",))
    structures = made(source.propose(range(60), 1, ()))
    assert {s.formula for s in structures} == {"H2", "CH", "HNa", "C2", "CNa", "Na2"}
    scaled = []
    for dimer in structures:
        distance = dimer.to_ase().get_distance(0, 1)
        assert abs(distance - dimer.generator_metadata["distance_angstrom"]) < 1e-12
        scaled.append(distance / covalent_radii[dimer.atomic_numbers].sum())
    assert 0.7 <= min(scaled) < 0.9
    assert 2.3 < max(scaled) <= 2.5


def test_every_pair_is_visited_before_one_is_visited_twice():
    source = Dimers(count=1, kinds=("atoms",))
    structures = made(source.propose(range(84 * 85 // 2), 1, ()))
    assert len({tuple(s.atomic_numbers) for s in structures}) == 84 * 85 // 2


def test_pairs_of_molecules():
    structures = made(Dimers(count=1, kinds=("molecules",)).propose(range(80), 1, ()))
    assert len(structures) == 80
    for dimer in structures:
        first, second = (molecule(name) for name in dimer.generator_metadata["molecules"])
        n = len(first)
        assert dimer.atomic_numbers.tolist() == [*first.numbers, *second.numbers]
        for part, reference in ((dimer.positions[:n], first), (dimer.positions[n:], second)):
            distance = np.linalg.norm(part[:, None] - part[None], axis=-1)
            np.testing.assert_allclose(distance, reference.get_all_distances(), atol=1e-9)
        between = np.linalg.norm(dimer.positions[:n, None] - dimer.positions[None, n:], axis=-1)
        scaled = between / (vdw_radii[first.numbers][:, None] + vdw_radii[second.numbers][None])
        assert abs(scaled.min() - dimer.generator_metadata["scaled_contact"]) < 1e-9
        assert dimer.family in {Structure.from_ase(first).formula, Structure.from_ase(second).formula}
        assert not lacks_hydrogen(dimer)


def test_orientations_are_random():
    source = Dimers(count=1, elements=("H", "O"), kinds=("molecules",), max_atoms=6)
    waters = [s for s in made(source.propose(range(60), 1, ())) if s.generator_metadata["molecules"] == ["H2O", "H2O"]]
    assert len(waters) > 2
    oxygens = [np.linalg.norm(s.positions[0] - s.positions[3]) for s in waters]
    assert np.ptp(oxygens) > 0.1


def test_refusals():
    answers = Dimers(count=1, elements=("Cu",), kinds=("molecules",)).propose([0], 1, ())
    assert [a.reason for a in answers if isinstance(a, Refused)] == ["no_molecule"]
    answers = Dimers(count=1, kinds=("molecules",), max_atoms=3).propose([0], 1, ())
    assert [a.reason for a in answers if isinstance(a, Refused)] == ["too_many_atoms"]
    answers = Dimers(count=1, kinds=("atoms",), max_atoms=1).propose([0], 1, ())
    assert [a.reason for a in answers if isinstance(a, Refused)] == ["too_many_atoms"]
