"""Crystals: random symmetric crystals of random composition.

Takes the allowed elements and makes crystals by PyXtal (Fredericks, Parrish, Sayre and Zhu, Comput. Phys. Commun. 261,
107810 (2021)). It draws a composition, balanced by common oxidation states by default, a space group, and Wyckoff positions
that fit both.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core.elements import covalent_radii
from potstill.core.geometry import smallest_scaled_distance
from potstill.core.neighbors import structure_neighbors
from potstill.core.registry import borrow
from potstill.core.section import Range
from potstill.core.types import Array, Refused, Structure
from potstill.generate.compositions import Composition, draw_composition
from potstill.generate.elements import allowed
from potstill.generate.source import SourceOptions, propose_each

SPACE_GROUPS = (2, 230)
ATTEMPTS = 40
PUSH_STEPS = 30
PUSH_FRACTION = 0.3  # share of the overlap by which each atom of a pair moves


class Crystals(SourceOptions):
    """Random symmetric crystals (PyXtal), with charge-balanced compositions by default."""

    packages: ClassVar[tuple[tuple[str, str], ...]] = (("pyxtal", "crystals"),)

    source: Literal["crystals"] = "crystals"
    max_atoms: Annotated[int, Field(gt=0, description="largest number of atoms in a primitive cell")] = 16
    max_cations: Annotated[int, Field(ge=1, le=3, description="largest number of different cations in an ionic crystal")] = 2
    compositions: Annotated[
        tuple[Composition, ...],
        Field(
            min_length=1,
            description="kinds of compositions, drawn with equal probability; ionic: cations and an anion; "
            "balanced: any elements whose charges"
            "cancel; free: any elements, in any amounts",
        ),
    ] = ("ionic",)
    volume_factor: Annotated[
        Range, Field(description="range of the cell volume relative to PyXtal's estimate from atomic radii")
    ] = (1.0, 1.5)
    shortest_scaled_distance: Annotated[
        Range,
        Field(
            description="range of the shortest distance over the sum of covalent radii; atoms closer than the value "
            "drawn are pushed apart, then the cell grows"
        ),
    ] = (0.9, 1.1)
    max_expansion: Annotated[float, Field(ge=1, description="largest factor by which the edges of a cell grow")] = 1.25

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        borrow("pyxtal", "crystals", "the source 'crystals'")
        return propose_each(self.name, indices, seed, lambda _, rng: self._crystal(rng))

    def _crystal(self, rng: np.random.Generator) -> Structure | Refused:
        from pyxtal import pyxtal
        from pyxtal.symmetry import Group

        _remember_tolerances()
        known = allowed(self.elements)
        for _ in range(ATTEMPTS):
            kind = self.compositions[int(rng.integers(len(self.compositions)))]
            composition = draw_composition(known, self.max_cations, rng, kind)
            if composition is None:
                return Refused("no_composition", f"no {kind} composition of {', '.join(self.elements)}")
            symbols, amounts = composition
            largest = self.max_atoms // sum(amounts)
            if largest == 0:
                continue
            group = _group(Group, int(rng.integers(SPACE_GROUPS[0], SPACE_GROUPS[1] + 1)))
            centring = _lattice_points(group.symbol)
            units = int(rng.integers(1, largest + 1))
            counts = [n * units * centring for n in amounts]
            if not group.check_compatible(counts)[0]:
                continue
            crystal = pyxtal()
            crystal.from_random(
                3,
                group,
                list(symbols),
                counts,
                factor=float(rng.uniform(*self.volume_factor)),
                random_state=int(rng.integers(2**31 - 1)),
            )
            if crystal.valid:
                metadata = {"space_group": group.number, "formula_units": units, "composition": kind}
                primitive = Structure.from_ase(_primitive(crystal.to_ase()), generator_metadata=metadata)
                return self._loosen(primitive, float(rng.uniform(*self.shortest_scaled_distance)))
        return Refused("no_crystal", f"no crystal after {ATTEMPTS} compositions and space groups")

    def _loosen(self, crystal: Structure, wanted: float) -> Structure | Refused:
        """Push close atoms apart, then expand the cell, until the shortest scaled distance is the one wanted."""
        pushed = push_apart(crystal, wanted)
        scaled, _ = smallest_scaled_distance(pushed)
        factor = max(1.0, wanted / scaled)
        if factor > self.max_expansion:
            return Refused("too_close", f"atoms at {scaled:.2f} of their radii: the cell would grow by {factor:.2f}")
        return pushed.with_(positions=pushed.positions * factor, cell=pushed.cell * factor)


def push_apart(structure: Structure, wanted: float | Array, steps: int = PUSH_STEPS) -> Structure:
    """Move atoms that are closer than ``wanted`` times the sum of their covalent radii away from each other.

    ``wanted`` is one number, or an (n, n) array with one for each pair.
    Every such pair moves along its own line, so a symmetric crystal keeps its symmetry. Atoms whose position the symmetry
    fixes do not move.
    """
    radii = covalent_radii()[structure.atomic_numbers]
    factor = np.broadcast_to(wanted, (len(structure), len(structure)))
    for _ in range(steps):
        neighbors = structure_neighbors(structure, 2 * float(factor.max() * radii.max()))
        i, j = neighbors.edge_index
        overlap = factor[i, j] * (radii[i] + radii[j]) - neighbors.distance
        close = (overlap > 0) & (neighbors.distance > 0)
        if not close.any():
            break
        i, j = i[close], j[close]
        vector = structure.positions[j] + neighbors.edge_shift[close] @ structure.cell - structure.positions[i]
        push = PUSH_FRACTION * (overlap[close] / neighbors.distance[close])[:, None] * vector
        displacement = np.zeros_like(structure.positions)
        np.add.at(displacement, i, -push)
        structure = structure.with_(positions=structure.positions + displacement)
    return structure


def _remember_tolerances() -> None:
    """Make PyXtal build its default table of tolerances only once.

    PyXtal builds the same table, a loop over all pairs of elements, at every check of a distance. That took half of its
    time.
    """
    from pyxtal import operations

    if not hasattr(operations.Tol_matrix, "cache_info"):
        operations.Tol_matrix = lru_cache(operations.Tol_matrix)


@lru_cache(maxsize=256)
def _group(make: Any, number: int) -> Any:
    return make(number)


def _lattice_points(symbol: str) -> int:
    """Return the number of primitive cells per conventional cell, from the first letter of the space-group symbol."""
    return {"P": 1, "R": 3, "F": 4}.get(symbol[0], 2)


def _primitive(atoms: Any) -> Any:
    """Return the primitive cell (spglib), or the cell itself where spglib finds none."""
    import ase
    import spglib

    found = spglib.find_primitive((atoms.cell[:], atoms.get_scaled_positions(), atoms.numbers), symprec=1e-3)
    if found is None:
        return atoms
    cell, scaled, numbers = found
    return ase.Atoms(numbers=numbers, scaled_positions=scaled, cell=cell, pbc=True)
