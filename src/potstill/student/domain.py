"""Domain of a student: the distances and numbers of neighbors in its training data, and departures from them.

Takes the training records and returns a few numbers for ``config.json``. For a structure it returns the departures from the
training data. Structures with elements outside the training data are refused earlier. A structure inside the domain may
still be predicted badly; errors and the student's uncertainty measure that.
"""

from __future__ import annotations

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
    """

    closest_angstrom: Mapping[str, float]
    most_neighbors: int

    @classmethod
    def of(cls, records: RecordSource, cutoff_angstrom: float) -> Domain:
        """Measure the domain of training records."""
        closest = np.full((256, 256), np.inf)
        most = 0
        for start in range(0, len(records), AT_ONCE):
            part = records.gather(np.arange(start, min(start + AT_ONCE, len(records))))
            for k in range(len(part)):
                atoms = slice(part.ptr[k], part.ptr[k + 1])
                near = find_neighbors(part.positions[atoms], part.cell[k], part.pbc[k], cutoff_angstrom)
                if near.distance.size:
                    pairs = part.atomic_numbers[atoms][near.edge_index]
                    np.minimum.at(closest, (pairs[0], pairs[1]), near.distance)
                    most = max(most, int(np.bincount(near.edge_index[0]).max()))
        found = {_name(a, b): float(closest[a, b]) for a, b in np.argwhere(np.isfinite(closest)).tolist() if a <= b}
        return cls(found, most)

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
        numbers = [*dict(found.closest_angstrom).values(), found.most_neighbors]
        if not all(isinstance(x, int | float) and 0 <= x < np.inf for x in numbers):
            raise ValueError(f"expected distances and a number of neighbors, found {config['domain']}")
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of ``config.json``."""
        closest = {name: round(distance, 4) for name, distance in self.closest_angstrom.items()}
        return {"closest_angstrom": closest, "most_neighbors": self.most_neighbors}

    def foreign(self, structure: Structure, neighbors: Neighbors) -> list[str]:
        """Return one sentence for each departure of a structure from the domain; empty where there is none.

        Parameters
        ----------
        structure
            Structure of elements that the student supports.
        neighbors
            Neighbor list within the student's cutoff.
        """
        if not neighbors.distance.size:
            return []
        found = [*self._too_close(structure, neighbors)]
        count = int(np.bincount(neighbors.edge_index[0]).max())
        if count > CROWDED * self.most_neighbors:
            found.append(
                f"an atom has {count} neighbors within the cutoff, in the training data at most {self.most_neighbors}"
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


def _radii(kind: int) -> Array:
    return np.asarray(covalent_radii()[list(divmod(kind, 256))])


def _name(a: int, b: int) -> str:
    return "-".join(symbols_of([z])[0] for z in sorted((a, b)))
