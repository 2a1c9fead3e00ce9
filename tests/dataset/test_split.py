"""Families never straddle, elements are always seen in training, and the sides are a function of names and seed."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.dataset import split_by_family

CARBON = frozenset({6})


def split(families, elements=None, *, valid=0.1, test=0.2, seed=1):
    elements = [CARBON] * len(families) if elements is None else elements
    return split_by_family(families, elements, valid_fraction=valid, test_fraction=test, seed=seed)


@pytest.fixture
def families() -> list[str]:
    rng = np.random.default_rng(0)
    return [f"family {k}" for k in rng.integers(200, size=1000)]


def test_families_never_straddle(families):
    parts = split(families)
    for family in set(families):
        sides = {int(p) for f, p in zip(families, parts, strict=True) if f == family}
        assert len(sides) == 1


def test_shares_are_those_asked_for(families):
    parts = split(families)
    side = dict(zip(families, parts.tolist(), strict=True))
    counts = np.bincount(list(side.values()), minlength=3)
    n = len(side)
    assert counts[1] == round(0.1 * n)
    assert counts[2] == round(0.2 * n)


def test_the_order_of_structures_does_not_matter(families):
    order = np.random.default_rng(1).permutation(len(families))
    np.testing.assert_array_equal(split([families[k] for k in order]), split(families)[order])


def test_the_seed_matters(families):
    np.testing.assert_array_equal(split(families), split(families))
    assert (split(families, seed=2) != split(families)).any()


@pytest.mark.parametrize(("valid", "test", "empty"), [(0.0, 0.2, 1), (0.1, 0.0, 2)])
def test_a_part_of_size_zero_is_empty(families, valid, test, empty):
    assert empty not in split(families, valid=valid, test=test)


def test_no_parts_but_train(families):
    assert not split(families, valid=0.0, test=0.0).any()


def test_no_structures():
    assert split([]).shape == (0,)


def test_one_family_is_trained_on():
    assert split(["a", "a"], valid=0.4, test=0.5).tolist() == [0, 0]


def test_an_element_of_one_family_stays_in_train():
    for seed in range(20):
        families = [f"f{k}" for k in range(20)]
        elements = [CARBON] * 19 + [frozenset({6, 79})]
        parts = split(families, elements, valid=0.4, test=0.5, seed=seed)
        assert parts[19] == 0


def test_the_only_family_of_a_pure_element_stays_in_train():
    """Diamond was never trained on, though carbon was in many compounds: its energy was 0.87 eV/atom off."""
    compounds = [f"compound {k}" for k in range(60)]
    families = [*compounds, "C", "O", "H"]
    elements = [*[frozenset({1, 6, 8})] * 60, CARBON, frozenset({8}), frozenset({1})]
    for seed in range(30):
        side = dict(zip(families, split(families, elements, seed=seed).tolist(), strict=True))
        assert [side[name] for name in ("C", "O", "H")] == [0, 0, 0]
        assert sum(side[name] == 2 for name in compounds) == round(0.2 * 63)
        doped = split([*families, "C", "O"], [*elements, frozenset({6, 8}), frozenset({1, 8})], seed=seed)
        assert doped[-5:].tolist() == [0] * 5  # a defect or an adsorbate is of the crystal's family
    silicon = [f"silicon {k}" for k in range(20)]  # a system of one element: its families are divided
    assert {0, 1, 2} == set(split(silicon, [frozenset({14})] * 20).tolist())


def test_every_element_is_trained_on():
    rng = np.random.default_rng(5)
    families = [f"f{k}" for k in rng.integers(60, size=300)]
    elements = [frozenset(rng.integers(1, 90, size=2).tolist()) for _ in families]
    parts = split(families, elements, valid=0.3, test=0.4)
    trained = set().union(*(e for e, p in zip(elements, parts, strict=True) if p == 0))
    assert trained == set().union(*elements)


def test_few_families_change_sides_when_one_is_added(families):
    before = dict(zip(families, split(families).tolist(), strict=True))
    for k in range(20):
        more = [*families, f"new {k}"]
        after = dict(zip(more, split(more).tolist(), strict=True))
        assert sum(before[f] != after[f] for f in before) <= 4
