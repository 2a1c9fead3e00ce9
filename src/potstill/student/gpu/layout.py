"""Layout of structures in a bucket: atoms by element, tiles of one element each, cells and their reciprocals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from potstill.core.types import Array, Structure
from potstill.student.gpu.buffers import Bucket, Inputs

SMALLEST, FINE_FROM = 32, 65_536


def rounded_up(count: int, smallest: int = SMALLEST) -> int:
    """Return the size of the bucket for ``count`` items: powers of two, then steps of an eighth of one.

    >>> [rounded_up(n) for n in (1, 33, 216, 65_537)]
    [32, 64, 256, 73728]
    """
    power = max(smallest, 1 << max(count - 1, 0).bit_length())
    if power <= FINE_FROM:
        return power
    step = power // 16
    return -(-count // step) * step


def reciprocals(lattice: Array) -> Array:
    """Return (S, 3, 3) such that ``r @ reciprocal`` are coordinates along the periodic axes, 0 along others.

    Parameters
    ----------
    lattice
        (S, 3, 3) Å, rows; zero where not periodic.
    """
    gram = lattice @ lattice.transpose(0, 2, 1)
    missing = (lattice == 0.0).all(axis=2)
    gram[:, [0, 1, 2], [0, 1, 2]] += missing
    return np.asarray(lattice.transpose(0, 2, 1) @ np.linalg.inv(gram))


def lattices(structures: Sequence[Structure]) -> Array:
    """Return the (S, 3, 3) cells of structures in Å, zero rows where not periodic."""
    return np.where(np.stack([s.pbc for s in structures])[:, :, None], np.stack([s.cell for s in structures]), 0.0)


class Layout:
    """Places of the atoms of some structures, for any positions.

    Parameters
    ----------
    atomic_numbers
        (N,) atomic numbers.
    sizes
        (S,) numbers of atoms of the structures.
    species_of
        (119,) index of each element among those of the student; -1 for others.
    """

    def __init__(self, atomic_numbers: Array, sizes: Array, species_of: Array) -> None:
        species = species_of[atomic_numbers]
        self.order = np.argsort(species, kind="stable").astype(np.int32)
        self.place = np.empty_like(self.order)
        self.place[self.order] = np.arange(len(species), dtype=np.int32)
        self.species = species[self.order].astype(np.int32)
        self.ptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        self.structure = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)[self.order]
        self.n_elements = int(np.count_nonzero(np.diff(self.species)) + 1)

    @property
    def atoms(self) -> int:
        """Return the number of atoms."""
        return len(self.order)

    @property
    def structures(self) -> int:
        """Return the number of structures."""
        return len(self.ptr) - 1

    def write(self, inputs: Inputs, bucket: Bucket) -> None:
        """Fill all of a bucket's input but positions and cells."""
        first, count, species = self.tiles(bucket.rows)
        for name, values in (
            *(("order", self.order), ("place", self.place), ("structure", self.structure), ("species", self.species)),
            *(("ptr", self.ptr), ("tile_first", first), ("tile_count", count), ("tile_species", species)),
            ("sizes", np.array([self.atoms, self.structures, len(first), 0], np.int32)),
        ):
            target = getattr(inputs, name).numpy()
            target[: len(values)] = values
            if name == "tile_count":
                target[len(values) :] = 0

    def tiles(self, rows: int) -> tuple[Array, Array, Array]:
        """Return first row, number of rows and element of each tile."""
        starts = np.concatenate([[0], np.flatnonzero(np.diff(self.species)) + 1])
        ends = np.append(starts[1:], len(self.species))
        per_element = -(-(ends - starts) // rows)
        begin = np.repeat(starts, per_element)
        within = np.arange(len(begin)) - np.repeat(np.cumsum(per_element) - per_element, per_element)
        first = begin + rows * within
        count = np.minimum(rows, np.repeat(ends, per_element) - first)
        return first.astype(np.int32), count.astype(np.int32), self.species[first]
