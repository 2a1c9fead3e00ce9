"""Defects: supercells of the crystals of earlier sources, with atoms missing, added or exchanged.

Takes parents that are periodic in three directions and makes vacancies, interstitials in the largest void (by Voronoi's
construction), antisites and substitutions. A defect keeps the family of its parent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from potstill.core.elements import atomic_numbers_of, covalent_radii, symbols_of
from potstill.core.types import Array, Refused, Structure
from potstill.generate.crystals import push_apart
from potstill.generate.elements import allowed
from potstill.generate.parents import DerivedOptions
from potstill.generate.source import propose_each

Kind = Literal["vacancy", "interstitial", "antisite", "substitution"]
SMALLEST_SUPERCELL = 8  # number of atoms; in a smaller cell a defect makes another crystal
SMALL_ATOMS = ("H", "Li", "B", "C", "N", "O", "F")  # interstitials beside the crystal's own elements
MAX_RADIUS_RATIO = 1.5
CONTACT = 0.8  # over the sum of covalent radii; the neighbors of a defect are pushed to this distance


class Defects(DerivedOptions):
    """Vacancies, interstitials, antisites and substitutions in supercells of earlier crystals."""

    source: Literal["defects"] = "defects"
    max_atoms: Annotated[int, Field(gt=0, description="largest number of atoms in a supercell, interstitials included")] = 72
    kinds: Annotated[
        tuple[Kind, ...],
        Field(
            min_length=1, description="kinds of defects, drawn with equal probability among those that the crystal can have"
        ),
    ] = ("vacancy", "interstitial", "antisite", "substitution")
    max_defects: Annotated[
        int, Field(ge=1, description="largest number of vacancies, exchanged pairs or substitutions in a supercell")
    ] = 2

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        crystals = self.order(parents, seed, crystals=True)

        def make(index: int, rng: np.random.Generator) -> Structure | Refused:
            if not len(crystals):
                return Refused("no_parent", "the earlier sources made no crystal")
            parent = parents[crystals[index % len(crystals)]]
            return self.refuse(parent, parent.id) or self._defect(parent, rng)

        return propose_each(self.name, indices, seed, make)

    def _defect(self, parent: Structure, rng: np.random.Generator) -> Structure | Refused:
        repeats = _repeats(parent, int(rng.integers(min(SMALLEST_SUPERCELL, self.max_atoms), self.max_atoms + 1)))
        supercell = Structure.from_ase(parent.to_ase().repeat(repeats))
        if len(supercell) < SMALLEST_SUPERCELL:
            return Refused(
                "cell_too_small", f"{parent.id}: {len(supercell)} atoms in a supercell of at most {self.max_atoms}"
            )
        possible = [
            kind
            for kind in self.kinds
            if (kind != "antisite" or len(set(parent.atomic_numbers.tolist())) > 1)
            and (kind != "interstitial" or len(supercell) < self.max_atoms)
        ]
        if not possible:
            return Refused("no_defect", f"{parent.id} can have none of {', '.join(self.kinds)}")
        kind = possible[int(rng.integers(len(possible)))]
        n = int(rng.integers(1, min(self.max_defects, len(supercell) // SMALLEST_SUPERCELL) + 1))
        changed: Structure | Refused
        match kind:
            case "vacancy":
                changed = _vacancies(supercell, n, rng)
            case "interstitial":
                changed = self._interstitial(parent, supercell, repeats, rng)
            case "antisite":
                changed = _antisites(supercell, n, rng)
            case "substitution":
                changed = self._substitutions(supercell, n, rng)
        if isinstance(changed, Refused):
            return changed
        metadata = {"parent": parent.id, "defect": kind, "repeats": list(repeats), **changed.generator_metadata}
        return changed.with_(generator_metadata=metadata, family=parent.family)

    def _interstitial(
        self, parent: Structure, supercell: Structure, repeats: Sequence[int], rng: np.random.Generator
    ) -> Structure:
        void, distance = largest_void(parent)
        place = void + np.array([int(rng.integers(n)) for n in repeats]) @ parent.cell
        own = symbols_of(parent.atomic_numbers)
        small = [s for s in SMALL_ATOMS if not self.elements or s in self.elements]
        pool = own if not small or rng.random() < 0.5 else small
        symbol = pool[int(rng.integers(len(pool)))]
        numbers = np.append(supercell.atomic_numbers, atomic_numbers_of([symbol])[0])
        metadata = {"element": symbol, "void_angstrom": distance}
        filled = supercell.with_(
            atomic_numbers=numbers, positions=np.vstack([supercell.positions, place]), generator_metadata=metadata
        )
        return push_apart(filled, CONTACT)

    def _substitutions(self, supercell: Structure, n: int, rng: np.random.Generator) -> Structure | Refused:
        """Replace one element at some sites by another of similar size."""
        radii = covalent_radii()
        sites = _sites_of_one_element(supercell, n, rng)
        old = int(supercell.atomic_numbers[sites[0]])
        similar = [
            z
            for z in atomic_numbers_of(allowed(self.elements))
            if z != old and max(radii[z], radii[old]) <= MAX_RADIUS_RATIO * min(radii[z], radii[old])
        ]
        if not similar:
            return Refused("no_substitute", f"no allowed element has the size of {symbols_of([old])[0]}")
        new = similar[int(rng.integers(len(similar)))]
        numbers = np.array(supercell.atomic_numbers)
        numbers[sites] = new
        (old_symbol,), (new_symbol,) = symbols_of([old]), symbols_of([new])
        metadata = {"substitution": {old_symbol: new_symbol}, "sites": len(sites)}
        return push_apart(supercell.with_(atomic_numbers=numbers, generator_metadata=metadata), CONTACT)


def largest_void(crystal: Structure) -> tuple[Array, float]:
    """Return the point of a crystal that is farthest from every atom.

    The point is a corner of Voronoi cells, where four or more atoms are equally far.

    Returns
    -------
    position, distance
        Position (3,) in Å inside the cell, and distance to the nearest atoms in Å.
    """
    from scipy.spatial import KDTree, Voronoi

    cell, inverse = crystal.cell, np.linalg.inv(crystal.cell)
    heights = 1 / np.linalg.norm(inverse, axis=0)
    reach = (
        float(np.linalg.norm(np.abs(cell).sum(axis=0))) / 2
    )  # no point is farther than this from the nearest image of an atom
    span = np.maximum(2, np.ceil(reach / heights).astype(int) + 1)
    shifts = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in span], indexing="ij"), axis=-1).reshape(-1, 3)
    home = (crystal.positions @ inverse) % 1.0 @ cell
    images = (home[None] + (shifts @ cell)[:, None]).reshape(-1, 3)
    images = images[np.linalg.norm(images - cell.sum(axis=0) / 2, axis=1) < 2 * reach + 1e-6]
    corners = Voronoi(images).vertices
    fractions = corners @ inverse
    corners = corners[((fractions > -1e-6) & (fractions < 1 - 1e-6)).all(axis=1)]
    distance, _ = KDTree(images).query(corners)
    # equal corners differ in the last digits, so take the first in a fixed order
    best = np.flatnonzero(distance > distance.max() - 1e-6)
    at = int(best[np.lexsort(np.round(corners[best], 4).T)[0]])
    return corners[at], float(distance[at])


def _repeats(parent: Structure, atoms: int) -> tuple[int, int, int]:
    """Repeat the shortest edge until the next repeat would give more than ``atoms`` atoms."""
    repeats = np.ones(3, int)
    lengths = np.linalg.norm(parent.cell, axis=1)
    while True:
        longer = repeats + np.eye(3, dtype=int)[int(np.argmin(repeats * lengths))]
        if len(parent) * int(longer.prod()) > atoms:
            return int(repeats[0]), int(repeats[1]), int(repeats[2])
        repeats = longer


def _sites_of_one_element(supercell: Structure, n: int, rng: np.random.Generator) -> Array:
    element = rng.choice(np.unique(supercell.atomic_numbers))
    sites = np.flatnonzero(supercell.atomic_numbers == element)
    return np.sort(rng.choice(sites, size=min(n, len(sites)), replace=False))


def _vacancies(supercell: Structure, n: int, rng: np.random.Generator) -> Structure:
    sites = np.sort(rng.choice(len(supercell), size=n, replace=False))
    metadata: dict[str, Any] = {"removed": [symbols_of([int(z)])[0] for z in supercell.atomic_numbers[sites]]}
    return supercell.with_(
        atomic_numbers=np.delete(supercell.atomic_numbers, sites),
        positions=np.delete(supercell.positions, sites, axis=0),
        generator_metadata=metadata,
    )


def _antisites(supercell: Structure, n: int, rng: np.random.Generator) -> Structure:
    """Exchange atoms of two elements, pair by pair."""
    first, second = rng.permutation(np.unique(supercell.atomic_numbers))[:2]
    one, other = (rng.permutation(np.flatnonzero(supercell.atomic_numbers == z)) for z in (first, second))
    pairs = min(n, len(one), len(other))
    numbers = np.array(supercell.atomic_numbers)
    numbers[one[:pairs]], numbers[other[:pairs]] = second, first
    metadata = {"exchanged": symbols_of([int(first), int(second)]), "pairs": pairs}
    return push_apart(supercell.with_(atomic_numbers=numbers, generator_metadata=metadata), CONTACT)
