"""Sums over a range of structures that can be added up: one streaming pass, in as many processes as there are cores.

The input is a range of a dataset file, the output a :class:`Tally`. Memory holds one block and the tables, whatever the
size of the file. Numbers that are not finite are left out of every sum, and their structures are counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from potstill.core.neighbors import find_pairs
from potstill.core.types import MAX_ATOMIC_NUMBER, Array
from potstill.dataset.blocks import BLOCK_STRUCTURES
from potstill.dataset.read import Dataset

NEIGHBOR_CUTOFF_ANGSTROM = 5.0
FORCE_EDGES = 10.0 ** np.arange(-4.0, 3.01, 0.25)  # eV/Å; weaker and stronger forces count in the first and last bar
WIDTH = MAX_ATOMIC_NUMBER + 1
PAIRS_AT_ONCE = 250_000


@dataclass(frozen=True, slots=True)
class Moments:
    """Number, mean, sum of squared deviations and extremes of values, to be added up without loss of digits.

    The sum is that of Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances",
    Stanford STAN-CS-79-773 (1979).
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    smallest: float = np.inf
    largest: float = -np.inf

    @classmethod
    def of(cls, values: Array) -> Moments:
        """Return the moments of the finite values."""
        values = np.asarray(values, dtype=np.float64).ravel()
        values = values[np.isfinite(values)]
        if not values.size:
            return cls()
        mean = float(values.mean())
        return cls(values.size, mean, float(((values - mean) ** 2).sum()), float(values.min()), float(values.max()))

    def __add__(self, other: Moments) -> Moments:
        count = self.count + other.count
        if count == 0:
            return self
        gap, share = other.mean - self.mean, other.count / count
        return Moments(
            count,
            self.mean + gap * share,
            self.squares + other.squares + gap**2 * self.count * share,
            min(self.smallest, other.smallest),
            max(self.largest, other.largest),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Range:
    """Range of structures of a file from ``start`` to ``stop``, with the index of each one's source among ``sources``."""

    path: Path
    start: int
    stop: int
    source: Array
    sources: int


@dataclass(slots=True, eq=False)
class Tally:
    """Sums over structures.

    Parameters
    ----------
    elements
        (sources, 119) number of atoms by atomic number.
    sizes, neighbors
        Number of structures by atoms, and of atoms by neighbors within 5 Å.
    energy_rows
        (k, 120) triangular factor R of the rows (share of each element, energy per atom): least squares on R are those on
        all the structures, and the factor of two such factors on top of each other is that of both.
    shortest, shortest_in
        (119, 119) smallest distance in Å of each pair of elements, the lighter first, and the structure where it is.
    force_bars
        Number of forces between the edges of ``FORCE_EDGES``.
    not_finite
        Structures that hold a number which is not finite.
    """

    elements: Array
    sizes: Array = field(default_factory=lambda: np.zeros(1, np.int64))
    neighbors: Array = field(default_factory=lambda: np.zeros(1, np.int64))
    energy_rows: Array = field(default_factory=lambda: np.zeros((0, WIDTH + 1)))
    shortest: Array = field(default_factory=lambda: np.full((WIDTH, WIDTH), np.inf))
    shortest_in: Array = field(default_factory=lambda: np.full((WIDTH, WIDTH), -1))
    force_bars: Array = field(default_factory=lambda: np.zeros(len(FORCE_EDGES) - 1, np.int64))
    energy: Moments = Moments()
    force_component: Moments = Moments()
    force_norm: Moments = Moments()
    stress_component: Moments = Moments()
    pressure: Moments = Moments()
    not_finite: int = 0

    def __add__(self, other: Tally) -> Tally:
        closer = other.shortest < self.shortest
        special: dict[str, Any] = {
            "sizes": _sum_of_bars(self.sizes, other.sizes),
            "neighbors": _sum_of_bars(self.neighbors, other.neighbors),
            "energy_rows": _factor(self.energy_rows, other.energy_rows),
            "shortest": np.where(closer, other.shortest, self.shortest),
            "shortest_in": np.where(closer, other.shortest_in, self.shortest_in),
        }
        rest: dict[str, Any] = {
            f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.name not in special
        }
        return Tally(**special, **rest)


def tally(task: Range) -> Tally:
    """Read a range of structures once and return its sums."""
    dataset = Dataset(task.path)
    total = Tally(np.zeros((task.sources, WIDTH), np.int64))
    for start in range(task.start, task.stop, BLOCK_STRUCTURES):
        stop = min(start + BLOCK_STRUCTURES, task.stop)
        dataset.check(np.arange(start, stop))
        total += _block(dataset, start, stop, task.source[start - task.start : stop - task.start], task.sources)
    return total


def _block(dataset: Dataset, start: int, stop: int, source: Array, sources: int) -> Tally:
    ptr = dataset.ptr[start : stop + 1] - dataset.ptr[start]
    sizes = np.diff(ptr)
    atoms = slice(int(dataset.ptr[start]), int(dataset.ptr[stop]))
    numbers = dataset.column("atoms/atomic_numbers")[atoms]
    positions = dataset.column("atoms/positions")[atoms]
    cell = dataset.column("structures/cell")[start:stop]
    finite = np.isfinite(cell).all(axis=(1, 2)) & np.logical_and.reduceat(np.isfinite(positions).all(axis=1), ptr[:-1])
    cells = np.repeat(source, sizes) * WIDTH + numbers
    found = Tally(np.bincount(cells, minlength=sources * WIDTH).reshape(sources, WIDTH), sizes=np.bincount(sizes))
    pbc = dataset.column("structures/pbc")[start:stop]
    _tally_pairs(found, ptr, numbers, _pairs(ptr, positions, cell, pbc, np.flatnonzero(finite)))
    found.shortest_in += np.where(found.shortest_in >= 0, start, 0)
    if dataset.labelled:
        finite &= _tally_labels(found, dataset, start, stop, ptr, numbers)
    found.not_finite = int((~finite).sum())
    return found


def _tally_labels(found: Tally, dataset: Dataset, start: int, stop: int, ptr: Array, numbers: Array) -> Array:
    """Add the labels, and return (S,) bool, true for structures whose labels are all finite."""
    sizes = np.diff(ptr)
    energy = dataset.column("structures/energy")[start:stop] / sizes
    forces = dataset.column("atoms/forces")[int(dataset.ptr[start]) : int(dataset.ptr[stop])].astype(np.float64)
    stress = dataset.column("structures/stress")[start:stop].astype(np.float64)
    has_stress = dataset.column("structures/has_stress")[start:stop]

    structure = np.repeat(np.arange(len(sizes)), sizes)
    amounts = np.bincount(structure * WIDTH + numbers, minlength=len(sizes) * WIDTH).reshape(-1, WIDTH)
    rows = np.column_stack([amounts / sizes[:, None], energy])
    found.energy_rows = _factor(rows[np.isfinite(energy)])
    found.energy = Moments.of(energy)

    norms = np.linalg.norm(forces, axis=1)
    found.force_component, found.force_norm = Moments.of(forces), Moments.of(norms)
    inside = norms[np.isfinite(norms)].clip(FORCE_EDGES[0], FORCE_EDGES[-1])
    found.force_bars = np.histogram(inside, FORCE_EDGES)[0]

    found.stress_component = Moments.of(stress[has_stress])
    found.pressure = Moments.of(-np.trace(stress[has_stress], axis1=1, axis2=2) / 3)
    forces_finite = np.logical_and.reduceat(np.isfinite(norms), ptr[:-1])
    return np.isfinite(energy) & forces_finite & (np.isfinite(stress).all(axis=(1, 2)) | ~has_stress)


def _tally_pairs(found: Tally, ptr: Array, numbers: Array, groups: Iterator[tuple[list[int], Array, Array]]) -> None:
    """Add neighbors and shortest distances of groups of structures, as :func:`_pairs` yields them."""
    for indices, pairs, distance in groups:
        elements = np.sort(numbers.take(pairs), axis=1).astype(np.int64)
        key = elements[:, 0] * WIDTH + elements[:, 1]
        before = found.shortest.ravel().copy()
        shortest, holder = found.shortest.reshape(-1), found.shortest_in.reshape(-1)
        np.minimum.at(shortest, key, distance)
        at = np.flatnonzero((distance == shortest[key]) & (distance < before[key]))[::-1]  # the first one is written last
        holder[key[at]] = np.searchsorted(ptr, pairs[at, 0], side="right") - 1
        rows = np.concatenate([np.arange(ptr[k], ptr[k + 1]) for k in indices])
        count = np.bincount(pairs.ravel(), minlength=len(numbers))[rows]
        found.neighbors = _sum_of_bars(found.neighbors, np.bincount(count))


def _pairs(ptr: Array, positions: Array, cell: Array, pbc: Array, chosen: Array) -> Iterator[tuple[list[int], Array, Array]]:
    """Yield groups of the chosen structures with their (p, 2) pairs of rows and (p,) distances in Å."""
    indices: list[int] = []
    pairs: list[Array] = []
    distances: list[Array] = []
    waiting = 0
    for k in chosen.tolist():
        near, distance = find_pairs(positions[ptr[k] : ptr[k + 1]], cell[k], pbc[k], NEIGHBOR_CUTOFF_ANGSTROM)
        indices.append(k)
        pairs.append(near + ptr[k])
        distances.append(distance)
        waiting += len(distance)
        if waiting > PAIRS_AT_ONCE or k == chosen[-1]:
            yield indices, np.concatenate(pairs), np.concatenate(distances)
            indices, pairs, distances, waiting = [], [], [], 0


def _factor(*rows: Array) -> Array:
    return np.asarray(np.linalg.qr(np.concatenate(rows), mode="r"))


def _sum_of_bars(a: Array, b: Array) -> Array:
    total = np.zeros(max(len(a), len(b)), np.int64)
    total[: len(a)] += a
    total[: len(b)] += b
    return total
