"""Melts have balanced charges, no overlap, and the density that was asked for."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from pymatgen.core import Element

from potstill.core.elements import covalent_radii
from potstill.core.geometry import smallest_scaled_distance
from potstill.core.types import Refused, Structure
from potstill.generate.melts import Melts
from potstill.testing import check_source


def made(answers) -> list[Structure]:
    return [a for a in answers if isinstance(a, Structure)]


def test_it_is_a_source():
    check_source(Melts(count=8, max_atoms=32))
    check_source(Melts(count=8, elements=("Na", "Ca", "Cl", "O"), max_atoms=24))


def test_charges_balance():
    structures = made(Melts(count=1, max_atoms=24).propose(range(30), 1, ()))
    assert len(structures) > 25
    for structure in structures:
        ions, units = structure.generator_metadata["ions"], structure.generator_metadata["formula_units"]
        for symbol, n in ions.items():
            assert int((structure.atomic_numbers == Element(symbol).Z).sum()) == n * units
        states = [Element(s).common_oxidation_states for s in ions]
        assert any(sum(n * q for n, q in zip(ions.values(), choice, strict=True)) == 0 for choice in product(*states))
        assert len(structure) == units * sum(ions.values()) <= 24


def test_no_overlap_and_the_density_asked_for():
    source = Melts(count=1, max_atoms=32, packing_fraction=(0.4, 0.4), shortest_scaled_distance=(0.9, 0.9))
    for structure in made(source.propose(range(12), 1, ())):
        assert structure.pbc.all()
        assert smallest_scaled_distance(structure)[0] > 0.8
        spheres = 4 / 3 * np.pi * (covalent_radii()[structure.atomic_numbers] ** 3).sum()
        assert spheres / structure.volume == pytest.approx(0.4)


def test_anions_keep_apart():
    """Farther than in peroxide, 1.5 Å; in crystals of oxides it is 2.6 Å and more."""
    source = Melts(count=1, elements=("Ca", "O"), max_atoms=40, packing_fraction=(0.4, 0.5))
    structures = made(source.propose(range(6), 1, ()))
    assert structures
    for structure in structures:
        oxygens = structure.to_ase()[structure.atomic_numbers == 8]
        distance = oxygens.get_all_distances(mic=True)
        assert distance[distance > 0].min() > 1.8


def test_too_dense_is_refused():
    source = Melts(count=1, max_atoms=32, packing_fraction=(1.5, 1.5))
    assert {a.reason for a in source.propose(range(4), 1, ()) if isinstance(a, Refused)} == {"too_close"}


def test_no_composition():
    answers = Melts(count=1, elements=("Na", "Mg")).propose([0], 1, ())
    assert [a.reason for a in answers if isinstance(a, Refused)] == ["no_composition"]
