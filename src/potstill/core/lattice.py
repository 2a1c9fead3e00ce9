"""The lattice of a structure: whether it has one, by its strongest Bragg reflection, and its cell if periodic in part."""

from __future__ import annotations

import numpy as np

from potstill.core.types import Array

BRAGG, LONGEST_WAVE_VECTOR = 0.4, 5.0  # share of the atoms squared in phase, in 1/Å: above, a lattice is there
SMALL_ATOMS = 16  # in a smaller cell, any crystal repeats itself often
CHANCE = 0.01  # of random places to reach the share that is asked for


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
    reflections, atoms = _reflections(positions[heavy], cell), int(heavy.sum())
    by_chance = np.log(max(1, len(reflections)) / CHANCE) / atoms if atoms > SMALL_ATOMS else 0.0
    return bool(reflections.max(initial=0.0) >= max(BRAGG, by_chance))


def _reflections(positions: Array, cell: Array) -> Array:
    """Return |sum of exp(ikr)|^2 over the atoms squared for all k: 1 for one lattice.

    Random places have exponential ones with the mean 1 over the atoms.
    """
    most = [int(LONGEST_WAVE_VECTOR * length / (2 * np.pi)) for length in np.linalg.norm(cell, axis=1)]
    indices = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), axis=-1).reshape(-1, 3)
    reciprocal = np.linalg.inv(cell)
    long = np.linalg.norm(indices @ reciprocal.T, axis=1) * 2 * np.pi
    indices = indices[(long > 0) & (long < LONGEST_WAVE_VECTOR)]
    phases = np.exp(2j * np.pi * indices @ (positions @ reciprocal).T)
    return np.asarray(np.abs(phases.mean(axis=1)) ** 2)


def completed_cell(cell: Array, pbc: Array) -> Array:
    """Return a (3, 3) cell in Å with unit vectors at right angles in place of those along which nothing is periodic.

    Periodic vectors along one line give NaN.
    """
    from ase.geometry import complete_cell

    with np.errstate(all="ignore"):
        return np.asarray(complete_cell(np.where(pbc[:, None], cell, 0.0)), np.float64)
