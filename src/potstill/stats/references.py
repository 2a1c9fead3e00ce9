"""Reference energies: the energy of an atom of each element, independent of its atomic environment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from potstill.core.types import MAX_ATOMIC_NUMBER, Array
from potstill.dataset.records import Records, RecordSource

RELATIVE_CUTOFF = 1e-8
STRUCTURES_AT_ONCE = 4096


def composition_matrix(records: Records, elements: Sequence[int]) -> Array:
    """Return the (S, Z) number of atoms of each element in each structure; other elements are not counted."""
    place = np.full(256, len(elements))
    place[list(elements)] = np.arange(len(elements))
    structure = np.repeat(np.arange(len(records)), np.diff(records.ptr))
    width = len(elements) + 1
    cells = np.bincount(structure * width + place[records.atomic_numbers], minlength=len(records) * width)
    return cells.reshape(len(records), width)[:, :-1].astype(np.float64)


def compositions(source: RecordSource) -> tuple[list[int], Array, Array]:
    """Return the atomic numbers that occur, their (S, Z) atom counts in each structure, and (S,) energies in eV."""
    every = range(1, MAX_ATOMIC_NUMBER + 1)
    amounts, energies = [np.zeros((0, len(every)))], [np.zeros(0)]
    for start in range(0, len(source), STRUCTURES_AT_ONCE):
        records = source.gather(np.arange(start, min(start + STRUCTURES_AT_ONCE, len(source))))
        amounts.append(composition_matrix(records, every))
        energies.append(records.energy)
    counted = np.concatenate(amounts)
    present = np.flatnonzero(counted.any(axis=0))
    return (present + 1).tolist(), counted[:, present], np.concatenate(energies)


def fit_reference_energies(amounts: Array, energy: Array, *, atoms: Array | None = None) -> Array:
    """Fit reference energies by least squares of the energy per atom on the composition.

    If the compositions do not determine each element, the solution of least norm is returned.

    Parameters
    ----------
    amounts
        (S, Z) number of atoms of each element in each structure.
    energy
        (S,) eV.
    atoms
        (S,) number of atoms where ``amounts`` leave some elements out; their sums by default.

    Returns
    -------
    Array
        (Z,) eV per atom.
    """
    if atoms is None:
        atoms = amounts.sum(axis=1)
    solution, *_ = np.linalg.lstsq(amounts / atoms[:, None], energy / atoms, rcond=RELATIVE_CUTOFF)
    return np.asarray(solution)


def mean_local_energies(source: RecordSource, elements: Sequence[int]) -> Array:
    """Return (Z,) mean local energies of the teacher for each element, in eV."""
    sums, atoms = np.zeros(256), np.zeros(256)
    for start in range(0, len(source), STRUCTURES_AT_ONCE):
        records = source.gather(np.arange(start, min(start + STRUCTURES_AT_ONCE, len(source))))
        sums += np.bincount(records.atomic_numbers, weights=records.extra["local_energies"], minlength=256)
        atoms += np.bincount(records.atomic_numbers, minlength=256)
    chosen = list(elements)
    return np.asarray(sums[chosen] / atoms[chosen])
