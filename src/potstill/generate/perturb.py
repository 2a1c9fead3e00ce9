"""Perturb: strained and rattled copies of the structures of earlier sources.

Takes parents and makes copies off equilibrium. A copy keeps its parent's family.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from potstill.core.types import Refused, Structure
from potstill.generate.distort import StrainKind, draw_strain, monte_carlo_rattle
from potstill.generate.parents import NO_PARENT, DerivedOptions, child_of
from potstill.generate.source import propose_each


class Perturb(DerivedOptions):
    """Copies with displaced atoms and, where periodic, a strained cell."""

    source: Literal["perturb"] = "perturb"
    max_atoms: Annotated[int, Field(gt=0, description="largest structure")] = 500
    rattle: Annotated[
        Literal["gaussian", "monte_carlo"],
        Field(
            description="kind of displacement; gaussian: each coordinate by itself; monte_carlo: the same, without "
            "steps below the floor"
        ),
    ] = "gaussian"
    rattle_angstrom: Annotated[
        tuple[float, float], Field(description="range of the standard deviation of each coordinate, in Å")
    ] = (0.03, 0.15)
    floor_scaled_distance: Annotated[
        float,
        Field(gt=0, description="floor of monte_carlo: smallest distance of two atoms over the sum of their covalent radii"),
    ] = 0.85
    strain: Annotated[
        StrainKind,
        Field(
            description="kind of strain; symmetric: all entries of the tensor; shear: those off the diagonal; "
            "volume: one for three axes"
        ),
    ] = "symmetric"
    max_strain: Annotated[
        float,
        Field(ge=0, lt=0.5, description="largest entry of the symmetric strain tensor, dimensionless, drawn uniformly"),
    ] = 0.05

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        order = self.order(parents, seed)

        def make(index: int, rng: np.random.Generator) -> Structure | Refused:
            if len(order) == 0:
                return NO_PARENT
            parent = parents[int(order[index % len(order)])]
            return self.refuse(parent, parent.id) or self._copy(parent, rng)

        return propose_each(self.name, indices, seed, make)

    def _copy(self, parent: Structure, rng: np.random.Generator) -> Structure:
        sigma = float(rng.uniform(*self.rattle_angstrom))
        strain = draw_strain(self.strain, self.max_strain, rng) if parent.pbc.all() else np.zeros((3, 3))
        metadata: dict[str, Any] = {"rattle_angstrom": sigma, "strain": strain.tolist()}
        deformation = np.eye(3) + strain
        strained = parent.with_(positions=parent.positions @ deformation, cell=parent.cell @ deformation)
        if self.rattle == "monte_carlo":
            positions = monte_carlo_rattle(strained, sigma, self.floor_scaled_distance, rng)
            metadata["floor_scaled_distance"] = self.floor_scaled_distance
        else:
            positions = strained.positions + rng.normal(0.0, sigma, size=parent.positions.shape)
        return child_of(parent, positions, strained.cell, metadata)
