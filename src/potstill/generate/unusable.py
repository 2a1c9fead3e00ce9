"""What makes a file's content unusable, as reason and detail; and the one place where foreign atoms become a structure."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from potstill.core.types import MAX_ATOMIC_NUMBER, SMALLEST_VOLUME, Structure


class UnusableError(Exception):
    """Content that gives no structure.

    Parameters
    ----------
    reason
        Short word that is counted.
    detail
        What was found.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def structure_from(atoms: Any, **fields: Any) -> Structure:
    """Structure from an ASE ``Atoms`` that a file gave.

    Raises
    ------
    UnusableError
        With a reason of its own for each kind of fault.
    """
    numbers, cell, pbc = np.asarray(atoms.numbers), np.array(atoms.cell), np.asarray(atoms.pbc, bool)
    if len(numbers) == 0:
        raise UnusableError("no_atoms", "there are no atoms")
    if numbers.min() < 1 or numbers.max() > MAX_ATOMIC_NUMBER:
        foreign = sorted({int(z) for z in numbers if not 1 <= z <= MAX_ATOMIC_NUMBER})
        raise UnusableError("unknown_element", f"atomic numbers {foreign} are no elements")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(cell).all()):
        raise UnusableError("not_finite", "positions or cell contain a number that is not finite")
    if pbc.any() and not cell[pbc].any(axis=1).all():
        raise UnusableError("no_cell", f"pbc is {pbc.tolist()} and a lattice vector is missing")
    if pbc.all() and abs(np.linalg.det(cell)) < SMALLEST_VOLUME:
        raise UnusableError("no_volume", "the cell has no volume")
    occupancy = atoms.arrays.get("occupancy")
    if occupancy is not None and ((np.asarray(occupancy) > 0) & (np.asarray(occupancy) < 1)).any():
        raise UnusableError("disordered", "sites are occupied in part")
    return Structure.from_ase(atoms, **fields)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what readers warn of, except where a reader leaves out atoms or symmetry with a warning only: an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="Wrong number")  # ASE, of a row in a CIF table
        warnings.filterwarnings("error", message=".*Defaulting to P1")  # pymatgen, of a space group that it does not know
        yield
