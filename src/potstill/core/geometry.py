"""Geometry for the geometry filter, and fingerprints that find copies.

The functions take a structure and return a scaled distance, a hash or an invariant vector.
"""

from __future__ import annotations

import hashlib

import numpy as np

from potstill.core.elements import covalent_radii
from potstill.core.neighbors import structure_neighbors
from potstill.core.types import Array, Structure

FINGERPRINT_NEIGHBORS = 24  # fcc and ideal hcp, zinc blende and wurtzite differ in their third shell only
FINGERPRINT_START_ANGSTROM = 5.0
LIKE_ANGSTROM, LIKE_POWERS = 5.0, (1, 2, 3)  # reach of the like neighbors of an atom, and power means over the atoms
LIKE_SCALE = 0.2  # Å for each like neighbor: a strained crystal moves these numbers by about as much as its distances
EXTREME_NEIGHBORS = (1, 2, 3, 4, 6, 8, 12, 18, 24)  # whose shortest and longest distance are in the fingerprint
FINGERPRINT_ROW = FINGERPRINT_NEIGHBORS + 2 * len(EXTREME_NEIGHBORS) + len(LIKE_POWERS)  # numbers for each element


def smallest_scaled_distance(structure: Structure) -> tuple[float, tuple[int, int] | None]:
    """Return the smallest distance between two atoms divided by the sum of their covalent radii, with periodic images.

    Returns
    -------
    scaled, pair
        The scaled distance and the indices of its two atoms. They are infinity and None where no two atoms lie within
        twice the largest radius.
    """
    radii = covalent_radii()[structure.atomic_numbers]
    neighbors = structure_neighbors(structure, 2.0 * float(radii.max()))
    if neighbors.distance.size == 0:
        return float("inf"), None
    i, j = neighbors.edge_index
    scaled = neighbors.distance / (radii[i] + radii[j])
    at = int(np.argmin(scaled))
    return float(scaled[at]), (int(i[at]), int(j[at]))


def random_rotation(rng: np.random.Generator) -> Array:
    """Draw a uniformly random (3, 3) rotation."""
    from scipy.spatial.transform import Rotation

    quaternion = rng.normal(size=4)
    return np.asarray(Rotation.from_quat(quaternion / np.linalg.norm(quaternion)).as_matrix())


def content_hash(structure: Structure) -> str:
    """Return a hash of numbers, positions, cell and pbc rounded to 1e-4 Å: equal only for copies in the same orientation."""
    digest = hashlib.sha256(structure.atomic_numbers.tobytes())
    for array in (structure.positions, structure.cell):
        digest.update(np.round(array * 1e4).astype(np.int64).tobytes())
    digest.update(structure.pbc.tobytes())
    return digest.hexdigest()[:32]


def distance_fingerprint(structure: Structure) -> Array:
    """Return for each element the distances of its atoms to their k-th nearest neighbor, and their like neighbors.

    It does not change under rotation, translation, permutation, choice of cell or supercell, and moves continuously
    with the atoms. Neighbors beyond the reach of a finite molecule count as 0. See :func:`neighbor_distances` and
    :func:`like_neighbors`: distances alone do not tell decorations of one lattice apart, such as those of an alloy.

    Returns
    -------
    Array
        (number of elements * 45,) numbers in Å, elements in the order of their atomic numbers: 24 averages, 9 shortest and
        9 longest distances, and three numbers for the like neighbors.
    """
    numbers = structure.atomic_numbers
    if structure.pbc.any():
        nearest, pairs = _nearest_of_periodic(structure, FINGERPRINT_NEIGHBORS)
    else:
        nearest, pairs = _nearest_of_finite(structure, FINGERPRINT_NEIGHBORS)
    return np.hstack([neighbor_distances(numbers, nearest), like_neighbors(numbers, *pairs)]).ravel()


