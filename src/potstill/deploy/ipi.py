"""The student in i-PI: a potential that ``ffdirect`` calls in its own process, or the driver of a socket client.

Takes positions and cell in i-PI's atomic units, vectors as columns. Returns energy, forces and virial in the same units.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.data
import ase.io
import numpy as np

from potstill.core.errors import PotstillError
from potstill.core.registry import borrow
from potstill.core.types import Array, Structure
from potstill.deploy.engine import Stepper, in_periodic_box
from potstill.deploy.student import load_student

VACUUM_ANGSTROM = 20.0  # i-PI always has a cell; along axes that are not periodic, the student ignores it


class StudentDriver:
    """Driver of i-PI (``pes`` custom).

    Parameters
    ----------
    student
        Folder of the exported student.
    template
        Structure file with the elements in i-PI's order, and with the periodic axes.
    dtype
        Precision: ``"float32"`` or ``"float64"``.
    """

    def __init__(self, student: str, template: str, dtype: str = "float32", **_: Any) -> None:
        borrow("ipi", "engines", "the export to i-PI")
        from ipi.utils.units import unit_to_internal, unit_to_user

        atoms: Any = ase.io.read(template)
        self.atomic_numbers, self.pbc = atoms.numbers, np.array(atoms.pbc)
        self.step = Stepper(load_student(student, dtype=dtype))
        self._angstrom = unit_to_user("length", "angstrom", 1.0)
        self._hartree = unit_to_internal("energy", "electronvolt", 1.0)

    def __call__(self, cell: Any, positions: Any) -> Any:
        """Return (energy, (n, 3) forces, (3, 3) virial, extras), or a list of these for lists."""
        if isinstance(cell, list):
            return [self(*pair) for pair in zip(cell, positions, strict=True)]
        rows = self._angstrom * np.asarray(cell).T
        labels = self.step(self.atomic_numbers, self._angstrom * np.asarray(positions), rows, self.pbc)
        if labels.stress is None:
            raise PotstillError("i-PI needs a virial, and its cell has no volume")
        virial = -labels.stress * abs(np.linalg.det(rows))
        return self._hartree * labels.energy, self._hartree * self._angstrom * labels.forces, self._hartree * virial, ""


def write_start(structure: Structure, path: Path) -> tuple[Array, Array]:
    """Write the start in i-PI's xyz, turned into its cell; return masses (n,) in amu and cell (3, 3) in Å, rows."""
    boxed = in_periodic_box(structure, VACUUM_ANGSTROM)
    symbols = [ase.data.chemical_symbols[z] for z in boxed.atomic_numbers]
    lengths_and_angles = " ".join(f"{x:.12f}" for x in boxed.to_ase().cell.cellpar())
    header = f"# CELL(abcABC): {lengths_and_angles} positions{{angstrom}} cell{{angstrom}}"
    rows = [f"{s} {x:.17g} {y:.17g} {z:.17g}" for s, (x, y, z) in zip(symbols, boxed.positions, strict=True)]
    path.write_text("\n".join([str(len(boxed)), header, *rows]) + "\n", encoding="utf-8")
    return ase.data.atomic_masses[boxed.atomic_numbers], boxed.cell
