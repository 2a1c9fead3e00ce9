"""Rare elements get their share, whatever the order of work."""

import numpy as np
import pytest

from potstill.core.types import Structure
from potstill.generate.balance import Balance

RNG = np.random.default_rng(0)
CANDIDATES = [
    Structure(RNG.choice([1, 6, 8, 14], size=8, p=[0.7, 0.2, 0.07, 0.03]), RNG.normal(size=(8, 3)), id=f"x-{k}", source="x")
    for k in range(2000)
]


def admit(share: float, wanted: int = 500) -> list[Structure]:
    balance = Balance(share, seed=3, source="x")
    taken = []
    for candidate in CANDIDATES:
        if len(taken) < wanted and balance.weigh(candidate) is None:
            balance.add(candidate)
            taken.append(candidate)
    return taken


def entropy(structures: list[Structure]) -> float:
    counts = np.unique(np.concatenate([s.atomic_numbers for s in structures]), return_counts=True)[1]
    return float(-(counts / counts.sum() * np.log2(counts / counts.sum())).sum())


def test_entropy_rises_with_the_share():
    found = [entropy(admit(share)) for share in (0.0, 0.5, 0.9)]
    assert found[1] > found[0] + 0.05
    assert found[2] > found[1] + 0.05


def test_nothing_is_turned_away_without_it():
    assert [s.id for s in admit(0.0)] == [f"x-{k}" for k in range(500)]


def test_the_same_every_time():
    assert [s.id for s in admit(0.5)] == [s.id for s in admit(0.5)]


def test_no_more_than_the_share_is_turned_away():
    balance = Balance(0.5, seed=1, source="x")
    refused = [balance.weigh(s) or balance.add(s) for s in CANDIDATES]
    share = sum(r is not None for r in refused) / len(CANDIDATES)
    assert 0.1 < share < 0.5


def test_a_refusal_says_how_common():
    balance = Balance(0.999, seed=1, source="x")
    for z in (1, 1, 1, 8):
        balance.add(Structure([z] * 4, RNG.normal(size=(4, 3))))
    refusal = balance.weigh(Structure([1, 1], RNG.normal(size=(2, 3)), id="h", source="x"))
    assert (refusal.reason, refusal.id, refusal.source, refusal.stage) == ("too_common", "h", "x", "generate")
    assert "bits an atom" in refusal.detail
    assert balance.weigh(Structure([26], RNG.normal(size=(1, 3)))) is None  # a new element is always welcome


@pytest.mark.parametrize("numbers", [[1], [1, 6]])
def test_the_first_comes_in(numbers):
    assert Balance(0.999, seed=1, source="x").weigh(Structure(numbers, RNG.normal(size=(len(numbers), 3)))) is None
