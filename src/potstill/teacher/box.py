"""Periodic cells around structures that are not periodic along every axis, for models that need a full cell.

Takes a structure and returns one that is periodic along all three axes. Copies along the added axes are farther apart than
the model's cutoff, so energy and forces are those of the structure itself. A stress of it would be meaningless.
"""

from __future__ import annotations

import numpy as np

from potstill.core.types import Array, Structure


def boxed(structure: Structure, gap_angstrom: float) -> Structure:
    """Add a lattice vector along each axis that had none.

    Parameters
    ----------
    structure
        Structure to extend; returned unchanged where all three axes are periodic.
    gap_angstrom
        Distance between the outermost atoms of neighboring copies in Å, more than the cutoff of the model.
    """
    if structure.pbc.all():
        return structure
    cell = structure.cell.copy()
    free = [k for k in range(3) if not structure.pbc[k]]
    for axis, direction in zip(free, _perpendicular(structure.cell[structure.pbc]), strict=True):
        extent = float(np.ptp(structure.positions @ direction))
        cell[axis] = (extent + gap_angstrom) * direction
    return structure.with_(cell=cell, pbc=np.ones(3, bool))


def _perpendicular(vectors: Array) -> Array:
    """Return (3 - k, 3) unit vectors at right angles to k lattice vectors and to each other."""
    if len(vectors) == 0:
        return np.eye(3)
    _, _, directions = np.linalg.svd(vectors)
    return directions[len(vectors) :]
