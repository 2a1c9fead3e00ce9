"""Alloys have the symmetry that their name says, by spglib, and the lattice constants of Vegard's law."""

from __future__ import annotations

import numpy as np
import pytest
import spglib
from ase.data import atomic_numbers

from potstill.core.types import Refused, Structure
from potstill.generate.alloys import Alloys, draw_metals, vegard_edge
from potstill.generate.elements import metal_volume, metals
from potstill.testing import check_source

SPACE_GROUPS = {"L1_2": 221, "B2": 221, "L1_0": 123, "fcc": 225, "bcc": 229, "hcp": 194}
RATIOS = {"L1_2": [1, 3], "B2": [1, 1], "L1_0": [1, 1]}


def made(answers) -> list[Structure]:
    return [a for a in answers if isinstance(a, Structure)]


def space_group(structure: Structure, numbers) -> int:
    scaled = structure.positions @ np.linalg.inv(structure.cell)
    return spglib.get_symmetry_dataset((structure.cell, scaled, numbers), symprec=1e-3).number


def test_it_is_a_source():
    check_source(Alloys(count=8))
    check_source(Alloys(count=8, elements=("Cu", "Au", "O"), max_atoms=8))


def test_ordered_alloys():
    structures = made(Alloys(count=40, ordered_fraction=1.0).propose(range(40), 1, ()))
    assert len(structures) == 40
    for structure in structures:
        kind = structure.generator_metadata["structure_type"]
        counts = sorted(np.unique(structure.atomic_numbers, return_counts=True)[1].tolist())
        assert counts == RATIOS[kind]
        assert space_group(structure, structure.atomic_numbers) == SPACE_GROUPS[kind]
    assert {s.generator_metadata["structure_type"] for s in structures} == set(RATIOS)


def test_solid_solutions_lie_on_their_lattice():
    structures = made(Alloys(count=40, ordered_fraction=0.0).propose(range(40), 1, ()))
    for structure in structures:
        assert len(set(structure.atomic_numbers.tolist())) >= 2
        same = np.ones(len(structure), int)
        assert space_group(structure, same) == SPACE_GROUPS[structure.generator_metadata["structure_type"]]
    assert len({len(s) for s in structures}) > 5


def test_vegard():
    """Cu3Au and CuAu3 from the lattice constants of copper and gold, 3.61 and 4.08 Å."""
    source = Alloys(count=9, elements=("Cu", "Au"), ordered_fraction=1.0, max_lattice_strain=0.0)
    cubic = [s for s in made(source.propose(range(30), 1, ())) if s.generator_metadata["structure_type"] == "L1_2"]
    assert {s.formula for s in cubic} == {"AuCu3", "Au3Cu"}
    for structure in cubic:
        golds = int((structure.atomic_numbers == atomic_numbers["Au"]).sum())
        assert structure.cell[0, 0] == pytest.approx((golds * 4.08 + (4 - golds) * 3.61) / 4, abs=1e-3)


def test_metals_of_one_alloy_have_similar_sizes():
    rng = np.random.default_rng(0)
    for _ in range(50):
        sizes = [metal_volume(s) ** (1 / 3) for s in draw_metals((), 4, 0.1, rng)]
        assert max(sizes) <= 1.1 * min(sizes) + 1e-12
    assert vegard_edge(["Cu", "Cu"]) == pytest.approx(metal_volume("Cu") ** (1 / 3))


def test_too_few_metals():
    (answer,) = Alloys(count=1, elements=("Cu", "O", "Si")).propose([0], 1, ())
    assert isinstance(answer, Refused)
    assert answer.reason == "no_metals"


def test_densities_of_the_metals():
    """Of the solids at room temperature in g/cm^3, from the CRC handbook."""
    from ase.data import atomic_masses
    from ase.units import _amu

    measured = {"Al": 2.70, "Fe": 7.87, "Cu": 8.96, "Ag": 10.5, "Au": 19.3, "Mg": 1.74, "Mn": 7.3, "Ga": 5.91, "In": 7.31}
    measured |= {"Sb": 6.68, "Bi": 9.79, "U": 19.1, "Pu": 19.7, "Sm": 7.52, "Sn": 7.29, "Pm": 7.26, "Hg": 14.2}
    for symbol, density in measured.items():
        found = atomic_masses[atomic_numbers[symbol]] * _amu * 1e3 / (metal_volume(symbol) * 1e-24)
        assert found == pytest.approx(density, rel=0.03), symbol
    assert "Si" not in metals(())
    assert len(metals(())) > 60
