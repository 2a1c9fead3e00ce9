"""Reference energies: what an atom of each element costs before its surroundings are looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from potstill.types import Array, Structure

RELATIVE_CUTOFF = 1e-8


def composition_matrix(structures: Sequence[Structure], elements: Sequence[int]) -> Array:
    """(S, Z) number of atoms of each element in each structure."""
    return np.array([[(s.atomic_numbers == z).sum() for z in elements] for s in structures], dtype=np.float64)


def fit_reference_energies(structures: Sequence[Structure], elements: Sequence[int]) -> Array:
    """Least squares of the energy per atom on the composition.

    Where compositions do not tell elements apart, the solution of least norm is taken.

    Parameters
    ----------
    structures
        Labelled.
    elements
        Atomic numbers, in the order of the result.

    Returns
    -------
    Array
        (Z,) eV per atom.
    """
    amounts = composition_matrix(structures, elements)
    atoms = amounts.sum(axis=1)
    energy = np.array([s.labels.energy for s in structures if s.labels is not None])
    solution, *_ = np.linalg.lstsq(amounts / atoms[:, None], energy / atoms, rcond=RELATIVE_CUTOFF)
    return np.asarray(solution)
