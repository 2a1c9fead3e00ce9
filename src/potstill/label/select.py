"""Selection of the structures to label: ``structures/structures.h5`` in, ``structures/selected.h5`` out.

By ``committee`` a part is drawn at random and labelled first. The rest are the structures on which small students trained on
that part disagree most (:mod:`potstill.active_learning.committee`).

By ``farthest`` each structure becomes a vector. It holds the composition and, over the atoms, the mean and the spread of
smooth radial densities, plain and weighted by the radius and the atomic number of the neighbors. Structures are then chosen
one by one, each the farthest from all chosen before, so that the choice covers the pool. The teacher is not called.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from potstill.core.elements import covalent_radii
from potstill.core.neighbors import find_neighbors
from potstill.core.types import Array
from potstill.dataset import Dataset, merge
from potstill.label.options import SelectOptions

CUTOFF_ANGSTROM = 5.0
SHELLS = 10
POOL_AT_ONCE = 20_000  # the cost grows with the square of a pool, so a larger one is shuffled and divided
COMPOSITION = 3.0  # weight of a composition beside the radial densities


def write_first(structures: Path, target: Path, options: SelectOptions, *, seed: int, at_once: int) -> Path:
    """Seal the structures that the committee is trained on; an existing file is kept.

    Their number is a multiple of ``at_once``, the structures of one task, so that their labels are used again later.
    """
    if not target.exists():
        pool = Dataset(structures)
        wanted = options.wanted(len(pool))
        some = min(wanted, at_once * max(1, round(options.first_fraction * wanted / at_once)))
        _seal(pool, target, np.sort(np.random.default_rng(seed).permutation(len(pool))[:some]))
    return target


def write_selected(
    structures: Path,
    target: Path,
    options: SelectOptions,
    *,
    seed: int,
    first: Path | None = None,
    disagreement: Array | None = None,
) -> Path:
    """Seal the chosen structures in the order of the pool, with the refusals of the pool; an existing file is kept.

    Parameters
    ----------
    structures
        File of all generated structures.
    target
        Path of the file to make.
    options
        Section ``label.select``.
    seed
        Seed of the first structure by ``farthest``, or of all by ``random``.
    first, disagreement
        Only for ``committee``: the file of its training structures, which come first, and its disagreement (S,) on the pool.
    """
    if not target.exists():
        pool = Dataset(structures)
        if first is None or disagreement is None:
            chosen = choose(pool, options, seed=seed)
        else:
            chosen = with_disputed(pool.ids, Dataset(first).ids, disagreement, options.wanted(len(pool)))
        _seal(pool, target, chosen)
    return target


def _seal(pool: Dataset, target: Path, chosen: Array) -> None:
    left = Counter(np.delete(pool.sources, chosen).tolist())
    merge([pool.path], target, attributes={"not_selected": dict(left)}, chosen=[chosen])


def with_disputed(ids: Array, first: Array, disagreement: Array, wanted: int) -> Array:
    """Return (wanted,) indices of a pool: ``first`` in its order, then those of the largest disagreement, ascending."""
    place = {name: k for k, name in enumerate(ids.tolist())}
    taken = np.array([place[name] for name in first.tolist()], dtype=np.int64)
    free = np.setdiff1d(np.arange(len(ids)), taken)
    order = np.argsort(-disagreement[free], kind="stable")
    return np.concatenate([taken, np.sort(free[order[: wanted - len(taken)]])])


def choose(pool: Dataset, options: SelectOptions, *, seed: int) -> Array:
    """Return (k,) indices of a pool, ascending, by ``farthest`` or ``random``."""
    rng = np.random.default_rng(seed)
    wanted = options.wanted(len(pool))
    order = rng.permutation(len(pool))
    if options.by == "random":
        return np.sort(order[:wanted])
    rows = fingerprints(pool)
    parts = np.array_split(order, -(-len(pool) // POOL_AT_ONCE))
    ends = np.round(np.cumsum([0, *map(len, parts)]) * wanted / len(pool)).astype(int)
    shares = np.diff(ends)
    return np.sort(np.concatenate([part[farthest(rows[part], n)] for part, n in zip(parts, shares, strict=True)]))


def farthest(rows: Array, wanted: int) -> Array:
    """Return (wanted,) indices of vectors (S, d): the first, then always the one farthest from all chosen.

    Gonzalez, "Clustering to minimize the maximum intercluster distance", Theor. Comput. Sci. 38, 293 (1985).
    """
    taken = np.zeros(wanted, dtype=np.int64)
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    squares = (rows**2).sum(axis=1)
    nearest = np.full(len(rows), np.inf, dtype=np.float32)
    for k in range(1, wanted):
        last = taken[k - 1]
        np.minimum(nearest, squares + squares[last] - 2.0 * (rows @ rows[last]), out=nearest)
        nearest[last] = -np.inf
        taken[k] = int(nearest.argmax())
    return taken


def fingerprints(pool: Dataset) -> Array:
    """Return (S, d) float32 vectors, each column of spread 1, invariant to rotation, atom order and choice of cell."""
    numbers, positions = pool.column("atoms/atomic_numbers"), pool.column("atoms/positions")
    cell, pbc = pool.column("structures/cell"), pool.column("structures/pbc")
    present = np.unique(numbers)
    rows = np.zeros((len(pool), 6 * SHELLS + len(present)), dtype=np.float32)
    for k, (a, b) in enumerate(zip(pool.ptr[:-1].tolist(), pool.ptr[1:].tolist(), strict=True)):
        density = densities(numbers[a:b], positions[a:b], cell[k], pbc[k])
        rows[k, : 3 * SHELLS], rows[k, 3 * SHELLS : 6 * SHELLS] = density.mean(axis=0), density.std(axis=0)
        rows[k, 6 * SHELLS :] = (numbers[a:b, None] == present).mean(axis=0)
    spread = rows.std(axis=0)
    rows /= np.where(spread > 0, spread, 1.0)
    rows[:, : 6 * SHELLS] /= np.sqrt(6 * SHELLS)
    rows[:, 6 * SHELLS :] *= COMPOSITION / np.sqrt(len(present))
    return rows


def densities(numbers: Array, positions: Array, cell: Array, pbc: Array) -> Array:
    """Return (n, 3 * SHELLS) sums over neighbors in smooth shells: number, radii, roots of atomic numbers."""
    near = find_neighbors(positions, cell, pbc, CUTOFF_ANGSTROM)
    receiver, sender = near.edge_index
    radii = covalent_radii()
    centres = np.linspace(0.6, CUTOFF_ANGSTROM - 0.4, SHELLS)
    width = centres[1] - centres[0]
    inside = 0.5 * (1.0 + np.cos(np.pi * near.distance / CUTOFF_ANGSTROM))
    shell = inside[:, None] * np.exp(-0.5 * ((near.distance[:, None] - centres) / width) ** 2)
    weights = np.stack([np.ones(len(sender)), radii[numbers[sender]], np.sqrt(numbers[sender])])
    found = np.zeros((len(numbers), 3, SHELLS))
    np.add.at(found, receiver, weights.T[:, :, None] * shell[:, None])
    return found.reshape(len(numbers), -1)
