"""Domain of a student: the distances and numbers of neighbors in its training data, and departures from them.

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

from potstill.core.elements import covalent_radii, symbols_of
from potstill.core.neighbors import Neighbors, find_neighbors
from potstill.core.types import Array, Structure
from potstill.dataset.records import RecordSource

AT_ONCE = 512  # number of structures
CLOSER = 0.9  # over the closest distance in the data
CROWDED = 1.3  # over the largest number of neighbors in the data
SPARSE = 0.8  # over the smallest number: atoms of surfaces, clusters and gases beside data of a bulk
BONDED = 1.3  # over the sum of covalent radii: a closer pair should be in the data


@dataclass(frozen=True, slots=True)
class Domain:
    """Distances and numbers of neighbors in the training data.

    Parameters
    ----------
    closest_angstrom
        Smallest distance in Å of each pair of elements, such as ``"C-H"``, with distances within the cutoff.
    most_neighbors
        Largest number of neighbors of an atom within the cutoff.
    fewest_neighbors
        Smallest such number; 0 for a student of an earlier version, which does not state it.
    """

    closest_angstrom: Mapping[str, float]
    most_neighbors: int
    fewest_neighbors: int = 0

    @classmethod
    def of(cls, records: RecordSource, cutoff_angstrom: float) -> Domain:
        """Measure the domain of training records."""
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
        return cls(found, most, int(fewest) if math.isfinite(fewest) else 0)

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
        found = cls(**config["domain"])
        numbers = [*dict(found.closest_angstrom).values(), found.most_neighbors, found.fewest_neighbors]
        if not all(isinstance(x, int | float) and 0 <= x < np.inf for x in numbers):
            raise ValueError(f"expected distances and a number of neighbors, found {config['domain']}")
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of ``config.json``."""
        closest = {name: round(distance, 4) for name, distance in self.closest_angstrom.items()}
        counts = {"most_neighbors": self.most_neighbors, "fewest_neighbors": self.fewest_neighbors}
        return {"closest_angstrom": closest, **counts}

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
        return found

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


def _counts(neighbors: Neighbors, atoms: int) -> Array:
    """Return the number of neighbors of each of N atoms, (N,)."""
    return np.asarray(np.bincount(neighbors.edge_index[0], minlength=atoms))


def _radii(kind: int) -> Array:
    return np.asarray(covalent_radii()[list(divmod(kind, 256))])


def _name(a: int, b: int) -> str:
    return "-".join(symbols_of([z])[0] for z in sorted((a, b)))
