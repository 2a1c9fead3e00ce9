"""The student as an ASE calculator."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from potstill.deploy.student import DeployedStudent
from potstill.types import Structure


class StudentCalculator(Calculator):
    """Drop-in ASE calculator: set ``atoms.calc`` and everything else stays as it was.

    ``stress`` (Voigt order xx, yy, zz, yz, xz, xy in eV/Å^3, + is tension) is there for structures that are periodic in
    three directions.

    Parameters
    ----------
    student
        From :func:`potstill.load_student`.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 - ASE's own interface

    def __init__(self, student: DeployedStudent) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.student = student

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = tuple(all_changes)) -> None:
        """Compute everything at once; one forward and one backward pass."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        (labels,) = self.student.label([Structure.from_ase(atoms)])
        if labels.stress is None and "stress" in properties:
            raise PropertyNotImplementedError("stress needs a structure that is periodic in three directions")
        self.results = {"energy": labels.energy, "free_energy": labels.energy, "forces": labels.forces}
        if labels.stress is not None:
            s = labels.stress
            self.results["stress"] = np.array([s[0, 0], s[1, 1], s[2, 2], s[1, 2], s[0, 2], s[0, 1]])
