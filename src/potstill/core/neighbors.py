"""Neighbor lists: directed pairs of atoms with their vectors, from positions and cell.

vesin searches the pairs: it handles cells smaller than the cutoff and any mix of periodic axes. Where atoms move a little
from call to call, as in molecular dynamics, :class:`VerletList` searches once and measures many times. Vectors are
differences of positions in float64, so a model in float32 does not depend on the distance of the atoms from the origin.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import vesin

from potstill.core.errors import StructureError
from potstill.core.types import Array, Structure, refuse_far

MOST_CELLS = 1e5  # that vesin makes; with more it takes larger ones, and ends the process where a side has none left
LONGEST_SIDE = 200.0  # of a box in units of its shortest: fewer than the 300 for which vesin has cells along each side
WIDE_ANGSTROM = 100.0  # spread along an open axis of a slab or wire from which vesin needs seconds
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
        """Return the same edges in the smallest integer types that hold them, to save memory."""
        return Edges(_smallest(self.edge_index), _smallest(self.edge_shift))

    @property
    def bytes(self) -> int:
        """Return the memory of the arrays in bytes."""
        return int(self.edge_index.nbytes + self.edge_shift.nbytes)


@dataclass(frozen=True, slots=True, eq=False)
class Neighbors(Edges):
    """Directed pairs within a cutoff, sorted by receiver, int64.

    Parameters
    ----------
    distance
        (e,) lengths of r in Å.
    vectors
        (e, 3) r in Å, float64.
    """

    distance: Array
    vectors: Array


def measured_vectors(edges: Edges, positions: Array, cell: Array) -> Array:
    """Return the (e, 3) float64 vectors ``r = positions[j] + S @ cell - positions[i]`` in Å of the edges of one structure.

    Parameters
    ----------
    edges
        Edges of the structure; vectors that they already have are returned unchanged.
    positions
        (n, 3) Å.
    cell
        (3, 3) Å, rows.
    """
    if isinstance(edges, Neighbors):
        return edges.vectors
    i, j = edges.edge_index
    r = np.asarray(positions, dtype=np.float64)
    return np.asarray(r[j] - r[i] + edges.edge_shift.astype(np.float64) @ np.asarray(cell, dtype=np.float64))


def find_neighbors(positions: Array, cell: Array, pbc: Array, cutoff_angstrom: float) -> Neighbors:
    """Return all pairs closer than a cutoff, with periodic images and without pairs of an atom with itself.

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

    Raises
    ------
    StructureError
        If atoms are too far apart or too far from the origin to be searched.
    """
    with _search(positions, cell, pbc, cutoff_angstrom, "PSdD", full_list=True) as (pairs, shift, distance, vectors):
        receiver = pairs[:, 0].astype(np.min_scalar_type(len(positions)))  # 8 or 16 bits are sorted without comparisons
        order = np.argsort(receiver, kind="stable")
        index = pairs.take(order, axis=0).T.astype(np.int64, order="C")
        shifts = shift.take(order, axis=0).astype(np.int64)
        return Neighbors(index, shifts, distance.take(order), vectors.take(order, axis=0))


def find_pairs(positions: Array, cell: Array, pbc: Array, cutoff_angstrom: float) -> tuple[Array, Array]:
    """Return each pair of :func:`find_neighbors` in one direction only and in no order, at half the cost.

    An atom near its own periodic images is paired with itself, once for each two opposite images.

    Returns
    -------
    pairs, distance
        (p, 2) indices of atoms, and (p,) Å.

    Raises
    ------
    StructureError
        As :func:`find_neighbors`.
    """
    with _search(positions, cell, pbc, cutoff_angstrom, "Pd", full_list=False) as (pairs, distance):
        return pairs.astype(np.int64), distance.copy()


def structure_neighbors(structure: Structure, cutoff_angstrom: float) -> Neighbors:
    """Return :func:`find_neighbors` of a :class:`~potstill.core.types.Structure`."""
    return find_neighbors(structure.positions, structure.cell, structure.pbc, cutoff_angstrom)


class VerletList:
    """Neighbor list of atoms that move a little between calls; it gives the pairs of :func:`find_neighbors` faster.

    Now and then it searches with a larger radius, the cutoff and a skin; all other calls only measure the candidates found
    then (Verlet, Phys. Rev. 159, 98 (1967)). It searches again once a pair that is no candidate might have come within the
    cutoff, so any sequence of structures gives the right answer: other atoms, other cells, atoms wrapped back.

    Parameters
    ----------
    cutoff_angstrom
        Radius within which pairs are neighbors, in Å.
    skin_angstrom
        Distance in Å added to the cutoff in a search. A thick skin lasts for more steps and holds more candidates.

    Attributes
    ----------
    calls, searches
        Number of calls, and number of calls that searched.
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
        """Return the neighbors, for the same arguments as :func:`find_neighbors`."""
        self.calls += 1
        lattice = np.where(pbc[:, None], cell, 0.0)
        known = self._candidates
        if known is None or not known.hold_all(self.cutoff_angstrom, positions, lattice, pbc):
            self.searches += 1
            known = self._candidates = _Candidates(positions, lattice, pbc, self.cutoff_angstrom + self.skin_angstrom)
        return known.within(self.cutoff_angstrom, positions, lattice)


