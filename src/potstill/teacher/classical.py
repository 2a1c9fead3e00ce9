"""Cheap teachers from ASE, for tests and for trying a config: Lennard-Jones and effective medium theory."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any, Literal

from pydantic import Field

from potstill.core.elements import atomic_numbers_of
from potstill.core.types import Teacher
from potstill.teacher.options import AseTeacher, TeacherOptions


class LennardJones(TeacherOptions):
    """One Lennard-Jones potential for every pair of elements, smoothly cut off."""

    name: Literal["lennard-jones"] = "lennard-jones"
    epsilon_ev: Annotated[float, Field(gt=0, description="depth of the potential well in eV")] = 0.2
    sigma_angstrom: Annotated[float, Field(gt=0, description="distance of two atoms in Å at which the energy is zero")] = 1.6
    cutoff_angstrom: Annotated[float, Field(gt=0, description="cutoff of the potential in Å")] = 4.5

    def load(self) -> Teacher:
        def make() -> Any:
            from ase.calculators.lj import LennardJones as Calculator

            return Calculator(
                epsilon=self.epsilon_ev,
                sigma=self.sigma_angstrom,
                rc=self.cutoff_angstrom,
                ro=0.66 * self.cutoff_angstrom,
                smooth=True,
            )

        weights = f"epsilon {self.epsilon_ev} sigma {self.sigma_angstrom} cutoff {self.cutoff_angstrom}"
        return AseTeacher(make, _fingerprint(self.name, weights))


class EMT(TeacherOptions):
    """Effective medium theory of ASE: Al, Cu, Ag, Au, Ni, Pd, Pt, and rough parameters for H, C, N, O."""

    name: Literal["emt"] = "emt"

    def load(self) -> Teacher:
        from ase.calculators import emt

        return AseTeacher(emt.EMT, _fingerprint(self.name, "ase parameters"), atomic_numbers_of(emt.parameters))


def _fingerprint(name: str, weights: str) -> dict[str, str]:
    return {"name": name, "version": f"ase {version('ase')}", "weights": weights, "dtype": "float64"}
