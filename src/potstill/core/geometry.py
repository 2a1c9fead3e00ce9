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
    """Return the average distance from the atoms of each element to their k-th nearest neighbor, k = 1 … 24.

    It does not change under rotation, translation, permutation, choice of cell or supercell, and moves continuously
    with the atoms. Per element it is the average minimum distance of Widdowson, Mosca, Pulido, Cooper and Kurlin,
    "Average minimum distances of periodic point sets", MATCH 87, 529 (2022). Neighbors beyond the reach of a finite
    molecule count as 0.

    Returns
    -------
    Array
        (number of elements * 24,) distances in Å, elements in the order of their atomic numbers.
    """
    nearest = _nearest_distances(structure, FINGERPRINT_NEIGHBORS)
    elements = np.unique(structure.atomic_numbers)
    rows = [nearest[structure.atomic_numbers == z].mean(axis=0) for z in elements]
    return np.concatenate(rows)


def _nearest_distances(structure: Structure, k: int) -> Array:
    """Return (n, k) sorted distances in Å to the k nearest atoms; zeros where a finite structure has fewer."""
    n = len(structure)
    nearest = np.zeros((n, k))
    if structure.pbc.any():
        cutoff = FINGERPRINT_START_ANGSTROM
        while True:
            neighbors = structure_neighbors(structure, cutoff)
            if np.bincount(neighbors.edge_index[0], minlength=n).min() >= k:
                break
            cutoff *= 1.5
        receiver, distance = neighbors.edge_index[0], neighbors.distance
        order = np.lexsort((distance, receiver))
        start = np.searchsorted(receiver[order], np.arange(n))
        return np.asarray(distance[order][start[:, None] + np.arange(k)])
    delta = structure.positions[:, None] - structure.positions[None]
    sorted_distances = np.sort(np.linalg.norm(delta, axis=-1), axis=1)[:, 1 : k + 1]
    nearest[:, : sorted_distances.shape[1]] = sorted_distances
    return nearest
