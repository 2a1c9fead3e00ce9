"""Compositions: the elements of a random structure, and the number of atoms of each.

Takes the allowed elements and returns a formula unit. ``ionic`` means cations and one anion. ``balanced`` means any elements
whose charges cancel (borates, nitrides with oxygen, hydroxides, borohydrides, ...). ``free`` means any elements at all
(intermetallics, borides, hydrides, pure elements). Charges are pymatgen's common oxidation states.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from math import gcd
from typing import Literal

import numpy as np

from potstill.generate.elements import NO_METALS, NOBLE

Composition = Literal["ionic", "balanced", "free"]
Formula = tuple[tuple[str, ...], tuple[int, ...]]

DRAWS = 200
MOST_OF_ONE = 6  # largest number of atoms of one element in a balanced formula unit
MOST_IN_ALL = 16
SIMPLEST = 4  # number of balanced amounts to choose from
SIZES = (0.1, 0.4, 0.35, 0.15)  # probabilities of one to four elements in a free composition
MOST_FREE = 4  # largest number of atoms of one element in a free formula unit


def draw_composition(
    elements: Sequence[str], max_cations: int, rng: np.random.Generator, kind: Composition = "ionic"
) -> Formula | None:
    """Draw a formula unit of a kind.

    Parameters
    ----------
    elements
        Allowed chemical symbols.
    max_cations
        Largest number of different cations where ``kind`` is ``ionic``.
    rng
        Random numbers.
    kind
        ``ionic``, ``balanced`` or ``free``; the module's docstring explains them.

    Returns
    -------
    symbols, amounts
        Chemical symbols, the most electronegative last where charges balance, and their numbers of atoms. None where the
        elements allow no composition of this kind.
    """
    if kind == "ionic":
        return _ionic(elements, max_cations, rng)
    metals, others = _metals_and_others(tuple(elements))
    return _balanced(metals, others, rng) if kind == "balanced" else _free(metals, others, rng)


def _ionic(elements: Sequence[str], max_cations: int, rng: np.random.Generator) -> Formula | None:
    """Draw some cations (metals, metalloids) and an anion, in the smallest amounts whose charges cancel.

    One cation is as probable as all larger numbers of cations in sum.
    """
    cations, anions = _oxidation_states(tuple(elements))
    if not cations or not anions:
        return None
    wanted = 1 if rng.random() < 0.5 else int(rng.integers(1, max_cations + 1))
    n_cations = min(wanted, len({symbol for symbol, _ in cations}))
    chosen: dict[str, int] = {}
    while len(chosen) < n_cations:
        symbol, state = cations[int(rng.integers(len(cations)))]
        chosen.setdefault(symbol, state)
    options = [a for a in anions if a[0] not in chosen]
    if not options:
        return None
    anion, anion_state = options[int(rng.integers(len(options)))]
    amounts = [int(rng.integers(1, 3)) if n_cations > 1 else 1 for _ in chosen]
    charge = sum(n * state for n, state in zip(amounts, chosen.values(), strict=True))
    scale = abs(anion_state) // gcd(charge, abs(anion_state))
    numbers = [n * scale for n in amounts] + [charge * scale // abs(anion_state)]
    divisor = gcd(*numbers)
    return (*chosen, anion), tuple(n // divisor for n in numbers)


def _balanced(metals: Sequence[str], others: Sequence[str], rng: np.random.Generator) -> Formula | None:
    """Draw up to two metals and one to three other elements; the more electronegative ones take up the electrons."""
    for _ in range(DRAWS):
        n_others = int(rng.integers(1, 4))
        n_metals = int(rng.integers(1 if n_others == 1 else 0, 3))
        if n_others > len(others) or n_metals > len(metals):
            continue
        drawn = [*rng.permutation(others)[:n_others].tolist(), *rng.permutation(metals)[:n_metals].tolist()]
        symbols = sorted(drawn, key=_electronegativity)
        if not all(_common_charges(s) for s in symbols):
            continue
        charges = [_common_charges(s)[int(rng.integers(len(_common_charges(s))))] for s in symbols]
        falling = all((a > 0) >= (b > 0) for a, b in pairwise(charges))
        if not falling or charges[0] < 0 or charges[-1] > 0:
            continue
        amounts = balancing_amounts(tuple(charges))
        if amounts:
            return tuple(symbols), amounts[int(rng.integers(len(amounts)))]
    return None


def _free(metals: Sequence[str], others: Sequence[str], rng: np.random.Generator) -> Formula | None:
    """Draw one to four elements in any amounts; half of the draws contain a non-metal, however few are allowed."""
    known = [*metals, *others]
    if not known:
        return None
    wanted = min(1 + int(rng.choice(len(SIZES), p=SIZES)), len(known))
    first = others if len(others) and rng.random() < 0.5 else known
    start = str(rng.choice(first))
    rest = [s for s in rng.permutation(known).tolist() if s != start][: wanted - 1]
    amounts = [int(n) for n in rng.integers(1, MOST_FREE + 1, size=wanted)]
    divisor = gcd(*amounts)
    return (start, *rest), tuple(n // divisor for n in amounts)


@lru_cache(maxsize=4096)
def balancing_amounts(charges: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return the simplest amounts of atoms of these charges that cancel, without a common divisor.

    >>> balancing_amounts((1, 5, -2))[:2]  # as in LiNO3 and Li3NO4
    ((1, 1, 3), (3, 1, 4))
    """
    grid = np.indices((MOST_OF_ONE,) * len(charges)).reshape(len(charges), -1).T + 1
    fitting = grid[(grid @ np.array(charges) == 0) & (grid.sum(axis=1) <= MOST_IN_ALL)]
    simple = [tuple(int(n) for n in row) for row in fitting if np.gcd.reduce(row) == 1]
    return tuple(sorted(simple, key=lambda row: (sum(row), row))[:SIMPLEST])


def _metals_and_others(elements: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return the metals, and all other elements that form compounds."""
    return [s for s in elements if s not in NO_METALS], [s for s in elements if s in NO_METALS - NOBLE]


@lru_cache(maxsize=128)
def _electronegativity(symbol: str) -> float:
    from pymatgen.core import Element

    return float(Element(symbol).X)


@lru_cache(maxsize=128)
def _common_charges(symbol: str) -> tuple[int, ...]:
    from pymatgen.core import Element

    return tuple(int(q) for q in Element(symbol).common_oxidation_states if q)


@lru_cache(maxsize=8)
def _oxidation_states(elements: tuple[str, ...]) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    from pymatgen.core import Element

    cations, anions = [], []
    for symbol in elements:
        element = Element(symbol)
        states = [int(state) for state in element.common_oxidation_states]
        if element.is_metal or element.is_metalloid:
            cations += [(symbol, state) for state in states if state > 0]
        else:
            anions += [(symbol, state) for state in states if state < 0]
    return cations, anions