def neighbor_distances(numbers: Array, nearest: Array) -> Array:
    """Return averages and extremes over the atoms of each element of their distances to the k-th nearest neighbor.

    The averages are the average minimum distances of Widdowson, Mosca, Pulido, Cooper and Kurlin, "Average minimum
    distances of periodic point sets", MATCH 87, 529 (2022). In a large cell they hardly change from one frame of MD to
    another, nor where one atom moves; the shortest and the longest distance do.

    Parameters
    ----------
    numbers
        (n,) atomic numbers.
    nearest
        (n, 24) distances in Å of each atom to its nearest neighbors, ascending.

    Returns
    -------
    Array
        (number of elements, 24 + 9 + 9): averages for k = 1 … 24, then the shortest and the longest distances for the k of
        ``EXTREME_NEIGHBORS``.
    """
    which = np.array(EXTREME_NEIGHBORS) - 1
    of_elements = [nearest[numbers == z] for z in np.unique(numbers)]
    return np.array([[*x.mean(axis=0), *x[:, which].min(axis=0), *x[:, which].max(axis=0)] for x in of_elements])


def like_neighbors(numbers: Array, receiver: Array, sender: Array, distance: Array) -> Array:
    """Return power means over the atoms of each element of their weighted numbers of neighbors of the same element.

    A neighbor at distance r counts (1 - (r / 5 Å)^2)^2, so that the numbers move continuously with the atoms.

    Parameters
    ----------
    numbers
        (n,) atomic numbers.
    receiver, sender, distance
        (e,) atoms of each pair, in both orders, and distances in Å; all pairs within 5 Å must be among them.

    Returns
    -------
    Array
        (number of elements, 3) means of the powers 1, 2 and 3, times 0.2 Å.
    """
    counts = (distance < LIKE_ANGSTROM) & (numbers[receiver] == numbers[sender])
    weight = np.where(counts, (1.0 - (distance / LIKE_ANGSTROM) ** 2) ** 2, 0.0)
    like = np.bincount(receiver, weight, minlength=len(numbers))
    means = [[np.mean(like[numbers == z] ** p) ** (1 / p) for p in LIKE_POWERS] for z in np.unique(numbers)]
    return LIKE_SCALE * np.array(means)


def _nearest_of_periodic(structure: Structure, k: int) -> tuple[Array, tuple[Array, Array, Array]]:
    """Return (n, k) sorted distances in Å to the k nearest atoms, and all pairs with their distances."""
    n, cutoff = len(structure), FINGERPRINT_START_ANGSTROM
    while True:
        neighbors = structure_neighbors(structure, cutoff)
        receiver, sender = neighbors.edge_index
        if np.bincount(receiver, minlength=n).min() >= k:
            break
        cutoff *= 1.5
    distance = neighbors.distance
    order = np.lexsort((distance, receiver))
    start = np.searchsorted(receiver[order], np.arange(n))
    return np.asarray(distance[order][start[:, None] + np.arange(k)]), (receiver, sender, distance)


def _nearest_of_finite(structure: Structure, k: int) -> tuple[Array, tuple[Array, Array, Array]]:
    """Return the same for a structure without periodic axes; distances are zero where it has fewer atoms."""
    n = len(structure)
    nearest = np.zeros((n, k))
    delta = structure.positions[:, None] - structure.positions[None]
    distances = np.linalg.norm(delta, axis=-1)
    sorted_distances = np.sort(distances, axis=1)[:, 1 : k + 1]
    nearest[:, : sorted_distances.shape[1]] = sorted_distances
    receiver, sender = np.nonzero(~np.eye(n, dtype=bool))
    return nearest, (receiver, sender, distances[receiver, sender])


def widest_gap(positions: Array, cell: Array) -> float:
    """Return the width in Å of the widest layer without atoms that is parallel to two axes of a periodic (3, 3) cell."""
    inverse = np.linalg.inv(cell)
    fractional = np.sort((positions @ inverse) % 1.0, axis=0)
    gaps = np.diff(np.vstack([fractional, fractional[:1] + 1.0]), axis=0).max(axis=0)
    return float((gaps / np.linalg.norm(inverse, axis=0)).max())
