"""Supercells of any shape: the smallest one in which no atom is near to its own periodic image.

Takes a structure and returns it repeated. A cube of 64 atoms needs twice as many atoms for images at 1.4 times the distance,
not eight times as many: the supercell of vectors (1, 1, 0), (1, -1, 0), (0, 1, 1) has the shape of a face-centred cell.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from potstill.core.types import Array, Structure

FARTHER = 1.001  # times the distance of before: less is no reason for more atoms
MOST_TIMES = 256  # number of cells in the largest supercell that is looked for


def image_distance(structure: Structure) -> float:
    """Return the distance in Å of an atom to its nearest periodic image; infinite for a molecule."""
    vectors = np.asarray(structure.cell)[np.asarray(structure.pbc)]
    if not len(vectors):
        return np.inf
    longest = float(np.linalg.norm(vectors, axis=1).min()) * (1 + 1e-9)
    return float(np.linalg.norm(_lattice_points(vectors, longest) @ vectors, axis=1).min())


def with_distant_images(structure: Structure, angstrom: float, largest: int | None = None) -> Structure:
    """Repeat a structure until no atom has an image of its own within a distance, by as few atoms as possible.

    Parameters
    ----------
    structure
        Structure, which keeps its names and metadata. One whose images are far enough is returned unchanged. Directions
        without periodicity are not repeated.
    angstrom
        Smallest distance of an atom to its images in Å.
    largest
        Number of atoms that the supercell does not exceed, also where images are then nearer than that; None for no limit
        but that of ``MOST_TIMES`` cells, above which the structure is returned unchanged.

    Notes
    -----
    Each sublattice of index n has one matrix in Hermite normal form. The first n is taken for which a sublattice avoids all
    lattice vectors within the distance; of several, that with the most distant images. No n is tried below that of the
    densest packing of spheres.
    """
    periodic = np.flatnonzero(structure.pbc)
    vectors = np.asarray(structure.cell, dtype=float)[periodic]
    most = MOST_TIMES if largest is None else min(MOST_TIMES, largest // max(1, len(structure)))
    near = _lattice_points(vectors, angstrom) if len(periodic) else np.zeros((0, 0))
    if not len(near):
        return structure
    for times in range(max(2, _fewest(vectors, angstrom)), most + 1):
        matrices = _avoiding(np.array(list(_hermite_forms(times, len(periodic)))), near, times)
        if len(matrices):
            return _repeated(structure, matrices)
    if largest is None or most < 2:
        return structure
    widest = _repeated(structure, np.array(list(_hermite_forms(most, len(periodic)))))
    return widest if image_distance(widest) > FARTHER * image_distance(structure) else structure


def _repeated(structure: Structure, matrices: Array) -> Structure:
    """Return the supercell with the most distant images of some (m, d, d) matrices, in its Minkowski-reduced cell."""
    from ase.build import make_supercell
    from ase.geometry import minkowski_reduce

    cell, periodic = np.asarray(structure.cell, dtype=float), np.flatnonzero(structure.pbc)
    distances = [_shortest(matrix @ cell[periodic]) for matrix in matrices]
    whole = np.eye(3, dtype=int)
    whole[np.ix_(periodic, periodic)] = matrices[int(np.argmax(np.round(distances, 6)))]
    _, turn = minkowski_reduce(whole @ cell, structure.pbc)
    whole = turn @ whole
    if np.linalg.det(whole) < 0:
        whole[periodic[0]] *= -1
    atoms = make_supercell(structure.to_ase(), whole)
    return structure.with_(atomic_numbers=atoms.numbers, positions=atoms.positions, cell=np.array(atoms.cell), labels=None)


def _lattice_points(vectors: Array, angstrom: float) -> Array:
    """Return (k, d) integers of the lattice points within a distance of the origin, one of each pair, without the origin."""
    dimensions = len(vectors)
    spans = np.floor(angstrom * np.linalg.norm(np.linalg.pinv(vectors), axis=0) + 1e-9).astype(int)
    axes = [np.arange(-n, n + 1) for n in spans]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, dimensions)
    points = points[len(points) // 2 + 1 :]  # the other half are their negatives
    return np.asarray(points[np.linalg.norm(points @ vectors, axis=1) < angstrom])


def _hermite_forms(times: int, dimensions: int) -> Iterator[Array]:
    """Yield the integer matrices of one determinant in Hermite normal form, lower triangular: one for each sublattice."""
    if dimensions == 0:
        if times == 1:
            yield np.zeros((0, 0), dtype=int)
        return
    for last in (n for n in range(1, times + 1) if times % n == 0):
        for smaller in _hermite_forms(times // last, dimensions - 1):
            for row in np.ndindex(*np.diag(smaller)):
                matrix = np.zeros((dimensions, dimensions), dtype=int)
                matrix[:-1, :-1], matrix[-1, :-1], matrix[-1, -1] = smaller, row, last
                yield matrix


def _fewest(vectors: Array, angstrom: float) -> int:
    """Return the number of cells below which no lattice has all its points a distance apart: the densest packing's."""
    densest = {1: 1.0, 2: np.sqrt(3) / 2, 3: 1 / np.sqrt(2)}[len(vectors)] * angstrom ** len(vectors)
    volume = np.sqrt(np.linalg.det(vectors @ vectors.T))
    return int(np.ceil(densest / volume * (1 - 1e-9)))


def _avoiding(matrices: Array, points: Array, determinant: int) -> Array:
    """Return those of the (m, d, d) matrices in whose sublattice none of the (k, d) points lies."""
    coefficients = points @ np.rint(determinant * np.linalg.inv(matrices)).astype(int)
    return np.asarray(matrices[~(coefficients % determinant == 0).all(axis=-1).any(axis=-1)])


def _shortest(vectors: Array) -> float:
    shortest = float(np.linalg.norm(vectors, axis=1).min())
    points = _lattice_points(vectors, shortest)
    return min(shortest, float(np.linalg.norm(points @ vectors, axis=1).min(initial=np.inf)))
