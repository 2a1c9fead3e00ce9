"""Split by family into structures for training, for early stopping, and for testing."""

from __future__ import annotations

import hashlib
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
    others are added. A family that holds the only training examples of an element stays in train: a student must
    be trained on every element that it predicts.

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
    members: dict[str, set[int]] = {}
    for family, numbers in zip(families, elements, strict=True):
        members.setdefault(family, set()).update(numbers)
    order = sorted(members, key=lambda family: hashlib.sha256(f"{seed}/{family}".encode()).digest())
    part: Mapping[str, int] = _assign(order, members, valid_fraction, test_fraction)
    return np.array([part[family] for family in families], dtype=np.uint8)


def _assign(
    order: Sequence[str], members: Mapping[str, set[int]], valid_fraction: float, test_fraction: float
) -> dict[str, int]:
    remaining: dict[int, int] = {}  # families that hold each element and may still be trained on
    for numbers in members.values():
        for z in numbers:
            remaining[z] = remaining.get(z, 0) + 1
    wanted = {2: round(test_fraction * len(order)), 1: round(valid_fraction * len(order))}
    part = dict.fromkeys(order, 0)
    for side in (2, 1):
        for family in order:
            if wanted[side] == 0:
                break
            if part[family] == 0 and all(remaining[z] > 1 for z in members[family]):
                part[family] = side
                wanted[side] -= 1
                for z in members[family]:
                    remaining[z] -= 1
    return part
