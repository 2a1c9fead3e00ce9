"""Split by family into structures for training, for early stopping, and for testing."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from potstill.core.types import Array


def split_by_family(
    families: Sequence[str],
    elements: Sequence[frozenset[int]],
    *,
    valid_fraction: float,
    test_fraction: float,
    seed: int,
) -> Array:
    """Assign whole families to train (0), valid (1) or test (2).

    Families are taken in an order that depends on their name and the seed alone, so that a family keeps its side when
    others are added. A family that holds the only training examples of an element, or of a pure element, stays in train: a
    student must be trained on every element that it predicts, and no compound tells it how atoms of one kind bind.

    Parameters
    ----------
    families
        (S,) family of each structure.
    elements
        (S,) atomic numbers that occur in each structure.
    valid_fraction, test_fraction
        Shares of the families, 0 allowed.
    seed
        Changes the order.

    Returns
    -------
    Array
        (S,) uint8.
    """
    held: dict[str, set[tuple[int, bool]]] = {}
    for family, numbers in zip(families, elements, strict=True):
        held.setdefault(family, set()).update(_kinds(numbers))
    order = sorted(held, key=lambda family: digest_of(family, seed))
    part: Mapping[str, int] = _assign(order, held, valid_fraction, test_fraction)
    return np.array([part[family] for family in families], dtype=np.uint8)


def digest_of(family: str, seed: int) -> bytes:
    """Return the digest by which families are taken in order, uniform over all digests."""
    return hashlib.sha256(f"{seed}/{family}".encode()).digest()


def _assign(
    order: Sequence[str], held: Mapping[str, set[tuple[int, bool]]], valid_fraction: float, test_fraction: float
) -> dict[str, int]:
    remaining = Counter(kind for kinds in held.values() for kind in kinds)  # families of each kind that may be trained on
    wanted = {2: round(test_fraction * len(order)), 1: round(valid_fraction * len(order))}
    part = dict.fromkeys(order, 0)
    for side in (2, 1):
        for family in order:
            if wanted[side] == 0:
                break
            if part[family] == 0 and all(remaining[kind] > 1 for kind in held[family]):
                part[family] = side
                wanted[side] -= 1
                remaining.subtract(held[family])
    return part


def _kinds(numbers: frozenset[int]) -> set[tuple[int, bool]]:
    """Return the elements of a structure, and for a structure of one element that it is pure."""
    return {(z, pure) for z in numbers for pure in ((False, True) if len(numbers) == 1 else (False,))}
