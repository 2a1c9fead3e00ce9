"""Shared code of the exports for other engines: a student called step after step, and cells in the engines' form.

Takes the arrays of an engine in Å, wrapped into its box or not. Returns :class:`~potstill.core.types.Labels` in eV and Å.
"""

from __future__ import annotations

import numpy as np

from potstill.core.errors import PotstillError
from potstill.core.lattice import completed_cell
from potstill.core.neighbors import VerletList
from potstill.core.precision import float32_products, own_modes
from potstill.core.types import Array, Labels, Structure
from potstill.deploy.domain_warnings import Watch
from potstill.deploy.student import DeployedStudent

VACUUM_CUTOFFS = 2.0  # thickness of the vacuum beside a slab, in cutoffs of the student


class Stepper:
    """A student that one engine calls for one system, step after step.

    Atoms that the engine wraps into its box are unwrapped, so that the neighbor list stays valid after a crossing.

    Parameters
    ----------
    student
        Student of :func:`potstill.load_student`.
    """

    def __init__(self, student: DeployedStudent) -> None:
        self.student = student
        self.neighbors = VerletList(student.cutoff_angstrom)
        self._watch = Watch(student)
        self._on_card = student.gpu.stepper() if student.gpu else None
        self._positions = np.zeros((0, 3))
        self._lattice = np.zeros((3, 3))
        self._inverse = np.zeros((3, 3))

    def __call__(self, atomic_numbers: Array, positions: Array, cell: Array, pbc: Array) -> Labels:
        """Label the system; the arguments are the fields of a :class:`~potstill.core.types.Structure`.

        Raises
        ------
        PotstillError
            If energy or forces are not finite: an engine would continue with them.
        """
        structure = Structure(atomic_numbers, self._followed(positions, cell, pbc), cell, pbc)
        neighbors, told = None, self._watch.wants_errors
        if self._on_card is not None:
            if self._on_card.calls == 0:
                self.student.refuse_unknown(structure)
            with float32_products(), own_modes("cuda"):
                labels = self._on_card(structure, self.student.uncertainty if told else None)
        else:
            neighbors = self.neighbors(structure.positions, structure.cell, structure.pbc)
            (labels,) = self.student.label([structure], neighbors=[neighbors], uncertainty=told)
        self._watch(structure, neighbors, labels.extra.get("uncertainty"))
        if not (np.isfinite(labels.energy) and np.isfinite(labels.forces).all()):
            raise PotstillError(
                f"the energy of {structure.formula} is {labels.energy} eV, or a force is not finite: stopped"
            )
        return labels

    def _followed(self, positions: Array, cell: Array, pbc: Array) -> Array:
        """Return the images of the atoms that are closest to their positions in the previous call."""
        positions = np.array(positions, dtype=np.float64)
        lattice = np.where(np.asarray(pbc)[:, None], cell, 0.0)
        if (lattice != self._lattice).any():
            self._lattice, self._inverse = lattice, np.linalg.pinv(lattice)
        if positions.shape == self._positions.shape:
            images = np.rint((positions - self._positions) @ self._inverse)
            if images.any():
                positions -= images @ lattice
        self._positions = positions
        return positions


def lower_triangular(structure: Structure) -> tuple[Array, Array]:
    """Return the cell in the form of LAMMPS, OpenMM and i-PI: lower triangular, tilts at most half a diagonal element.

    The cell spans the rotated lattice of the structure. Axes that are not periodic get vectors at right angles to the
    others, of arbitrary length.

    Returns
    -------
    cell, rotation
        (3, 3) Å, rows; and (3, 3) such that ``positions @ rotation`` fit the cell.
    """
    cell = completed_cell(structure.cell, structure.pbc)
    if np.linalg.det(cell) < 0:
        cell = -cell  # same lattice, right-handed
    rotation, upper = np.linalg.qr(cell.T)
    sign = np.where(np.diag(upper) < 0, -1.0, 1.0)
    lower = np.tril(upper.T * sign)
    for vector, axis in ((1, 0), (2, 1), (2, 0)):
        lower[vector] -= np.rint(lower[vector, axis] / lower[axis, axis]) * lower[axis]
    return lower, rotation * sign


def in_periodic_box(structure: Structure, vacuum_angstrom: float) -> Structure:
    """Return a structure periodic in three directions, with vacuum along the axes that were not, in the engines' form.

    Parameters
    ----------
    structure
        Structure of any periodicity.
    vacuum_angstrom
        Distance in Å between images along axes that were not periodic; beyond the cutoff it has no effect.
    """
    cell, rotation = lower_triangular(structure)
    positions = structure.positions @ rotation
    for axis in np.flatnonzero(~structure.pbc):
        cell[axis] = 0.0
        cell[axis, axis] = np.ptp(positions[:, axis]) + vacuum_angstrom
    return structure.with_(positions=positions, cell=cell, pbc=np.ones(3, bool), labels=None)
