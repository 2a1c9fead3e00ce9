"""Domain of a student: distances, numbers of neighbors and compositions in its training data, and departures from them.

Takes the training records and returns a few numbers for ``config.json``. For a structure it returns the departures from the
training data. Structures with elements outside the training data are refused earlier. A structure inside the domain may
still be predicted badly; errors and the student's uncertainty measure that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from ase.formula import Formula

from potstill.core.elements import covalent_radii, symbols_of
from potstill.core.neighbors import Neighbors, find_neighbors
from potstill.core.types import MAX_ATOMIC_NUMBER, Array, Structure, hill_formula
from potstill.dataset.records import RecordSource

AT_ONCE = 512  # number of structures
CLOSER = 0.9  # over the closest distance in the data
CROWDED = 1.3  # over the largest number of neighbors in the data
SPARSE = 0.8  # over the smallest number: atoms of surfaces, clusters and gases beside data of a bulk
SAME_COMPOSITION = 1e-6  # of the share of an element
BONDED = 1.3  # over the sum of covalent radii: a closer pair should be in the data


@dataclass(frozen=True, slots=True)
class Domain:
    """Distances, numbers of neighbors and compositions in the training data.

    Parameters
    ----------
    closest_angstrom
        Smallest distance in Å of each pair of elements, such as ``"C-H"``, with distances within the cutoff.
    most_neighbors
        Largest number of neighbors of an atom within the cutoff.
    fewest_neighbors
        Smallest such number; 0 for a student of an earlier version, which does not state it.
    compositions
        Formulas of independent compositions where the data do not determine an energy for each element: energies of
        other compositions have an arbitrary zero. Empty where they do, and for a student of an earlier version.
    """

    closest_angstrom: Mapping[str, float]
    most_neighbors: int
    fewest_neighbors: int = 0
    compositions: tuple[str, ...] = ()

    @classmethod
    def of(cls, records: RecordSource, cutoff_angstrom: float, *, any_composition: bool = False) -> Domain:
        """Measure the domain of training records.

        Parameters
        ----------
        records
            Training records.
        cutoff_angstrom
            Cutoff of the student in Å.
        any_composition
            Whether the energies of the elements are known from elsewhere, such as a start or local energies.
        """
        closest = np.full((256, 256), np.inf)
        most, fewest = 0, math.inf
        for start in range(0, len(records), AT_ONCE):
            part = records.gather(np.arange(start, min(start + AT_ONCE, len(records))))
            for k in range(len(part)):
                atoms = slice(part.ptr[k], part.ptr[k + 1])
                near = find_neighbors(part.positions[atoms], part.cell[k], part.pbc[k], cutoff_angstrom)
                counts = _counts(near, int(part.ptr[k + 1] - part.ptr[k]))
                most, fewest = max(most, int(counts.max())), min(fewest, int(counts.min()))
                if near.distance.size:
                    pairs = part.atomic_numbers[atoms][near.edge_index]
                    np.minimum.at(closest, (pairs[0], pairs[1]), near.distance)
        found = {_name(a, b): float(closest[a, b]) for a, b in np.argwhere(np.isfinite(closest)).tolist() if a <= b}
        independent = () if any_composition else independent_compositions(records)
        return cls(found, most, int(fewest) if math.isfinite(fewest) else 0, independent)

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Domain | None:
        """Return the domain that a student's ``config.json`` states; None where it states none.

        Raises
        ------
        ValueError, TypeError
            If the entry is no domain.
        """
        if "domain" not in config:
            return None
        found = cls(**{**config["domain"], "compositions": tuple(config["domain"].get("compositions", ()))})
        numbers = [*dict(found.closest_angstrom).values(), found.most_neighbors, found.fewest_neighbors]
        if not all(isinstance(x, int | float) and 0 <= x < np.inf for x in numbers):
            raise ValueError(f"expected distances and a number of neighbors, found {config['domain']}")
        for formula in found.compositions:
            amounts_of(formula)
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of ``config.json``."""
        closest = {name: round(distance, 4) for name, distance in self.closest_angstrom.items()}
        counts = {"most_neighbors": self.most_neighbors, "fewest_neighbors": self.fewest_neighbors}
        return {"closest_angstrom": closest, **counts, "compositions": list(self.compositions)}

    def foreign(self, structure: Structure, neighbors: Neighbors) -> list[str]:
        """Return one sentence for each departure of a structure from the domain; empty where there is none.

        Parameters
        ----------
        structure
            Structure of elements that the student supports.
        neighbors
            Neighbor list within the student's cutoff.
        """
        found = self._too_close(structure, neighbors) if neighbors.distance.size else []
        counts = _counts(neighbors, len(structure))
        most, fewest = int(counts.max(initial=0)), int(counts.min(initial=self.most_neighbors))
        if most > CROWDED * self.most_neighbors:
            found.append(
                f"an atom has {most} neighbors within the cutoff, in the training data at most {self.most_neighbors}"
            )
        if fewest < SPARSE * self.fewest_neighbors:
            found.append(
                f"an atom has {fewest} neighbors within the cutoff, in the training data at least {self.fewest_neighbors}"
            )
        return found + self._other_composition(structure)

    def _other_composition(self, structure: Structure) -> list[str]:
        """Return a sentence where the data leave the zero of the energies of this composition open."""
        if not self.compositions:
            return []
        known = np.array([amounts_of(formula) for formula in self.compositions])
        amounts = np.bincount(structure.atomic_numbers, minlength=known.shape[1])
        if _beyond(known, amounts / amounts.sum()) <= SAME_COMPOSITION:
            return []
        known_ones = ", ".join(self.compositions)
        why = "energies of different compositions cannot be compared"
        return [f"composition {structure.formula}, and the training data have {known_ones} alone: {why}"]

    def _too_close(self, structure: Structure, neighbors: Neighbors) -> list[str]:
        numbers = structure.atomic_numbers.astype(np.int64)
        a, b = np.sort(numbers[neighbors.edge_index], axis=0)
        kinds, index = np.unique(a * 256 + b, return_inverse=True)
        nearest = np.full(len(kinds), np.inf)
        np.minimum.at(nearest, index, neighbors.distance)
        found = []
        for kind, distance in zip(kinds.tolist(), nearest.tolist(), strict=True):
            name, known = _name(*divmod(kind, 256)), self.closest_angstrom.get(_name(*divmod(kind, 256)))
            if known is None and distance < BONDED * float(_radii(kind).sum()):
                found.append(f"{name} at {distance:.2f} Å, a pair that the training data do not contain")
            elif known is not None and distance < CLOSER * known:
                found.append(f"{name} at {distance:.2f} Å, in the training data {known:.2f} Å or more")
        return found


