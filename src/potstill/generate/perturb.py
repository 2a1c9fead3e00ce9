"""Perturb: strained and rattled copies of the structures of the sources before it.

Enters parents, leaves copies off equilibrium, which is what a force field is made for. A copy keeps its parent's family.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from potstill.generate.source import SourceOptions, propose_each
from potstill.types import Refused, Structure

INHERITED = ("smiles", "atom_pair")  # facts that the audit looks at, and that a displacement does not change


class Perturb(SourceOptions):
    """Copies with Gaussian displacements of the atoms and, where periodic, a strained cell."""

    source: Literal["perturb"] = "perturb"
    max_atoms: Annotated[int, Field(gt=0, description="largest structure")] = 500
    parents: Annotated[
        tuple[str, ...], Field(description="names of the sources to copy from; all that stand before it where empty")
    ] = ()
    rattle_angstrom: Annotated[
        tuple[float, float], Field(description="range of the standard deviation of each coordinate")
    ] = (0.03, 0.15)
    max_strain: Annotated[
        float, Field(ge=0, lt=0.5, description="largest entry of the symmetric strain tensor, drawn uniformly")
    ] = 0.05

    @property
    def derived(self) -> bool:
        return True

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        eligible = [k for k, parent in enumerate(parents) if not self.parents or parent.source in self.parents]
        order = np.random.default_rng(seed).permutation(eligible)

        def make(index: int, rng: np.random.Generator) -> Structure | Refused:
            if len(order) == 0:
                return Refused("no_parent", "the sources before it gave nothing to copy")
            parent = parents[order[index % len(order)]]
            return self.refuse(parent, parent.id) or self._copy(parent, rng)

        return propose_each(self.name, indices, seed, make)

    def _copy(self, parent: Structure, rng: np.random.Generator) -> Structure:
        sigma = float(rng.uniform(*self.rattle_angstrom))
        strain = np.zeros((3, 3))
        if parent.pbc.all():
            entries = rng.uniform(-self.max_strain, self.max_strain, size=(3, 3))
            strain = (entries + entries.T) / 2
        deformation = np.eye(3) + strain
        displaced = parent.positions @ deformation + rng.normal(0.0, sigma, size=parent.positions.shape)
        metadata = {"parent": parent.id, "rattle_angstrom": sigma, "strain": strain.tolist()}
        metadata |= {key: value for key, value in parent.generator_metadata.items() if key in INHERITED}
        return parent.with_(
            positions=displaced, cell=parent.cell @ deformation, generator_metadata=metadata, family=parent.family
        )
