"""Supercells of any shape: a small one in which no atom is near to its own periodic image.

Takes a structure and returns it repeated. A cube of 64 atoms needs twice as many atoms for images at 1.4 times the distance,
not eight times as many: the supercell of vectors (1, 1, 0), (1, -1, 0), (0, 1, 1) has the shape of a face-centred cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from potstill.core.types import Array, Structure

MOST_TIMES = 64  # number of cells up to which all sublattices are looked at in one step; their number grows as its cube
SPARE = 1.5  # times that number, since no sublattice packs as densely as the densest lattice
FARTHER = 1.001  # times the distance of fewer atoms: less is no reason for more of them
DENSEST = {1: 1.0, 2: np.sqrt(3) / 2, 3: 1 / np.sqrt(2)}  # smallest volume of a cell in 1, 2, 3 dimensions, images at 1
AT_ONCE = 2048  # sublattices in one array


def image_distance(structure: Structure) -> float:
    """Return the distance in Å of an atom to its nearest periodic image; infinite for a molecule."""
    vectors = np.asarray(structure.cell)[np.asarray(structure.pbc)]
    if not len(vectors):
        return np.inf
    return _shortest(vectors)


def with_distant_images(structure: Structure, angstrom: float, largest: int | None = None) -> Structure:
    """Repeat a structure until no atom has an image of its own within a distance, by few atoms.

    Parameters
    ----------
    structure
        Structure, which keeps its names and metadata. One whose images are far enough is returned unchanged. Directions
        without periodicity are not repeated.
    angstrom
        Smallest distance of an atom to its images in Å.
    largest
        Number of atoms that the supercell does not exceed; where that is too few, images are about as far as they can be.
        None for no limit.

    Notes
    -----
    Each sublattice of index n has one matrix in Hermite normal form. The first n is taken for which a sublattice avoids all
    lattice vectors within the distance; of several, that with the most distant images. No n is tried below that of the
    densest packing of spheres. Up to 64 cells, no supercell has fewer atoms. Beyond, a first supercell with images at half
    of the distance is repeated.
    """
    periodic = np.flatnonzero(structure.pbc)
    most = np.inf if largest is None else largest // max(1, len(structure))
    if not len(periodic) or most < 2 or image_distance(structure) >= angstrom:
        return structure
    cell = np.asarray(structure.cell, dtype=float)
    angstrom = min(angstrom, _farthest(cell[periodic], most))
    if _fewest(cell[periodic], angstrom) > MOST_TIMES:
        half = with_distant_images(structure, angstrom / 2, largest)
        return structure if len(half) == len(structure) else with_distant_images(half, angstrom, largest)
    times = int(min(most, SPARE * MOST_TIMES))
    matrix = _best_matrix(np.ascontiguousarray(cell[periodic]).tobytes(), len(periodic), float(angstrom), times)
    return structure if matrix is None else _repeated(structure, np.array(matrix))


def as_repeated(structure: Structure, atoms: Any) -> Structure:
    """Return an unlabelled structure with the names and metadata of another one, of which ASE ``Atoms`` are repetitions."""
    return structure.with_(atomic_numbers=atoms.numbers, positions=atoms.positions, cell=np.array(atoms.cell), labels=None)


@lru_cache(maxsize=1024)
def _best_matrix(cell: bytes, dimensions: int, angstrom: float, most: int) -> tuple[tuple[int, ...], ...] | None:
    """Return the matrix of the smallest supercell with images at a distance, else of the widest; None if none is wider."""
    vectors = np.frombuffer(cell).reshape(dimensions, 3)
    points = _lattice_points(vectors, angstrom)
    lengths = np.linalg.norm(points @ vectors, axis=1)
    order = np.argsort(lengths)
    points, lengths = points[order], lengths[order]
    for times in range(max(2, _fewest(vectors, angstrom)), most + 1):
        reached, matrix = _widest(times, vectors, points, lengths)
        if reached >= angstrom:
            return tuple(map(tuple, matrix.tolist()))
    best, found = _shortest(vectors), None
    for times in range(2, most + 1):
        reached, matrix = _widest(times, vectors, points, lengths)
        if reached > FARTHER * best:
            best, found = reached, tuple(map(tuple, matrix.tolist()))
    return found


def _widest(times: int, vectors: Array, points: Array, lengths: Array) -> tuple[float, Array]:
    """Return the distance of the images, and the matrix, of the widest supercell of so many cells.

    The (k, d) lattice points within the wanted distance are sorted by their (k,) lengths. Supercells that avoid all of them
    are compared by their shortest vectors.
    """
    reached, widest = 0.0, np.zeros((0, 0), dtype=int)
    for matrices in _hermite_forms(times, len(vectors)):
        inside = (points @ np.rint(times * np.linalg.inv(matrices)).astype(int)) % times
        within = (inside == 0).all(axis=-1)
        avoids = ~within.any(axis=-1)
        distances = np.where(avoids, np.inf, lengths[within.argmax(axis=-1)] if len(lengths) else np.inf)
        distances[avoids] = [_shortest(matrix @ vectors) for matrix in matrices[avoids]]
        k = int(np.argmax(np.round(distances, 6)))
        if distances[k] > reached * FARTHER:
            reached, widest = float(distances[k]), matrices[k]
    return reached, widest


def _repeated(structure: Structure, matrix: Array) -> Structure:
    """Return the supercell of a (d, d) matrix of the periodic directions, in its Minkowski-reduced cell."""
    from ase.build import make_supercell
    from ase.geometry import minkowski_reduce

    periodic = np.flatnonzero(structure.pbc)
    whole = np.eye(3, dtype=int)
    whole[np.ix_(periodic, periodic)] = matrix
    _, turn = minkowski_reduce(whole @ np.asarray(structure.cell, dtype=float), structure.pbc)
    whole = turn @ whole
    if np.linalg.det(whole) < 0:
        whole[periodic[0]] *= -1
    atoms = make_supercell(structure.to_ase(), whole)
    return as_repeated(structure, atoms)


def _lattice_points(vectors: Array, angstrom: float) -> Array:
    """Return (k, d) integers of the lattice points within a distance of the origin, one of each pair, without the origin."""
    dimensions = len(vectors)
    spans = np.floor(angstrom * np.linalg.norm(np.linalg.pinv(vectors), axis=0) + 1e-9).astype(int)
    axes = [np.arange(-n, n + 1) for n in spans]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, dimensions)
    points = points[len(points) // 2 + 1 :]  # the other half are their negatives
    return np.asarray(points[np.linalg.norm(points @ vectors, axis=1) < angstrom])


def _hermite_forms(times: int, dimensions: int) -> Iterator[Array]:
    """Yield (m, d, d) integer matrices of one determinant in Hermite normal form, lower triangular: one a sublattice."""
    for diagonal in _factors(times, dimensions):
        rows, columns = np.tril_indices(dimensions, -1)
        sizes = [diagonal[column] for column in columns]
        matrices = np.zeros((int(np.prod(sizes, dtype=int)), dimensions, dimensions), dtype=int)
        matrices[:, range(dimensions), range(dimensions)] = diagonal
        matrices[:, rows, columns] = np.array(list(np.ndindex(*sizes)), dtype=int).reshape(len(matrices), len(rows))
        for start in range(0, len(matrices), AT_ONCE):
            yield matrices[start : start + AT_ONCE]


def _factors(times: int, count: int) -> Iterator[tuple[int, ...]]:
    """Yield the ordered factorisations of a number into some factors."""
    if count == 1:
        yield (times,)
        return
    for first in (n for n in range(1, times + 1) if times % n == 0):
        for others in _factors(times // first, count - 1):
            yield (first, *others)


def _fewest(vectors: Array, angstrom: float) -> int:
    """Return the number of cells below which no lattice has all its points a distance apart: the densest packing's."""
    return int(np.ceil(DENSEST[len(vectors)] * angstrom ** len(vectors) / _volume(vectors) * (1 - 1e-9)))


def _farthest(vectors: Array, most: float) -> float:
    """Return the distance in Å that the images of no supercell of so many cells exceed."""
    dimensions = len(vectors)
    return float((most * _volume(vectors) / DENSEST[dimensions]) ** (1 / dimensions) * (1 + 1e-9))


def _volume(vectors: Array) -> float:
    """Return length, area or volume of (d, 3) vectors."""
    return float(np.sqrt(np.linalg.det(vectors @ vectors.T)))


def _shortest(vectors: Array) -> float:
    """Return the length of the shortest vector of a lattice of (d, 3) vectors, which are reduced first."""
    from ase.geometry import minkowski_reduce

    cell, pbc = np.zeros((3, 3)), np.zeros(3, dtype=bool)
    cell[: len(vectors)], pbc[: len(vectors)] = vectors, True
    reduced, _ = minkowski_reduce(cell, pbc)
    return float(np.linalg.norm(reduced[: len(vectors)], axis=1).min())
