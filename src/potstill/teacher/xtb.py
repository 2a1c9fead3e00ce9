"""GFN2-xTB and GFN1-xTB as teachers of molecules (Bannwarth, Ehlert and Grimme, J. Chem. Theory Comput. 15, 1652 (2019)).

Uses the library tblite, structure by structure: a molecule takes milliseconds. Molecules are neutral and have the lowest
spin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from potstill.core.registry import borrow
from potstill.core.types import PROPERTIES, Labels, Refused, Structure, Teacher
from potstill.core.units import BOHR_ANGSTROM, HARTREE_EV
from potstill.teacher.batching import label_each, refuse_foreign
from potstill.teacher.options import TeacherOptions

BOLTZMANN_HARTREE_PER_KELVIN = 3.166808578545117e-6  # value that tblite uses
ELEMENTS = frozenset(range(1, 87))


class XTB(TeacherOptions):
    """Semi-empirical tight binding for molecules without a cell: GFN2-xTB or GFN1-xTB."""

    name: Literal["xtb"] = "xtb"
    method: Annotated[Literal["GFN2-xTB", "GFN1-xTB"], Field(description="parametrisation")] = "GFN2-xTB"
    accuracy: Annotated[
        float,
        Field(gt=0, description="accuracy parameter of the self-consistent charges, dimensionless; smaller is more exact"),
    ] = 1.0
    electronic_temperature_kelvin: Annotated[
        float, Field(gt=0, description="electronic temperature of the occupation of orbitals in K")
    ] = 300.0
    max_iterations: Annotated[
        int,
        Field(
            gt=0, description="largest number of iterations of the charges; a structure that does not converge is refused"
        ),
    ] = 250

    def requires(self) -> tuple[str, str] | None:
        return "tblite", "xtb"

    def load(self) -> Teacher:
        borrow("tblite", "xtb", "the teacher 'xtb'")
        return _XTB(self)


class _XTB:
    def __init__(self, options: XTB) -> None:
        from tblite.interface import Calculator

        self._make = Calculator
        self._method = options.method
        self._settings: dict[str, Any] = {
            "accuracy": options.accuracy,
            "temperature": options.electronic_temperature_kelvin * BOLTZMANN_HARTREE_PER_KELVIN,
            "max-iter": options.max_iterations,
            "verbosity": 0,
        }
        self._fingerprint = {
            "name": options.method,
            "version": f"tblite {metadata.version('tblite')}",
            "weights": f"parameters of {options.method}, accuracy {options.accuracy:g}, "
            f"{options.electronic_temperature_kelvin:g} K",
            "dtype": "float64",
        }

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return self._fingerprint

    @property
    def elements(self) -> frozenset[int]:
        return ELEMENTS

    @property
    def properties(self) -> frozenset[str]:
        return PROPERTIES - {"stress"}

    def label(self, structures: Sequence[Structure]) -> list[Labels | Refused]:
        refused = [_refuse(s) for s in structures]
        molecules = [s for s, reason in zip(structures, refused, strict=True) if reason is None]
        answers = iter(label_each(molecules, self._ask))
        return [next(answers) if reason is None else reason for reason in refused]

    def _ask(self, structure: Structure) -> Labels:
        calculator = self._make(self._method, structure.atomic_numbers.astype(int), structure.positions / BOHR_ANGSTROM)
        for name, value in self._settings.items():
            calculator.set(name, value)
        result = calculator.singlepoint()
        forces = -np.asarray(result.get("gradient"), dtype=np.float64) * (HARTREE_EV / BOHR_ANGSTROM)
        return Labels(float(result.get("energy")) * HARTREE_EV, forces)


def _refuse(structure: Structure) -> Refused | None:
    if structure.pbc.any():
        return Refused("not_a_molecule", "GFN-xTB labels molecules only, and this structure is periodic")
    return refuse_foreign(structure, ELEMENTS)
