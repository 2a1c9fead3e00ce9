"""Comparison of energy differences of structures of the same atoms with the work of forces and stresses between them.

For two near sets of the same atoms, E2 - E1 is the mean of both forces times the displacement, with opposite sign, plus the
volume times the mean stress times the strain. The remainder is of third order (the trapezoidal rule). It is compared with
the change of forces and stresses along the path and a fifth of them. Both can change between two equal ends, where a shell
of neighbors enters a model's cutoff. Labels that do not fit their structure fail by far more. The comparison needs no
teacher, but it needs siblings: rattles, strains or frames of one parent. Copies of one structure with one energy measure
nothing, and are no siblings.

The input is indices of structures with the same atoms in the same order. The output is one row for each structure, with
its nearest sibling.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from potstill.core.lattice import completed_cell
from potstill.core.types import SMALLEST_VOLUME, Array, Labels, Structure
from potstill.dataset import Dataset

FARTHEST_ANGSTROM = 0.3  # of any atom: beyond it the third order is no smaller than the second
LARGEST_STRAIN = 0.04
BENDS = 0.2  # of forces and stresses, between two ends where they are the same
SAME_CELL_ANGSTROM = 1e-5  # of two cells without stress
SAME_ANGSTROM, SAME_STRAIN = 1e-4, 1e-5  # copies of one structure, with the rounding of text files
WORK_NOISE_EV_PER_ATOM = 2e-3  # rounding of energies and positions in float32
TRIED = 8  # siblings compared with each structure, the next ones in the dataset


@dataclass(frozen=True, slots=True, eq=False)
class Siblings:
    """Groups of structures of a file that have the same atoms in the same order."""

    path: Path
    groups: tuple[Array, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Arrays of g structures of n atoms: positions, forces (g, n, 3), cell, stress (g, 3, 3), energy (g,), and pbc (3,).

    Vectors of the cell that are not periodic are any that complete it.
    """

    positions: Array
    forces: Array
    cell: Array
    stress: Array
    energy: Array
    pbc: Array


def sibling_groups(dataset: Dataset) -> list[Array]:
    """Return groups of the same atoms in the same order, with the same periodic directions.

    Where not all three are periodic, or there is no stress, they also have the same cell: nothing tells a strain's work.
    Families do not count: of one system, each frame of a trajectory may be a family of its own.
    """
    numbers, ptr, pbc = dataset.column("atoms/atomic_numbers"), dataset.ptr, dataset.column("structures/pbc")[:]
    strained = pbc.all(axis=1) & dataset.column("structures/has_stress")[:]
    cells = np.round(dataset.column("structures/cell")[:] * pbc[:, :, None] / SAME_CELL_ANGSTROM)
    groups: dict[tuple[bytes, bytes, bytes], list[int]] = defaultdict(list)
    for k in range(len(dataset)):
        cell = b"" if strained[k] else cells[k].tobytes()
        groups[numbers[ptr[k] : ptr[k + 1]].tobytes(), pbc[k].tobytes(), cell].append(k)
    return [np.array(group) for group in groups.values() if len(group) > 1]


def compare_siblings(task: Siblings) -> tuple[Array, Array]:
    """Return indices, and a row (gap, bound, work, energy change, sibling) for each; NaN where no sibling is near."""
    dataset = Dataset(task.path, compare_blocks=False)
    indices = np.concatenate(task.groups) if task.groups else np.zeros(0, np.int64)
    rows = [_compare(_read(dataset, group), group) for group in task.groups]
    return indices, np.concatenate(rows) if rows else np.zeros((0, 5))


def between(first: Structure, second: Structure, steps: int) -> list[Structure]:
    """Return structures on the straight way from one to its sibling, both included, without labels.

    Parameters
    ----------
    first, second
        Siblings, of the same atoms in the same order.
    steps
        Number of steps; there is one structure more.
    """
    one, other = (completed_cell(s.cell, s.pbc) for s in (first, second))
    start = first.positions @ np.linalg.inv(one)
    way = second.positions @ np.linalg.inv(other) - start
    way = way - first.pbc.any() * way[:1]  # all of it may have been moved: only then is an image chosen, as for the work
    way = way - first.pbc * np.round(way)
    return [
        first.with_(
            labels=None,
            cell=first.cell + share * (second.cell - first.cell),
            positions=(start + share * way) @ (one + share * (other - one)),
        )
        for share in np.linspace(0.0, 1.0, steps + 1)
    ]


def gap_along(path: Sequence[Structure], labels: Sequence[Labels]) -> tuple[float, float]:
    """Return the gap between energy difference and work over a labelled path, and its bound, both in eV per atom."""
    group = _Group(
        np.array([s.positions for s in path], np.float64),
        np.array([found.forces for found in labels], np.float64),
        np.array([completed_cell(s.cell, s.pbc) for s in path]),
        np.array([np.zeros((3, 3)) if found.stress is None else found.stress for found in labels], np.float64),
        np.array([found.energy for found in labels], np.float64),
        path[0].pbc,
    )
    steps = np.arange(len(path) - 1)
    _, rows = _pairs(group, steps, steps + 1)
    work, change = rows[:, 2], rows[:, 3]
    return abs(float((change - work).sum())) / len(path[0]), float(rows[:, 1].sum())


