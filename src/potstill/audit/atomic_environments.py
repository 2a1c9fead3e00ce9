"""Atomic environments as vectors, their entropy and novelty, after QUESTS.

Schwalbe-Koda, Hamel, Sadigh, Zhou and Lordi, "Model-free estimation of completeness, uncertainties, and outliers in
atomistic machine learning using information theory", Nat. Commun. 16, 4014 (2025): a vector of weighted inverse distances to
the nearest atoms, and of the mean over them of their inverse distances to each other; a Gaussian kernel between vectors.
Elements differ here by their covalent radius, by which distances are scaled.
"""

from __future__ import annotations

import numpy as np

from potstill.core.elements import covalent_radii
from potstill.core.neighbors import find_neighbors
from potstill.core.types import Array
from potstill.dataset import Dataset

CUTOFF_ANGSTROM = 5.0
NEAREST_ANGSTROM = 0.01  # two atoms at one place are a fault that another check names
NEIGHBORS = 24
BANDWIDTH = 0.015  # 1/Å, value of that paper
MOST_STRUCTURES = 400
MOST_ATOMS = 1500


def sample_environments(dataset: Dataset, indices: Array, seed: int) -> Array:
    """Return (m, 2 * NEIGHBORS - 1) vectors in 1/Å of at most 1,500 atoms of at most 400 of these structures."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(indices, min(len(indices), MOST_STRUCTURES), replace=False))
    found = [np.zeros((0, 2 * NEIGHBORS - 1))]
    numbers, positions, ptr = dataset.column("atoms/atomic_numbers"), dataset.column("atoms/positions"), dataset.ptr
    cell, pbc = dataset.column("structures/cell"), dataset.column("structures/pbc")
    for k in chosen:
        atoms = slice(int(ptr[k]), int(ptr[k + 1]))
        place = positions[atoms].astype(np.float64)
        if np.isfinite(place).all() and np.isfinite(cell[k]).all():
            found.append(environments(numbers[atoms], place, cell[k], pbc[k]))
    rows = np.concatenate(found)
    return rows[np.sort(rng.choice(len(rows), min(len(rows), MOST_ATOMS), replace=False))]


def environments(numbers: Array, positions: Array, cell: Array, pbc: Array) -> Array:
    """Return the vector of each atom, (n, 2 * NEIGHBORS - 1) in 1/Å."""
    near = find_neighbors(positions, cell, pbc, CUTOFF_ANGSTROM)
    n = len(numbers)
    receiver, sender = near.edge_index
    order = np.lexsort((near.distance, receiver))
    count = np.bincount(receiver, minlength=n)
    column = np.arange(len(receiver)) - np.repeat(np.cumsum(count) - count, count)
    order, column = order[column < NEIGHBORS], column[column < NEIGHBORS]
    at = receiver[order]
    r = positions[sender[order]] + near.edge_shift[order] @ cell - positions[at]
    places = np.full((n, NEIGHBORS, 3), np.nan)
    places[at, column] = r
    radii = np.full((n, NEIGHBORS), np.nan)
    radii[at, column] = covalent_radii()[numbers[sender[order]]]
    distance = np.linalg.norm(places, axis=2)
    smooth = np.where(distance < CUTOFF_ANGSTROM, (1 - (distance / CUTOFF_ANGSTROM) ** 2) ** 2, 0.0)
    own = covalent_radii()[numbers][:, None]
    first = np.nan_to_num(
        smooth / np.maximum(distance, NEAREST_ANGSTROM) * (radii + own) / 2
    )  # scaled by the size of the pair
    between = np.linalg.norm(places[:, :, None] - places[:, None], axis=3)
    weight = np.sqrt(smooth[:, :, None] * smooth[:, None])
    inverse = np.nan_to_num(np.where(between > 1e-6, weight / np.maximum(between, 1e-6), 0.0))
    second = -np.sort(-inverse, axis=2)[:, :, : NEIGHBORS - 1].mean(axis=1)
    return np.concatenate([-np.sort(-first, axis=1), second], axis=1)


def entropy_bits(rows: Array) -> float:
    """Return the mean over the rows of -log2 of the mean kernel to all rows."""
    if not len(rows):
        return 0.0
    return float(-np.log2(_kernel_sum(rows, rows) / len(rows)).mean()) + 0.0


def novelty(rows: Array, others: Array) -> Array:
    """Return (m,) -ln of the sum of kernels to the others: positive where a row resembles none of them."""
    return np.asarray(-np.log(np.maximum(_kernel_sum(rows, others), 1e-300)))


def _kernel_sum(rows: Array, others: Array) -> Array:
    squared = (rows**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None] - 2 * rows @ others.T
    return np.asarray(np.exp(-np.maximum(squared, 0.0) / (2 * BANDWIDTH**2)).sum(axis=1))
