"""Neighbour lists, from positions and cell to directed pairs; one place for the whole project.

The pair search is vesin's, which is right for cells smaller than the cutoff and for any mix of periodic axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import vesin

from potstill.types import Array, Structure


@dataclass(frozen=True, slots=True, eq=False)
class Neighbors:
    """Directed pairs within a cutoff, sorted by receiver.

    Parameters
    ----------
    edge_index
        (2, e) int64, receiver i and sender j; every pair appears in both directions.
    edge_shift
        (e, 3) integers S: ``r = positions[j] + S @ cell - positions[i]``.
    distance
        (e,) lengths of r in Å.
    """

    edge_index: Array
    edge_shift: Array
    distance: Array


def find_neighbors(positions: Array, cell: Array, pbc: Array, cutoff_angstrom: float) -> Neighbors:
    """All pairs closer than a cutoff, periodic images included, an atom with itself excluded.

    Parameters
    ----------
    positions
        (n, 3) Å.
    cell
        (3, 3) Å, rows; rows of axes that are not periodic are ignored.
    pbc
        (3,) bool.
    cutoff_angstrom
        Radius of the search in Å.

    Returns
    -------
    Neighbors
        Empty arrays where nothing lies within the cutoff.
    """
    box = _box(cell, pbc)
    search = vesin.NeighborList(cutoff=cutoff_angstrom, full_list=True)
    i, j, shift, distance = search.compute(points=positions, box=box, periodic=np.ascontiguousarray(pbc), quantities="ijSd")
    order = np.argsort(i, kind="stable")
    index = np.stack([i[order], j[order]]).astype(np.int64)
    return Neighbors(index, shift[order].astype(np.int64), distance[order])


def structure_neighbors(structure: Structure, cutoff_angstrom: float) -> Neighbors:
    """:func:`find_neighbors` of a :class:`~potstill.types.Structure`."""
    return find_neighbors(structure.positions, structure.cell, structure.pbc, cutoff_angstrom)


def _box(cell: Array, pbc: Array) -> Array:
    """Cell whose unused rows are replaced by unit vectors at right angles to the used ones, so that it has an inverse."""
    box = np.array(cell, dtype=np.float64)
    if pbc.all():
        return box
    box[~pbc] = 0.0
    # the left null space of the periodic rows, an orthonormal basis of what they do not span
    _, _, rows = np.linalg.svd(box)
    box[~pbc] = rows[int(pbc.sum()) :]
    return box
