"""Morse: one Morse potential for every pair of atoms, from ASE."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any, Literal

from pydantic import Field

from potstill.core.types import Teacher
from potstill.teacher.options import AseTeacher, TeacherOptions


class Morse(TeacherOptions):
    """A Morse potential with a smooth cutoff."""

    name: Literal["morse"] = "morse"
    epsilon_ev: Annotated[float, Field(gt=0, description="depth of the well in eV")] = 3.0
    r0_angstrom: Annotated[float, Field(gt=0, description="distance of the minimum in Å")] = 1.25

    def load(self) -> Teacher:
        """Return the teacher; the calculator is imported here."""

        def make() -> Any:
            from ase.calculators.morse import MorsePotential

            return MorsePotential(epsilon=self.epsilon_ev, r0=self.r0_angstrom, rho0=3.0)

        fingerprint = {
            "name": "morse",
            "version": f"ase {version('ase')}",
            "weights": f"epsilon {self.epsilon_ev} r0 {self.r0_angstrom}",
            "dtype": "float64",
        }
        return AseTeacher(make, fingerprint)
