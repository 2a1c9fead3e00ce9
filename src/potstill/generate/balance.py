"""Balance of elements: refuses some of the candidates that would make a source's most common elements more common.

Takes structures in the order of their indices and returns refusals. It raises the element entropy of a set. Only the seed
and the order decide, so the result does not depend on the number of workers or on restarts.
"""

from __future__ import annotations

import numpy as np

from potstill.core.types import MAX_ATOMIC_NUMBER, Refused, Structure
from potstill.generate.source import random_generator


class Balance:
    """Elements of the structures that one source has given so far.

    Adding a structure raises the Shannon entropy H = -Σ p log2 p of the elements over atoms, to first order, when the mean
    of -log2 p over its atoms is above H. A structure below H is refused with a fixed probability.

    Parameters
    ----------
    share
        Probability of refusing a structure below the mean; 0 refuses nothing.
    seed, source
        Seed and source name of the random numbers.
    """

    def __init__(self, share: float, seed: int, source: str) -> None:
        self._share = share
        self._rng = random_generator(seed, f"{source} balance", 0)
        self._atoms = np.zeros(MAX_ATOMIC_NUMBER + 1)

    def weigh(self, structure: Structure) -> Refused | None:
        """Return None where the structure is accepted, else its refusal; draw one random number in either case."""
        drawn = self._rng.random()
        if self._share == 0 or not self._atoms.any():
            return None
        p = (self._atoms + 1.0) / (self._atoms.sum() + np.count_nonzero(self._atoms) + 1.0)  # a new element also has p > 0
        present = self._atoms > 0
        entropy = float(-(p[present] * np.log2(p[present])).sum())
        rarity = float(-np.log2(p[structure.atomic_numbers]).mean())
        if rarity >= entropy or drawn >= self._share:
            return None
        why = f"{structure.formula}: {rarity:.2f} bits an atom, {entropy:.2f} on average so far"
        return Refused("too_common", why, id=structure.id, source=structure.source, stage="generate")

    def add(self, structure: Structure) -> None:
        """Count the atoms of an accepted structure."""
        np.add.at(self._atoms, structure.atomic_numbers, 1.0)
