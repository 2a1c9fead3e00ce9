"""Melts: atoms at random positions in a periodic box, ions of charge-balanced composition by default.

Makes cubic or slightly oblique cells with a whole number of formula units at random places. Ions are pushed apart until none
are closer than a share of their radii. Anions keep a larger distance from each other than from cations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core.elements import atomic_numbers_of, covalent_radii
from potstill.core.geometry import smallest_scaled_distance
from potstill.core.registry import borrow
from potstill.core.section import Range
from potstill.core.types import Refused, Structure
from potstill.generate.compositions import Composition, draw_composition
from potstill.generate.crystals import push_apart
from potstill.generate.elements import allowed
from potstill.generate.source import SourceOptions, propose_each

ATTEMPTS = 40
SMALLEST_BOX = 8  # smallest number of atoms in a box
PUSH_STEPS = 100
ANION_FACTOR = 1.7  # on the distance of two anions, because covalent radii are those of a bond
SHAPE = 0.15  # standard deviation of the edges and angles, relative to a cube


class Melts(SourceOptions):
    """Random liquids and glasses, ionic by default: random places, no overlap."""

    packages: ClassVar[tuple[tuple[str, str], ...]] = (("pymatgen", "crystals"),)

    source: Literal["melts"] = "melts"
    max_atoms: Annotated[int, Field(gt=0, description="largest cell")] = 64
    max_cations: Annotated[int, Field(ge=1, le=3, description="largest number of different cations in an ionic melt")] = 3
    compositions: Annotated[
        tuple[Composition, ...],
        Field(
            min_length=1,
            description="kinds of compositions, drawn with equal probability; ionic: cations and an anion; "
            "balanced: any elements whose charges"
            "cancel; free: any elements, in any amounts",
        ),
    ] = ("ionic",)
    packing_fraction: Annotated[
        Range, Field(description="range of the share of the cell that spheres of covalent radii fill")
    ] = (0.3, 0.6)
    shortest_scaled_distance: Annotated[
        Range,
        Field(
            description="range of the shortest distance over the sum of covalent radii; ions closer than the value "
            "drawn are pushed apart"
        ),
    ] = (0.85, 1.05)

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        borrow("pymatgen", "crystals", "the source 'melts'")
        return propose_each(self.name, indices, seed, lambda _, rng: self._melt(rng))

    def _melt(self, rng: np.random.Generator) -> Structure | Refused:
        known = allowed(self.elements)
        for _ in range(ATTEMPTS):
            kind = self.compositions[int(rng.integers(len(self.compositions)))]
            composition = draw_composition(known, self.max_cations, rng, kind)
            if composition is None:
                return Refused("no_composition", f"no {kind} composition of {', '.join(self.elements)}")
            symbols, amounts = composition
            largest = self.max_atoms // sum(amounts)
            if largest > 0:
                smallest = min(largest, -(-SMALLEST_BOX // sum(amounts)))
                return self._pack(symbols, amounts, int(rng.integers(smallest, largest + 1)), kind, rng)
        return Refused("too_many_atoms", f"{ATTEMPTS} formula units had more than {self.max_atoms} atoms")

    def _pack(
        self, symbols: Sequence[str], amounts: Sequence[int], units: int, kind: Composition, rng: np.random.Generator
    ) -> Structure | Refused:
        numbers = np.repeat(atomic_numbers_of(symbols), [n * units for n in amounts])
        spheres = 4 / 3 * np.pi * float((covalent_radii()[numbers] ** 3).sum())
        volume = spheres / float(rng.uniform(*self.packing_fraction))
        shape = np.eye(3) + np.tril(rng.normal(0.0, SHAPE, size=(3, 3)).clip(-2 * SHAPE, 2 * SHAPE))
        cell = shape * (volume / abs(np.linalg.det(shape))) ** (1 / 3)
        metadata = {"ions": dict(zip(symbols, amounts, strict=True)), "formula_units": units, "composition": kind}
        box = Structure(numbers, rng.random((len(numbers), 3)) @ cell, cell, np.ones(3, bool), generator_metadata=metadata)
        wanted = float(rng.uniform(*self.shortest_scaled_distance))
        anion = (numbers == numbers[-1]) & (kind != "free")  # the last element of a composition with charges
        apart = np.where(anion[:, None] & anion[None], ANION_FACTOR, 1.0) * wanted
        pushed = push_apart(box, apart, PUSH_STEPS)
        scaled, _ = smallest_scaled_distance(pushed)
        if scaled < self.shortest_scaled_distance[0] - 0.1:
            return Refused("too_close", f"ions at {scaled:.2f} of their radii after {PUSH_STEPS} steps")
        return pushed
