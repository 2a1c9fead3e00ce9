"""Compositions are of the kind asked for: charges that cancel, or any elements; nothing where the elements allow none."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from pymatgen.core import Element

from potstill.core.types import Refused, Structure
from potstill.generate.compositions import balancing_amounts, draw_composition
from potstill.generate.crystals import Crystals
from potstill.generate.elements import NO_METALS, NOBLE, allowed
from potstill.generate.melts import Melts
from potstill.testing import check_source

EVERY = allowed(())


def drawn(kind, elements=EVERY, count=300, seed=0):
    rng = np.random.default_rng(seed)
    return [draw_composition(elements, 2, rng, kind) for _ in range(count)]


def test_balanced_charges_cancel_and_follow_electronegativity():
    for symbols, amounts in drawn("balanced"):
        states = [Element(s).common_oxidation_states for s in symbols]
        assert any(
            sum(n * q for n, q in zip(amounts, charges, strict=True)) == 0 and charges[0] > 0 > charges[-1]
            for charges in product(*states)
        )
        assert np.gcd.reduce(amounts) == 1
        assert sum(amounts) <= 16
        x = [Element(s).X for s in symbols]
        assert x == sorted(x)


def test_balanced_has_what_one_anion_cannot():
    """Oxides of nonmetals, two anions, hydrogen beside oxygen."""
    sets = [frozenset(symbols) for symbols, _ in drawn("balanced", ("H", "Li", "B", "C", "N", "O", "P"), 500)]
    for wanted in ({"Li", "C", "O"}, {"B", "N", "O"}, {"H", "Li", "O"}, {"Li", "P", "O"}, {"Li", "B", "H"}):
        assert any(wanted <= found for found in sets)


def test_free_has_intermetallics_hydrides_and_elements():
    found = drawn("free", count=500)
    assert all(len(set(symbols)) == len(symbols) == len(amounts) for symbols, amounts in found)
    assert all(np.gcd.reduce(amounts) == 1 for _, amounts in found)
    metals_only = sum(not set(symbols) & NO_METALS for symbols, _ in found)
    assert 100 < metals_only < 300
    counts = Counter(s for symbols, _ in found for s in symbols)
    assert len(counts) == len(EVERY)
    assert counts["H"] > 10
    assert {len(symbols) for symbols, _ in found} == {1, 2, 3, 4}


@pytest.mark.parametrize("kind", ["balanced", "free"])
def test_noble_gases_stay_out(kind):
    assert not any(set(symbols) & NOBLE for symbols, _ in drawn(kind, (*EVERY, *NOBLE)))
    assert draw_composition(tuple(NOBLE), 2, np.random.default_rng(0), kind) is None


def test_nothing_balances_without_anions():
    assert draw_composition(("Na", "Mg"), 2, np.random.default_rng(0), "balanced") is None
    assert draw_composition(("O", "F"), 2, np.random.default_rng(0), "balanced") is None
    assert draw_composition(("Na",), 2, np.random.default_rng(0), "free") == (("Na",), (1,))


def test_balancing_amounts():
    assert balancing_amounts((1, -1))[0] == (1, 1)
    assert balancing_amounts((3, -2)) == ((2, 3),)
    assert balancing_amounts((1, 2)) == ()
    assert balancing_amounts((5, -4)) == ((4, 5),)


@pytest.mark.parametrize("source", [Crystals, Melts])
def test_sources_take_the_kinds_in_turn(source):
    kinds = ("ionic", "balanced", "free")
    check_source(source(count=8, max_atoms=16, compositions=kinds))
    answers = source(count=8, max_atoms=16, compositions=kinds).propose(range(24), 1, ())
    assert {s.generator_metadata["composition"] for s in answers if isinstance(s, Structure)} == set(kinds)
    refused = source(count=8, elements=("Na",), compositions=("balanced",)).propose([0], 1, ())
    assert [(r.reason, r.detail) for r in refused if isinstance(r, Refused)] == [
        ("no_composition", "no balanced composition of Na")
    ]


def test_the_kind_that_was_there_first_is_drawn_as_before():
    """One kind takes no random number, so that configs without the option have the structures they always had."""
    rng, other = np.random.default_rng(3), np.random.default_rng(3)
    rng.integers(1)
    assert rng.random() == other.random()