def independent_compositions(records: RecordSource) -> tuple[str, ...]:
    """Return formulas of linearly independent compositions, in the order of the records.

    None are returned if there are as many as elements, which then have an energy each.
    """
    from potstill.stats.references import compositions  # of no use to a script that loads a student

    elements, amounts, _ = compositions(records)
    shares, first = np.unique((amounts / amounts.sum(axis=1, keepdims=True)).round(9), axis=0, return_index=True)
    independent = int(np.linalg.matrix_rank(shares, tol=SAME_COMPOSITION))
    if independent == len(elements):
        return ()
    rows: list[Array] = []
    for row in amounts[np.sort(first)]:
        if not rows or _beyond(np.array(rows), row / row.sum()) > SAME_COMPOSITION:
            rows.append(row)
        if len(rows) == independent:
            break
    numbers = [np.repeat(elements, row.astype(int)) for row in rows]
    return tuple(hill_formula(z, reduced=True) for z in numbers)


def amounts_of(formula: str) -> Array:
    """Return the (119,) number of atoms of each element in a formula, by atomic number."""
    found = np.zeros(MAX_ATOMIC_NUMBER + 1)
    for symbol, count in Formula(formula).count().items():
        found[atomic_numbers[symbol]] = count
    return found


def _beyond(known: Array, shares: Array) -> float:
    """Return how far (Z,) shares are from every combination of (k, Z) known compositions."""
    coefficients = np.linalg.lstsq(known.T, shares, rcond=None)[0]
    return float(np.abs(known.T @ coefficients - shares).max())


def _counts(neighbors: Neighbors, atoms: int) -> Array:
    """Return the number of neighbors of each of N atoms, (N,)."""
    return np.asarray(np.bincount(neighbors.edge_index[0], minlength=atoms))


def _radii(kind: int) -> Array:
    return np.asarray(covalent_radii()[list(divmod(kind, 256))])


def _name(a: int, b: int) -> str:
    return "-".join(symbols_of([z])[0] for z in sorted((a, b)))
