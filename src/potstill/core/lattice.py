"""The lattice of a structure, by its strongest Bragg reflection: crystals have one, liquids and glasses have none."""

from __future__ import annotations

import numpy as np

from potstill.core.types import Array

BRAGG, LONGEST_WAVE_VECTOR = 0.4, 5.0  # share of the atoms squared in phase, in 1/Å: above, a lattice is there


def has_lattice(atomic_numbers: Array, positions: Array, cell: Array) -> bool:
    """Return whether most atoms of a periodic cell share a lattice.

    Hydrogens do not count beside heavier atoms. Elements are not told apart, so that a random alloy and a crystal with a
    vacancy have a lattice. Crystals of complicated molecules may have none by this measure.

    Parameters
    ----------
    atomic_numbers, positions
        (n,) elements and (n, 3) positions in Å.
    cell
        (3, 3) lattice vectors in Å as rows, all three periodic.
    """
    heavy = atomic_numbers > 1 if (atomic_numbers > 1).any() else np.ones(len(atomic_numbers), dtype=bool)
    return _strongest_reflection(positions[heavy], cell) >= BRAGG


def _strongest_reflection(positions: Array, cell: Array) -> float:
    """Return the largest |sum of exp(ikr)|^2 over the atoms squared: 1 for one lattice, a few over the atoms in a liquid."""
    most = [int(LONGEST_WAVE_VECTOR * length / (2 * np.pi)) for length in np.linalg.norm(cell, axis=1)]
    indices = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), axis=-1).reshape(-1, 3)
    reciprocal = np.linalg.inv(cell)
    long = np.linalg.norm(indices @ reciprocal.T, axis=1) * 2 * np.pi
    indices = indices[(long > 0) & (long < LONGEST_WAVE_VECTOR)]
    phases = np.exp(2j * np.pi * indices @ (positions @ reciprocal).T)
    return float((np.abs(phases.mean(axis=1)) ** 2).max(initial=0.0))
