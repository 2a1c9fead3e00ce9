"""Decorated prototypes keep the symmetry and the charge balance of what they were made from."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import spglib
from pymatgen.core import Element

from potstill.core.elements import symbols_of
from potstill.core.types import Refused, Structure
from potstill.generate.prototypes import Prototypes, aflow_crystals, decorate, prototypes
from potstill.testing import check_source


def made(answers) -> list[Structure]:
    return [a for a in answers if isinstance(a, Structure)]


def space_group(structure: Structure) -> int:
    scaled = structure.positions @ np.linalg.inv(structure.cell)
    return spglib.get_spacegroup_type(
        spglib.get_symmetry_dataset((structure.cell, scaled, structure.atomic_numbers), symprec=1e-3).hall_number
    ).number


def test_it_is_a_source():
    check_source(Prototypes(count=8))
    check_source(Prototypes(count=8, elements=("Na", "K", "Mg", "Ti", "O", "S", "Cl"), max_atoms=12))


def test_the_space_group_is_that_of_the_prototype():
    published = {c.generator_metadata["title"]: c for c in aflow_crystals()}
    for structure in made(Prototypes(count=40).propose(range(40), 1, ())):
        assert space_group(structure) == space_group(published[structure.generator_metadata["prototype"]])


def test_each_element_has_one_substitute_of_its_kind():
    structures = made(Prototypes(count=200).propose(range(200), 2, ()))
    assert len(structures) > 190
    for structure in structures:
        substitution = structure.generator_metadata["substitution"]
        assert len(set(substitution.values())) == len(substitution)
        assert set(substitution.values()) == set(symbols_of(structure.atomic_numbers))
        assert any(old != new for old, new in substitution.items())
        for old, new in substitution.items():
            first, second = Element(old), Element(new)
            assert abs(first.X - second.X) <= 0.6
            assert (first.is_metal or first.is_metalloid) == (second.is_metal or second.is_metalloid)


def test_charges_that_balanced_still_balance():
    rng = np.random.default_rng(0)
    balanced = [p for p in prototypes(20) if p.charges]
    assert len(balanced) > 100
    for prototype in balanced[:60]:
        structure = decorate(prototype, (), 0.6, rng)
        if structure is None:
            continue
        symbols = symbols_of(structure.atomic_numbers)
        counts = [int((structure.atomic_numbers == Element(s).Z).sum()) for s in symbols]
        states = [Element(s).oxidation_states for s in symbols]
        assert any(sum(n * q for n, q in zip(counts, choice, strict=True)) == 0 for choice in product(*states))


@pytest.mark.parametrize(("elements", "edge"), [(("K", "Br"), 6.60), (("Na", "Br"), 5.97), (("Rb", "I"), 7.34)])
def test_lattice_constants_of_rocksalt(elements, edge):
    """Against measured ones, within the error of covalent radii."""
    salt = next(p for p in prototypes(8) if p.crystal.generator_metadata["aflow"] == "AB_cF8_225_a_b")
    structure = decorate(salt, elements, 3.0, np.random.default_rng(0))
    assert structure is not None
    assert (8 * structure.volume / len(structure)) ** (1 / 3) == pytest.approx(edge, rel=0.1)


def test_volumes_lie_in_the_range():
    low, high = (made(Prototypes(count=1, volume_factor=(f, f)).propose(range(6), 3, ())) for f in (1.0, 1.5))
    for a, b in zip(low, high, strict=True):
        np.testing.assert_array_equal(a.atomic_numbers, b.atomic_numbers)
        assert b.volume == pytest.approx(1.5 * a.volume)


def test_elements_that_make_nothing():
    (answer,) = Prototypes(count=1, elements=("He",)).propose([0], 1, ())
    assert isinstance(answer, Refused)
    assert answer.reason == "no_substitute"


def test_every_prototype_is_used_before_one_is_used_twice():
    n = len(prototypes(6))
    structures = made(Prototypes(count=n, max_atoms=6).propose(range(n), 1, ()))
    titles = [s.generator_metadata["aflow"] for s in structures]
    assert len(set(titles)) > 0.8 * n
