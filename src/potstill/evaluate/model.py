"""Models to evaluate: a student, or any ASE calculator in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from potstill.core.errors import InputError
from potstill.core.types import Labels, Refused, Structure, Teacher
from potstill.student.uncertainty import Uncertainty
from potstill.teacher.calculator import TeacherCalculator


class Model(Protocol):
    """Labels structures, and moves atoms as an ASE calculator; :class:`~potstill.deploy.student.DeployedStudent` is one."""

    @property
    def device(self) -> str:
        """Return the device that it computes on."""
        ...

    @property
    def uncertainty(self) -> Uncertainty | None:
        """Return the model of its expected errors, or None."""
        ...

    def label(self, structures: Sequence[Structure], *, uncertainty: bool = False) -> list[Labels]:
        """Return labels of structures, in order; with the expected error of each force on request."""
        ...

    def calculator(self) -> Any:
        """Return an ASE calculator."""
        ...


class TeacherModel:
    """Teacher (or any ASE calculator as one) in the place of a student.

    Parameters
    ----------
    teacher
        Loaded teacher.
    """

    device = "as its calculator chooses"
    uncertainty = None

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher

    def label(self, structures: Sequence[Structure], *, uncertainty: bool = False) -> list[Labels]:
        """Return labels of structures.

        Raises
        ------
        InputError
            If one is refused, or expected errors are requested, which a teacher does not have.
        """
        if uncertainty:
            raise InputError("a teacher predicts no uncertainty")
        found = []
        for structure, answer in zip(structures, self.teacher.label(structures), strict=True):
            if isinstance(answer, Refused):
                raise InputError(
                    f"the candidate refuses {structure.id} ({structure.formula}): {answer.reason}: {answer.detail}"
                )
            found.append(answer)
        return found

    def calculator(self) -> TeacherCalculator:
        """Return an ASE calculator."""
        return TeacherCalculator(self.teacher)
