"""Polyynes: hydrogen-capped carbon chains with alternating single and triple bonds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from potstill.core.types import Refused, Structure
from potstill.generate.source import SourceOptions, propose_each

SINGLE, TRIPLE, HYDROGEN = 1.37, 1.21, 1.06  # Å, bond lengths C-C, C#C and C-H of butadiyne


class Polyynes(SourceOptions):
    """Linear chains H-(C#C)n-H whose atoms are displaced at random."""

    source: Literal["polyynes"] = "polyynes"
    max_triple_bonds: Annotated[int, Field(ge=1, le=20, description="largest number of triple bonds")] = 6
    rattle_angstrom: Annotated[float, Field(ge=0, description="standard deviation of each coordinate in Å")] = 0.03

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        """Return one chain or one refusal for each index."""
        return propose_each(self.name, indices, seed, self._chain)

    def _chain(self, index: int, rng: np.random.Generator) -> Structure | Refused:
        bonds = int(rng.integers(1, self.max_triple_bonds + 1))
        lengths = [HYDROGEN, *([TRIPLE, SINGLE] * bonds)[:-1], HYDROGEN]
        x = np.cumsum([0.0, *lengths])
        positions = np.stack([x, np.zeros_like(x), np.zeros_like(x)], axis=1)
        chain = Structure(
            atomic_numbers=np.array([1, *[6] * (2 * bonds), 1]),
            positions=positions + rng.normal(scale=self.rattle_angstrom, size=positions.shape),
            cell=np.zeros((3, 3)),
            pbc=np.zeros(3, dtype=bool),
            id=f"{self.name}-{index:06d}",
            source=self.name,
            family=f"polyyne-{bonds}",
            generator_metadata={"triple_bonds": bonds},
        )
        return self.refuse(chain) or chain
