"""Statistics of a dataset in one pass: what the audit judges and the report draws.

Enters a :class:`~potstill.dataset.Dataset`, leaves a :class:`Statistics`; nothing here judges.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from potstill.dataset import Dataset
from potstill.generate.geometry import content_hash, distance_fingerprint, smallest_scaled_distance
from potstill.types import Array


@dataclass(slots=True)
class Statistics:
    """One value or row per structure, in the order of the dataset.

    Parameters
    ----------
    ids, sources, families, formulas
        (S,) text.
    atoms
        (S,) number of atoms.
    elements
        Element by source: ``elements[source][atomic number]`` counts atoms.
    volume_per_atom
        (S,) Å^3, NaN where not periodic.
    scaled_distance
        (S,) smallest distance over the sum of covalent radii.
    hashes
        (S,) content hashes.
    fingerprints
        (S,) invariant distance fingerprints, each of its own length.
    energy_per_atom, largest_force, mean_force, pressure
        (S,) eV, eV/Å, eV/Å, eV/Å^3 (NaN without stress); empty where not labelled.
    """

    ids: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    families: list[str] = field(default_factory=list)
    formulas: list[str] = field(default_factory=list)
    atoms: list[int] = field(default_factory=list)
    elements: dict[str, Counter[int]] = field(default_factory=dict)
    volume_per_atom: list[float] = field(default_factory=list)
    scaled_distance: list[float] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    fingerprints: list[Array] = field(default_factory=list)
    energy_per_atom: list[float] = field(default_factory=list)
    largest_force: list[float] = field(default_factory=list)
    mean_force: list[float] = field(default_factory=list)
    pressure: list[float] = field(default_factory=list)

    @property
    def element_counts(self) -> Counter[int]:
        """Atoms of each element over all sources."""
        total: Counter[int] = Counter()
        for counts in self.elements.values():
            total += counts
        return total

    def entropy_bits(self) -> float:
        """Shannon entropy of the elements over atoms, in bits."""
        counts = np.array(list(self.element_counts.values()), float)
        share = counts / counts.sum()
        return float(-(share * np.log2(share)).sum()) + 0.0  # no negative zero for a single element

    def size_cv(self) -> float:
        """Coefficient of variation of the number of atoms per structure."""
        sizes = np.array(self.atoms, float)
        return float(sizes.std() / sizes.mean())

    def of_source(self, name: str) -> Array:
        """Indices of one source's structures."""
        return np.flatnonzero(np.array(self.sources) == name)


def collect(dataset: Dataset) -> Statistics:
    """Read every structure once."""
    stats = Statistics()
    for s in dataset:
        stats.ids.append(s.id)
        stats.sources.append(s.source)
        stats.families.append(s.family)
        stats.formulas.append(s.formula)
        stats.atoms.append(len(s))
        stats.elements.setdefault(s.source, Counter()).update(s.atomic_numbers.tolist())
        stats.volume_per_atom.append(s.volume / len(s) if s.pbc.all() else float("nan"))
        stats.scaled_distance.append(smallest_scaled_distance(s)[0])
        stats.hashes.append(content_hash(s))
        stats.fingerprints.append(distance_fingerprint(s))
        if s.labels is not None:
            norms = np.linalg.norm(s.labels.forces, axis=1)
            stats.energy_per_atom.append(s.labels.energy / len(s))
            stats.largest_force.append(float(norms.max()))
            stats.mean_force.append(float(norms.mean()))
            stress = s.labels.stress
            stats.pressure.append(float("nan") if stress is None else -float(np.trace(stress)) / 3)
    return stats
