"""Table of measured values with one row per structure, in the order of the dataset, kept in one sealed file.

The table is a :class:`Statistics` made from arrays of measured values. This module does not measure or judge.
"""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np

from potstill.core.files import sealed
from potstill.core.types import MAX_ATOMIC_NUMBER, Array

VERSION = 8  # of the measurements: statistics of another version are collected again
TEXT = ("ids", "sources", "families", "formulas")


@dataclass(eq=False)
class Statistics:
    """One value or row per structure, in the order of the dataset.

    A value that does not apply to a structure is NaN: the volume of a molecule, the torque on a crystal, anything about a
    structure whose own numbers are not finite.

    Parameters
    ----------
    ids, sources, families, formulas
        (S,) text.
    atoms
        (S,) number of atoms.
    composition
        (S, 119) number of atoms by atomic number.
    scaled_distance, closest_pair
        (S,) smallest distance over the sum of covalent radii, and (S, 2) the atomic numbers of that pair.
    volume_per_atom, packing, vacuum, cell_ratio
        (S,) of structures that are periodic in three directions: Å^3; volume of the covalent spheres over that of the cell;
        Å, the widest layer without atoms; product of the lengths of the lattice vectors over the volume.
    hashes, force_hashes
        (S,) 16 bytes of hash of the atoms to 1e-4 Å, and of the forces; the latter empty where all are zero.
    fingerprints, fingerprint_ptr
        Invariant distance fingerprints in Å, one after another, and (S + 1,) where each starts.
    neighbors
        (S,) mean number of neighbors within 5 Å of an atom, periodic images included.
    pair_distances
        Shortest distances in Å of the pairs of elements of a structure, one structure after another: elements in order, each
        with itself and those after it; infinite beyond 5 Å.
    molecule, atom_pair
        (S,) bool: not periodic; two atoms of the source ``dimers`` or copies of them.
    carbon_deficit
        (S,) mean valence that the carbons of a molecule lack by the lengths of their bonds; NaN where a SMILES
        without unpaired electrons says how many hydrogens there are.
    overbonded
        (S,) atoms of a molecule with more bonds than their element has.
    missing_hydrogens, foreign_atoms, charge, pieces
        (S,) of molecules that state a SMILES: hydrogens fewer than it has, other atoms more or fewer, its net charge, and
        the pieces that bonds leave beyond those of the SMILES.
    energy_per_atom, largest_force, mean_force, pressure
        (S,) eV, eV/Å, eV/Å, eV/Å^3 (NaN without stress).
    net_force, net_torque
        (S,) length of the sum of the forces (eV/Å) and of their torques (eV, molecules only), both per atom.
    largest_stress, stress_asymmetry
        (S,) largest component, and largest difference across the diagonal, in eV/Å^3.
    coarse
        (S,) bool: 16 bits can hold every force.
    work_gap, work_bound
        (S,) eV per atom: what the energy difference to the nearest sibling lacks of the work of the mean force and stress on
        the way there, and the second-order work that bounds it; NaN without a sibling near enough.
    work, energy_change
        (S,) eV: that work, NaN between copies of one structure, and that energy change.
    sibling
        (S,) index of the nearest sibling, -1 for none.
    labelled
        Whether the table has the values of labels.
    """

    ids: list[str]
    sources: list[str]
    families: list[str]
    formulas: list[str]
    atoms: Array
    composition: Array
    scaled_distance: Array
    closest_pair: Array
    volume_per_atom: Array
    packing: Array
    vacuum: Array
    cell_ratio: Array
    hashes: Array
    force_hashes: Array
    fingerprints: Array
    fingerprint_ptr: Array
    neighbors: Array
    pair_distances: Array
    molecule: Array
    atom_pair: Array
    carbon_deficit: Array
    overbonded: Array
    missing_hydrogens: Array
    foreign_atoms: Array
    charge: Array
    pieces: Array
    energy_per_atom: Array
    largest_force: Array
    mean_force: Array
    pressure: Array
    net_force: Array
    net_torque: Array
    largest_stress: Array
    stress_asymmetry: Array
    coarse: Array
    work_gap: Array
    work_bound: Array
    work: Array
    energy_change: Array
    sibling: Array
    labelled: bool = True

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def elements(self) -> dict[str, Counter[int]]:
        """Count the atoms of each element by source: ``elements[source][atomic number]``."""
        return {
            name: Counter({int(z): int(n) for z, n in enumerate(self.composition[rows].sum(axis=0, dtype=np.int64)) if n})
            for name, rows in self._rows.items()
        }

    @property
    def element_counts(self) -> Counter[int]:
        """Count the atoms of each element over all sources."""
        total: Counter[int] = Counter()
        for counts in self.elements.values():
            total += counts
        return total

    def entropy_bits(self) -> float:
        """Return the Shannon entropy of the elements over atoms, in bits."""
        counts = np.array(list(self.element_counts.values()), float)
        share = counts / counts.sum()
        return float(-(share * np.log2(share)).sum()) + 0.0  # no negative zero for a single element

    def size_cv(self) -> float:
        """Return the coefficient of variation of the number of atoms per structure."""
        return float(self.atoms.std() / self.atoms.mean())

    def of_source(self, name: str) -> Array:
        """Return the indices of the structures of one source."""
        return self._rows.get(name, np.zeros(0, np.int64))

    def fingerprint(self, k: int) -> Array:
        """Return the invariant distances of one structure, in Å."""
        return np.asarray(self.fingerprints[self.fingerprint_ptr[k] : self.fingerprint_ptr[k + 1]])

    def shortest_distances(self) -> dict[tuple[int, int], float]:
        """Return the shortest distance in Å of each pair of elements, the lighter first; pairs beyond 5 Å are missing."""
        found: dict[tuple[int, int], float] = {}
        present = self.composition > 0
        kinds: dict[bytes, list[int]] = {}
        for k, row in enumerate(present):
            kinds.setdefault(row.tobytes(), []).append(k)
        ends = np.cumsum([count_of_pairs(count) for count in present.sum(axis=1).tolist()])
        for kind, rows in kinds.items():
            elements = np.frombuffer(kind, np.bool_).nonzero()[0]
            starts = ends[rows] - count_of_pairs(len(elements))
            first, second = np.triu_indices(len(elements))
            distances = self.pair_distances[starts[:, None] + np.arange(len(first))]
            shortest = np.where(np.isnan(distances), np.inf, distances).min(axis=0)
            for a, b, distance in zip(elements[first].tolist(), elements[second].tolist(), shortest.tolist(), strict=True):
                if np.isfinite(distance):
                    found[a, b] = min(distance, found.get((a, b), np.inf))
        return found

    @cached_property
    def _rows(self) -> dict[str, Array]:
        sources = np.array(self.sources, dtype=object)
        return {name: np.flatnonzero(sources == name) for name in dict.fromkeys(self.sources)}

    def save(self, path: Path, key: str) -> None:
        """Write the statistics to a sealed file with the key of the data that they were collected from."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values |= {name: np.array("\n".join(values[name]).encode()) for name in TEXT}
        with sealed(path) as temporary, temporary.open("wb") as file:
            np.savez(file, key=np.array(f"{VERSION} {key}"), **values)

    @classmethod
    def load(cls, path: Path, key: str) -> Statistics | None:
        """Return the statistics of a file; None if it is missing, damaged, or of another key or version."""
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                if str(file["key"]) != f"{VERSION} {key}":
                    return None
                values = {f.name: file[f.name] for f in fields(cls)}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None
        count = len(values["atoms"])
        texts = {name: values.pop(name).item().decode().split("\n") if count else [] for name in TEXT}
        labelled = bool(values.pop("labelled"))
        if any(len(rows) != count for rows in texts.values()):  # a line break within an id
            return None
        return cls(**texts, **values, labelled=labelled)


def count_of_pairs(elements: int) -> int:
    """Return the number of pairs of that many elements, including each element with itself."""
    return elements * (elements + 1) // 2


WIDTH = MAX_ATOMIC_NUMBER + 1