class _Candidates:
    """Pairs within a radius, and the positions of the atoms at the time of the search.

    Parameters
    ----------
    positions
        (n, 3) Å.
    lattice
        (3, 3) Å, rows; zero where not periodic.
    pbc
        (3,) bool.
    radius
        Radius of the search in Å.
    """

    def __init__(self, positions: Array, lattice: Array, pbc: Array, radius: float) -> None:
        self.positions, self.lattice, self.pbc, self.radius = positions.copy(), lattice, pbc.copy(), radius
        self.inverse = np.linalg.pinv(lattice)
        found = find_neighbors(positions, lattice, pbc, radius)
        self.edge_index, self.edge_shift = found.edge_index, found.edge_shift
        self.shift_columns = found.edge_shift.T.astype(np.float64, order="C")
        self.count = np.bincount(found.edge_index[0], minlength=len(positions))

    def hold_all(self, cutoff: float, positions: Array, lattice: Array, pbc: Array) -> bool:
        """Return whether every pair that is now within the cutoff must be among the candidates.

        F is the linear map from the old lattice to the new one, and u is the displacement of an atom beyond that map. An
        edge that was r is now r F + u_j - u_i. It is no shorter than s |r| - 2 max |u|, where s is the smallest singular
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
        """Return the candidates that are closer than the cutoff."""
        # r = positions[j] + S @ cell - positions[i], as three rows: long rows are what NumPy is fast with
        columns = np.ascontiguousarray(positions.T)
        r = columns.take(self.edge_index[1], axis=1)
        r -= columns.repeat(self.count, axis=1)
        r += np.einsum("ab,ae->be", lattice, self.shift_columns)
        squared = np.einsum("be,be->e", r, r)
        near = np.flatnonzero(squared < cutoff**2)
        vectors = np.ascontiguousarray(r.take(near, axis=1).T)
        distance = np.sqrt(squared.take(near))
        return Neighbors(self.edge_index.take(near, axis=1), self.edge_shift.take(near, axis=0), distance, vectors)


def _smallest(integers: Array) -> Array:
    if integers.size == 0:
        return integers.astype(np.int8)
    return integers.astype(np.result_type(np.min_scalar_type(integers.min()), np.min_scalar_type(integers.max())))


@contextmanager
def _search(
    positions: Array, cell: Array, pbc: Array, cutoff: float, quantities: str, *, full_list: bool
) -> Iterator[list[Array]]:
    """Yield the quantities that vesin found, as views of its memory that are valid inside the context only."""
    points = np.asarray(positions, dtype=np.float64)
    refuse_far(points, np.asarray(cell)[pbc])
    box, periodic = _box(cell, pbc), np.ascontiguousarray(pbc, dtype=bool)
    if not periodic.all() and _is_wide(points, box, periodic, cutoff):
        points, box = _in_vacuum(points, box, periodic, cutoff)
        periodic = np.ones(3, dtype=bool)
    if _lacks_cells(_heights(box), cutoff):
        raise StructureError(
            f"a cell of {' x '.join(f'{x:.3g}' for x in _heights(box))} Å is too long and thin for a search with a "
            f"cutoff of {cutoff:g} Å; repeat it along its short axes, or make the long ones shorter"
        )
    search = vesin.NeighborList(cutoff=cutoff, full_list=full_list)
    yield search.compute(points=points, box=box, periodic=periodic, quantities=quantities, copy=False)


def _is_wide(points: Array, box: Array, periodic: Array, cutoff: float) -> bool:
    """Return whether vesin would be slow, or end the process, for atoms with open axes."""
    spread = np.ptp(points @ box[~periodic].T, axis=0)  # these rows have length 1
    if periodic.any():
        return bool(spread.max() > WIDE_ANGSTROM) or _lacks_cells(_heights(box), cutoff)
    return _lacks_cells(spread, cutoff)


def _heights(box: Array) -> Array:
    """Return (3,) distances in Å between opposite faces of a box."""
    return np.asarray(1.0 / np.linalg.norm(np.linalg.inv(box), axis=0))


def _lacks_cells(heights: Array, cutoff: float) -> bool:
    """Return whether vesin would divide a box of these (3,) heights into cells such that a side has none."""
    count = np.maximum(np.trunc(heights / cutoff), 1.0)
    if count.prod() <= 0.9 * MOST_CELLS:
        return False
    shrunk = count * np.cbrt(MOST_CELLS / count.prod())
    return bool(shrunk.min() < 1.0 + 1e-6)


def _in_vacuum(points: Array, box: Array, periodic: Array, cutoff: float) -> tuple[Array, Array]:
    """Return points and box of the same pairs with vacuum along the open axes, which are periodic then.

    Gaps along these axes become as narrow as they can be without new pairs.
    """
    points, box = points.copy(), box.copy()
    for axis in np.flatnonzero(~periodic):
        along = points @ box[axis]
        order = np.argsort(along)
        excess = np.maximum(np.diff(along[order], prepend=along.min()) - 2.0 * cutoff, 0.0)
        moved = np.empty_like(along)
        moved[order] = np.cumsum(excess) + along.min() - cutoff
        points -= moved[:, None] * box[axis]
        box[axis] *= np.ptp(along - moved) + 3.0 * cutoff
    heights = _heights(box)
    for axis in np.flatnonzero(~periodic):
        box[axis] *= max(1.0, heights.max() / LONGEST_SIDE / heights[axis])
    return points, box


def _box(cell: Array, pbc: Array) -> Array:
    """Return the invertible cell in which unit vectors perpendicular to the periodic rows replace the other rows."""
    box = np.array(cell, dtype=np.float64)
    if pbc.all():
        return box
    box[~pbc] = 0.0
    # the left null space of the periodic rows, an orthonormal basis of what they do not span
    _, _, rows = np.linalg.svd(box)
    box[~pbc] = rows[int(pbc.sum()) :]
    return box
