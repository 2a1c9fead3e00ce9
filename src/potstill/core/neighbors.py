"""Neighbour lists, from positions and cell to directed pairs; one place for the whole project.

The pair search is vesin's, which is right for cells smaller than the cutoff and for any mix of periodic axes. Where atoms
move a little from call to call, as in molecular dynamics, :class:`VerletList` searches once and measures many times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import vesin

from potstill.core.types import Array, Structure

SKIN_ANGSTROM = 1.0  # best or near it in dynamics of crystals and molecules; 0.6 Å is a third faster in a small melt


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """Directed pairs of atoms, sorted by receiver.

    Parameters
    ----------
    edge_index
        (2, e) integers, receiver i and sender j; every pair appears in both directions.
    edge_shift
        (e, 3) integers S: ``r = positions[j] + S @ cell - positions[i]``.
    """

    edge_index: Array
    edge_shift: Array

    def compact(self) -> Edges:
        """The same in the smallest integers that hold it, for keeping many."""
        return Edges(_smallest(self.edge_index), _smallest(self.edge_shift))

    @property
    def bytes(self) -> int:
        """Memory of the arrays."""
        return int(self.edge_index.nbytes + self.edge_shift.nbytes)


@dataclass(frozen=True, slots=True, eq=False)
class Neighbors(Edges):
    """Directed pairs within a cutoff, sorted by receiver, int64.

    Parameters
    ----------
    distance
        (e,) lengths of r in Å.
    """

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
    pairs, shift, distance = search.compute(  # views of memory that is the search's own: copied by take()
        points=np.asarray(positions, dtype=np.float64),
        box=box,
        periodic=np.ascontiguousarray(pbc),
        quantities="PSd",
        copy=False,
    )
    receiver = pairs[:, 0].astype(np.min_scalar_type(len(positions)))  # 8 or 16 bits are sorted without comparisons
    order = np.argsort(receiver, kind="stable")
    index = pairs.take(order, axis=0).T.astype(np.int64, order="C")
    return Neighbors(index, shift.take(order, axis=0).astype(np.int64), distance.take(order))


def find_pairs(positions: Array, cell: Array, pbc: Array, cutoff_angstrom: float) -> tuple[Array, Array]:
    """Each pair of :func:`find_neighbors` in one direction only and in no order: half the work, where that is enough.

    An atom near its own periodic images is paired with itself, once for each two opposite images.

    Returns
    -------
    pairs, distance
        (p, 2) indices of atoms, and (p,) Å.
    """
    search = vesin.NeighborList(cutoff=cutoff_angstrom, full_list=False)
    pairs, distance = search.compute(
        points=np.asarray(positions, dtype=np.float64),
        box=_box(cell, pbc),
        periodic=np.ascontiguousarray(pbc),
        quantities="Pd",
        copy=False,
    )
    return pairs.astype(np.int64), distance.copy()


def structure_neighbors(structure: Structure, cutoff_angstrom: float) -> Neighbors:
    """:func:`find_neighbors` of a :class:`~potstill.core.types.Structure`."""
    return find_neighbors(structure.positions, structure.cell, structure.pbc, cutoff_angstrom)


class VerletList:
    """Neighbour list of atoms that move a little between calls; the same answer as :func:`find_neighbors`, sooner.

    Now and then it searches with a larger radius, the cutoff and a skin; all other calls only measure the candidates found
    then (Verlet, Phys. Rev. 159, 98 (1967)). It searches again once a pair that is no candidate might have come within the
    cutoff, so any sequence of structures gives the right answer: other atoms, other cells, atoms wrapped back.

    Parameters
    ----------
    cutoff_angstrom
        Radius within which pairs are neighbours, in Å.
    skin_angstrom
        By how much the search reaches further, in Å: a thick skin lasts for more steps and holds more candidates.

    Attributes
    ----------
    calls, searches
        How often it was called, and how many of the calls searched.
    """

    def __init__(self, cutoff_angstrom: float, skin_angstrom: float = SKIN_ANGSTROM) -> None:
        if skin_angstrom < 0:
            raise ValueError(f"skin_angstrom must not be negative, found {skin_angstrom}")
        self.cutoff_angstrom = cutoff_angstrom
        self.skin_angstrom = skin_angstrom
        self.calls = 0
        self.searches = 0
        self._candidates: _Candidates | None = None

    def __call__(self, positions: Array, cell: Array, pbc: Array) -> Neighbors:
        """Neighbours, for the same arguments as :func:`find_neighbors`."""
        self.calls += 1
        lattice = np.where(pbc[:, None], cell, 0.0)
        known = self._candidates
        if known is None or not known.hold_all(self.cutoff_angstrom, positions, lattice, pbc):
            self.searches += 1
            known = self._candidates = _Candidates(positions, lattice, pbc, self.cutoff_angstrom + self.skin_angstrom)
        return known.within(self.cutoff_angstrom, positions, lattice)


class _Candidates:
    """Pairs within a radius, and where the atoms were when they were found.

    Parameters
    ----------
    positions
        (n, 3) Å.
    lattice
        (3, 3) Å, rows; zero where not periodic.
    pbc
        (3,) bool.
    radius
        Of the search, in Å.
    """

    def __init__(self, positions: Array, lattice: Array, pbc: Array, radius: float) -> None:
        self.positions, self.lattice, self.pbc, self.radius = positions.copy(), lattice, pbc.copy(), radius
        self.inverse = np.linalg.pinv(lattice)
        found = find_neighbors(positions, lattice, pbc, radius)
        self.edge_index, self.edge_shift = found.edge_index, found.edge_shift
        self.shift_columns = found.edge_shift.T.astype(np.float64, order="C")
        self.count = np.bincount(found.edge_index[0], minlength=len(positions))

    def hold_all(self, cutoff: float, positions: Array, lattice: Array, pbc: Array) -> bool:
        """Whether every pair that is now within the cutoff must be among the candidates.

        With F the linear map from the old lattice to the new one, and u what an atom moved beyond being carried along by F,
        an edge that was r is now r F + u_j - u_i. It is no shorter than s |r| - 2 max |u|, where s is the smallest singular
        value of F, and all edges that are no candidates had |r| >= radius.
        """
        if len(positions) != len(self.positions) or (pbc != self.pbc).any():
            return False
        if (lattice == self.lattice).all():
            smallest, moved = 1.0, positions - self.positions
        else:
            carried = np.eye(3) + self.inverse @ (lattice - self.lattice)
            smallest, moved = np.linalg.svd(carried, compute_uv=False)[-1], positions - self.positions @ carried
        farthest = np.sqrt(np.einsum("ij,ij->i", moved, moved).max())
        return bool(smallest * self.radius - 2 * farthest >= cutoff)

    def within(self, cutoff: float, positions: Array, lattice: Array) -> Neighbors:
        """Candidates closer than the cutoff."""
        # r = positions[j] + S @ cell - positions[i], as three rows: long rows are what NumPy is fast with
        columns = np.ascontiguousarray(positions.T)
        r = columns.take(self.edge_index[1], axis=1)
        r -= columns.repeat(self.count, axis=1)
        r += np.einsum("ab,ae->be", lattice, self.shift_columns)
        r *= r
        squared = r[0] + r[1] + r[2]
        near = np.flatnonzero(squared < cutoff**2)
        return Neighbors(self.edge_index.take(near, axis=1), self.edge_shift.take(near, axis=0), np.sqrt(squared.take(near)))


def _smallest(integers: Array) -> Array:
    if integers.size == 0:
        return integers.astype(np.int8)
    return integers.astype(np.result_type(np.min_scalar_type(integers.min()), np.min_scalar_type(integers.max())))


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