def _read(dataset: Dataset, group: Array) -> _Group:
    n = int(dataset.ptr[group[0] + 1] - dataset.ptr[group[0]])
    atoms = dataset.ptr[group][:, None] + np.arange(n)
    pbc, cell = dataset.column("structures/pbc")[group[0]], dataset.column("structures/cell")[group]
    stress = dataset.column("structures/stress")[group].astype(np.float64)
    strained = bool(pbc.all() and dataset.column("structures/has_stress")[group[0]])
    return _Group(
        dataset.column("atoms/positions")[atoms].astype(np.float64),
        dataset.column("atoms/forces")[atoms].astype(np.float64),
        cell if strained else np.broadcast_to(completed_cell(cell[0], pbc), cell.shape),
        stress if strained else np.zeros_like(stress),
        dataset.column("structures/energy")[group],
        pbc,
    )


def _compare(group: _Group, indices: Array) -> Array:
    g = len(indices)
    best = np.full((g, 5), np.nan)
    nearest = np.full(g, np.inf)
    everything = (group.positions, group.cell, group.forces, group.stress, group.energy[:, None])
    with np.errstate(all="ignore"):  # a number that is not finite gives NaN, which is no sibling
        finite = np.logical_and.reduce([np.isfinite(x.reshape(g, -1)).all(axis=1) for x in everything])
        if group.pbc.any():
            finite &= np.abs(np.linalg.det(group.cell)) > SMALLEST_VOLUME
    rows = np.flatnonzero(finite)
    for offset in range(1, min(TRIED, len(rows) - 1) + 1):
        a, b = rows, np.roll(rows, -offset)
        size, found = _pairs(group, a, b)
        found = np.column_stack([found, indices[b]])
        for at, other in ((a, b), (b, a)):
            closer = size < nearest[at]
            nearest[at[closer]] = size[closer]
            best[at[closer]] = found[closer]
            best[at[closer], 4] = indices[other[closer]]
    return best


def _pairs(group: _Group, a: Array, b: Array) -> tuple[Array, Array]:
    """Return the size of the path from structures a to b, and (gap, bound, work, energy change).

    The size is infinite where they are too far apart, or nothing differs between them. The work between copies of one
    structure with two energies is NaN: it tells nothing about units.
    """
    n = group.positions.shape[1]
    forces_a, forces_b = group.forces[a], group.forces[b]
    if group.pbc.any():
        cell_a, cell_b = group.cell[a], group.cell[b]
        middle = (cell_a + cell_b) / 2
        other_cell = np.abs(np.linalg.det(middle)) < np.abs(np.linalg.det(cell_a)) / 2
        middle = np.where(other_cell[:, None, None], cell_a, middle)
        inverse_a, inverse_b, inverse = np.linalg.inv(cell_a), np.linalg.inv(cell_b), np.linalg.inv(middle)
        fractional = group.positions[b] @ inverse_b - group.positions[a] @ inverse_a
        fractional = fractional - fractional[:, :1]  # all of it may have been moved: only then is an image chosen
        moved = (fractional - group.pbc * np.round(fractional)) @ middle
        strain = inverse @ (cell_b - cell_a)
        turned = np.where(other_cell, np.inf, np.abs(strain - strain.swapaxes(1, 2)).max(axis=(1, 2)))
        strain = (strain + strain.swapaxes(1, 2)) / 2
        volume = np.abs(np.linalg.det(middle))
        # dE/dfractional = -F cell^T, carried to the cell in the middle of the way
        forces_a = forces_a @ (inverse @ cell_a).swapaxes(1, 2)
        forces_b = forces_b @ (inverse @ cell_b).swapaxes(1, 2)
    else:
        moved = group.positions[b] - group.positions[a]
        strain, turned, volume = np.zeros((len(a), 3, 3)), np.zeros(len(a)), np.zeros(len(a))
    moved = moved - moved.mean(axis=1, keepdims=True)
    stress = volume[:, None, None] * (group.stress[a] + group.stress[b]) / 2
    work = -((forces_a + forces_b) / 2 * moved).sum(axis=(1, 2)) + (stress * strain).sum(axis=(1, 2))
    unknown_forces = np.abs(forces_b - forces_a) + BENDS * np.abs(forces_a + forces_b) / 2
    unknown_stress = volume[:, None, None] * np.abs(group.stress[b] - group.stress[a]) + BENDS * np.abs(stress)
    bound = (unknown_forces * np.abs(moved)).sum(axis=(1, 2)) + (unknown_stress * np.abs(strain)).sum(axis=(1, 2))
    change = group.energy[b] - group.energy[a]
    farthest, largest = np.abs(moved).max(axis=(1, 2)), np.abs(strain).max(axis=(1, 2))
    far = (farthest > FARTHEST_ANGSTROM) | (largest > LARGEST_STRAIN) | (turned > 1e-3)
    same = (farthest < SAME_ANGSTROM) & (largest < SAME_STRAIN)
    nothing = (same & (np.abs(change) / n <= WORK_NOISE_EV_PER_ATOM)) | ((bound == 0) & (change == 0))
    gap = np.abs(change - work) / n
    size = np.where(far | nothing, np.inf, farthest / FARTHEST_ANGSTROM + largest / LARGEST_STRAIN)
    return size, np.column_stack([gap, bound / n, np.where(same, np.nan, work), change])
