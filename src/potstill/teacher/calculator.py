"""A teacher as an ASE calculator, for dynamics and relaxation."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.calculators.calculator import CalculationFailed, Calculator, PropertyNotImplementedError, all_changes

from potstill.core.stress import to_voigt
from potstill.core.types import Refused, Structure, Teacher
from potstill.teacher.messages import as_number


class TeacherCalculator(Calculator):
    """ASE calculator that calls a teacher for one structure at a time.

    ``stress`` (Voigt order, + is tension) is available where the teacher predicts it. A refusal by the teacher, and labels
    that are not finite, raise ``CalculationFailed`` with the reason.

    Parameters
    ----------
    teacher
        Loaded teacher.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 - ASE's own interface

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.teacher = teacher

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = tuple(all_changes)) -> None:
        """Compute all properties at once."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        (answer,) = self.teacher.label([Structure.from_ase(atoms)])
        if isinstance(answer, Refused):
            raise CalculationFailed(f"the teacher refused: {answer.reason}: {answer.detail}")
        energy = as_number(answer.energy)
        if not (np.isfinite(energy) and np.isfinite(answer.forces).all()):
            raise CalculationFailed("energy or forces are not finite")
        self.results = {"energy": energy, "free_energy": energy, "forces": np.asarray(answer.forces, float)}
        if answer.stress is not None:
            self.results["stress"] = to_voigt(answer.stress)
        elif "stress" in properties:
            raise PropertyNotImplementedError("the teacher predicts no stress for this structure")
