"""Alloys: metals on the sites of fcc, bcc and hcp, ordered or at random.

Makes the ordered structures L1_2, L1_0 and B2, and supercells of solid solutions of two or more metals of similar size. The
lattice constant follows Vegard's law: the edge of the volume of an atom is the average over the metals in the cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from potstill.core.types import Refused, Structure
from potstill.generate.elements import PACKINGS, metal_volume, metals
from potstill.generate.source import SourceOptions, propose_each

if TYPE_CHECKING:
    import ase

ORDERED = ("L1_2", "L1_0", "B2")
TETRAGONALITY = (0.92, 1.04)  # c/a of L1_0, in terms of the cubic cell
HEXAGONALITY = (1.57, 1.68)  # c/a of hcp
MAX_REPEATS = 5
SMALLEST_SUPERCELL = 4  # number of atoms


class Alloys(SourceOptions):
    """Ordered alloys (L1_2, L1_0, B2) and random solid solutions on fcc, bcc and hcp."""

    source: Literal["alloys"] = "alloys"
    max_metals: Annotated[int, Field(ge=2, description="largest number of different metals in an alloy")] = 4
    ordered_fraction: Annotated[
        float, Field(ge=0, le=1, description="share of ordered structures among the alloys, 0 to 1")
    ] = 0.3
    max_size_mismatch: Annotated[
        float,
        Field(gt=0, lt=1, description="largest relative difference of the atomic diameters of two metals in one alloy"),
    ] = 0.2
    max_lattice_strain: Annotated[
        float,
        Field(
            ge=0, lt=0.3, description="largest relative deviation of the lattice constant from Vegard's law, drawn uniformly"
        ),
    ] = 0.05

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        return propose_each(self.name, indices, seed, lambda _, rng: self._alloy(rng))

    def _alloy(self, rng: np.random.Generator) -> Structure | Refused:
        ordered = rng.random() < self.ordered_fraction
        kind = str(rng.choice(ORDERED if ordered else PACKINGS))
        lattice = _ordered(kind, rng) if ordered else _supercell(kind, self.max_atoms, rng)
        sites = int(lattice.numbers.max()) if ordered else min(len(lattice), self.max_metals)
        chosen = draw_metals(self.elements, 2 if ordered else int(rng.integers(2, sites + 1)), self.max_size_mismatch, rng)
        if len(chosen) < 2:
            return Refused("no_metals", f"no two metals of similar size among {', '.join(self.elements)}")
        if len(lattice) > self.max_atoms:
            return Refused("too_many_atoms", f"{kind} has {len(lattice)} atoms > {self.max_atoms}")
        symbols = [chosen[k - 1] for k in lattice.numbers] if ordered else _mixture(chosen, len(lattice), rng)
        edge = vegard_edge(symbols) * (1 + float(rng.uniform(-self.max_lattice_strain, self.max_lattice_strain)))
        lattice.set_chemical_symbols(symbols)
        lattice.set_cell(lattice.cell * edge, scale_atoms=True)
        metadata = {"structure_type": kind, "ordered": bool(ordered), "atom_edge_angstrom": edge}
        return Structure.from_ase(lattice, generator_metadata=metadata)


def draw_metals(elements: Sequence[str], wanted: int, max_size_mismatch: float, rng: np.random.Generator) -> list[str]:
    """Draw different metals, each of a size similar to all before it; fewer than wanted where there are no more."""
    pool = rng.permutation(metals(elements)).tolist()
    chosen: list[str] = []
    for symbol in pool:
        sizes = [metal_volume(s) ** (1 / 3) for s in (*chosen, symbol)]
        if max(sizes) <= (1 + max_size_mismatch) * min(sizes):
            chosen.append(symbol)
        if len(chosen) == wanted:
            break
    return chosen


def vegard_edge(symbols: Sequence[str]) -> float:
    """Return the average of the cube roots of the atomic volumes, in Å."""
    return float(np.mean([metal_volume(symbol) ** (1 / 3) for symbol in symbols]))


def _ordered(kind: str, rng: np.random.Generator) -> ase.Atoms:
    """Return an ordered structure of unit volume per atom; atomic numbers 1 and 2 mean the first and second metal."""
    import ase

    if kind == "L1_2":
        fractions, numbers, shape = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], [1, 2, 2, 2], [1.0, 1.0, 1.0]
    elif kind == "B2":
        fractions, numbers, shape = [[0, 0, 0], [0.5, 0.5, 0.5]], [1, 2], [1.0, 1.0, 1.0]
    else:
        half = 0.5**0.5
        fractions, numbers, shape = [[0, 0, 0], [0.5, 0.5, 0.5]], [1, 2], [half, half, float(rng.uniform(*TETRAGONALITY))]
    return _unit_volume(ase.Atoms(numbers=numbers, scaled_positions=fractions, cell=shape, pbc=True))


def _supercell(packing: str, max_atoms: int, rng: np.random.Generator) -> ase.Atoms:
    """Repeat a primitive cell of unit volume per atom at random."""
    from ase.build import bulk

    primitive = bulk("X", packing, a=1.0, c=float(rng.uniform(*HEXAGONALITY)) if packing == "hcp" else None)
    repeats = np.array(
        [(i, j, k) for i in range(1, MAX_REPEATS) for j in range(1, MAX_REPEATS) for k in range(1, MAX_REPEATS)]
    )
    sizes = len(primitive) * repeats.prod(axis=1)
    fitting = repeats[(sizes <= max_atoms) & (sizes >= SMALLEST_SUPERCELL)]
    return _unit_volume(primitive * tuple(fitting[int(rng.integers(len(fitting)))]) if len(fitting) else primitive)


def _unit_volume(lattice: ase.Atoms) -> ase.Atoms:
    lattice.set_cell(lattice.cell * (len(lattice) / lattice.get_volume()) ** (1 / 3), scale_atoms=True)
    return lattice


def _mixture(symbols: Sequence[str], sites: int, rng: np.random.Generator) -> list[str]:
    """Draw metals for the sites: each metal at least once, the other sites by shares that are uniformly random."""
    shares = rng.dirichlet(np.ones(len(symbols)))
    rest = rng.choice(symbols, size=max(0, sites - len(symbols)), p=shares).tolist()
    return [str(s) for s in rng.permutation([*symbols, *rest])[:sites]]
