"""Dimers: two atoms at any distance from near to far, and two molecules at contact.

Makes pairs of atoms of all allowed elements, which sample broken bonds and short distances. It also makes pairs of the
closed-shell G2 molecules that ASE ships, turned at random. The family of two molecules is the composition of the larger one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from potstill.core.elements import atomic_numbers_of, covalent_radii
from potstill.core.geometry import random_rotation
from potstill.core.section import Range
from potstill.core.types import Array, Refused, Structure
from potstill.generate.benchmark import closed_shell_molecules
from potstill.generate.elements import allowed
from potstill.generate.source import SourceOptions, propose_each

ATTEMPTS = 30
UNSATURATED = ("CO", "CS")  # carbon with three bonds: the audit's check of hydrogens by bond lengths does not hold for them


class Dimers(SourceOptions):
    """Pairs of atoms of all elements, and pairs of small molecules."""

    source: Literal["dimers"] = "dimers"
    kinds: Annotated[
        tuple[Literal["atoms", "molecules"], ...], Field(min_length=1, description="kinds of pairs, made in turn")
    ] = ("atoms", "molecules")
    scaled_distance: Annotated[
        Range, Field(description="range of the distance of two atoms over the sum of their covalent radii")
    ] = (0.7, 2.5)
    scaled_contact: Annotated[
        Range,
        Field(description="range of the shortest distance of two molecules over the sum of van der Waals radii"),
    ] = (0.7, 1.3)

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        pairs = list(combinations_with_replacement(allowed(self.elements), 2))
        order = np.random.default_rng(seed).permutation(len(pairs))

        def make(index: int, rng: np.random.Generator) -> Structure | Refused:
            turn, kind = divmod(index, len(self.kinds))
            if self.kinds[kind] == "molecules":
                return self._molecules(rng)
            return self._atoms(pairs[order[turn % len(pairs)]], rng)

        return propose_each(self.name, indices, seed, make)

    def _atoms(self, symbols: tuple[str, str], rng: np.random.Generator) -> Structure | Refused:
        refusal = self.refuse_composition(symbols, 2, "".join(symbols))
        if refusal is not None:
            return refusal
        numbers = np.array(atomic_numbers_of(symbols))
        distance = float(rng.uniform(*self.scaled_distance)) * float(covalent_radii()[numbers].sum())
        metadata = {"atom_pair": list(symbols), "distance_angstrom": distance}
        return Structure(numbers, np.array([[0.0, 0.0, 0.0], [0.0, 0.0, distance]]), generator_metadata=metadata)

    def _molecules(self, rng: np.random.Generator) -> Structure | Refused:
        known = [m for m in closed_shell_molecules() if self.refuse(m) is None and m.formula not in UNSATURATED]
        refusal = Refused("no_molecule", f"no small molecule of {', '.join(self.elements)}")
        for _ in range(ATTEMPTS if known else 0):
            first, second = (known[int(k)] for k in rng.integers(len(known), size=2))
            numbers = np.concatenate([first.atomic_numbers, second.atomic_numbers])
            names = [str(m.generator_metadata["title"]) for m in (first, second)]
            if len(numbers) > self.max_atoms:
                refusal = Refused("too_many_atoms", f"{names[0]} and {names[1]}: {len(numbers)} atoms > {self.max_atoms}")
                continue
            turned = (second.positions - second.positions.mean(axis=0)) @ random_rotation(rng).T
            fixed = first.positions - first.positions.mean(axis=0)
            scaled = float(rng.uniform(*self.scaled_contact))
            shift = _contact(fixed, first.atomic_numbers, turned, second.atomic_numbers, scaled, rng)
            larger = max((first, second), key=lambda m: (len(m), m.formula))
            return Structure(
                numbers,
                np.vstack([fixed, turned + shift]),
                family=larger.formula,
                generator_metadata={"molecules": names, "scaled_contact": scaled},
            )
        return refusal


def _contact(
    fixed: Array, fixed_numbers: Array, moved: Array, moved_numbers: Array, scaled: float, rng: np.random.Generator
) -> Array:
    """Return the shift along a random direction that brings the closest atoms to ``scaled`` times the sum of their radii."""
    from ase.data.vdw_alvarez import vdw_radii

    wanted = scaled * (vdw_radii[fixed_numbers][:, None] + vdw_radii[moved_numbers][None])
    delta = moved[None] - fixed[:, None]
    # aim one atom at another, so that the two molecules meet
    aim = delta[int(rng.integers(len(fixed))), int(rng.integers(len(moved)))]
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    offset = -aim  # in this position the two atoms coincide
    along = (delta + offset) @ direction
    squared = along**2 - ((delta + offset) ** 2).sum(axis=-1) + wanted**2
    touching = squared > 0
    return np.asarray(offset + direction * float((np.sqrt(squared[touching]) - along[touching]).max()))
